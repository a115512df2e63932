"""What exchanges promise, on the network and in memory: each request is handed out once, and nothing hangs."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from footfall.clock import ManualClock
from footfall.delivery.api import Done, Exchanges
from footfall.delivery.exchanges import IN_FLIGHT_MAX, HttpExchanges, ScriptedExchanges
from footfall.delivery.readiness import READABLE, WRITABLE, SelectWatch, Watch, new_watch
from footfall.delivery.transport import Request, Response, ScriptedTransport, dial
from footfall.errors import NetworkError
from tests.contract.delivery.certificates import made_certificate, serving
from tests.contract.delivery.peers import peer, read_exactly, read_head
from tests.contract.delivery.receiver import Play, Receiver, answer, raw


def request_to(url: str, *, body: bytes = b'{"id":"1"}', timeout_s: float = 5.0) -> Request:
    return Request(url=f"{url}/path", headers=(("X-API-Key", "secret-key"),), body=body, timeout_s=timeout_s)


def all_of(exchanges: Exchanges, count: int, *, within_s: float = 20.0) -> list[Done]:
    """So many that ended, in the order in which they did."""
    ended: list[Done] = []
    until_s = time.monotonic() + within_s
    while len(ended) < count and time.monotonic() < until_s:
        ended += exchanges.wait(1)
    assert len(ended) == count
    return ended


def status(done: Done) -> int:
    assert isinstance(done.result, Response)
    return done.result.status


class ExchangesContract:
    """Run for all exchanges. `serve` makes some whose receiver answers 201, then 503 for ever, and a URL where nobody answers."""

    def serve(self) -> Iterator[tuple[Exchanges, str]]:
        raise NotImplementedError

    @pytest.fixture
    def served(self) -> Iterator[tuple[Exchanges, str]]:
        yield from self.serve()

    def test_each_request_is_handed_out_once_with_its_token_and_any_status_is_an_answer(
        self, served: tuple[Exchanges, str]
    ) -> None:
        exchanges, url = served
        statuses = []
        for token in ("first", "second"):
            exchanges.start(request_to(url), token=token)
            (done,) = all_of(exchanges, 1)
            assert done.token == token
            statuses.append(status(done))
        assert statuses == [201, 503]
        for token in range(10):
            exchanges.start(request_to(url), token=token)
        assert sorted(done.token for done in all_of(exchanges, 10)) == list(range(10))
        assert exchanges.wait(0) == []

    def test_closing_twice_is_allowed_and_starting_afterwards_is_not(self, served: tuple[Exchanges, str]) -> None:
        exchanges, url = served
        exchanges.start(request_to(url), token=1)
        exchanges.close()
        exchanges.close()
        assert exchanges.wait(10) == []  # at once, and without the request that was dropped
        exchanges.wake()
        with pytest.raises(RuntimeError, match="closed"):
            exchanges.start(request_to(url), token=2)

    def test_a_wake_before_a_wait_ends_that_one_and_no_other(self, served: tuple[Exchanges, str]) -> None:
        exchanges, _ = served
        exchanges.wake()
        exchanges.wake()
        started_s = time.monotonic()
        assert exchanges.wait(10) == []
        assert time.monotonic() - started_s < 5
        assert exchanges.wait(0.05) == []
        assert time.monotonic() - started_s >= 0.05

    def test_a_wake_from_another_thread_ends_the_wait_under_way(self, served: tuple[Exchanges, str]) -> None:
        exchanges, _ = served
        for _ in range(20):
            ringer = threading.Timer(0.002, exchanges.wake)
            ringer.start()
            started_s = time.monotonic()
            assert exchanges.wait(10) == []
            assert time.monotonic() - started_s < 5
            ringer.join()

    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers that interrupt")
    def test_an_exception_out_of_a_signal_handler_spoils_no_later_wake(self, served: tuple[Exchanges, str]) -> None:
        """As a web server's worker raises one when a request takes too long: in the midst of `wake`, now and then."""
        exchanges, _ = served
        with waiter(exchanges), interruptions() as count:
            while count() < 50:
                try:
                    exchanges.wake()
                except TimeIsUpError:
                    pass
        with waiter(exchanges) as woken:
            for _ in range(20):
                woken.clear()
                exchanges.wake()
                assert woken.wait(5)

    def test_no_answer_is_told_by_wait_and_not_raised(self, served: tuple[Exchanges, str]) -> None:
        exchanges, url = served
        exchanges.start(request_to(self.silent_url(url)), token=1)
        (done,) = all_of(exchanges, 1)
        assert isinstance(done.result, NetworkError)

    def silent_url(self, url: str) -> str:
        raise NotImplementedError


