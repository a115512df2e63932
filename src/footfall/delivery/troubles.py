"""What events that were not taken have behind them: is it the stream's trouble, or an event's own?

An event fails by itself when it failed before, and others that were sent after that were taken. Once it was found so, its
failures say nothing about the stream any more, but they count against it only as long as others get through: in an outage that
begins while it waits nobody is to blame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from footfall.delivery.lanes import Item


class Trouble:
    """Of one event."""

    __slots__ = ("alone", "failed_at", "failures", "not_before_s", "share", "throttled", "uncounted")

    def __init__(self) -> None:
        self.failures = 0
        self.alone = 0
        """Of these, how many by itself, as far as one can know."""
        self.uncounted = 0
        """Since the last of those, how many while nobody got through."""
        self.failed_at = 0
        """The newest request when it failed last."""
        self.not_before_s = 0.0
        """Until when the receiver asked to be left in peace when it failed last as one of the stream."""
        self.throttled = 0
        self.share = 0
        """How many may go in one batch with it; 0 for any number."""


class Troubles:
    """Of all events in hand, by number. Empty while all is well."""

    def __init__(self) -> None:
        self._troubles: dict[int, Trouble] = {}

    def of(self, item: Item) -> Trouble:
        trouble = self._troubles.get(item[0])
        if trouble is None:
            trouble = self._troubles[item[0]] = Trouble()
        return trouble

    def forget(self, items: Iterable[Item]) -> None:
        """These are settled."""
        if self._troubles:
            for number, _ in items:
                self._troubles.pop(number, None)

    def failed(self, items: Sequence[Item], *, newest: int, not_before_s: float = 0.0) -> None:
        """These failed; `newest` is the newest request that was sent by now, `not_before_s` when the receiver wants them."""
        for item in items:
            trouble = self.of(item)
            trouble.failures += 1
            trouble.failed_at = newest
            trouble.not_before_s = not_before_s

    def halve(self, items: Sequence[Item]) -> None:
        """The batch of these goes again in halves."""
        for item in items:
            self.of(item).share = max(1, len(items) // 2)

    def throttled(self, items: Sequence[Item]) -> int:
        """How often the one that was throttled most was throttled by now."""
        for item in items:
            self.of(item).throttled += 1
        return max(self.of(item).throttled for item in items)

    def is_own(self, items: Sequence[Item], *, accepted: int) -> bool:
        """Whether a failure of all of these is their own; `accepted` is the newest request that was taken."""
        found = [self._troubles.get(number) for number, _ in items]
        return all(trouble and trouble.failures and (trouble.alone or trouble.failed_at < accepted) for trouble in found)

    def failed_alone(self, item: Item, *, newest: int, accepted: int) -> tuple[int, int]:
        """How often this event failed by itself by now, and how often it is in a row that it waits for that."""
        trouble = self.of(item)
        if trouble.failed_at < accepted or not trouble.alone:
            trouble.alone += 1
            trouble.uncounted = 0
        else:
            trouble.uncounted += 1
        trouble.failures += 1
        trouble.failed_at = newest
        return trouble.alone, trouble.alone + trouble.uncounted

    def shares(self) -> dict[int, int]:
        return {number: trouble.share for number, trouble in self._troubles.items() if trouble.share} if self._troubles else {}

    def failures(self) -> dict[int, int]:
        return {number: trouble.failures for number, trouble in self._troubles.items() if trouble.failures}

    def not_before_s(self) -> dict[int, float]:
        """Those that failed → when the receiver wants them again, where it said so."""
        return {number: trouble.not_before_s for number, trouble in self._troubles.items() if trouble.failures}
