"""What the files of deploy/ name exists: commands, settings, files, ports, routes; and the service is as closed as said."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from footfall.cli.settings import Settings, load
from tests.meta.pages import ROOT
from tests.meta.test_docs_commands import resolve
from tests.serving import Footfall, free_port, home

DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.iterdir() if path.is_file())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = (DEPLOY / "compose.yaml").read_text()
UNIT = (DEPLOY / "footfall.service").read_text()
NGINX = (DEPLOY / "nginx.conf").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SYSTEMD = shutil.which("systemd-analyze")


def unit(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)


def parses(words: list[str]) -> None:
    command, rest = resolve(words)
    assert not hasattr(command, "commands"), words
    command.make_context(command.name, list(rest))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_environment_variable_is_a_setting(path: Path, tmp_path: Path) -> None:
    found = dict(re.findall(r"\b(FOOTFALL_[A-Z_]+__[A-Z_]+)(?:[=:] *\"?([\w.]+))?", path.read_text()))
    load(file=None, data=tmp_path, environment={name: value for name, value in found.items() if value})
    for name in found:
        section, _, key = name.removeprefix("FOOTFALL_").lower().partition("__")
        assert hasattr(getattr(Settings(), section), key), name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_setting_named_in_a_comment_exists(path: Path) -> None:
    for section, key in re.findall(r"\b(server|limits|durability|throttle|logging)\.([a-z_]{4,})\b", path.read_text()):
        assert hasattr(getattr(Settings(), section), key), f"{section}.{key}"


def test_every_command_named_exists_and_takes_its_flags() -> None:
    parses(unit("ExecStart")[0].split()[1:])
    parses(json.loads(re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[-1]))
    lines = re.findall(r"exec footfall footfall (.+)$", COMPOSE, re.MULTILINE)
    lines += re.findall(r"bin/footfall ([a-z][^`]+)`", (DEPLOY / "README.md").read_text())
    assert len(lines) > 2
    for line in lines:
        parses(line.split())


def test_every_file_copied_or_mounted_exists_and_is_let_through_to_the_builder() -> None:
    let_through = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [name for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()]
    assert {"pyproject.toml", "src"} <= set(copied)
    assert set(copied) == let_through
    assert all((ROOT / name).exists() for name in copied)
    mounts = dict(re.findall(r"^ +- \./([\w.]+):(\S+):ro$", COMPOSE, re.MULTILINE))
    assert mounts == {"nginx.conf": "/etc/nginx/nginx.conf", "tls": "/etc/nginx/tls"}
    assert (DEPLOY / "nginx.conf").exists()
    assert set(re.findall(r"/etc/nginx/tls/(\S+);", NGINX)) == {"fullchain.pem", "privkey.pem"}
    assert (DEPLOY / re.findall(r"dockerfile: deploy/(\S+)", COMPOSE)[0]).exists()


def test_the_image_installs_extras_that_exist_on_a_python_that_is_supported() -> None:
    extras = {extra for line in re.findall(r"\[([a-z,]+)\]'", DOCKERFILE) for extra in line.split(",")}
    assert extras == {"server", "fast"}
    assert extras <= PROJECT["optional-dependencies"].keys()
    (version,) = set(re.findall(r"^FROM python:(\d\.\d+)-slim", DOCKERFILE, re.MULTILINE))
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]


def test_ports_and_the_data_directory_are_the_same_everywhere() -> None:
    server = Settings().server
    assert re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE) == [f"{server.port} {server.ops_port}"]
    assert f"server footfall:{server.port};" in NGINX
    assert f"127.0.0.1:{server.ops_port}:{server.ops_port}" in COMPOSE
    assert f"127.0.0.1:{server.ops_port}/healthz" in DOCKERFILE
    (data,) = re.findall(r"FOOTFALL_DATA=(\S+)", DOCKERFILE)
    assert f"VOLUME {data}\n" in DOCKERFILE
    assert f"- data:{data}\n" in COMPOSE
    assert f"--data {data}" in unit("ExecStart")[0]
    assert data == f"/var/lib/{unit('StateDirectory')[0]}"


def test_the_image_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE)
    assert users == ["10001:10001"]
    assert DOCKERFILE.index("\nUSER ") > DOCKERFILE.index("pip install")


def test_the_health_check_of_the_image_tells_a_server_from_none(shared_footfall: Footfall) -> None:
    command = json.loads(re.findall(r"^    CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[0])
    assert command[:2] == ["python", "-c"]
    for port, expected in ((shared_footfall.ops_port, 0), (free_port(), 1)):
        program = command[2].replace("8081", str(port))
        assert subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=20).returncode == expected


def test_the_proxy_has_the_limits_of_the_server_and_closes_idle_connections_before_it() -> None:
    limits = Settings().limits
    sizes = {int(number) << {"k": 10, "m": 20}[unit] for number, unit in re.findall(r"client_max_body_size (\d+)([km]);", NGINX)}
    assert sizes == {limits.body_bytes_max, limits.batch_bytes_max}
    (idle_s,) = re.findall(r"keepalive_timeout (\d+)s;", NGINX.partition("upstream")[2])
    assert int(idle_s) < limits.idle_timeout_s
    assert int(re.findall(r"client_body_timeout (\d+)s;", NGINX)[0]) <= limits.body_timeout_s


def test_the_service_is_given_the_time_a_stop_takes_and_is_not_restarted_on_a_wrong_setting() -> None:
    assert unit("KillMode") == ["mixed"]
    assert int(unit("TimeoutStopSec")[0]) >= 10 + Settings().server.drain_delay_s
    assert (unit("Restart"), unit("RestartPreventExitStatus")) == (["always"], ["2"])
    assert unit("ExecReload")[0].split()[1:] == ["-HUP", "$MAINPID"]
    assert int(unit("LimitNOFILE")[0]) > 2 * Settings().limits.connections_max


@pytest.mark.skipif(SYSTEMD is None, reason="needs systemd-analyze (Debian: apt install systemd)")
def test_systemd_understands_the_service_and_rates_its_exposure_low(tmp_path: Path) -> None:
    installed = tmp_path / "footfall.service"
    installed.write_text(UNIT.replace(unit("ExecStart")[0].split()[0], sys.executable))
    verified = subprocess.run([str(SYSTEMD), "verify", "--man=no", str(installed)], capture_output=True, text=True, timeout=60)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    rated = subprocess.run(
        [str(SYSTEMD), "security", "--offline=true", "--threshold=20", "--no-pager", str(installed)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert rated.returncode == 0, rated.stdout[-300:]
    (told,) = re.findall(r"`systemd-analyze security`[^\d]*(\d\.\d)", (DEPLOY / "README.md").read_text())
    (measured,) = re.findall(r"exposure level for \S+: (\d\.\d)", rated.stdout)
    assert float(measured) <= float(told) + 0.3, "versions of systemd differ a little, the files should not"


STRACE = shutil.which("strace")


def _can_trace() -> bool:
    return STRACE is not None and subprocess.run([STRACE, "-o", "/dev/null", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(SYSTEMD is None or not _can_trace(), reason="needs systemd-analyze and strace with the right to trace")
def test_a_server_lives_without_the_system_calls_the_service_forbids(tmp_path: Path) -> None:
    """All processes, from the start over an event to the stop, with every call counted."""
    trace = tmp_path / "trace"
    with Footfall(tmp_path / "data", wrapper=(str(STRACE), "-f", "-c", "-o", str(trace))) as server:
        assert server.send(home()).status == 200
    used = {line.split()[-1] for line in trace.read_text().splitlines() if re.match(r"\s+\d+\.\d+ ", line)} - {"total"}
    allowed: set[str] = set()
    for line in unit("SystemCallFilter"):
        calls = {call for group in line.lstrip("~").split() for call in _calls(group)}
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    assert {"read", "openat", "fdatasync", "execve"} <= used
    assert used - allowed - {"fchown"} == set()  # which SQLite calls as root only, and the service is not root


def _calls(group: str, seen: frozenset[str] = frozenset()) -> set[str]:
    """The calls in a group of systemd's, groups in it resolved."""
    if not group.startswith("@"):
        return {group}
    listed = subprocess.run([str(SYSTEMD), "syscall-filter", group], capture_output=True, text=True, timeout=60).stdout
    names = [line.strip() for line in listed.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return {call for name in names if name not in seen for call in _calls(name, seen | {group})}