class TimeIsUpError(Exception):
    pass


@contextlib.contextmanager
def interruptions() -> Iterator[Callable[[], int]]:
    """Raises `TimeIsUpError` in the main thread while it is in `wake`; says how often it did."""
    raised = 0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal raised
        inner = frame
        while inner is not None and inner.f_code.co_name != "wake":
            inner = inner.f_back
        if inner is not None:
            raised += 1
            raise TimeIsUpError

    previous = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)
    try:
        yield lambda: raised
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


@contextlib.contextmanager
def waiter(exchanges: Exchanges) -> Iterator[threading.Event]:
    """A thread that waits again and again; sets the event whenever a wait ended."""
    woken = threading.Event()
    is_over = False

    def wait() -> None:
        while not is_over:
            exchanges.wait(10)
            woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield woken
    finally:
        is_over = True
        exchanges.wake()
        thread.join(15)


class TestHttpExchanges(ExchangesContract):
    def serve(self) -> Iterator[tuple[Exchanges, str]]:
        with Receiver([answer(201), answer(503)]) as receiver:
            exchanges = HttpExchanges()
            yield exchanges, receiver.url
            exchanges.close()

    def silent_url(self, url: str) -> str:
        return unused_url()


class Silent(ScriptedTransport):
    """Nobody answers at port 1."""

    def send(self, request: Request) -> Response:
        if ":1/" in request.url:
            raise NetworkError("no answer")
        return super().send(request)


class TestScriptedExchanges(ExchangesContract):
    def serve(self) -> Iterator[tuple[Exchanges, str]]:
        yield ScriptedExchanges(Silent([Response(status=201), Response(status=503)])), "http://nowhere"

    def silent_url(self, url: str) -> str:
        return f"{url}:1"

    def test_waiting_in_vain_moves_the_clock_and_an_answer_or_a_wake_does_not(self) -> None:
        clock = ManualClock()
        exchanges = ScriptedExchanges(ScriptedTransport(), clock=clock)
        assert exchanges.wait(900) == []
        assert clock.monotonic_s() == 900
        exchanges.start(request_to("http://nowhere"), token=1)
        assert [done.token for done in exchanges.wait(900)] == [1]
        exchanges.wake()
        assert exchanges.wait(900) == []
        assert clock.monotonic_s() == 900

    def test_closing_leaves_the_transport_to_its_owner(self) -> None:
        transport = ScriptedTransport()
        ScriptedExchanges(transport).close()
        assert not transport.is_closed


def unused_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


@pytest.fixture
def exchanges() -> Iterator[HttpExchanges]:
    running = HttpExchanges()
    yield running
    running.close()


def when_all_are_here(count: int) -> Play:
    """Answers nobody before so many have asked."""
    barrier = threading.Barrier(count)

    def play(connection: socket.socket) -> bool:
        barrier.wait(20)
        return answer(200)(connection)

    return play


def test_as_many_requests_as_allowed_are_on_their_way_at_once_and_connections_are_used_again(exchanges: HttpExchanges) -> None:
    with Receiver([when_all_are_here(IN_FLIGHT_MAX)]) as receiver:
        for turn in range(3):
            for number in range(IN_FLIGHT_MAX):
                exchanges.start(request_to(receiver.url, body=b"%d-%d" % (turn, number)), token=(turn, number))
            with pytest.raises(RuntimeError, match="64 requests"):
                exchanges.start(request_to(receiver.url), token=None)
            ended = all_of(exchanges, IN_FLIGHT_MAX)
            assert sorted(done.token for done in ended) == [(turn, number) for number in range(IN_FLIGHT_MAX)]
            assert {status(done) for done in ended} == {200}
        assert receiver.connections == IN_FLIGHT_MAX
        bodies = Counter(arrival.body for arrival in receiver.arrivals)
        assert len(bodies) == 3 * IN_FLIGHT_MAX and set(bodies.values()) == {1}


def test_failures_nobody_was_told_of_count_as_on_their_way(exchanges: HttpExchanges) -> None:
    url = unused_url()
    for number in range(IN_FLIGHT_MAX):
        exchanges.start(request_to(url), token=number)
    with pytest.raises(RuntimeError):
        exchanges.start(request_to(url), token=None)
    assert all("refused" in str(done.result) for done in exchanges.wait(0))


