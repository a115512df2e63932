"""Where a request came from, when proxies stand in front of the shop: believed as far as trusted proxies vouch, no further.

    shopper ──▶ proxy ──▶ proxy ──▶ this process          header, as it arrives:  <anything the shopper sent>, shopper, proxy
                                    ▲ the peer            each proxy wrote the address on its left-hand side, at the end

Whatever stands left of what the outermost trusted proxy wrote may be an invention of the sender, so the header is read from the
right and never past an entry that is no address. The names of headers are told, not tried: a proxy that writes `X-Forwarded-For`
passes a `Forwarded` of the sender's own making on as it came.

Pure; knows no framework.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Trust = int | tuple[Network, ...]
"""How many proxies stand in front and write the header, or the networks that they are in. 0: none."""

PROXIES_MAX: Final = 16
"""More entries than this are not looked at: no shop has so many proxies, and a header may hold thousands."""
FORWARDED: Final = "forwarded"
"""The one header with a grammar of its own (RFC 7239); every other is a list of addresses."""

_ENTRY_CHARS_MAX: Final = 64
"""The longest address with brackets, zone and port is below this."""
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::[0-9]{1,5})?").fullmatch
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}").fullmatch
_PAIR = r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([!#$%&'*+.^_`|~0-9A-Za-z:\[\]-]+|"[^"\\]*")"""  # `:[]` bare: common
_pairs_in = re.compile(_PAIR).findall
_is_element = re.compile(rf"{_PAIR}(?:\s*;\s*{_PAIR})*").fullmatch


def client_address(peer: str, header: str, *, trust: Trust, name: str = "x-forwarded-for") -> str:
    """The shopper's address as text, `""` where nobody trusted knows it. Without trusted proxies that is the peer's.

    `header` is the whole header called `name`, in lower case; several lines of it are joined by commas. IPv4 addresses that
    travel inside IPv6 come out as IPv4; ports, brackets and zones are dropped.
    """
    if not trust or not header:
        return _text(address_of(peer))
    if isinstance(trust, int):
        return _behind(trust, peer, header, name)
    return _outside(trust, peer, header, name)


def address_of(entry: str) -> Address | None:
    """The address in `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1` or `[2001:db8::1]:443`; None for anything else."""
    text = entry.strip()
    if not text or len(text) > _ENTRY_CHARS_MAX:
        return None
    if found := _BRACKETED(text) or _WITH_PORT(text):
        text = found[1]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped  # a socket that takes both families shows IPv4 peers so
    return address


def networks_of(names: Iterable[str]) -> tuple[Network, ...]:
    """`("10.0.0.0/8", "2001:db8::7")` as networks; ValueError for what is none, and for networks with host bits set."""
    return tuple(ipaddress.ip_network(name) for name in names)


def _behind(count: int, peer: str, header: str, name: str) -> str:
    """The entry that the outermost of `count` proxies wrote. A header with fewer entries did not pass them all: the peer."""
    entries = _last_entries(header, name, limit=count)
    return _text(address_of(entries[-1])) if len(entries) == count else _text(address_of(peer))


def _outside(networks: tuple[Network, ...], peer: str, header: str, name: str) -> str:
    """The first address from this end that is in none of the networks; the outermost one where all are."""
    address = address_of(peer)
    for entry in _last_entries(header, name, limit=PROXIES_MAX):
        if address is None or not any(address in network for network in networks):
            break
        address = address_of(entry)
    return _text(address)


def _last_entries(header: str, name: str, *, limit: int) -> list[str]:
    """The last `limit` entries, the last one first. Commas inside quotes split too: no address holds one, and a quote that the
    sender left open must not swallow what a proxy wrote behind it."""
    entries = header.rsplit(",", limit)[-limit:][::-1]
    return [_node(entry) for entry in entries] if name == FORWARDED else entries


def _node(element: str) -> str:
    """The address in `for=192.0.2.1;proto=https`, `""` where the element is malformed or names nobody."""
    element = element.strip()
    nodes = [value for key, value in _pairs_in(element) if key.lower() == "for"] if _is_element(element) else []
    return nodes[0].strip('"') if len(nodes) == 1 else ""


def _text(address: Address | None) -> str:
    return str(address) if address is not None else ""
