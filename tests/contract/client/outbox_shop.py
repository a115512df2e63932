"""The programs of the outbox tests: `python outbox_shop.py SCENARIO DIRECTORY URL …` is a shop: it tracks, forks, ends.

Each line it prints is the id of an event that `track` promised to keep. An alarm ends what hangs.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import multiprocessing
import os
import signal
import stat
import sys
import threading
import time
import types
from collections.abc import Callable
from functools import partial

if "under_gevent" in sys.argv:  # before anything else, as gevent asks for
    from gevent import monkey

    monkey.patch_all()

kept: list[Outbox] = []
if "at_exit" in sys.argv:  # before the outbox registers its own, so that it runs after that
    atexit.register(lambda: track(kept[0], "e-2"))

from children import in_child, wait_for  # noqa: E402

from footfall.client.outbox import Outbox  # noqa: E402
from footfall.delivery.api import Done  # noqa: E402
from footfall.delivery.exchanges import HttpExchanges  # noqa: E402
from footfall.log.disk import Disk, UnsyncedDisk  # noqa: E402


def tell(event_id: str) -> None:
    """One write: lines of several processes and threads do not mix, and a kill cuts none."""
    assert event_id
    os.write(1, f"{event_id}\n".encode())


def track(outbox: Outbox, name: str, event_type: str = "HOME", user_id: str = "u-1") -> None:
    tell(outbox.track(id=name, event_type=event_type, channel_type="SITE", user_id=user_id, page_id="p"))


def make() -> Outbox:
    return Outbox(sys.argv[2], platform_id="SHOP", api_key="key", base_url=sys.argv[3], batch=False)


def deliver(outbox: Outbox) -> None:
    assert outbox.flush(15), outbox.stats()
    require_balance(outbox)


def require_balance(outbox: Outbox) -> None:
    stats = outbox.stats()
    assert stats.tracked == stats.delivered + stats.waiting + stats.refused + stats.shed, stats


# -- forks ---------------------------------------------------------------------------------------------------------------------


def used_then_forked(outbox: Outbox) -> None:
    track(outbox, "parent-1")

    def work() -> None:
        assert outbox.stats().tracked == 0
        track(outbox, "child-1")
        deliver(outbox)
        outbox.close()

    child = in_child(work)
    track(outbox, "parent-2")
    wait_for(child)
    track(outbox, "parent-3")
    deliver(outbox)


def preloaded(outbox: Outbox) -> None:
    """gunicorn --preload: made in the master, never used there, workers track and end without a word."""
    for child in [in_child(partial(track, outbox, f"worker-{number}")) for number in range(3)]:
        wait_for(child)
    deliver(outbox)


def grandchild(outbox: Outbox) -> None:
    track(outbox, "parent-1")

    def work() -> None:
        track(outbox, "child-1")
        wait_for(in_child(lambda: track(outbox, "grandchild-1")))
        track(outbox, "child-2")
        deliver(outbox)

    wait_for(in_child(work))
    deliver(outbox)


def in_flight(outbox: Outbox) -> None:
    """Forks while eight threads track and the sender sends."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def keep_tracking(name: int) -> None:
        number = 0
        try:
            while not stop.is_set():
                track(outbox, f"thread-{name}-{number}", user_id=f"u-{name}")
                number += 1
                time.sleep(0.001)
        except BaseException as error:
            failures.append(error)

    def work(number: int) -> None:
        name = "worker" if number % 3 else "child"
        track(outbox, f"{name}-{number}-1")
        track(outbox, f"{name}-{number}-2", "PURCHASE")
        if number % 3 == 0:
            deliver(outbox)

    threads = [threading.Thread(target=keep_tracking, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    try:
        for number in range(12):
            wait_for(in_child(partial(work, number)))
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert failures == []
    deliver(outbox)


def closed_in_the_parent(outbox: Outbox) -> None:
    track(outbox, "parent-1")
    ready, go = os.pipe()

    def work() -> None:
        os.read(ready, 1)
        track(outbox, "child-1")
        deliver(outbox)
        outbox.close()

    child = in_child(work)
    outbox.close()
    os.write(go, b"!")
    wait_for(child)


def track_from_process(outbox: Outbox) -> None:
    signal.alarm(20)
    track(outbox, "worker-1")


def track_from_fresh_process(directory: str, url: str) -> None:
    signal.alarm(20)
    with Outbox(directory, platform_id="SHOP", api_key="key", base_url=url, batch=False) as own:
        track(own, "child-1")


def sockets() -> set[int]:
    """The file numbers of the connections that this process has."""
    found = set()
    for number in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                found.add(number)
        except OSError:
            pass
    return found


def keeps_no_connection_of_its_parent(outbox: Outbox) -> None:
    """What a child held open, a receiver that closes or a parent that ends could not end."""
    before = sockets()
    track(outbox, "parent-1")
    deliver(outbox)
    inherited = sockets() - before
    assert inherited

    def work() -> None:
        assert sockets() & inherited == set()
        track(outbox, "child-1")
        deliver(outbox)
        outbox.close()
        assert sockets() & inherited == set()

    wait_for(in_child(work))
    assert sockets() >= inherited
    track(outbox, "parent-2")
    deliver(outbox)


def multiprocessing_fork(outbox: Outbox) -> None:
    track(outbox, "parent-1")
    process = multiprocessing.get_context("fork").Process(target=track_from_process, args=(outbox,))
    process.start()
    process.join(15)
    assert process.exitcode == 0
    deliver(outbox)


def multiprocessing_spawn(outbox: Outbox) -> None:
    track(outbox, "parent-1")
    process = multiprocessing.get_context("spawn").Process(target=track_from_fresh_process, args=(sys.argv[2], sys.argv[3]))
    process.start()
    process.join(15)
    assert process.exitcode == 0
    deliver(outbox)


def imports_nothing_later(outbox: Outbox) -> None:
    """A fork in the midst of an import leaves a child that can never do it."""
    wait_until_alone()
    before = set(sys.modules)
    track(outbox, "parent-1")
    outbox.track(evnt_type="HOME")  # type: ignore[call-arg]
    deliver(outbox)
    assert set(sys.modules) - before == set()


# -- forks in C, which call none of Python's hooks: uWSGI's without lazy-apps ---------------------------------------------------


class Watched(HttpExchanges):
    """Says when the sender sleeps: a fork in C must meet no thread that waits for the interpreter, or the child never gets it."""

    asleep = threading.Event()

    def wait(self, timeout_s: float) -> list[Done]:
        if timeout_s > 0.5:
            self.asleep.set()
        return super().wait(timeout_s)


class HangingDisk(UnsyncedDisk):
    """A write of it hangs until it is let go, in the process that began it."""

    def __init__(self) -> None:
        self.lets_go = threading.Event()
        self.lets_go.set()
        self.hangs = threading.Event()
        self.owner = os.getpid()

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        if os.getpid() == self.owner and not self.lets_go.is_set():
            self.hangs.set()
            self.lets_go.wait(10)
        return super().write(descriptor, data)


def in_child_of_c(work: Callable[[], object]) -> int:
    """As `in_child`. PyDLL, since a call that gives the interpreter away could lose it to a thread that the child has not."""
    child: int = ctypes.PyDLL(None).fork()
    return child or in_child(work, fork=lambda: 0)


def make_watched(disk: Disk | None = None) -> Outbox:
    return Outbox(
        sys.argv[2], platform_id="SHOP", api_key="key", base_url=sys.argv[3], batch=False, exchanges=Watched, disk=disk, exit_s=5
    )


def wait_until_asleep() -> None:
    assert Watched.asleep.wait(10)
    time.sleep(0.05)  # from the word to the sleep


def wait_until_alone() -> None:
    """Until no thread is left that was started on the side."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(10)


def used_then_forked_in_c(_: Outbox) -> None:
    outbox = make_watched()
    track(outbox, "parent-1")
    deliver(outbox)
    wait_until_asleep()

    def work() -> None:
        assert outbox.stats().tracked == 0
        track(outbox, "child-1")
        track(outbox, "child-2", "PURCHASE")
        deliver(outbox)
        outbox.close()

    child = in_child_of_c(work)
    track(outbox, "parent-2")
    wait_for(child)
    track(outbox, "parent-3")
    deliver(outbox)


def preloaded_and_forked_in_c(outbox: Outbox) -> None:
    wait_until_alone()
    for child in [in_child_of_c(partial(track, outbox, f"worker-{number}")) for number in range(3)]:
        wait_for(child)
    deliver(outbox)


def preloaded_by_uwsgi(outbox: Outbox) -> None:
    """Its master has the module `uwsgi` and the number 0. That there are trays must not make it begin a thread."""
    track(outbox, "parent-1")
    sys.modules["uwsgi"] = types.SimpleNamespace(worker_id=lambda: 0)  # type: ignore[assignment]
    kept.append(make())
    assert [thread.name for thread in threading.enumerate()].count("footfall-outbox") == 1
    track(kept[1], "parent-2")
    deliver(kept[1])
    deliver(outbox)


def closed_in_a_child_of_c(_: Outbox) -> None:
    """What the child closes, or ends with, is not its parent's."""
    outbox = make_watched()
    track(outbox, "parent-1")
    deliver(outbox)
    wait_until_asleep()
    ends: list[Callable[[], object]] = [outbox.close, outbox.flush, outbox.end_with_process]
    for end in ends:
        wait_for(in_child_of_c(end))
    track(outbox, "parent-2")
    deliver(outbox)


def forked_in_c_while_a_thread_writes(_: Outbox) -> None:
    """The child gets the locks as they were: held, by a thread that it has not."""
    disk = HangingDisk()
    outbox = make_watched(disk)
    track(outbox, "parent-1")
    deliver(outbox)
    wait_until_asleep()
    disk.lets_go.clear()
    thread = threading.Thread(target=track, args=(outbox, "parent-2"))
    thread.start()
    assert disk.hangs.wait(10)
    time.sleep(0.05)  # as in `wait_until_asleep`

    def work() -> None:
        threads = [threading.Thread(target=track, args=(outbox, f"child-{number}")) for number in range(1, 5)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(10)
        assert outbox.stats().tracked == 4
        deliver(outbox)

    wait_for(in_child_of_c(work))
    disk.lets_go.set()
    thread.join(10)
    deliver(outbox)


# -- deaths --------------------------------------------------------------------------------------------------------------------


def dies_before_its_child(outbox: Outbox) -> None:
    """The child, who lives on, must not keep the lock of its parent's events."""
    track(outbox, "dies-1")
    parent = os.getpid()
    if os.fork():
        os.kill(parent, signal.SIGKILL)
    signal.alarm(20)
    while os.getppid() == parent:
        time.sleep(0.005)
    deliver(outbox)
    outbox.close()
    os._exit(0)


def leaves_many(outbox: Outbox) -> None:
    """As many processes that died at once."""
    for number in range(12):
        kept.append(make())
        track(kept[-1], f"e-{number}")
    os.kill(os.getpid(), signal.SIGKILL)


def leaves_purchases(outbox: Outbox) -> None:
    small = Outbox(sys.argv[2], platform_id="SHOP", api_key="key", base_url=sys.argv[3], batch=False, bytes_max=1 << 20)
    for number in range(600):
        track(small, f"e-{number}", "PURCHASE")
    os.kill(os.getpid(), signal.SIGKILL)


# -- ends ----------------------------------------------------------------------------------------------------------------------


def returns(outbox: Outbox) -> None:
    track(outbox, "e-1")


def exits(outbox: Outbox) -> None:
    track(outbox, "e-1")
    sys.exit(0)


def raises(outbox: Outbox) -> None:
    track(outbox, "e-1")
    raise SystemExit(0) from ValueError("an exception on its way")


def is_terminated(outbox: Outbox) -> None:
    track(outbox, "e-1")
    os.kill(os.getpid(), signal.SIGTERM)


def is_killed(outbox: Outbox) -> None:
    track(outbox, "e-1")
    os.kill(os.getpid(), signal.SIGKILL)


def ends_hard(outbox: Outbox) -> None:
    track(outbox, "e-1")
    os._exit(0)


def in_daemon_thread(outbox: Outbox) -> None:
    """A daemon thread tracks on while the interpreter ends."""
    started = threading.Event()

    def keep_tracking() -> None:
        number = 0
        while True:
            number += 1
            track(outbox, f"e-{number}")
            started.set()
            time.sleep(0.0005)

    threading.Thread(target=keep_tracking, daemon=True).start()
    started.wait(5)


def at_exit(outbox: Outbox) -> None:
    """Tracks from an exit handler that runs after the outbox's own."""
    track(outbox, "e-1")


def under_asyncio(outbox: Outbox) -> None:
    async def work() -> None:
        for number in range(20):
            track(outbox, f"e-{number}")
            await asyncio.sleep(0)
        assert await asyncio.to_thread(outbox.flush, 10)

    asyncio.run(work())
    require_balance(outbox)


def under_gevent(outbox: Outbox) -> None:
    import gevent

    def work(name: int) -> None:
        for number in range(20):
            track(outbox, f"e-{name}-{number}", user_id=f"u-{name}")
            gevent.sleep(0.001)

    gevent.joinall([gevent.spawn(work, name) for name in range(50)], raise_error=True)
    require_balance(outbox)


def tracks_for_ever(outbox: Outbox) -> None:
    """Until it is killed; every id that it prints was returned by `track`."""
    kinds = ("PAGE_VIEW", "HOME", "ADD_TO_CART", "PURCHASE")
    number = 0
    while True:
        number += 1
        name = f"{sys.argv[4]}-{number}"
        track(outbox, name, kinds[number % 4], user_id=f"u-{number % 7}")


if __name__ == "__main__":
    signal.alarm(60)
    kept.append(make())
    globals()[sys.argv[1]](kept[0])
