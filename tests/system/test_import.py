"""`footfall import` as a person runs it: alone and beside a server, killed and gone on with, and what it answers to mistakes."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from footfall.lake.engine import connected
from footfall.lake.opening import open_table
from footfall.lake.scan import select_events
from footfall.lake.settings import LakeSettings
from footfall.registry.store import Registry
from tests.serving import COMMAND, Footfall, home, now_ms, run_cli, until

ROWS = 30_000
SETTINGS = {"FOOTFALL_DURABILITY__ACCEPT_TMPFS": "true"}


def lines(count: int) -> bytes:
    """Events without an id, each of another shopper: nothing but their place in the file tells repeats."""
    moment = now_ms() - 3_600_000
    event: dict[str, Any] = {"event_type": "HOME", "channel_type": "SITE", "page_id": "x" * 300}
    return b"".join(
        json.dumps({**event, "timestamp": str(moment + number), "user_id": f"u{number}"}).encode() + b"\n"
        for number in range(count)
    )


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    with Registry.in_directory(tmp_path / "data") as registry:
        registry.add_platform("SHOP")
    yield tmp_path / "data"


def run(data: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return run_cli("import", *arguments, data=data, stdin=stdin, env=SETTINGS)


def told(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    [entry] = json.loads(done.stdout)["files"]
    return dict(entry)


def started(data: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **SETTINGS, "FOOTFALL_DATA": str(data)}
    return subprocess.Popen([*COMMAND, "import", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def marks(data: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in data.glob("imports/*/progress.ndjson"))


def users(data: Path) -> list[str]:
    """Of every row of the table."""
    table = open_table(data, LakeSettings())
    assert table is not None
    with connected(temporary=None) as connection:
        rows = select_events(table.files().values(), locate=table.volume.locate, names=("user_id",))
        return sorted(user for (user,) in connection.execute(rows).fetchall())


def test_a_file_lands_and_says_what_came_of_it(data: Path, tmp_path: Path) -> None:
    (tmp_path / "events.ndjson").write_bytes(lines(3) + b'{"event_type":"HOME"}\n')
    done = run(data, str(tmp_path / "events.ndjson"), "--platform", "SHOP", "--json")
    assert done.returncode == 1, done
    entry = told(done)
    refused = Path(entry.pop("refused_file"))
    assert entry == {
        "file": str(tmp_path / "events.ndjson"), "rows": 4, "accepted": 3, "refused": 1, "landed": 3, "repeated": 0,
        "quarantined": 0, "erased": 0, "imported_before": None,
    }  # fmt: skip
    assert str(refused) in done.stderr.decode()
    [line] = refused.read_text().splitlines()
    assert json.loads(line)["row"] == 4
    assert users(data) == ["u0", "u1", "u2"]


def test_a_file_that_was_imported_before_is_told_and_left_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "events.ndjson").write_bytes(lines(3))
    arguments = (str(tmp_path / "events.ndjson"), "--platform", "SHOP")
    assert run(data, *arguments).returncode == 0
    second = run(data, *arguments)
    assert second.returncode == 0
    assert b"was imported before" in second.stderr and b"--again" in second.stderr
    assert run(data, *arguments, "--again").returncode == 0
    assert len(users(data)) == 6


def test_several_files_in_turn_and_standard_input(data: Path, tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_bytes(lines(2))
    done = run(data, str(tmp_path / "a.ndjson"), "-", "--platform", "SHOP", "--json", stdin=lines(5))
    assert done.returncode == 0, done
    assert [(entry["file"], entry["landed"]) for entry in json.loads(done.stdout)["files"]] == [
        (str(tmp_path / "a.ndjson"), 2), ("standard input", 5),
    ]  # fmt: skip
    assert not [file for file in (data / "imports").iterdir() if not file.is_dir()]


def test_people_get_a_table(data: Path, tmp_path: Path) -> None:
    (tmp_path / "events.ndjson").write_bytes(lines(1_234))
    done = run(data, str(tmp_path / "events.ndjson"), "--platform", "SHOP")
    assert done.returncode == 0
    head, row = done.stdout.decode().splitlines()
    assert head.split() == ["file", "rows", "accepted", "refused", "landed", "repeated"]
    assert row.split()[1:] == ["1,234", "1,234", "0", "1,234", "0"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("good.ndjson", "--platform", "SHOP_TEST"), 2, "test platform id, and test events never land: import to SHOP"),
        (("good.ndjson", "--platform", "MALL_TEST"), 2, "import to MALL"),
        (("good.ndjson", "--platform", "MALL"), 1, "footfall platform add MALL"),
        (("good.ndjson", "missing.ndjson", "--platform", "SHOP"), 1, "missing.ndjson cannot be read: No such file"),
        (("good.ndjson", "cut.ndjson.gz", "--platform", "SHOP"), 1, "cut.ndjson.gz ends in the middle"),
        (("good.ndjson", "half.parquet", "--platform", "SHOP"), 1, "half.parquet is no whole Parquet file"),
        (("good.ndjson", "events.txt", "--platform", "SHOP"), 1, "say --format"),
        (("good.ndjson", ".", "--platform", "SHOP"), 1, "say --format"),
        (("events.csv", "--platform", "SHOP"), 1, "events.csv has no column for event_type"),
        (("events.csv", "--platform", "SHOP", "--mapping", "missing.toml"), 2, "the mapping missing.toml cannot be read"),
        (("good.ndjson", "events.csv", "--platform", "SHOP", "--refused", "r"), 2, "--refused names one place"),
        (("good.ndjson",), 2, "--platform"),
    ],
)
def test_what_cannot_be_imported_is_told_before_anything_is(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], status: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "good.ndjson": lines(1),
        "cut.ndjson.gz": gzip.compress(lines(1))[:-9],
        "half.parquet": b"PAR1",
        "events.txt": lines(1),
        "events.csv": b"a,b\n1,2\n",
    }.items():
        (tmp_path / name).write_bytes(content)
    done = run(data, *arguments)
    assert (done.returncode, done.stdout) == (status, b""), done
    assert words in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert not (data / "log" / "live").exists()


def test_a_disabled_platform_takes_no_history(data: Path, tmp_path: Path) -> None:
    with Registry.in_directory(data) as registry:
        registry.disable_platform("SHOP")
    (tmp_path / "events.ndjson").write_bytes(lines(1))
    done = run(data, str(tmp_path / "events.ndjson"), "--platform", "SHOP")
    assert (done.returncode, b"is disabled" in done.stderr) == (1, True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_import_ended_midway_is_seen_through_by_the_same_command(data: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Twice ended, and no row, though none has an id, is lost or there twice."""
    (tmp_path / "events.ndjson").write_bytes(lines(ROWS))
    arguments = (str(tmp_path / "events.ndjson"), "--platform", "SHOP")
    ended = 0
    for least in (2, 6):
        with started(data, *arguments) as process:
            assert until(lambda least=least: marks(data) >= least or process.poll() is not None, seconds=60)
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        ended += process.returncode in (-signal.SIGKILL, 130)
        if process.returncode == 130:
            assert b"goes on where this one stopped" in errors
            assert b"Traceback" not in errors
    assert ended, "both were done before they could be ended"
    done = run(data, *arguments, "--json")
    assert done.returncode == 0, done
    assert (told(done)["rows"], told(done)["landed"]) == (ROWS, ROWS)
    assert users(data) == sorted(f"u{number}" for number in range(ROWS))
    assert run_cli("log", "verify", data=data).returncode == 0


def test_beside_a_server_its_lander_lands_the_history(footfall: Footfall, tmp_path: Path) -> None:
    assert footfall.send(home(id="live", user_id="live")).status == 200
    (tmp_path / "events.ndjson").write_bytes(lines(2_000))
    done = run(footfall.data, str(tmp_path / "events.ndjson"), "--platform", "SHOP", "--json")
    assert done.returncode == 0, (done, footfall.output())
    assert told(done)["landed"] == 2_000
    assert until(lambda: "live" in users(footfall.data), seconds=20)
    assert len(users(footfall.data)) == 2_001
