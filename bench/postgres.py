"""A real PostgreSQL for the length of a benchmark: a cluster of its own in a temporary directory, durable as it comes.

Nothing is set but where it listens: a socket in its own directory, mode 0700, no port. `fsync` and `synchronous_commit` are on,
as in every installation. PostgreSQL refuses to run as root; root runs it as the user `postgres`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

_USER: Final = "postgres"
_SUPERUSER: Final = "footfall"
_START_TIMEOUT_S: Final = 20.0


class NoPostgresError(Exception):
    """There is none to be had here; the message says why."""


class Postgres(msgspec.Struct, frozen=True, kw_only=True):
    """A running server: `socket` is the directory to connect to."""

    socket: Path
    pid: int
    version: str
    programs: Path
    account: dict[str, Any]

    def query(self, sql: str) -> str:
        """What one statement returns, as text."""
        command = [self.programs / "psql", "-h", self.socket, "-U", _SUPERUSER, "-d", "postgres", "-tAc", sql]
        return _run(command, self.account).strip()


@contextlib.contextmanager
def running(*, wrapper: tuple[str, ...]) -> Iterator[Postgres]:
    """A server until the block ends. `wrapper` goes before its command. Raises `NoPostgresError`."""
    programs, account = _programs(), _account()
    with tempfile.TemporaryDirectory(prefix="footfall-postgres-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        if account:
            shutil.chown(directory, _USER, _USER)
        data = directory / "data"
        _run([programs / "initdb", "-D", data, "-U", _SUPERUSER, "-A", "trust", "-E", "UTF8", "--no-sync"], account)
        process = subprocess.Popen(
            [*wrapper, programs / "postgres", "-D", data, "-k", directory, "-c", "listen_addresses="],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **account,
        )
        try:
            server = Postgres(
                socket=directory,
                pid=process.pid,
                version=_run([programs / "postgres", "--version"], account).strip(),
                programs=programs,
                account=account,
            )
            _wait(server, process)
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # the fast way down: open connections are ended, all is written
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGQUIT)
                process.wait(timeout=20)


def _programs() -> Path:
    """Debian keeps them off the PATH, a directory for each version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if on_path is not None:
        found.append(Path(on_path).resolve())
    if not found:
        raise NoPostgresError("no PostgreSQL here (Debian, Ubuntu: apt install postgresql)")
    return found[-1].parent


def _account() -> dict[str, Any]:
    """Who runs it: arguments of `subprocess`."""
    if os.geteuid() != 0:
        return {}
    try:
        account = pwd.getpwnam(_USER)
    except KeyError:
        raise NoPostgresError(f"PostgreSQL does not run as root, and there is no user {_USER}") from None
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _run(command: list[Any], account: Mapping[str, Any]) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd="/", **account
    )
    if done.returncode:
        raise NoPostgresError(f"{Path(command[0]).name} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def _wait(server: Postgres, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            server.query("select 1")
            return
        except NoPostgresError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
        time.sleep(0.05)
