"""The receiver answers what a real Footfall answers: the same bytes go to both, and the answers are compared byte by byte."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from footfall.testing import Receiver
from tests.serving import Footfall, Reply, now_ms, raw_exchange, request

GOLDEN = Path(__file__).parents[2] / "golden"
GOLDEN_NOW_MS = 1_790_000_000_000
SINGLE = "/rmp/event/v1/platforms/SHOP_TEST/userevents"
BATCH = SINGLE + ":batch"
FUTURE_MS = 630_000
"""Events of the future lie ten minutes and a half further ahead than in the corpus: both answers are then given long before."""
COMPARED_HEADERS = ("content-type", "allow", "www-authenticate", "retry-after", "accept-encoding")

_moment = re.compile(rb"(?<!\d)17(?:89|90)\d{9}(?!\d)")


class Sent(NamedTuple):
    name: str
    body: bytes


def corpus() -> list[Sent]:
    """Every golden body, moved to this day."""
    moved_ms = now_ms() - GOLDEN_NOW_MS
    sent = []
    for mistake in lines("mistakes"):
        body = base64.b64decode(mistake["body_base64"]) if "body_base64" in mistake else mistake["body"].encode()
        is_ahead = any(violation["reason"] == "timestamp_in_future" for violation in mistake["violations"])
        sent.append(Sent(mistake["name"], moved(body, moved_ms + (FUTURE_MS if is_ahead else 0))))
    for name in ("clean_events", "warnings"):
        sent += [Sent(line["fact"], moved(json.dumps(line["event"]).encode(), moved_ms)) for line in lines(name)]
    for path in sorted((GOLDEN / "senders").glob("*.json")):
        body = json.loads(path.read_text("utf-8"))["body"]
        sent.append(Sent(path.stem, body.encode() if isinstance(body, str) else json.dumps(body).encode()))
    return sent


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GOLDEN / f"{name}.jsonl").read_text("utf-8").split("\n") if line]


def moved(body: bytes, by_ms: int) -> bytes:
    return _moment.sub(lambda found: str(int(found[0]) + by_ms).encode(), body)


class Pair(NamedTuple):
    """A real server and a receiver with the same platform id and key."""

    server: Footfall
    receiver: Receiver

    @property
    def ports(self) -> tuple[int, int]:
        return self.server.port, int(self.receiver.url.rpartition(":")[2])

    def ask(
        self, path: str, body: bytes | None, *, method: str = "POST", headers: Mapping[str, str] | None = None
    ) -> list[Reply]:
        named = {"X-API-Key": self.receiver.api_key, **(headers or {})}
        named = {name: value for name, value in named.items() if value}
        return [request(port, method, path, body=body, headers=named) for port in self.ports]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    never_throttled = {"FOOTFALL_THROTTLE__IDENTIFIER_PER_S": "0"}
    with Footfall(tmp_path_factory.mktemp("footfall") / "data", settings=never_throttled) as server:
        receiver = Receiver(platform_id="SHOP_TEST", api_key=server.keys["SHOP_TEST"], wait_s=0)
        with receiver.served():
            yield Pair(server, receiver)


def agree(replies: list[Reply]) -> Reply:
    (theirs, ours) = replies
    assert (ours.status, ours.body) == (theirs.status, theirs.body)
    assert {name: ours.headers.get(name) for name in COMPARED_HEADERS} == {
        name: theirs.headers.get(name) for name in COMPARED_HEADERS
    }
    return ours


def test_every_golden_event_gets_the_same_answer_alone(pair: Pair) -> None:
    statuses = []
    for sent in corpus():
        try:
            statuses.append(agree(pair.ask(SINGLE, sent.body)).status)
        except AssertionError as error:
            raise AssertionError(f"{sent.name}: {error}") from None
    assert statuses.count(200) > 50
    assert statuses.count(400) > 60


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "application/json"])
def test_all_golden_events_get_the_same_answer_in_one_batch(pair: Pair, content_type: str) -> None:
    if content_type == "application/json":
        body = b"[" + b",".join(sent.body for sent in corpus() if is_json(sent.body)) + b"]"
    else:
        body = b"\n".join(sent.body.replace(b"\n", b" ") for sent in corpus())
    answer = agree(pair.ask(BATCH, body, headers={"Content-Type": content_type})).json
    assert answer["accepted"] > 50
    assert len(answer["rejected"]) > 30


def is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


@pytest.mark.parametrize(
    "body",
    [b"", b"[", b"[]", b"{}", b"7", b'"x"', b'{"events":3}', b'{"event_type":"HOME"}', b"[] []", b"\xff[]", b"[1,null]",
     b"[" + b"1," * 10_000 + b"1]", b"[" + b"{}," * 2_000 + b"{}]", b'[{"a":"' + b"x" * 300_000 + b'"}]'],
    ids=range(14),
)  # fmt: skip
def test_batches_that_are_none_get_the_same_answer(pair: Pair, body: bytes) -> None:
    agree(pair.ask(BATCH, body))


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/", {}),
        ("POST", "/rmp/event/v1/platforms//userevents", {}),
        ("POST", "/rmp/event/v1/platforms/A%2FB/userevents", {}),
        ("POST", SINGLE + "/", {}),
        ("GET", SINGLE, {}),
        ("PUT", BATCH, {}),
        ("POST", "/openapi.json", {}),
        ("POST", SINGLE, {"X-API-Key": ""}),
        ("POST", SINGLE, {"X-API-Key": "other"}),
        ("POST", SINGLE, {"X-API-Key": "footfall_test_mistyped"}),
        ("POST", SINGLE.replace("SHOP", "NONE"), {}),
        ("POST", SINGLE.replace("SHOP", "none%20such%C3%A4" + "x" * 90), {}),
        ("POST", SINGLE, {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}),
        ("POST", SINGLE, {"Content-Type": "text/html"}),
        ("POST", SINGLE, {"Content-Encoding": "br"}),
        ("POST", SINGLE, {"Content-Encoding": "identity"}),
    ],
)
def test_heads_get_the_same_answer(pair: Pair, method: str, path: str, headers: dict[str, str]) -> None:
    agree(pair.ask(path, b"{}", method=method, headers=headers))


def test_sizes_and_compressed_bodies_get_the_same_answer(pair: Pair) -> None:
    agree(pair.ask(SINGLE, b" " * 65_536))
    agree(pair.ask(SINGLE, b" " * 65_537))
    agree(pair.ask(BATCH, b" " * (8 * 1024 * 1024 + 1)))
    event = next(sent.body for sent in corpus() if sent.name.startswith("home page"))
    assert agree(pair.ask(SINGLE, gzip.compress(event), headers={"Content-Encoding": "gzip"})).status == 200
    for broken in (gzip.compress(event)[:-4], b"{}"):
        theirs, ours = pair.ask(SINGLE, broken, headers={"Content-Encoding": "gzip"})
        assert (ours.status, ours.message) == (theirs.status, theirs.message) == (400, "the body cannot be decompressed")


@pytest.mark.parametrize(
    "head",
    ["POST {path} HTTP/1.1\r\nHost: a\r\n\r\n", "POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     "POST {path} HTTP/1.1\r\nContent-Length: 2\r\n\r\n{{}}", "HEAD {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
     "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n"],
    ids=["no length", "chunked", "no host", "head", "huge"],
)  # fmt: skip
def test_framing_gets_the_same_status(pair: Pair, head: str) -> None:
    answers = [raw_exchange(port, head.format(path=SINGLE).encode()) for port in pair.ports]
    statuses = [answer.split(b" ", 2)[1] for answer in answers]
    assert statuses[0] == statuses[1]
    assert int(statuses[0]) >= 400


def test_both_documents_tell_a_sender_the_same(pair: Pair) -> None:
    for reply in pair.ask("/openapi.json", None, method="GET", headers={"X-API-Key": ""}):
        assert reply.json["info"]["x-footfall"] is True
        assert {"/rmp/event/v1/platforms/{platform}/userevents", "/rmp/event/v1/platforms/{platform}/userevents:batch"} <= set(
            reply.json["paths"]
        )
