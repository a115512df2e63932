"""Erasing people from a tree of the log: what is open is sealed, then every record of theirs is replaced by what is left of it.

    {"platform":"SHOP","mode":"live","received_at":1790000000000,"source":"api","event":{"erased":true}}

Position, platform, source and time of receipt stay, so that the books still balance: the lander counts such a record as erased
when it meets it. Records that landed before are counted when their rows go (`rows`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from footfall.errors import LogCorruptError, LogLockedError
from footfall.lake.erasing.people import People
from footfall.lake.erasing.receipts import Found
from footfall.log.directory import writers_of
from footfall.log.disk import Disk
from footfall.log.format import is_writer_name
from footfall.log.rewriting import rewrite_records
from footfall.log.sealing import seal_all

SEAL_S_MAX: Final = 3.0
"""A writer looks once a second whether it is asked to seal; a lander that is told to stop waits for this."""
_HEAD: Final = re.compile(
    rb'\{"platform":"[A-Z0-9_]*","mode":"[a-z]+","received_at":[0-9]+,"source":"[a-z]*","event":(?=\{)'
).match  # fmt: skip


def erase_records(
    tree: Path, people: People, *, into: Found, is_stopped: Callable[[], bool] = lambda: False, seal_s: float = SEAL_S_MAX
) -> int:
    """Blocks, for as long as reading the tree takes; notes in `into` what is done as it is done. Files that quarantine had set
    aside, in which nobody can tell whose records are, go as a whole: returns how many. Idempotent.

    Raises LogLockedError where a living writer did not seal in time, LogCorruptError where a segment is damaged, in both cases
    after everything else was done; InterruptedError between two segments when `is_stopped`; LogError, OSError of the volume.
    """
    if not tree.is_dir():
        return 0
    # These records were accepted already: what kind of volume they lie on was decided then.
    unsealed = seal_all(tree, timeout_s=seal_s, accept_tmpfs=True)
    damages: list[str] = []
    aside = 0
    for writer in filter(is_writer_name, writers_of(Disk(), tree)):
        eraser = _Eraser(people, into, is_stopped)
        done = rewrite_records(tree / writer, change=eraser.change, remove_damaged=True, on_segment=eraser.finish_segment)
        aside += done.aside
        damages += [f"{damage.file}, byte {damage.offset}: {damage.reason}" for damage in done.damages]
    if damages:
        raise LogCorruptError(f"{tree}: {damages[0]}; `footfall log verify` says more")
    if unsealed:
        raise LogLockedError(f"{tree}: {', '.join(unsealed)} did not close the segment in writing within {seal_s:g} s")
    return aside


class _Eraser:
    """For the segments of one writer."""

    def __init__(self, people: People, into: Found, is_stopped: Callable[[], bool]) -> None:
        self._people = people
        self._into = into
        self._is_stopped = is_stopped
        self._here: Counter[str] = Counter()

    def change(self, bodies: Sequence[bytes]) -> Sequence[bytes] | None:
        changed: list[bytes] | None = None
        for index, body in enumerate(bodies):
            erasures = self._of(body)
            if erasures:
                changed = changed if changed is not None else list(bodies)
                changed[index] = emptied(body)
                self._here.update(erasures)
        return changed

    def finish_segment(self, _bytes: int) -> None:
        self._into.entries.update(self._here)
        self._into.files.update(self._here.keys())
        self._here.clear()
        if self._is_stopped():
            raise InterruptedError

    def _of(self, body: bytes) -> list[str]:
        try:
            return [erasure.id for erasure in self._people.of_record(body)]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
            return [erasure.id for erasure in self._people.named_in(body.decode("utf-8", "replace"))]


def emptied(body: bytes) -> bytes:
    """What is left of a record."""
    head = _HEAD(body)
    return b'%b{"erased":true}}' % (head[0] if head is not None else b'{"platform":"","mode":"","source":"","event":')
