"""Group commit: one sync for many, and every caller hears exactly what became of its record."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from footfall.errors import LogClosedError, LogError, LogFullError
from footfall.log.group_commit import GroupCommit
from footfall.log.reader import SegmentReader
from footfall.log.segments import SegmentWriter

STEP_S = 10.0
"""No wait in here takes longer unless something is broken."""


class SteppedWriter:
    """A writer whose syncs wait for the test, and fail when told."""

    def __init__(self) -> None:
        self.groups: list[list[bytes]] = []
        self.may_sync = threading.Semaphore(0)
        self.in_sync = threading.Semaphore(0)
        self.failure: BaseException | None = None
        self.last = 0

    def write(self, bodies: Sequence[bytes]) -> int:
        self.groups.append(list(bodies))
        self.last += len(bodies)
        return self.last

    def sync(self) -> int:
        self.in_sync.release()
        assert self.may_sync.acquire(timeout=STEP_S)
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return self.last

    def write_lines(self, payload: bytes, *, count: int) -> int:
        bodies = payload.split(b"\n")[:-1]
        assert len(bodies) == count
        return self.write(bodies)

    def close(self) -> None: ...


def run(scenario: Callable[[GroupCommit, SteppedWriter, list[BaseException]], object], **options: float) -> None:
    async def main() -> None:
        writer, poisoned = SteppedWriter(), []
        commit = GroupCommit(writer, on_poisoned=poisoned.append, **options)
        await scenario(commit, writer, poisoned)
        writer.may_sync.release(1000)
        await asyncio.wait_for(commit.close(), STEP_S)

    asyncio.run(main())


async def begun(writer: SteppedWriter) -> None:
    """Until a commit is inside its sync."""
    assert await asyncio.to_thread(writer.in_sync.acquire, timeout=STEP_S)


def test_while_one_group_commits_the_next_collects_into_one() -> None:
    async def scenario(commit: GroupCommit, writer: SteppedWriter, _: list[BaseException]) -> None:
        first = commit.append(b"1")
        await begun(writer)
        others = [commit.append(b"%d" % number) for number in range(2, 6)]
        assert len(set(map(id, others))) == 1
        assert not first.done()
        writer.may_sync.release(2)
        assert await first == 1
        assert await others[0] == 5
        assert writer.groups == [[b"1"], [b"2", b"3", b"4", b"5"]]
        assert (commit.groups, commit.records, commit.waiting_bytes) == (2, 5, 0)

    run(scenario)


def test_records_appended_in_one_turn_of_the_loop_share_the_first_group() -> None:
    async def scenario(commit: GroupCommit, writer: SteppedWriter, _: list[BaseException]) -> None:
        writer.may_sync.release()
        await asyncio.gather(*(commit.append(b"x") for _ in range(10)))
        assert list(map(len, writer.groups)) == [10]

    run(scenario)


def test_nobody_is_answered_before_the_sync_returned() -> None:
    async def scenario(commit: GroupCommit, writer: SteppedWriter, _: list[BaseException]) -> None:
        future = commit.append(b"1")
        await begun(writer)
        await asyncio.sleep(0)
        assert not future.done()
        writer.may_sync.release()
        await future

    run(scenario)


def test_a_cancelled_caller_takes_nothing_from_the_others() -> None:
    async def scenario(commit: GroupCommit, writer: SteppedWriter, _: list[BaseException]) -> None:
        async def caller() -> int:
            return await commit.append(b"x")

        tasks = [asyncio.create_task(caller()) for _ in range(3)]
        await begun(writer)
        tasks[0].cancel()
        writer.may_sync.release()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [3, 3]
        assert writer.groups == [[b"x"] * 3]

    run(scenario)


def test_a_full_volume_fails_that_group_only() -> None:
    async def scenario(commit: GroupCommit, writer: SteppedWriter, poisoned: list[BaseException]) -> None:
        writer.failure = LogFullError("full")
        writer.may_sync.release(2)
        with pytest.raises(LogFullError):
            await commit.append(b"1")
        assert await commit.append(b"2") == 2
        assert poisoned == []

    run(scenario)


@pytest.mark.parametrize("failure", [LogClosedError("fsync"), OSError(5, "io"), MemoryError()])
def test_any_other_failure_fails_all_and_is_reported_once(failure: BaseException) -> None:
    async def scenario(commit: GroupCommit, writer: SteppedWriter, poisoned: list[BaseException]) -> None:
        first = commit.append(b"1")
        await begun(writer)
        second = commit.append(b"2")
        writer.failure = failure
        writer.may_sync.release()
        for future in (first, second):
            with pytest.raises(LogClosedError):
                await future
        with pytest.raises(LogClosedError):
            commit.append(b"3")
        assert poisoned == [failure]
        assert writer.groups == [[b"1"]]

    run(scenario)


def test_the_queue_is_bounded_in_bytes() -> None:
    async def scenario(commit: GroupCommit, writer: SteppedWriter, _: list[BaseException]) -> None:
        commit.append(b"1")
        await begun(writer)
        waiting = commit.append(b"x" * 99)
        with pytest.raises(LogFullError, match="100 bytes wait"):
            commit.append(b"x")
        writer.may_sync.release(2)
        assert await waiting == 2
        writer.may_sync.release()
        await commit.append(b"x")  # room again

    run(scenario, bytes_max=100)


def test_a_volume_that_stalls_fails_who_waits_and_refuses_newcomers_until_it_answers() -> None:
    async def scenario(commit: GroupCommit, writer: SteppedWriter, poisoned: list[BaseException]) -> None:
        committing = commit.append(b"1")
        await begun(writer)
        collecting = commit.append(b"2")
        with pytest.raises(LogError, match="may or may not be stored") as unknown:
            await committing
        assert not isinstance(unknown.value, LogFullError)
        with pytest.raises(LogFullError, match="slow"):
            await collecting
        with pytest.raises(LogFullError, match="slow"):
            commit.append(b"3")
        writer.may_sync.release(2)
        async with asyncio.timeout(STEP_S):
            while commit.groups == 0:  # noqa: ASYNC110 - there is no event to wait for: newcomers only see the refusal end
                await asyncio.sleep(0)
        assert await commit.append(b"4") == 2
        assert writer.groups == [[b"1"], [b"4"]]
        assert poisoned == []

    run(scenario, wait_s_max=0.05)


def test_closing_waits_for_what_was_handed_over_and_refuses_the_rest() -> None:
    async def scenario(commit: GroupCommit, writer: SteppedWriter, _: list[BaseException]) -> None:
        first = commit.append(b"1")
        await begun(writer)
        second = commit.append(b"2")
        closing = asyncio.create_task(commit.close())
        await asyncio.sleep(0)
        with pytest.raises(LogClosedError):
            commit.append(b"3")
        assert not closing.done()
        writer.may_sync.release(2)
        await asyncio.wait_for(closing, STEP_S)
        assert (await first, await second) == (1, 2)

    run(scenario)


@pytest.mark.parametrize("body", [b"a\nb", b"x" * ((1 << 20) + 1)])
def test_a_record_that_cannot_be_stored_is_refused_alone(body: bytes) -> None:
    async def scenario(commit: GroupCommit, writer: SteppedWriter, _: list[BaseException]) -> None:
        good = commit.append(b"good")
        with pytest.raises(ValueError, match="record"):
            commit.append(body)
        with pytest.raises(ValueError, match="record"):
            commit.append_lines(b"fine\n" + body + b"\n", count=2)
        writer.may_sync.release()
        await good
        assert writer.groups == [[b"good"]]

    run(scenario)


def test_single_records_and_records_in_one_piece_keep_the_order_of_the_calls() -> None:
    async def scenario(commit: GroupCommit, writer: SteppedWriter, _: list[BaseException]) -> None:
        first = commit.append(b"1")
        await begun(writer)
        commit.append(b"2")
        piece = commit.append_lines(b"3\n4\n", count=2)
        commit.append(b"5")
        commit.append_lines(b"6\n", count=1)
        commit.append_lines(b"\n8\n", count=2)
        last = commit.append(b"9")
        assert last is piece
        assert commit.waiting_bytes == 2 + 4 + 2 + 2 + 3 + 2
        writer.may_sync.release(2)
        assert (await first, await last) == (1, 9)
        assert writer.groups == [[b"1"], [b"2", b"3", b"4", b"5", b"6", b"", b"8", b"9"]]
        assert (commit.groups, commit.records, commit.waiting_bytes) == (2, 9, 0)

    run(scenario)


@pytest.mark.parametrize(("payload", "count"), [(b"", 0), (b"a", 1), (b"a\nb\n", 1), (b"a\n", 2), (b"x" * 200 + b"\n", 1)])
def test_a_piece_that_is_not_the_records_told_is_refused_alone(payload: bytes, count: int) -> None:
    async def scenario(commit: GroupCommit, writer: SteppedWriter, _: list[BaseException]) -> None:
        good = commit.append_lines(b"good\n", count=1)
        with pytest.raises(ValueError, match="record"):
            commit.append_lines(payload, count=count)
        assert commit.waiting_bytes == 5
        writer.may_sync.release()
        await good
        assert writer.groups == [[b"good"]]

    run(scenario, bytes_max=200)


def test_a_piece_that_finds_no_room_is_left_out_whole() -> None:
    async def scenario(commit: GroupCommit, writer: SteppedWriter, _: list[BaseException]) -> None:
        commit.append(b"1")
        await begun(writer)
        waiting = commit.append_lines(b"x\n" * 40, count=40)
        with pytest.raises(LogFullError, match="80 bytes wait"):
            commit.append_lines(b"y\n" * 11, count=11)
        commit.append_lines(b"z\n" * 10, count=10)
        writer.may_sync.release(2)
        assert await waiting == 51
        assert writer.groups[1] == [b"x"] * 40 + [b"z"] * 10

    run(scenario, bytes_max=100)


def test_records_handed_over_together_land_in_one_group_of_a_real_log(tmp_path: Path) -> None:
    async def main() -> None:
        with SegmentWriter.open(tmp_path, free_bytes_min=0) as writer:
            commit = GroupCommit(writer, on_poisoned=print)
            assert await commit.append_lines(b"".join(b"%d\n" % number for number in range(1000)), count=1000) == 1000
            assert len(list(SegmentReader(tmp_path).scan())) == 1000
            await commit.close()
            await commit.close()

    asyncio.run(main())
