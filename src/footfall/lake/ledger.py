"""The ledger: where every event went, by platform and source, as numbers that have to agree.

    received = accepted + rejected + throttled + unavailable
    accepted = landed + repeated + quarantined + erased + waiting

What was accepted is what the log took: the lander's running count of records read, and the records that wait behind its
checkpoints. The right-hand side comes from elsewhere: landed are the rows of the table (and those that retention dropped), the
others are running counts committed with those rows. So `difference` is 0 exactly when no row was lost or doubled, and the books
cannot balance by being the same book twice. What workers count for themselves (the other terms of `received`) is no accounting:
kill -9 may take the last quarter of a second of it, and it is only held against the log, never added to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from footfall.errors import LakeError
from footfall.lake.audit import Check, checks_of
from footfall.lake.books import Counted, Pair, Terms, look_at_books
from footfall.lake.opening import open_table
from footfall.lake.settings import LakeSettings
from footfall.lake.table import EventsTable

_LOOKS_MAX: Final = 4


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """One look. `checks` is None where nobody asked for them, `version` where there is no table yet."""

    lines: Mapping[Pair, Terms]
    """sorted"""
    checks: tuple[Check, ...] | None = None
    version: int | None = None

    @property
    def totals(self) -> Terms:
        return reduce(Terms.__add__, self.lines.values(), Terms())

    @property
    def balanced(self) -> bool:
        """Whether every line does, and every check that was made holds."""
        return not any(terms.difference for terms in self.lines.values()) and all(check.ok for check in self.checks or ())

    def document(self) -> dict[str, Any]:
        """As `footfall ledger --json` prints it."""
        lines = [
            {"platform": platform, "source": source, **_with_verdict(terms)} for (platform, source), terms in self.lines.items()
        ]
        checks = {"checks": list(self.checks)} if self.checks is not None else {}
        return {"platforms": lines, "totals": _with_verdict(self.totals), "balanced": self.balanced, **checks}


def take_ledger(
    data: Path, settings: LakeSettings, *, platforms: Collection[str], counted: Mapping[Pair, Counted], verify: bool = False
) -> Ledger:
    """Looks once, or again where the lander changed what was being looked at. `platforms` are the registry's live ids, `counted`
    what the workers had counted *before* this call. `verify` makes the checks, which read every row's position and key. Takes no
    lock and changes nothing. Raises LakeError, LogError, OSError."""
    look = 1
    while True:
        table = open_table(data, settings)
        try:
            books = look_at_books(data, table, platforms=platforms, counted=counted)
            checks = checks_of(books) if verify else None
        except duckdb.Error as error:
            if look == _LOOKS_MAX or table is None or not _has_moved(table):
                raise LakeError(f"the rows of the table cannot be read ({type(error).__name__})") from error
        else:
            ledger = Ledger(lines=books.lines, checks=checks, version=table.version if table is not None else None)
            if ledger.balanced or look == _LOOKS_MAX or table is None or not _has_moved(table):
                return ledger
        look += 1  # files were erased away, or old segments removed, between one glance and the next: a fresh look will do


def _has_moved(table: EventsTable) -> bool:
    """Whether somebody committed since this table was opened."""
    before = table.version
    table.refresh()
    return table.version != before


def _with_verdict(terms: Terms) -> dict[str, Any]:
    return {**terms.numbers(), "balanced": terms.difference == 0}
