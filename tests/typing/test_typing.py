"""The published types are right, and wrong use is refused, by both checkers people use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SHOP = Path(__file__).with_name("shop.py")


def check(*command: str) -> str:
    ended = subprocess.run([sys.executable, "-m", *command, str(SHOP)], capture_output=True, text=True, timeout=110, check=False)
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


def test_mypy_agrees(tmp_path: Path) -> None:
    assert check("mypy", "--strict", "--warn-unused-ignores", "--cache-dir", str(tmp_path)) == ""


def test_pyright_agrees() -> None:
    pytest.importorskip("pyright")
    assert check("pyright", "--pythonpath", sys.executable) == ""
