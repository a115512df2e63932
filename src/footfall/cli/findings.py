"""What `footfall doctor` finds: one line each, what was looked at, what was seen, and what to do about it."""

from __future__ import annotations

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """As `--json` lists it. `warn` leaves the exit status at 0; `cure` is empty where there is nothing to do."""

    check: str
    state: Literal["ok", "warn", "fail"]
    finding: str
    cure: str = ""


class Unreachable(Exception):  # noqa: N818  (names what the receiver is)
    """No further question makes sense: nothing answers there."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.finding)
        self.finding = finding


def ok(check: str, finding: str) -> Finding:
    return Finding(check=check, state="ok", finding=finding)


def warn(check: str, finding: str, *, cure: str) -> Finding:
    return Finding(check=check, state="warn", finding=finding, cure=cure)


def fail(check: str, finding: str, *, cure: str) -> Finding:
    return Finding(check=check, state="fail", finding=finding, cure=cure)
