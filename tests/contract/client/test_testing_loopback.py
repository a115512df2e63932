"""The receiver over real sockets: every fault as both clients meet it, from this process and from others."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from footfall import (
    ApiError,
    AsyncClient,
    Client,
    InternalServerError,
    NetworkError,
    RejectedError,
    TooManyRequestsError,
    UnauthorizedError,
)
from footfall.testing import Receiver
from tests.serving import until

Send = Callable[..., Any]

FAULTS = [
    (500, InternalServerError, "Internal Server Error"),
    (503, InternalServerError, "Service Unavailable"),
    (401, UnauthorizedError, "Unauthorized"),
    (429, TooManyRequestsError, "request denied by throttler"),
    (307, RejectedError, "Temporary Redirect"),
    (599, InternalServerError, "failed"),
    ("html", InternalServerError, "502 Bad Gateway, with [0-9]+ bytes of text/html"),
    ("reset", NetworkError, "cut before the answer"),
    ("lost_answer", NetworkError, "cut before the answer"),
    ("hang", NetworkError, "nothing complete within|no answer within"),
]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver(wait_s=10)
    with receiver.served():
        yield receiver


def send_blocking(receiver: Receiver, **members: Any) -> Any:
    with Client.from_env(receiver.environment, timeout_s=members.pop("timeout_s", 10.0)) as client:
        return client.insert_event(event_type="HOME", channel_type="SITE", **{"user_id": "u-1", **members})


def send_awaiting(receiver: Receiver, **members: Any) -> Any:
    async def send() -> Any:
        async with AsyncClient.from_env(receiver.environment, timeout_s=members.pop("timeout_s", 10.0)) as client:
            return await client.insert_event(event_type="HOME", channel_type="SITE", **{"user_id": "u-1", **members})

    return asyncio.run(send())


@pytest.fixture(params=[send_blocking, send_awaiting], ids=["Client", "AsyncClient"])
def send(request: pytest.FixtureRequest) -> Send:
    chosen: Send = request.param
    return chosen


@pytest.mark.parametrize(("fault", "error", "message"), FAULTS, ids=[str(fault) for fault, _, _ in FAULTS])
def test_a_client_meets_a_fault_as_its_error_and_gets_through_when_it_is_over(
    receiver: Receiver, send: Send, fault: Any, error: type[ApiError], message: str
) -> None:
    timeout_s = 0.2 if fault == "hang" else 10.0
    with receiver.failing(fault), pytest.raises(error, match=message) as caught:
        send(receiver, id="e-1", timestamp=1_700_000_000_000, timeout_s=timeout_s)
    assert caught.value.status == (502 if fault == "html" else fault if isinstance(fault, int) else 0)
    send(receiver, id="e-1", timestamp=1_700_000_000_000)
    receiver.events.assert_one("HOME", id="e-1")
    assert receiver.received == 2
    assert [arrival.outcome for arrival in receiver.arrivals] == (
        ["accepted", "repeated"] if fault == "lost_answer" else ["failed", "accepted"]
    )


def test_down_refuses_at_the_same_address_and_up_takes_in_again(receiver: Receiver, send: Send) -> None:
    url = receiver.url
    for _ in range(3):
        receiver.down()
        with pytest.raises(NetworkError, match="refused"):
            send(receiver)
        receiver.up()
        send(receiver)
    assert receiver.url == url
    assert len(receiver.events) == 3


def test_down_cuts_kept_connections_and_the_client_recovers_by_itself(receiver: Receiver) -> None:
    with Client.from_env(receiver.environment) as client:
        client.insert_event(event_type="HOME", channel_type="SITE", user_id="u-1")
        receiver.down()
        receiver.recover()
        client.insert_event(event_type="HOME", channel_type="SITE", user_id="u-1")
    assert len(receiver.events) == 2


def test_going_down_ends_those_who_hang(receiver: Receiver) -> None:
    receiver.fail("hang")
    errors: list[ApiError] = []

    def send() -> None:
        try:
            send_blocking(receiver, timeout_s=60.0)
        except ApiError as error:
            errors.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    assert until(lambda: receiver.received == 1, seconds=10)
    receiver.down()
    sender.join(10)
    assert not sender.is_alive()
    assert isinstance(errors[0], NetworkError)


def test_a_reset_on_a_kept_connection_is_one_that_the_client_repairs(receiver: Receiver) -> None:
    with Client.from_env(receiver.environment) as client:
        client.insert_event(event_type="HOME", channel_type="SITE", user_id="u-1")
        receiver.fail("reset", times=1)
        client.insert_event(event_type="HOME", channel_type="SITE", user_id="u-1")
    assert [arrival.outcome for arrival in receiver.arrivals] == ["accepted", "failed", "accepted"]


def test_many_threads_are_answered_over_kept_connections_and_every_event_is_there_once(receiver: Receiver) -> None:
    with Client.from_env(receiver.environment) as client:

        def send(thread: int) -> None:
            for number in range(50):
                client.insert_event(event_type="HOME", channel_type="SITE", user_id=f"u-{thread}", id=f"{thread}-{number}")

        threads = [threading.Thread(target=send, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert receiver.received == len(receiver.events) == 400
    for shopper in range(8):
        order = [event.id for event in receiver.events if event.user_id == f"u-{shopper}"]
        assert order == [f"{shopper}-{number}" for number in range(50)]


def test_a_shop_in_another_process_is_heard(receiver: Receiver) -> None:
    program = "from footfall import Client; Client.from_env().insert_event(event_type='HOME', channel_type='SITE', user_id='u-9')"
    environment = {**os.environ, **receiver.environment}
    with subprocess.Popen([sys.executable, "-c", program], env=environment) as shop:
        receiver.events.assert_one("HOME", user_id="u-9")
        assert shop.wait(30) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_down_refuses_although_a_forked_shop_holds_a_copy_of_the_listener(receiver: Receiver) -> None:
    program = (
        "import os, sys, warnings; warnings.simplefilter('ignore'); from footfall.testing import Receiver\n"
        "from footfall import Client, NetworkError\n"
        "receiver = Receiver()\n"
        "with receiver.served():\n"
        "    read, write = os.pipe()\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        os.close(write); os.read(read, 1); os._exit(0)\n"
        "    client = Client.from_env(receiver.environment, timeout_s=5)\n"
        "    receiver.down()\n"
        "    try: client.insert_event(event_type='HOME', channel_type='SITE', user_id='u')\n"
        "    except NetworkError as error: print(error)\n"
        "    receiver.up()\n"
        "    client.insert_event(event_type='HOME', channel_type='SITE', user_id='u')\n"
        "    os.close(write); os.waitpid(child, 0)\n"
        "print(len(receiver.events))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    refused, count = done.stdout.splitlines()
    assert "the connection was refused" in refused
    assert count == "1"


def test_a_sender_that_leaves_in_the_middle_disturbs_nobody(receiver: Receiver) -> None:
    port = int(receiver.url.rpartition(":")[2])
    path = "/rmp/event/v1/platforms/SHOP_TEST/userevents"
    with socket.create_connection(("127.0.0.1", port)) as cut:
        cut.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{{".encode())
    with socket.create_connection(("127.0.0.1", port)) as cut:
        cut.sendall(b"POST /rm")
    send_blocking(receiver)
    assert receiver.received == 1


def test_two_requests_on_one_connection_are_answered_in_turn(receiver: Receiver) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(receiver.url.rpartition(":")[2]), timeout=10)
    try:
        for _ in range(2):
            connection.request("POST", "/rmp/event/v1/platforms/SHOP_TEST/userevents", body=b"{}")
            answer = connection.getresponse()
            assert (answer.status, answer.will_close) == (401, False)
            answer.read()
    finally:
        connection.close()


def test_after_the_block_the_port_is_free_no_thread_is_left_and_it_can_be_served_again() -> None:
    receiver = Receiver()
    with receiver.served() as url:
        send_blocking(receiver)
        with pytest.raises(RuntimeError, match="served already"), receiver.served():
            pass
        send_blocking(receiver)
        receiver.fail("hang")
        with pytest.raises(NetworkError):
            send_blocking(receiver, timeout_s=0.1)
    assert not [thread for thread in threading.enumerate() if thread.name == "footfall-receiver"]
    with pytest.raises(NetworkError, match="refused"), Client(base_url=url, platform_id="SHOP_TEST", api_key="k") as client:
        client.insert_event(event_type="HOME", channel_type="SITE", user_id="u-1")
    receiver.recover()
    receiver.down()
    with receiver.served():
        with pytest.raises(NetworkError, match="refused"):
            send_blocking(receiver)
        receiver.up()
        send_blocking(receiver)
