"""How a connection comes about: address, proxy, TLS. Blocks, under one deadline.

    https, no proxy    dial host ── TLS
    https, by proxy    dial proxy ── CONNECT host:port ── TLS with the host, through the proxy
    http, by proxy     dial proxy; every request names its whole URL and carries the proxy's user and password

A proxy is used when the program says so, and is never taken from the environment, for whoever sets `HTTPS_PROXY` would decide
where shoppers' data goes. On the way to an https receiver a proxy sees a host name and a port. Its password is held by `Proxy`
alone and appears in no error and no `repr`.

What a first connection would import is imported with this module, before there is a thread: a child that was forked in the midst
of an import can never do it again, and the search for the codec of host names remembers a failure ("unknown encoding: idna").
"""

from __future__ import annotations

import base64
import codecs
import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from footfall.delivery.http1 import AnswerError, AnswerReader, Origin, Request, message, target_of
from footfall.errors import SettingsError

Dial = Callable[[str, int, float], socket.socket]
"""Host, port, seconds → a connected socket, or OSError."""

_Found = tuple[int, int, int, str, Any]
"""Family, kind, protocol, name and address; the shape of the last depends on the family."""

codecs.lookup("idna")
_READ_BYTES: Final = 4096
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")


class ProxyError(OSError):
    """The proxy did not let us through. The message says what to do, and holds neither user nor password."""


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP proxy on the way to the receiver."""

    host: str
    port: int
    authorization: str = ""
    """The value of `Proxy-Authorization`, empty where none is needed."""

    def __repr__(self) -> str:
        return f"Proxy({self.where!r})"  # the rest is a password

    @property
    def where(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("Proxy-Authorization", self.authorization),) if self.authorization else ()


def parsed_proxy(url: str) -> Proxy | None:
    """`http://[user:password@]host:port` as a proxy, nothing for the empty text. SettingsError for anything else."""
    if not url:
        return None
    refused = SettingsError("proxy: expected http://host:port or http://user:password@host:port, percent-encoded where need be")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # its message may repeat the password
        raise refused from None
    if parts.scheme == "https":
        raise SettingsError("proxy: TLS with the proxy itself is not spoken; write http://, what is sent through it is encrypted")
    if parts.scheme != "http" or not port or not host or _HOST.fullmatch(host) is None:
        raise refused
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise refused
    if parts.username is None:
        return Proxy(host=host, port=port)
    pair = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
    return Proxy(host=host, port=port, authorization="Basic " + base64.b64encode(pair).decode("ascii"))


def left_s(deadline_s: float) -> float:
    """Seconds until then, on the monotonic clock. TimeoutError when there are none."""
    seconds = deadline_s - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("the deadline has passed")
    return seconds


def dial(host: str, port: int, timeout_s: float, /) -> socket.socket:
    """Connects to the first address of `host` that answers; each gets an even share of the seconds that are left."""
    deadline_s = time.monotonic() + timeout_s
    return dial_any(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), deadline_s=deadline_s)


def dial_any(addresses: Sequence[_Found], *, deadline_s: float) -> socket.socket:
    """Connects to the first of these that answers, as `getaddrinfo` gives them."""
    failure: OSError = socket.gaierror("the name has no address")
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        try:  # around the socket too: a system without IPv6 still finds such addresses, and has none
            connection = socket.socket(family, kind, protocol)
        except OSError as error:
            failure = error
            continue
        try:
            connection.settimeout(left_s(deadline_s) / (len(addresses) - index))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError as error:
            connection.close()
            failure = error
    raise failure


class Dialer:
    """Opens connections to receivers: TLS by `tls` or verified against the system's authorities, `proxy` where one is said."""

    def __init__(self, *, tls: ssl.SSLContext | None, proxy: str, dial: Dial) -> None:
        self._tls = tls
        self._dial = dial
        self._proxy = parsed_proxy(proxy)

    def open(self, origin: Origin, *, deadline_s: float) -> socket.socket:
        """A connected socket, which still blocks. OSError or AnswerError when there is no way through."""
        proxy = self._proxy
        plain = self._dial(origin.host, origin.port, left_s(deadline_s)) if proxy is None else self._reach(proxy, deadline_s)
        if origin.scheme != "https":
            return plain
        try:
            if proxy is not None:
                _connect(plain, proxy, origin, deadline_s)
            plain.settimeout(left_s(deadline_s))
            return self._context().wrap_socket(plain, server_hostname=origin.host)
        except BaseException:
            plain.close()
            raise

    def message(self, request: Request) -> bytes:
        """The request in the form that whoever reads it expects. UnicodeError when a header is not ASCII."""
        if self._proxy is None or target_of(request.url).origin.scheme == "https":
            return message(request)
        return message(request, by_proxy=True, extra=self._proxy.headers)

    def _reach(self, proxy: Proxy, deadline_s: float) -> socket.socket:
        try:
            return self._dial(proxy.host, proxy.port, left_s(deadline_s))
        except TimeoutError:
            raise
        except OSError as error:
            raise ProxyError(f"the proxy {proxy.where} cannot be reached; is it running, and are host and port right?") from error

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:  # two threads may both make one; either will do
            self._tls = ssl.create_default_context()
        return self._tls


def _connect(plain: socket.socket, proxy: Proxy, origin: Origin, deadline_s: float) -> None:
    """Asks the proxy for a tunnel to `origin` (RFC 9110, 9.3.6)."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"Host: {host}:{origin.port}"]
    lines += [f"{name}: {value}" for name, value in proxy.headers]
    plain.settimeout(left_s(deadline_s))
    plain.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("ascii"))
    status = _tunnel_status(plain, proxy, deadline_s)
    if 200 <= status < 300:
        return
    if status == 407:
        cure = "it wants a user and a password, or other ones: proxy='http://user:password@host:port'"
    elif status in (401, 403):
        cure = f"it must be told to allow CONNECT to {host}:{origin.port}"
    else:
        cure = f"it answered CONNECT to {host}:{origin.port} with {status}"
    raise ProxyError(f"the proxy {proxy.where} does not let this through; {cure}")


def _tunnel_status(plain: socket.socket, proxy: Proxy, deadline_s: float) -> int:
    reader = AnswerReader(tunnel=True)
    answer = None
    try:
        while answer is None:
            plain.settimeout(left_s(deadline_s))
            answer = reader.feed(plain.recv(_READ_BYTES))
    except (ConnectionError, AnswerError) as error:
        raise ProxyError(f"the proxy {proxy.where} did not answer CONNECT as an HTTP proxy does") from error
    if answer.status < 300 and reader.has_more:
        raise ProxyError(f"the proxy {proxy.where} spoke before the receiver did")
    return answer.status
