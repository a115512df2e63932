"""Workers that die as fast as they can be started: what was acknowledged is there, once, and the log does not grow by it."""

from __future__ import annotations

from pathlib import Path

from tests.contract.hostile.crashes import kill_again_and_again, log_files, record_bytes
from tests.serving import Footfall, home, until


def test_a_crash_loop_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with Footfall(tmp_path / "data", settings={"FOOTFALL_SERVER__WORKERS": "2"}) as server:
        load, kills = kill_again_and_again(server, seconds=3, pause_s=0.3)
        assert kills >= 2
        assert load.answered
        assert until(lambda: server.ops("/readyz").status == 200, seconds=20)
        ids = [record["event"]["id"] for record in server.records("SHOP")]
        assert load.answered <= set(ids)
        assert len(ids) == len(set(ids))
        assert set(ids) <= load.sent
        files = log_files(server)
        assert len(files) <= kills + 4, files
        assert sum(files.values()) < 2 * record_bytes(server) + 100_000, files
        assert server.send(home()).status == 200
        server.check_log()
