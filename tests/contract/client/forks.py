"""The programs of the fork tests: `python forks.py SCENARIO URL` sends events, forks, and sends more. Exits 0 when all went out.

Each process names its events, so that the test can count at the receiver. An alarm ends what hangs.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import sys
import threading
from functools import partial

from children import in_child as forked
from children import wait_for

from footfall import AsyncClient, Client, Device


def send(client: Client, event_id: str) -> None:
    client.insert_event(id=event_id, event_type="HOME", channel_type="SITE", user_id="u-1")


in_child = partial(forked, seconds=8)


def used_then_forked(client: Client) -> None:
    send(client, "parent-1")

    def work() -> None:
        send(client, "child-1")
        send(client, "child-2")
        client.close()

    child = in_child(work)
    send(client, "parent-2")
    wait_for(child)
    send(client, "parent-3")


def preloaded(client: Client) -> None:
    """gunicorn --preload: made in the master, never used there, workers send."""
    for child in [in_child(partial(send, client, f"worker-{number}")) for number in range(3)]:
        wait_for(child)


def grandchild(client: Client) -> None:
    send(client, "parent-1")

    def work() -> None:
        send(client, "child-1")
        wait_for(in_child(lambda: send(client, "grandchild-1")))
        send(client, "child-2")

    wait_for(in_child(work))
    send(client, "parent-2")


def in_flight(client: Client) -> None:
    """Forks while eight threads have requests on their way and connections change hands."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def keep_sending(name: int) -> None:
        number = 0
        try:
            while not stop.is_set():
                send(client, f"thread-{name}-{number}")
                number += 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=keep_sending, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    try:
        for number in range(15):
            wait_for(in_child(partial(send, client, f"child-{number}")))
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert failures == []


def made_and_forked_at_once(client: Client) -> None:
    """The fork comes while user agents are being warmed; the child needs them too."""

    def work() -> None:
        Device.from_user_agent("Mozilla/5.0 (iPhone)")
        send(client, "child-1")

    wait_for(in_child(work))


def closed_in_the_parent(client: Client) -> None:
    send(client, "parent-1")
    child = in_child(lambda: send(client, "child-1"))
    client.close()
    wait_for(child)


def asynchronous(client: Client) -> None:
    """One AsyncClient over two loops in the parent and one in the child."""
    own = AsyncClient(platform_id="SHOP", api_key="key", base_url=sys.argv[2])

    async def send_some(name: str) -> None:
        await asyncio.gather(
            *(own.insert_event(id=f"{name}-{n}", event_type="HOME", channel_type="SITE", user_id="u-1") for n in range(5))
        )

    asyncio.run(send_some("first"))
    child = in_child(lambda: asyncio.run(send_some("child")))
    asyncio.run(send_some("second"))
    wait_for(child)


def send_from_process(client: Client) -> None:
    signal.alarm(8)
    send(client, "child-1")


def send_from_fresh_process(url: str) -> None:
    signal.alarm(8)
    send(Client(platform_id="SHOP", api_key="key", base_url=url), "child-1")


def multiprocessing_fork(client: Client) -> None:
    send(client, "parent-1")
    process = multiprocessing.get_context("fork").Process(target=send_from_process, args=(client,))
    process.start()
    process.join(15)
    assert process.exitcode == 0


def multiprocessing_spawn(client: Client) -> None:
    send(client, "parent-1")
    process = multiprocessing.get_context("spawn").Process(target=send_from_fresh_process, args=(sys.argv[2],))
    process.start()
    process.join(15)
    assert process.exitcode == 0


def left_open(client: Client) -> None:
    """Ends without closing anything, an asynchronous client included."""
    global kept
    kept = AsyncClient(platform_id="SHOP", api_key="key", base_url=sys.argv[2])
    asyncio.run(kept.insert_event(id="async-1", event_type="HOME", channel_type="SITE", user_id="u-1"))
    send(client, "parent-1")


def at_exit(client: Client) -> None:
    import atexit

    atexit.register(send, client, "at-exit-1")
    send(client, "parent-1")


kept: AsyncClient

if __name__ == "__main__":
    signal.alarm(40)
    globals()[sys.argv[1]](Client(platform_id="SHOP", api_key="key", base_url=sys.argv[2]))