def test_one_that_hangs_ends_at_its_deadline_and_holds_up_no_other(exchanges: HttpExchanges) -> None:
    stop = threading.Event()

    def serve(connection: socket.socket) -> None:
        while head := read_head(connection):
            if b"/slow" in head:
                stop.wait(20)
            read_exactly(connection, 2)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with peer(serve) as server:
        slow = Request(url=f"{server.url}/slow", headers=(), body=b"{}", timeout_s=0.4)
        started_s = time.monotonic()
        exchanges.start(slow, token="slow")
        for number in range(50):
            exchanges.start(request_to(server.url, body=b"{}"), token=number)
            assert [done.token for done in all_of(exchanges, 1)] == [number]
        (late,) = all_of(exchanges, 1)
        assert 0.35 < time.monotonic() - started_s < 5
        assert late.token == "slow"
        assert isinstance(late.result, NetworkError)
        assert "within 0.4 s" in late.result.message
        assert len(server.connections) == 2
        stop.set()


def test_an_answer_that_came_in_time_counts_however_late_it_is_looked_for(exchanges: HttpExchanges) -> None:
    """As after a pause of the whole process: telling 64 timeouts would send 64 events twice."""
    answered = threading.Event()

    def serve(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        answered.set()
        connection.recv(1)

    with peer(serve) as server:
        deadline_s = time.monotonic() + 0.3
        exchanges.start(request_to(server.url, body=b"", timeout_s=0.3), token=1)
        assert answered.wait(10)
        while time.monotonic() < deadline_s + 0.01:
            pass
        assert [status(done) for done in exchanges.wait(0)] == [200]


def test_answers_are_read_while_a_large_request_is_still_being_sent(exchanges: HttpExchanges) -> None:
    body = bytes(range(256)) * (8 << 12)
    may_read = threading.Event()
    arrived: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        while head := read_head(connection):
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            if length > 100:
                may_read.wait(20)
            arrived.append(read_exactly(connection, length))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with peer(serve) as server:
        exchanges.start(request_to(server.url, body=body), token="large")
        for number in range(20):
            exchanges.start(request_to(server.url), token=number)
            assert [done.token for done in all_of(exchanges, 1)] == [number]
        may_read.set()
        assert [(done.token, status(done)) for done in all_of(exchanges, 1)] == [("large", 200)]
        assert arrived[-1] == body


def test_waiting_costs_no_processor_time_whatever_came_before(exchanges: HttpExchanges) -> None:
    """Neither a wake nor a request that was sent in pieces leaves something that makes every later poll return at once."""
    is_read = threading.Event()
    may_answer = threading.Event()

    def serve(connection: socket.socket) -> None:
        read_head(connection)
        read_exactly(connection, 8 << 20)
        is_read.set()
        may_answer.wait(20)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with peer(serve) as server:
        exchanges.start(request_to(server.url, body=b"x" * (8 << 20)), token=1)
        while not is_read.is_set():
            assert exchanges.wait(0.01) == []
        ringer = threading.Timer(0.01, exchanges.wake)
        ringer.start()
        assert exchanges.wait(10) == []
        ringer.join()
        started_s = time.thread_time()
        assert exchanges.wait(0.3) == []
        assert time.thread_time() - started_s < 0.1
        may_answer.set()
        assert [status(done) for done in all_of(exchanges, 1)] == [200]


def test_requests_to_two_receivers_do_not_share_connections(exchanges: HttpExchanges) -> None:
    with Receiver([answer(201)]) as one, Receiver([answer(202)]) as other:
        for turn in range(4):
            receiver = (one, other)[turn % 2]
            exchanges.start(request_to(receiver.url), token=turn)
            assert [status(done) for done in all_of(exchanges, 1)] == [201 + turn % 2]
        assert (len(one.arrivals), len(other.arrivals)) == (2, 2)


def test_what_a_peer_says_while_nobody_asked_ends_its_connection(exchanges: HttpExchanges) -> None:
    with Receiver(
        [raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 500 Not Yours\r\n\r\n", keep=True), answer(202)]
    ) as receiver:
        for expected in (200, 202):
            exchanges.start(request_to(receiver.url), token=None)
            assert [status(done) for done in all_of(exchanges, 1)] == [expected]
        assert receiver.connections == 2


def test_a_bug_of_ours_is_not_dressed_up_as_a_network_error() -> None:
    def failing_dial(host: str, port: int, timeout_s: float, /) -> socket.socket:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        HttpExchanges(dial=failing_dial).start(request_to("http://127.0.0.1:1"), token=1)


def test_exchanges_nobody_closed_warn_of_nothing_and_leak_no_socket() -> None:
    opened: list[socket.socket] = []

    def counting_dial(host: str, port: int, timeout_s: float, /) -> socket.socket:
        opened.append(dial(host, port, timeout_s))
        return opened[-1]

    is_over = threading.Event()

    def hang(connection: socket.socket) -> bool:
        is_over.wait(20)
        return False

    with Receiver([answer(200), hang]) as receiver, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exchanges = HttpExchanges(dial=counting_dial)
        exchanges.start(request_to(receiver.url), token=1)
        all_of(exchanges, 1)
        exchanges.start(request_to(receiver.url), token=2)  # is never answered
        assert exchanges.wait(0) == []
        del exchanges
        gc.collect()
        is_over.set()
    assert [str(warning.message) for warning in caught] == []
    assert [connection.fileno() for connection in opened] == [-1]


@pytest.mark.parametrize("kind", ["of this system", "select"])
def test_a_watch_tells_what_can_be_read_and_written_and_what_ended(kind: str) -> None:
    watch: Watch = SelectWatch() if kind == "select" else new_watch()
    near, far = socket.socketpair()
    with near, far:
        watch.register(near.fileno(), READABLE)
        assert watch.poll(0) == []
        watch.register(near.fileno(), READABLE | WRITABLE)
        assert watch.poll(1000) == [(near.fileno(), WRITABLE)]
        far.send(b"x")
        assert watch.poll(1000) == [(near.fileno(), READABLE | WRITABLE)]
        watch.register(near.fileno(), READABLE)
        near.recv(1)
        far.close()
        ((file, event),) = watch.poll(1000)
        assert file == near.fileno() and event & READABLE
        watch.unregister(near.fileno())
        assert watch.poll(0) == []
        with pytest.raises(KeyError):
            watch.unregister(near.fileno())


FORKS = ["dropped", "closed", "used", "used beside a waiting thread"]


def run_forks(scenario: str, receiver: Receiver, *arguments: str) -> Counter[bytes]:
    command = [sys.executable, str(Path(__file__).with_name("exchange_forks.py")), scenario, receiver.url, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert [line for line in ended.stderr.splitlines() if "fork()" not in line] == []
    return Counter(arrival.body for arrival in receiver.arrivals)


EIGHT_EACH = {b"%b-%d" % (who, number): 1 for who in (b"parent", b"child") for number in range(8)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("scenario", FORKS)
def test_a_fork_with_eight_requests_under_way_disturbs_none_of_them(scenario: str) -> None:
    """Sixteen requests must be on their way at once before any is answered: the parent's outlive what the child does."""
    with Receiver([when_all_are_here(16)]) as receiver:
        assert run_forks(scenario, receiver) == EIGHT_EACH


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_wake_in_a_forked_child_wakes_the_child_and_not_its_parent() -> None:
    with Receiver() as receiver:
        assert run_forks("woken", receiver) == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("scenario", FORKS)
def test_a_fork_disturbs_no_tls_session_of_the_parent(scenario: str, tmp_path: Path) -> None:
    certificate = made_certificate(tmp_path)
    with Receiver([when_all_are_here(16)], tls=serving(certificate)) as receiver:
        assert run_forks(scenario, receiver, str(certificate)) == EIGHT_EACH


def test_wakes_from_many_threads_are_never_lost(exchanges: HttpExchanges) -> None:
    """Whoever wakes after leaving something sees it taken, as a producer beside the sender's thread."""
    left: list[int] = []
    taken: list[int] = []
    threads = [threading.Thread(target=_leave, args=(left, exchanges.wake)) for _ in range(4)]
    for thread in threads:
        thread.start()
    until_s = time.monotonic() + 20
    while len(taken) < 4000 and time.monotonic() < until_s:
        started_s = time.monotonic()
        exchanges.wait(10)
        assert time.monotonic() - started_s < 5
        while left:
            taken.append(left.pop())
    for thread in threads:
        thread.join()
    assert len(taken) == 4000


def _leave(left: list[int], wake: Callable[[], None]) -> None:
    for number in range(1000):
        left.append(number)
        wake()
