"""A receiver, asked step by step the way a request goes: name, connection, TLS, who answers, clock, key.

The key is tried without an event: a body that cannot be one (`{}`) meets the checks of the door in their order, so a wrong key is
401 or 403, a wrong platform 404, and a 400 means that only an event was missing. Nothing is ever stored by that.
"""

from __future__ import annotations

import datetime
import math
import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from footfall.cli.courier import Courier
from footfall.cli.destination import in_flags
from footfall.cli.findings import Finding, Unreachable, fail, ok, warn
from footfall.cli.output import counted
from footfall.cli.receiver import ask
from footfall.client.answers import answer_of
from footfall.client.ids import new_id
from footfall.client.settings import Settings
from footfall.clock import Clock
from footfall.delivery.document import read_document
from footfall.delivery.transport import Response
from footfall.errors import ApiError, NetworkError
from footfall.events.intake import AHEAD_MS_MAX

_TIMEOUT_S: Final = 10.0
_CONNECT_S: Final = 5.0
_ADDRESSES_MAX: Final = 8
_DAYS_LEFT_FEW: Final = 14
_SKEW_S: Final = 30.0
"""A `Date` header has whole seconds, and the answer took its time: less than this is no news."""
_NO_EVENT: Final = b"{}"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask and how much. `tries_key`: platform and key were given. `sends`: one real event too."""

    settings: Settings
    tries_key: bool
    sends: bool

    def __repr__(self) -> str:
        return f"Question({self.settings!r})"


def consult(question: Question, *, clock: Clock) -> Iterator[Finding]:
    """Every finding, in the order of the way. Raises `Unreachable` where the way ends."""
    settings = question.settings
    parts = urlsplit(settings.base_url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    addresses = _addresses(host, port)
    yield ok("address", f"{host} is {', '.join(addresses)}" if addresses != [host] else f"{host}, with no name to look up")
    yield _connection(host, port, addresses)
    if parts.scheme == "https":
        yield _tls(host, port, clock)
    else:
        yield ok("TLS", "none: plain http, within this machine")
    asked_ms = clock.now_ms()
    answer = ask(settings.base_url, timeout_s=_TIMEOUT_S)
    if answer is None:
        cure = "look at what listens there: it took the connection and did not answer HTTP"
        raise Unreachable(fail("service", "no answer to GET /openapi.json", cure=cure))
    yield _service(answer)
    yield _skew(answer, now_ms=(asked_ms + clock.now_ms()) // 2)
    if not question.tries_key:
        yield warn("key", "not tried", cure="give --platform and --key (or FOOTFALL_KEY) to try it without sending an event")
        return
    courier = Courier(settings, timeout_s=_TIMEOUT_S)
    verdict = _key(courier, settings)
    yield verdict
    if question.sends and verdict.state != "fail":
        yield from _sent(courier, settings, clock)


# -- the way there


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        cure = "look at --url for a typing mistake, and at the DNS of this machine"
        raise Unreachable(fail("address", f"{host} was not found", cure=cure)) from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))[:_ADDRESSES_MAX]


def _connection(host: str, port: int, addresses: list[str]) -> Finding:
    times_ms: list[str] = []
    deaf: list[str] = []
    reason = ""
    for address in addresses:
        start_s = time.perf_counter()
        try:
            socket.create_connection((address, port), timeout=_CONNECT_S).close()
            times_ms.append(f"{(time.perf_counter() - start_s) * 1000:.1f} ms")
        except OSError as error:
            deaf.append(address)
            reason = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or type(error).__name__
    if not times_ms:
        cure = "is the receiver running, is the port right, does a firewall let this machine through?"
        raise Unreachable(fail("connection", f"{host}:{port}: {reason}", cure=cure))
    if deaf:
        cure = "senders lose time with these first; mend them, or take them out of the DNS"
        return warn("connection", f"port {port} opens, but not at {', '.join(deaf)} ({reason})", cure=cure)
    return ok("connection", f"port {port} opens in {', '.join(times_ms)}")


def _tls(host: str, port: int, clock: Clock) -> Finding:
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection((host, port), timeout=_CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            certificate: Any = secured.getpeercert() or {}
            spoken = secured.version() or "TLS"
    except ssl.SSLCertVerificationError as error:
        cure = "senders refuse it too: renew it, or add its authority to the system's (SSL_CERT_FILE)"
        raise Unreachable(fail("TLS", f"its certificate is not trusted here: {error.verify_message}", cure=cure)) from None
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        raise Unreachable(fail("TLS", f"no TLS: {reason}", cure="is this port meant for https?")) from None
    days = math.floor((ssl.cert_time_to_seconds(certificate["notAfter"]) - clock.now_ms() / 1000) / 86_400)
    names = ", ".join(value for _, value in certificate.get("subjectAltName", ()))[:200]
    told = f"{spoken}, certificate for {names}, {counted(days, 'day')} left"
    return warn("TLS", told, cure="renew it now") if days < _DAYS_LEFT_FEW else ok("TLS", told)


# -- who answers


def _service(answer: Response) -> Finding:
    document = read_document(answer)
    if document.is_footfall:
        batches = ", which takes batches" if document.takes_batches else ""
        return ok("service", f"Footfall {document.version}{batches}")
    if answer.status == 200:
        return warn(
            "service",
            "answers GET /openapi.json with something else than a Footfall",
            cure="is --url the receiver, not a website?",
        )
    return ok("service", f"no Footfall (GET /openapi.json: {answer.status}), as the original service has none")


def _skew(answer: Response, *, now_ms: int) -> Finding:
    try:
        there_ms = parsedate_to_datetime(answer.headers.get("date", "")).replace(tzinfo=datetime.UTC).timestamp() * 1000
    except (ValueError, TypeError, OverflowError):
        return warn("clock", "the answer has no Date to compare with", cure="see that NTP runs here and there")
    ahead_s = (now_ms - there_ms - 500) / 1000  # whole seconds, cut off: half a second late on average
    if ahead_s > AHEAD_MS_MAX / 1000:
        cure = 'set this clock: events stamped here are refused with 400 "invalid timestamp"'
        return fail("clock", f"this machine is {ahead_s:,.0f} s ahead of the receiver", cure=cure)
    if abs(ahead_s) > _SKEW_S:
        side = "ahead of" if ahead_s > 0 else "behind"
        return warn("clock", f"this machine is {abs(ahead_s):,.0f} s {side} the receiver", cure="let NTP keep both clocks")
    return ok("clock", "agrees with the receiver's")


# -- the key


def _key(courier: Courier, settings: Settings) -> Finding:
    try:
        courier.post(_NO_EVENT)
    except NetworkError as error:
        cure = "GET is answered and POST is not: look at proxies on the way"
        raise Unreachable(fail("key", in_flags(error.message), cure=cure)) from None
    except ApiError as error:
        return _verdict(error, settings.platform_id)
    return warn(
        "key",
        "an empty object was accepted, so this tells nothing about key or platform",
        cure="is --url a User Event API? One refuses an object without event_type",
    )


def _verdict(error: ApiError, platform: str) -> Finding:
    """What the answer to a body that is no event says of the key. The receiver's own words come along."""
    said = in_flags(error.message)
    if error.status == 400:
        return ok("key", f"opens {platform}: the door asked for an event next (400), nothing was sent or stored")
    if error.status == 429:
        return warn("key", f"429, {said}", cure="the key was accepted, but it or the platform sends too much; try later")
    if error.status >= 500:
        raise Unreachable(fail("key", f"{error.status}, {said}", cure="the receiver fails; its log says why. Try later"))
    return fail("key", f"{error.status}, {said}", cure=_CURES.get(error.status, "look at --url, and at proxies on the way"))


