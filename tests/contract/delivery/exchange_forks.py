"""The program of the fork tests: `python exchange_forks.py SCENARIO URL [CERTIFICATE]`.

The parent starts eight requests, forks, and waits for its own; the child does with its copy what the scenario says and sends
eight more. Exits 0 when both got all their answers, or were woken as they should. An alarm ends what hangs.
"""

from __future__ import annotations

import gc
import os
import signal
import ssl
import sys
import threading
import time

from footfall.delivery.api import Done
from footfall.delivery.exchanges import HttpExchanges
from footfall.delivery.transport import Request, Response


def start(exchanges: HttpExchanges, url: str, who: str) -> None:
    for number in range(8):
        body = f"{who}-{number}".encode()
        exchanges.start(Request(url=url, headers=(), body=body, timeout_s=15), token=body)


def finish(exchanges: HttpExchanges, ended: list[Done]) -> None:
    while len(ended) < 8:
        ended += exchanges.wait(1)
    assert all(isinstance(done.result, Response) and done.result.status == 200 for done in ended), ended
    assert len({done.token for done in ended}) == 8


def in_child(exchanges: HttpExchanges, scenario: str, url: str, tls: ssl.SSLContext | None) -> None:
    if scenario == "closed":
        exchanges.close()
    if scenario in ("closed", "dropped"):
        exchanges = HttpExchanges(tls=tls)
        gc.collect()
    start(exchanges, url, "child")
    finish(exchanges, [])


def waiting(exchanges: HttpExchanges, ended: list[Done]) -> threading.Thread:
    """A thread that waits for the answers, and is in the midst of it."""
    thread = threading.Thread(target=finish, args=(exchanges, ended))
    thread.start()
    time.sleep(0.05)  # until it polls; were it not there yet, the test would prove less and not fail
    return thread


def woken() -> None:
    """Both processes wait with what the parent made; the child wakes itself, again and again."""
    exchanges = HttpExchanges()
    exchanges.wait(0)  # from here on it can be woken, and the child inherits what wakes it
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(20)
            for _ in range(20):
                threading.Timer(0.002, exchanges.wake).start()
                started_s = time.monotonic()
                exchanges.wait(10)
                assert time.monotonic() - started_s < 5, "the child was not woken"
            status = 0
        finally:
            os._exit(status)
    started_s = time.monotonic()
    exchanges.wait(0.3)
    assert time.monotonic() - started_s >= 0.29, "the child woke its parent"
    wait_for(child)


def wait_for(child: int) -> None:
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the child ended with {status}"


def main(scenario: str, url: str, certificate: str = "") -> None:
    signal.alarm(30)
    if scenario == "woken":
        woken()
        return
    tls = ssl.create_default_context(cafile=certificate) if certificate else None
    exchanges = HttpExchanges(tls=tls)
    start(exchanges, url, "parent")
    ended: list[Done] = []
    thread = waiting(exchanges, ended) if scenario == "used beside a waiting thread" else None
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(20)
            parents = exchanges
            del exchanges
            in_child(parents, scenario, url, tls)
            status = 0
        finally:
            os._exit(status)
    if thread is None:
        finish(exchanges, ended)
    else:
        thread.join()
    assert len(ended) == 8
    wait_for(child)
    exchanges.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
