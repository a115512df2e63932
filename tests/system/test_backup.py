"""A backup holds what was answered before it began, is whole or not there, and comes back; the drills of the page work."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.meta.pages import ROOT
from tests.serving import COMMAND, Footfall, free_port, home, run_cli
from tests.system.test_durability import Load

OPERATIONS = ROOT / "docs" / "operations.md"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Footfall]:
    """A running server with a few events, settings and a go-live mark, which tests only copy."""
    data = tmp_path_factory.mktemp("filled") / "data"
    data.mkdir()
    (data / "footfall.toml").write_text("[durability]\ntest_retention_days = 30\n")
    with Footfall(data) as server:
        for number in range(5):
            assert server.send(home(id=f"live-{number}")).status == 200
        assert server.send(home(id="test-0"), platform="SHOP_TEST").status == 200
        server.cli("golive", "--platform", "SHOP_TEST", "--reset", check=True)
        yield server
        server.check_log()


@pytest.fixture(scope="module")
def whole_backup(filled: Footfall, tmp_path_factory: pytest.TempPathFactory) -> Path:
    backup = tmp_path_factory.mktemp("backups") / "monday"
    filled.cli("backup", str(backup), check=True)
    return backup


@pytest.fixture
def backup(whole_backup: Path, tmp_path: Path) -> Path:
    """A copy of it to be spoilt."""
    shutil.copytree(whole_backup, tmp_path / "backup")
    return tmp_path / "backup"


def tree_of(path: Path) -> dict[str, bytes]:
    return {found.relative_to(path).as_posix(): found.read_bytes() for found in path.rglob("*") if found.is_file()}


def wait_for_answers(load: Load, count: int) -> None:
    deadline = time.monotonic() + 20
    while len(load.answered) < count:
        assert time.monotonic() < deadline, "the server stopped answering"
        time.sleep(0.005)


def test_backups_taken_under_load_hold_every_event_answered_before_them(footfall: Footfall, tmp_path: Path) -> None:
    before: dict[Path, list[str]] = {}
    load = Load(footfall, 0)
    try:
        for number in range(3):
            wait_for_answers(load, 60 * (number + 1))
            backup = tmp_path / f"backup{number}"
            before[backup] = list(load.answered)
            footfall.cli("backup", str(backup), check=True)
        footfall.kill()
    finally:
        load.stop()
    for backup, answered in before.items():
        restored = Footfall(tmp_path / f"{backup.name}-data")
        run_cli("restore", str(backup), data=restored.data, check=True)
        restored.check_log()
        ids = [record["event"]["id"] for record in restored.records("SHOP")]
        assert set(answered) <= set(ids)
        assert len(ids) == len(set(ids))
    restored.keys = footfall.keys
    restored.start()
    assert restored.send(home(id="after")).status == 200, "the keys came along"
    assert restored.stop() == 0
    records = restored.records("SHOP")
    assert len({record["position"] for record in records}) == len(records) > len(ids)
    (after,) = (record["position"] for record in records if record["event"]["id"] == "after")
    assert int(after.partition("/")[2]) > 1 << 40, "above every position that the lost server may have given"
    footfall.start()


def test_a_backup_is_private_and_says_what_is_in_it(filled: Footfall, whole_backup: Path) -> None:
    assert {stat.S_IMODE(path.stat().st_mode) for path in whole_backup.rglob("*") if path.is_file()} == {0o600}
    directories = [whole_backup, *(path for path in whole_backup.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directories} == {0o700}
    manifest = json.loads((whole_backup / "backup.json").read_bytes())
    assert {file["path"] for file in manifest["files"]} == tree_of(whole_backup).keys() - {"backup.json"}
    assert {"footfall.toml", "registry.db", "golive/SHOP_TEST.json", "log/live/w0/durable"} <= tree_of(whole_backup).keys()
    assert manifest["events"] == {"live": 5, "test": 1}
    assert manifest["positions"]["live/w0"] == 5
    assert not [path for path in tree_of(whole_backup) if path.endswith("/lock") or path.startswith("run/")]
    assert (whole_backup / "footfall.toml").read_bytes() == (filled.data / "footfall.toml").read_bytes()


def test_json_counts_files_bytes_events_and_seconds(filled: Footfall, tmp_path: Path) -> None:
    done = filled.cli("backup", str(tmp_path / "b"), "--json", check=True)
    told = json.loads(done.stdout)
    files = tree_of(tmp_path / "b")
    del files["backup.json"]
    assert (told["files"], told["bytes"], told["events"]) == (len(files), sum(map(len, files.values())), 6)
    assert told["seconds"] >= 0


def test_a_backup_is_a_data_directory_that_commands_read(whole_backup: Path) -> None:
    shown = run_cli("log", "cat", "--platform", "SHOP", data=whole_backup, check=True).stdout.splitlines()
    assert [json.loads(line)["event"]["id"] for line in shown] == [f"live-{number}" for number in range(5)]


def test_a_restored_directory_is_the_backup_byte_for_byte_and_the_gap_above_it(whole_backup: Path, tmp_path: Path) -> None:
    run_cli("restore", str(whole_backup), data=tmp_path / "new" / "data", check=True)
    expected = tree_of(whole_backup)
    del expected["backup.json"]
    restored = tree_of(tmp_path / "new" / "data")
    assert expected.items() <= restored.items()
    writers = {path.rpartition("/")[0] for path in expected if path.startswith("log/")}
    gaps = {path for path in restored.keys() - expected.keys() if path.endswith(".log")}
    assert {path.rpartition("/")[0] for path in gaps} <= writers
    assert restored.keys() - expected.keys() - gaps == {"log/live/floor", "log/test/floor"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["data"]


def test_an_empty_directory_that_exists_is_restored_into(whole_backup: Path, tmp_path: Path) -> None:
    """As the mount point of a container's volume is, which cannot be replaced by a rename."""
    data = tmp_path / "data"
    (data / "lost+found").mkdir(parents=True)
    inode = data.stat().st_ino
    (data / ".restore.killed.unfinished").mkdir()
    run_cli("restore", str(whole_backup), data=data, check=True)
    assert data.stat().st_ino == inode
    found = {path.name for path in data.iterdir()} - {"lake"}  # which is there when the lander was quick enough
    assert found == {"footfall.toml", "golive", "log", "lost+found", "registry.db"}


