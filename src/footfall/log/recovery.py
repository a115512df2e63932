"""What a writer finds in its directory when it opens, and how it becomes one it may write to.

`survey` only reads. It knows the *durable floor*: the highest sequence that certainly was on stable storage, from the watermark,
from the first line of the newest segment, and from lines still readable behind damage. So it can tell the two cases apart:

- damage above the floor, in the newest segment: a torn tail, what a power cut leaves of writes nobody was told of. Not an error.
- anything else: corruption. Nothing is deleted, the log does not open, unless the operator asked for quarantine.

`prepare` changes the directory. An old segment is never appended to, because what it shows may be in the page cache only: after a
failed sync the kernel forgets to write it. Its records are copied, numbers and all, into a *successor* (same base, next
generation), which is synced, then named, then the name synced; from that instant the old file is superseded, and removed. Dying
between any two lines leaves either the old file, or both, or the new one, and each of them opens to the same records.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import chain, pairwise
from pathlib import Path

import msgspec

from footfall.errors import LogClosedError, LogCorruptError
from footfall.log.directory import QUARANTINE_NAME, WATERMARK_NAME, Listing, SegmentName, list_segments
from footfall.log.disk import Disk
from footfall.log.floor import read_floor
from footfall.log.format import GroupHeader, Lost, Sealed, SegmentHeader
from footfall.log.segment import Damage, Group, OpenSegment, SegmentFile
from footfall.log.watermark import read_watermark


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Corruption: in segment `name` at `offset`, or (name None) no segment at all, where `first`..`last` should be."""

    name: SegmentName | None
    offset: int
    reason: str
    first: int
    last: int


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """A directory as found. `last` is that of the undamaged records, never below `durable`; in a new directory it is the tree's
    floor. `unsealed` older segments are whole but for the seal, which a power cut took after a killed writer had written it, or
    which was not there yet when the tree was copied."""

    listing: Listing
    durable: int
    last: int
    sealed: bool
    problems: tuple[Problem, ...]
    unsealed: tuple[SegmentName, ...] = ()


class Succession(msgspec.Struct, frozen=True, kw_only=True):
    """What `prepare` needs to make segments: whose they are, their ids, the time, and what all readers have passed."""

    disk: Disk
    directory: Path
    writer: str
    new_id: Callable[[], str]
    now_ms: Callable[[], int]
    passed: int = 0

    def create(self, name: SegmentName, *, first: int) -> OpenSegment:
        """A segment nobody sees before its `publish`. OSError: nothing is left of it."""
        header = SegmentHeader(
            segment_id=self.new_id(), writer=self.writer, base=name.base, first=first, created_at_ms=self.now_ms()
        )
        try:
            return OpenSegment(self.disk, self.directory, name, header)
        except OSError:
            discard(self.disk, self.directory / name.unfinished)
            raise


def discard(disk: Disk, path: Path) -> None:
    """Removes a file that does not count. It may be gone already, or stay: the next opening clears it away."""
    try:
        disk.remove(path)
    except OSError:
        pass


def survey(disk: Disk, directory: Path) -> Survey:
    """Reads the newest segment whole, and of the others the first and last line: a week of segments opens in milliseconds.
    Damage inside those is met by who reads them."""
    listing = list_segments(disk, directory)
    mark = read_watermark(disk, directory / WATERMARK_NAME) or 0
    problems: list[Problem] = []
    unsealed: list[SegmentName] = []
    for name, following in zip(listing.segments, listing.segments[1:], strict=False):
        problem, is_sealed = _older(disk, directory, name, next_base=following.base)
        if problem is not None:
            problems.append(problem)
        elif not is_sealed:
            unsealed.append(name)
    if not listing.segments:
        if mark:
            problems.append(Problem(name=None, offset=0, reason="no segment is left", first=1, last=mark))
        last = mark or read_floor(disk, directory.parent)
        return Survey(listing=listing, durable=mark, last=last, sealed=True, problems=tuple(problems))
    last, durable, sealed, found = _newest(disk, directory, listing.segments[-1], mark)
    problems += found
    return Survey(listing=listing, durable=durable, last=last, sealed=sealed, problems=tuple(problems), unsealed=tuple(unsealed))


def describe(directory: Path, problems: tuple[Problem, ...]) -> str:
    """One message for the operator: the first problem, and how many there are."""
    first = problems[0]
    where = directory / first.name.file if first.name else directory
    more = f" ({len(problems)} places are damaged)" if len(problems) > 1 else ""
    return (
        f"{where}, byte {first.offset}: {first.reason}; records {first.first} to {first.last} were durable.{more} Nothing was"
        " changed: restore this directory from a backup, or open it with quarantine, which sets damaged files aside and goes on"
    )


