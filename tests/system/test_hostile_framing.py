"""Where does a request end? Bytes that leave room for two opinions: they are refused, and never make an event more."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.contract.hostile.crowd import stored_bodies
from tests.contract.hostile.frames import Exchange, exchange, pipeline, post
from tests.contract.hostile.smuggling import AMBIGUOUS, PLAIN
from tests.contract.hostile.watching import peak_bytes, settles, worker
from tests.serving import EVENTS_PATH, Footfall, home, until

LENGTH = b"Content-Length: LENGTH"
BODY_TIMEOUT_S = 1.0
IDLE_TIMEOUT_S = 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Footfall]:
    """A server that waits for nobody longer than two seconds."""
    settings = {
        "FOOTFALL_LIMITS__BODY_TIMEOUT_S": str(BODY_TIMEOUT_S),
        "FOOTFALL_LIMITS__IDLE_TIMEOUT_S": str(IDLE_TIMEOUT_S),
    }
    with Footfall(tmp_path_factory.mktemp("framing") / "data", settings=settings) as running:
        yield running
        assert running.send(home()).status == 200
        running.check_log()


def stored(server: Footfall, prefix: str) -> list[str]:
    ids = (json.loads(body)["event"].get("id", "") for body in stored_bodies(server.data))
    return [event_id for event_id in ids if event_id.startswith(prefix)]


def smuggle(server: Footfall, name: str, head: tuple[bytes, ...], form: str, *, quiet_s: float | None = None) -> Exchange:
    """A request with that head, whose body is an event and a whole second request."""
    inner = post(server, LENGTH, event_id=f"{name}-inner")
    event = json.dumps(home(id=f"{name}-outer")).encode()
    body = {
        "plain": event + inner,
        "chunked": b"%x\r\n%b\r\n0\r\n\r\n" % (len(event), event) + inner,
        "ends early": b"0\r\n\r\n" + inner,
    }[form]
    version = b"HTTP/1.1"
    if head and head[0].startswith(b"HTTP/"):
        version, head = head[0], head[1:]
    request = post(server, *head, body=body, version=version)
    return exchange(server.port, request, patience_s=BODY_TIMEOUT_S + IDLE_TIMEOUT_S + 3, quiet_s=quiet_s)


@pytest.mark.parametrize("form", ["plain", "chunked", "ends early"])
def test_what_two_parsers_could_read_differently_is_refused_whole_and_the_connection_closed(server: Footfall, form: str) -> None:
    """75 heads. No answer is a 2xx, no event is stored, and what follows on the connection is not read as a request."""
    for number, (variant, head) in enumerate(AMBIGUOUS.items()):
        seen = smuggle(server, f"a-{form}-{number}", head, form)
        assert not [status for status in seen.statuses if status < 400], (variant, seen)
        assert len(seen.statuses) <= 1, (variant, seen)
        assert all(status in (400, 408, 411, 413, 431) for status in seen.statuses), (variant, seen)
        assert seen.closed, (variant, seen)
    assert not stored(server, f"a-{form}")


def test_what_is_lawful_but_odd_is_one_request_and_its_body_is_not_read_as_another(server: Footfall) -> None:
    for number, (variant, head) in enumerate(PLAIN.items()):
        seen = smuggle(server, f"p-{number}", head, "plain", quiet_s=0.1)
        assert seen.statuses == [400], (variant, seen)  # an event with a request behind it is no JSON
    assert not stored(server, "p-")


def test_the_oracle_sees_an_event_that_was_hidden_in_nothing(server: Footfall) -> None:
    """The same two requests, honestly one behind the other: two answers, two events. So the tests above could fail."""
    first, second = (post(server, LENGTH, event_id=f"honest-{name}") for name in ("outer", "inner"))
    seen = exchange(server.port, first + second, patience_s=5, quiet_s=0.5)
    assert seen.statuses == [200, 200]
    assert stored(server, "honest") == ["honest-outer", "honest-inner"]


@pytest.mark.parametrize(
    "target",
    [
        b"http://elsewhere/rmp/event/v1/platforms/SHOP/userevents",
        b"http://elsewhere:1/rmp/event/v1/platforms/SHOP/userevents",
        b"//elsewhere/rmp/event/v1/platforms/SHOP/userevents",
        b"/rmp/event/v1/platforms/SHOP/userevents?platform=SHOP_TEST",
        b"/rmp/event/v1/platforms/SHOP/userevents#SHOP_TEST",
        b"/rmp/event/v1/platforms/SHOP%2Fuserevents",
        b"/rmp/event/v1/platforms/SHOP_TEST/../SHOP/userevents",
        b"/rmp/event/v1/platforms/SHOP_TEST/%2e%2e/SHOP/userevents",
        b"/rmp/event/v1/platforms/SHOP%00/userevents",
        b"/rmp/event/v1/platforms/SHOP%0d%0aX-API-Key:%20a/userevents",
        b"/rmp/event/v1/platforms/\xff/userevents",
        b"/rmp/event/v1/platforms/%ff%fe/userevents",
        b"/rmp/event/v1/platforms/" + b"A" * 15_000 + b"/userevents",
        b"*",
        b"elsewhere:80",
        b"",
    ],
    ids=lambda target: repr(target[:60]),
)
def test_an_odd_target_is_the_platform_of_the_key_or_refused(server: Footfall, target: bytes) -> None:
    before = len(stored(server, "t-"))
    seen = exchange(server.port, post(server, LENGTH, target=target, event_id="t-1"), patience_s=5, quiet_s=0.3)
    assert seen.statuses in ([200], [400], [403], [404], [405], [411], [414], [431]), seen
    assert b"\nx-api-key" not in seen.received.lower()
    assert len(stored(server, "t-")) - before == seen.statuses.count(200)


@pytest.mark.parametrize("host", [None, b""])
def test_a_request_without_a_host_is_refused_and_closed(server: Footfall, host: bytes | None) -> None:
    seen = exchange(server.port, post(server, LENGTH, host=host, event_id="hostless"), patience_s=5, quiet_s=0.3)
    if host is None:
        assert (seen.statuses, seen.closed) == ([400], True)
    assert len(stored(server, "hostless")) == seen.statuses.count(200)


def test_bare_line_feeds_end_lines_and_change_nothing_else(server: Footfall) -> None:
    """RFC 9112 2.2 allows to take them. One event for the one answer."""
    seen = exchange(server.port, post(server, LENGTH, newline=b"\n", event_id="feeds"), patience_s=5, quiet_s=0.3)
    assert len(seen.statuses) == 1
    assert len(stored(server, "feeds")) == seen.statuses.count(200)


def test_a_body_that_is_cut_anywhere_is_no_event(server: Footfall) -> None:
    body = json.dumps(home(id="cut")).encode()
    request = post(server, LENGTH, body=body)
    head = len(request) - len(body)
    with contextlib.ExitStack() as stack:
        for cut in range(head, len(request), 7):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(request[:cut])
            if cut % 2:
                connection.shutdown(socket.SHUT_WR)
    assert settles(server, files_max=worker(server).num_fds() + 5)
    assert not stored(server, "cut")


def test_a_request_that_comes_byte_by_byte_is_taken(server: Footfall) -> None:
    request = post(server, LENGTH, event_id="bytes")
    seen = exchange(server.port, *(request[place : place + 1] for place in range(len(request))), patience_s=5, quiet_s=0.3)
    assert seen.statuses == [200]
    assert stored(server, "bytes") == ["bytes"]


def test_hundreds_of_requests_in_one_go_are_answered_one_by_one_in_order(server: Footfall) -> None:
    pipeline(server, count=300)


def test_a_reader_who_never_reads_costs_no_more_memory_than_a_few_answers(server: Footfall) -> None:
    """4,000 requests in a row for the longest answer there is: the next is not looked at before the last one is gone."""
    process = worker(server)
    before = peak_bytes(process)
    request = b"GET /openapi.json HTTP/1.1\r\nHost: h\r\n\r\n"
    assert len(server.request("GET", "/openapi.json").body) > 10_000
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=0.2))
            with contextlib.suppress(TimeoutError, ConnectionError):
                connection.sendall(request * 4000)
        began_s = time.monotonic()
        assert all(server.send(home()).status == 200 for _ in range(20))
        assert time.monotonic() - began_s < 3
    assert peak_bytes(process) - before < 60_000_000


def test_who_expects_something_and_sends_nothing_is_let_go_in_time(server: Footfall) -> None:
    """A hundred of each kind, all at once."""
    files = worker(server).num_fds()
    with contextlib.ExitStack() as stack:
        for expectation in (b"100-continue", b"100-Continue", b"100-continue, 100-continue", b"200-ok", b""):
            head = post(server, LENGTH, b"Expect: " + expectation, event_id="expects").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            for _ in range(100):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port))).sendall(head)
            seen = exchange(server.port, head, patience_s=5, quiet_s=0.01)
            assert not [status for status in seen.statuses if status < 400], seen
        assert until(lambda: worker(server).num_fds() <= files + 5, seconds=BODY_TIMEOUT_S + IDLE_TIMEOUT_S + 2)
    assert server.send(home()).status == 200
    assert not stored(server, "expects")


def test_who_expects_to_be_asked_for_too_much_is_refused_without_being_asked(server: Footfall) -> None:
    head = post(server, b"Content-Length: 9000000", b"Expect: 100-continue", body=b"")
    seen = exchange(server.port, head, patience_s=5)
    assert (seen.statuses, seen.closed) == ([413], True)
    assert b"HTTP/1.1 100" not in seen.received


def test_a_sender_who_waits_to_be_asked_is_asked_and_served(server: Footfall) -> None:
    request = post(server, LENGTH, b"Expect: 100-continue", event_id="asked")
    head, _, body = request.partition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert connection.recv(1024).startswith(b"HTTP/1.1 200 ")
    assert stored(server, "asked") == ["asked"]


def test_resets_half_closes_and_single_bytes_leave_no_file_open(server: Footfall) -> None:
    files = worker(server).num_fds()
    request = post(server, LENGTH, platform="SHOP_TEST")
    for number in range(600):
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(request[: (number * 7) % len(request) + 1])
        if number % 3 == 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        elif number % 3 == 1:
            connection.shutdown(socket.SHUT_WR)
        connection.close()
    assert settles(server, files_max=files + 5)


def test_an_endless_head_is_refused_and_closed(server: Footfall) -> None:
    opening = b"POST %b HTTP/1.1\r\nHost: h\r\n" % EVENTS_PATH.format(platform="SHOP").encode()
    for endless in (b"X-A: b\r\n" * 5000, b"X" * 40_000, b"\r\n" * 20_000 + b"X"):
        seen = exchange(server.port, opening, endless, patience_s=IDLE_TIMEOUT_S + 3)
        assert not [status for status in seen.statuses if status < 400]
        assert seen.closed