def test_a_taken_target_is_1_a_senseless_one_2_and_neither_leaves_anything(filled: Footfall, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_bytes(b"mine")
    for target, status, words in (
        (tmp_path / "taken", 1, b"not empty"),
        (filled.data / "inside", 2, b"inside the data directory"),
        (tmp_path / "no" / "parent", 2, b"no directory"),
    ):
        done = filled.cli("backup", str(target))
        assert (done.returncode, words in done.stderr, b"Traceback" in done.stderr) == (status, True, False)
    nothing = run_cli("backup", str(tmp_path / "b"), data=tmp_path / "nowhere")
    assert (nothing.returncode, b"nothing to back up" in nothing.stderr) == (2, True)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["taken", "taken/file"]


def test_a_damaged_log_makes_no_backup(filled: Footfall, tmp_path: Path) -> None:
    shutil.copytree(filled.data, tmp_path / "data")
    (segment,) = (tmp_path / "data" / "log" / "live" / "w0").glob("*.log")
    segment.write_bytes(segment.read_bytes().replace(b"live-2", b"live-X"))
    done = run_cli("backup", str(tmp_path / "b"), data=tmp_path / "data")
    assert (done.returncode, b"Traceback" in done.stderr) == (3, False)
    assert str(tmp_path / "data").encode() in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_nothing_is_restored_over_events_or_under_a_running_server(filled: Footfall, backup: Path) -> None:
    before = tree_of(filled.data / "log").keys()
    under = filled.cli("restore", str(backup))
    assert (under.returncode, b"running server" in under.stderr) == (3, True)
    over = run_cli("restore", str(filled.data), data=backup)
    assert (over.returncode, b"no whole backup" in over.stderr) == (1, True)
    twice = run_cli("restore", str(backup), data=backup)
    assert (twice.returncode, b"not empty; move it away first" in twice.stderr) == (1, True)
    assert tree_of(filled.data / "log").keys() == before


def test_a_backup_that_is_not_whole_is_refused_and_nothing_of_it_stays(backup: Path, tmp_path: Path) -> None:
    """Every file in turn is cut short, changed in one bit, or missing."""
    chance = random.Random(20261123)
    for number, (path, content) in enumerate(tree_of(backup).items()):
        at = chance.randrange(len(content))
        flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        spoilt = content[:at] if path == "backup.json" else (content[:at], flipped, None)[number % 3]
        if spoilt is None:
            (backup / path).unlink()
        else:
            (backup / path).write_bytes(spoilt)
        done = run_cli("restore", str(backup), data=tmp_path / "data")
        assert (done.returncode, b"Traceback" in done.stderr) == (1, False), (path, done.stderr)
        assert str(backup / path).encode() in done.stderr
        assert [entry.name for entry in tmp_path.iterdir()] == ["backup"]
        (backup / path).write_bytes(content)
    run_cli("restore", str(backup), data=tmp_path / "data", check=True)


@pytest.mark.parametrize("path", ["../outside", "/tmp/outside", "log/../../outside"])
def test_a_manifest_cannot_name_a_file_outside(backup: Path, tmp_path: Path, path: str) -> None:
    manifest = json.loads((backup / "backup.json").read_bytes())
    manifest["files"].append({"path": path, "bytes_count": 1, "sha256": "0"})
    (backup / "backup.json").write_text(json.dumps(manifest))
    done = run_cli("restore", str(backup), data=tmp_path / "data")
    assert (done.returncode, b"outside the backup" in done.stderr) == (1, True)
    assert not (tmp_path / "data").exists()


def test_a_backup_killed_at_any_moment_is_not_there_or_whole(filled: Footfall, tmp_path: Path) -> None:
    shutil.copytree(filled.data, tmp_path / "data", ignore=shutil.ignore_patterns("run"))
    with (tmp_path / "data" / "big.bin").open("wb") as file:
        for _ in range(200):
            file.write(os.urandom(1 << 20))
    chance = random.Random(7)
    finished = 0
    for number in range(8):
        target = tmp_path / f"backup{number}"
        with subprocess.Popen(
            [*COMMAND, "backup", str(target), "--data", str(tmp_path / "data")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            deadline = time.monotonic() + 20
            while not list(tmp_path.glob(f".backup{number}.*.unfinished")) and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.25))  # somewhere in its work
            process.send_signal(signal.SIGKILL)
        if target.exists():
            finished += 1
            run_cli("restore", str(target), data=tmp_path / f"back{number}", check=True)
            shutil.rmtree(target)
        for leftover in tmp_path.glob(".backup*"):
            shutil.rmtree(leftover)
    assert finished < 8, "no backup was killed before its end"


# -- the drills of docs/operations.md, as they stand there


def drill(heading: str) -> list[str]:
    """The commands of the first shell block below a heading."""
    text = OPERATIONS.read_text(encoding="utf-8")
    section = re.split(r"^#+ ", text.partition(f"\n## {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    block = re.search(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert block is not None, heading
    return [line.partition("  #")[0].strip() for line in block[1].splitlines()]


class Operator:
    """Types the lines of a drill into a shell on the server's machine. Ports, the service manager and curl are stand-ins."""

    def __init__(self, server: Footfall, place: Path) -> None:
        self._place = place
        self.ports = {"8090": str(free_port()), "8091": str(free_port()), "8081": str(server.ops_port)}
        command = " ".join(f"'{word}'" for word in COMMAND)
        curl = "import sys,urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1],timeout=20).read().decode())"
        assert server.process is not None
        self._supervisor = str(server.process.pid)
        self._functions = (
            f'footfall() {{ {command} "$@"; }}\n'
            f"curl() {{ '{sys.executable}' -c '{curl}' \"${{@: -1}}\"; }}\n"
            f"systemctl() {{ test \"$*\" = 'reload footfall' && kill -HUP $SERVER; }}\n"
            'sudo() { "$@"; }\n'
            "pip() { :; }\n"
        )

    def type(self, line: str) -> str:
        for written, real in self.ports.items():
            line = line.replace(written, real)
        done = subprocess.run(
            ["bash", "-euc", self._functions + line],
            cwd=self._place,
            env={**os.environ, "SERVER": self._supervisor, "FOOTFALL_DURABILITY__ACCEPT_TMPFS": "true"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout


def test_the_restore_drill_of_the_page_brings_every_event_back_after_kill_9(tmp_path: Path) -> None:
    restored = Footfall(tmp_path / "drill-data")
    with Footfall(tmp_path / "footfall-data") as server:
        answered = [f"drill-{number}" for number in range(30)]
        for event_id in answered:
            assert server.send(home(id=event_id)).status == 200
        operator = Operator(server, tmp_path)
        restored.keys, restored.port, restored.ops_port = server.keys, int(operator.ports["8090"]), int(operator.ports["8091"])
        typed = dict.fromkeys(drill("Restore drill"), "")
        for number, line in enumerate(typed):
            if line == "footfall serve --data ./drill-data --port 8090 --ops-port 8091 &":
                restored.start()
            elif line == "kill %1":
                assert [record["event"]["id"] for record in restored.records("SHOP")] == answered
                assert restored.send(home(id="after")).status == 200
                assert restored.stop() == 0
                assert [record["event"]["id"] for record in restored.records("SHOP")] == [*answered, "after"]
            else:
                typed[line] = operator.type(line)
            if number == 0:
                server.kill()
        assert typed["footfall log cat --data ./drill-data | wc -l"].strip() == "30"
        assert '"ready":true' in "".join(typed.values())
        assert not restored.data.exists(), "the drill cleans up after itself"


def workers_of(server: Footfall) -> set[int]:
    assert server.process is not None
    return {child.pid for child in psutil.Process(server.process.pid).children()}


def test_the_upgrade_drill_of_the_page_loses_nothing_and_asks_at_most_to_come_again(tmp_path: Path) -> None:
    with Footfall(tmp_path / "footfall-data") as server:
        operator = Operator(server, tmp_path)
        load = Load(server, 0)
        try:
            wait_for_answers(load, 50)
            before = workers_of(server)
            for line in drill("Upgrade drill"):
                operator.type(line)
            deadline = time.monotonic() + 30
            while len(before - workers_of(server)) < 1 or len(workers_of(server)) != len(before):
                assert time.monotonic() < deadline, "no worker was replaced"
                time.sleep(0.02)
            wait_for_answers(load, len(load.answered) + 200)
            assert server.ops("/readyz").status == 200
        finally:
            load.stop()
        assert not load.refused
        ids = [record["event"]["id"] for record in server.records("SHOP")]
        assert load.answered <= set(ids)
        assert len(ids) == len(set(ids))