def prepare(plan: Succession, found: Survey) -> OpenSegment | None:
    """Makes the directory fit to be written: clears leftovers, sets damage aside, copies what was not sealed.

    Returns the newest segment, open, or None where it was sealed (or there is none). OSError leaves a directory that can be
    surveyed and prepared again.
    """
    disk, directory = plan.disk, plan.directory
    for leftover in found.listing.unfinished:
        discard(disk, directory / leftover)
    replaced = list(found.listing.superseded)
    current: OpenSegment | None = None
    newest = found.listing.segments[-1] if found.listing.segments else None
    for problem in found.problems:
        if problem.name is None:
            _fill_gap(plan, problem)
            continue
        if problem.name == newest:
            _set_aside(plan, problem.name)
        else:
            _replace(plan, problem.name, last=problem.last)
            replaced.append(problem.name)
    for index, name in enumerate(found.listing.segments[:-1]):
        if name in found.unsealed:
            _succeed(plan, name, last=found.listing.segments[index + 1].base - 1, salvage=False, seal=True).close()
            replaced.append(name)
    if newest is not None and not found.sealed:
        salvage = any(problem.name == newest for problem in found.problems)
        current = _succeed(plan, newest, last=found.last, salvage=salvage, seal=False)
        replaced.append(newest)
    if newest is None and not found.problems and found.last:
        current = _begin_above(plan, found.last)
    _remove_superseded(plan, replaced)
    return current


def quarantine_older(plan: Succession, files: Collection[str]) -> int:
    """Sets aside those of `files` that are segments followed by others, as `prepare` does with damage it finds by itself: that
    reads only their ends. Returns how many. The caller holds the directory's lock."""
    listing = list_segments(plan.disk, plan.directory)
    for leftover in listing.unfinished:
        discard(plan.disk, plan.directory / leftover)
    replaced = []
    for name, following in pairwise(listing.segments):
        if name.file in files:
            _replace(plan, name, last=following.base - 1)
            replaced.append(name)
    _remove_superseded(plan, replaced)
    return len(replaced)


def _older(disk: Disk, directory: Path, name: SegmentName, *, next_base: int) -> tuple[Problem | None, bool]:
    """A segment followed by another was whole and durable before the other began: what is wrong with it, and is it sealed?"""
    file = SegmentFile(disk, directory, name)
    try:
        if file.header is None:
            return Problem(name=name, offset=0, reason="the first line is damaged", first=name.base, last=next_base - 1), False
        seal = file.seal()
        last, offset = (seal.last, file.size()) if seal is not None else _end_of_records(file)
        if seal is None and last != next_base - 1:
            return Problem(name=name, offset=offset, reason="records end early", first=last + 1, last=next_base - 1), False
        if last < next_base - 1:
            return Problem(name=None, offset=0, reason="a segment is missing", first=last + 1, last=next_base - 1), True
        if last > next_base - 1:
            reason = "overlaps the next segment"
            return Problem(name=name, offset=offset, reason=reason, first=name.base, last=next_base - 1), True
        return None, seal is not None
    finally:
        file.close()


def _end_of_records(file: SegmentFile) -> tuple[int, int]:
    """Last sequence and end offset of a segment without a seal: the seal itself may be what a power cut took."""
    last, offset = file.require_header().first - 1, 0
    for entry in file.entries():
        if isinstance(entry, Damage):
            return last, entry.offset
        last = entry.last
        offset = entry.offset if isinstance(entry, Group) else offset
    return last, offset


def _newest(disk: Disk, directory: Path, name: SegmentName, mark: int) -> tuple[int, int, bool, list[Problem]]:
    file = SegmentFile(disk, directory, name)
    try:
        if file.header is None:  # a listed segment had its first line synced before it got its name
            last = max(mark, name.base - 1)
            reason = "the first line is damaged"
            return last, last, False, [Problem(name=name, offset=0, reason=reason, first=name.base, last=last)]
        last, damage, sealed = file.header.first - 1, None, False
        for entry in file.entries():
            if isinstance(entry, Damage):
                damage = entry
            else:
                last, sealed = entry.last, isinstance(entry, Sealed)
        durable = max(mark, file.header.first - 1, last if sealed else 0, _evidence(file, damage) if damage else 0)
        if last >= durable:
            return last, durable, sealed and damage is None, []
        offset, reason = (damage.offset, damage.reason) if damage else (file.size(), "the file ends early")
        return durable, durable, False, [Problem(name=name, offset=offset, reason=reason, first=last + 1, last=durable)]
    finally:
        file.close()


def _evidence(file: SegmentFile, damage: Damage) -> int:
    """The highest sequence that a line behind the damage says was durable."""
    lines = (line for _, line in file.lines_after(damage.offset))
    told = (line.durable_upto if isinstance(line, GroupHeader) else line.last for line in lines if not isinstance(line, Lost))
    return max(told, default=0)


