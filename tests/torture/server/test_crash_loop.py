"""Twenty seconds of workers that are killed as soon as they serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.hostile.crashes import kill_again_and_again, log_files, record_bytes
from tests.contract.hostile.watching import worker
from tests.serving import Footfall, home, until

pytestmark = pytest.mark.torture


def test_a_long_crash_loop_loses_and_doubles_nothing_and_the_log_stays_small(tmp_path: Path) -> None:
    """Four workers, so that there is always one to kill while the others are made to wait longer and longer."""
    with Footfall(tmp_path / "data", settings={"FOOTFALL_SERVER__WORKERS": "4"}) as server:
        load, kills = kill_again_and_again(server, seconds=20, pause_s=0.3)
        assert kills >= 8
        assert load.answered
        assert until(lambda: len(server.children()) == 5, seconds=40)
        assert until(lambda: server.ops("/readyz").status == 200, seconds=20)
        _check(server, load.answered, load.sent, kills)
        assert worker(server, "w0").num_fds() < 60


def test_a_server_that_is_killed_whole_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Supervisor and all, eight times, each recovery on top of the last one's."""
    from tests.load import Load

    with Footfall(tmp_path / "data", settings={"FOOTFALL_DURABILITY__SEGMENT_BYTES": "65536"}) as server:
        answered: set[str] = set()
        sent: set[str] = set()
        for generation in range(8):
            load = Load(server, generation)
            assert until(lambda load=load: len(load.answered) > 100, seconds=20)  # type: ignore[misc]
            server.kill()
            load.stop()
            answered |= load.answered
            sent |= load.sent
            server.start()
        _check(server, answered, sent, 8)


def _check(server: Footfall, answered: set[str], sent: set[str], kills: int) -> None:
    ids = [record["event"]["id"] for record in server.records("SHOP")]
    assert answered <= set(ids), f"lost after a 200: {sorted(answered - set(ids))[:5]}"
    assert len(ids) == len(set(ids))
    assert set(ids) <= sent
    files = log_files(server)
    assert sum(files.values()) < 2 * record_bytes(server) + 100_000, files
    assert len(files) <= 2 * (kills + 4) + record_bytes(server) // 20_000, files
    assert server.send(home()).status == 200
    server.check_log()
