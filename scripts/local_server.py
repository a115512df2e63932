"""A Footfall on this machine for `make demo` and `make run`: started as a user would, with the commands of the README."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

COMMAND = [sys.executable, "-m", "footfall"]
_START_TIMEOUT_S = 30.0


class LocalServer:
    """`footfall serve` in a process of its own, on free ports, with the pair SHOP and SHOP_TEST and a key for each."""

    def __init__(self, data: Path, *, quiet: bool, port: int = 0, ops_port: int = 0) -> None:
        self._environment = {
            **os.environ,
            "FOOTFALL_DATA": str(data),
            "FOOTFALL_DURABILITY__ACCEPT_TMPFS": "true",
            "COLUMNS": "120",
        }
        self._quiet = quiet
        self.port = port or _free_port()
        self.ops_port = ops_port or _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.keys: dict[str, str] = {}

    def __enter__(self) -> Self:
        self.command("platform", "add", "SHOP")
        self.keys = {platform: self.command("key", "create", platform).strip() for platform in ("SHOP_TEST", "SHOP")}
        serve = [*COMMAND, "serve", "--port", str(self.port), "--ops-port", str(self.ops_port)]
        silence = subprocess.DEVNULL if self._quiet else None
        self.process = subprocess.Popen(serve, env=self._environment, stdout=silence, stderr=silence)
        self._wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=15)

    def command(self, *arguments: str, check: bool = True) -> str:
        """Runs a `footfall` command on the same data; returns what it prints on standard output."""
        run = subprocess.run([*COMMAND, *arguments], env=self._environment, capture_output=True, text=True)
        if check and run.returncode != 0:
            raise SystemExit(run.stderr)
        return run.stdout

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.ops_port}/readyz", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        raise SystemExit("the server did not become ready")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