_CURES: Final = {
    401: "no key arrived though one was sent: a proxy on the way drops the X-API-Key header",
    403: "test and live ids have keys of their own, and keys expire: use the key that was made for exactly this platform id",
    404: "correct --platform (capitals count), or the host in --url",
    405: "POST is not taken there: --url ends before /rmp/event; a redirect or a proxy may have turned it into a GET",
    411: "a proxy on the way takes the Content-Length off",
    413: "a proxy on the way takes no bodies",
    415: "a proxy on the way changes the Content-Type",
}


# -- one real event


def _sent(courier: Courier, settings: Settings, clock: Clock) -> Iterator[Finding]:
    check = "event"
    if not settings.platform_id.endswith("_TEST"):
        yield warn(check, f"{settings.platform_id} looks like a live id: this HOME event counts there", cure="prefer the test id")
    now_ms = clock.now_ms()
    event_id = new_id(now_ms)
    event = {
        "id": event_id, "event_type": "HOME", "channel_type": "SITE", "timestamp": str(now_ms),
        "device": {"persistent_id": f"footfall-doctor-{event_id}"}, "page_id": "FOOTFALL_DOCTOR",
    }  # fmt: skip
    try:
        answer = answer_of(courier.post(msgspec.json.encode(event)), secrets=(), now_ms=now_ms)
    except NetworkError as error:
        raise Unreachable(fail(check, error.message, cure="it may have arrived, or not")) from None
    except ApiError as error:
        yield fail(
            check, f"{error.status}, {error.message}", cure="the door takes the key, and not this event; its message says why"
        )
        return
    report = ", understood by a test platform" if answer.report is not None else ""
    yield ok(check, f"one HOME event accepted ({answer.status}{report}), id {event_id}")