def _succeed(plan: Succession, name: SegmentName, *, last: int, salvage: bool, seal: bool) -> OpenSegment:
    """Copies `name` into its next generation, up to `last`, and publishes that. What cannot be read is written down as lost."""
    source = SegmentFile(plan.disk, plan.directory, name)
    successor_name = SegmentName(name.base, name.generation + 1)
    try:
        groups: Iterator[Group] = (group for group in _groups(source, salvage=salvage) if group.last > plan.passed)
        leading = next(groups, None)
        if leading is not None:
            first = leading.header.first if plan.passed else _first(source, name)
            groups = chain((leading,), groups)
        else:
            first = _first(source, name)  # which may be far above its base: the gap that a restore left
            first = max(first, min(plan.passed, last) + 1) if plan.passed else first
        successor = plan.create(successor_name, first=max(first, name.base))
        try:
            _fill(successor, groups, last=last)
            if seal:
                successor.append_seal(sealed_at_ms=plan.now_ms())
            successor.publish()
        except (OSError, LogClosedError):
            successor.close()
            discard(plan.disk, plan.directory / successor_name.unfinished)
            raise
    finally:
        source.close()
    return successor


def _begin_above(plan: Succession, floor: int) -> OpenSegment:
    """The first segment of a new writer in a tree that has a floor, made at once: were the floor told by the watermark alone,
    readers would miss the records below it."""
    segment = plan.create(SegmentName(floor + 1, 0), first=floor + 1)
    try:
        segment.publish()
    except (OSError, LogClosedError):
        segment.close()
        discard(plan.disk, plan.directory / segment.name.unfinished)
        raise
    return segment


def _first(source: SegmentFile, name: SegmentName) -> int:
    return source.header.first if source.header is not None else name.base


def _fill(successor: OpenSegment, groups: Iterator[Group], *, last: int) -> None:
    for group in groups:
        if group.last > last:
            break
        if group.header.first > successor.last + 1:
            successor.append_lost(group.header.first - 1)
        successor.append(group.payload, count=group.header.count, durable_upto=group.header.durable_upto)
    if successor.last < last:
        successor.append_lost(last)


def _groups(source: SegmentFile, *, salvage: bool) -> Iterator[Group]:
    """The undamaged groups: up to the first damage, or with `salvage` those beyond it too."""
    offset = sequence = 0
    while source.header is not None:
        damage: Damage | None = None
        for entry in source.entries(offset=offset, sequence=sequence):
            if isinstance(entry, Group):
                yield entry
            elif isinstance(entry, Damage):
                damage = entry
        resumed = _resume(source, damage) if damage and salvage else None
        if resumed is None:
            return
        offset, sequence = resumed


def _resume(source: SegmentFile, damage: Damage) -> tuple[int, int] | None:
    for offset, line in source.lines_after(damage.offset):
        if isinstance(line, GroupHeader) and line.first >= damage.sequence:
            entry = next(source.entries(offset=offset, sequence=line.first), None)
            if isinstance(entry, Group):
                return offset, line.first
    return None


def _replace(plan: Succession, name: SegmentName, *, last: int) -> None:
    """Damage in a segment that others follow: the file aside, what is left of it in a successor, sealed."""
    _set_aside(plan, name)
    _succeed(plan, name, last=last, salvage=True, seal=True).close()


def _fill_gap(plan: Succession, problem: Problem) -> None:
    """Where whole segments are gone a segment that says so stands in, so that the chain holds again."""
    name = next_name(list_segments(plan.disk, plan.directory), base=problem.first)
    stand_in = plan.create(name, first=problem.first)
    try:
        stand_in.append_lost(problem.last)
        stand_in.append_seal(sealed_at_ms=plan.now_ms())
        stand_in.publish()
    finally:
        stand_in.close()


def next_name(listing: Listing, *, base: int) -> SegmentName:
    """The name of a new segment; an empty one with the same base is thereby superseded."""
    taken = [name.generation for name in (*listing.segments, *listing.superseded) if name.base == base]
    return SegmentName(base, max(taken) + 1 if taken else 0)


def _set_aside(plan: Succession, name: SegmentName) -> None:
    """Gives the damaged file a second name, durably, before anything takes its first one away."""
    disk, aside = plan.disk, plan.directory / QUARANTINE_NAME
    disk.make_directory(aside)
    try:
        disk.link(plan.directory / name.file, aside / name.file)
    except FileExistsError:
        pass  # an earlier attempt got this far
    disk.sync_directory(aside)
    disk.sync_directory(plan.directory)


def _remove_superseded(plan: Succession, names: list[SegmentName]) -> None:
    if not names:
        return
    # The successor may have been named by a process that died before it synced the name: the removal must not come first.
    plan.disk.sync_directory(plan.directory)
    for name in names:
        discard(plan.disk, plan.directory / name.file)


def require_sound(directory: Path, found: Survey) -> None:
    """Raises LogCorruptError, with all that an operator needs to know, where the survey met corruption."""
    if found.problems:
        raise LogCorruptError(describe(directory, found.problems))
