"""Which stretches of time some moments lie in, as few and as narrow as will do.

Repeats of an event carry its timestamp, so only row groups of the table that meet a batch's minutes need reading. The batch of a
busy minute is one stretch; one with a straggler of last week is two, not a week. History that lies everywhere is merged over its
narrowest gaps, so that the query stays short.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

MINUTE_MS: Final = 60_000
RANGES_MAX: Final = 48


def ranges_of(minutes: Iterable[int], *, ranges_max: int = RANGES_MAX) -> list[tuple[int, int]]:
    """Minutes since 1970 → stretches of milliseconds [from, upto) that cover them all, at most `ranges_max`, in order."""
    ordered = sorted(set(minutes))
    if not ordered:
        return []
    gaps = [(second - first, index) for index, (first, second) in enumerate(pairwise(ordered)) if second - first > 1]
    cuts = sorted(index for _, index in sorted(gaps, reverse=True)[: ranges_max - 1])
    starts = [ordered[0], *(ordered[index + 1] for index in cuts)]
    ends = [*(ordered[index] for index in cuts), ordered[-1]]
    return [(start * MINUTE_MS, (end + 1) * MINUTE_MS) for start, end in zip(starts, ends, strict=True)]
