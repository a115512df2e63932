"""Whose address an event carries: the shopper's as far as trusted proxies vouch for it, and never one of the shopper's making."""

from __future__ import annotations

import ipaddress
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.client.web.addresses import PROXIES_MAX, client_address, networks_of

PRIVATE = networks_of(["10.0.0.0/8", "fd00::/8"])
NAMES = ("x-forwarded-for", "forwarded")
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)


def behind(count: int, header: str, *, peer: str = "10.0.0.1", name: str = "x-forwarded-for") -> str:
    return client_address(peer, header, trust=count, name=name)


def outside(header: str, *, peer: str = "10.0.0.1", name: str = "x-forwarded-for") -> str:
    return client_address(peer, header, trust=PRIVATE, name=name)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("", ""),
        ("unix:", ""),
        ("testclient", ""),
    ],
)
def test_without_proxies_the_peer_counts_whatever_headers_say(peer: str, address: str) -> None:
    assert client_address(peer, "6.6.6.6", trust=0) == address
    assert client_address(peer, "6.6.6.6", trust=()) == address


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("192.0.2.1:65535", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[fe80::1%25eth0]:443", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("unknown", ""),
        ("_hidden", ""),
        ("", ""),
        ("192.0.2", ""),
        ("192.0.2.1.1", ""),
        ("192.0.2.256", ""),
        ("192.0.2.1:", ""),
        ("[192.0.2.1", ""),
        ("2001:db8::1::2", ""),
        ("0x7f.1", ""),
        ("192.0.2.1 6.6.6.6", ""),
        ("shop.example", ""),
        ("1" * 500, ""),
        ("é", ""),
        ("٣.٣.٣.٣", ""),
    ],
)
def test_an_entry_is_an_address_or_unknown(entry: str, address: str) -> None:
    assert behind(1, f"6.6.6.6,{entry}") == address
    assert outside(f"6.6.6.6,{entry}") == address


@pytest.mark.parametrize(
    ("count", "header", "address"),
    [
        (1, "192.0.2.1", "192.0.2.1"),
        (1, "6.6.6.6, 192.0.2.1", "192.0.2.1"),
        (2, "6.6.6.6, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        (2, "192.0.2.1, 10.0.0.2", "192.0.2.1"),
        (2, "6.6.6.6", "10.0.0.1"),  # did not pass both proxies: the peer
        (1, "", "10.0.0.1"),
        (3, "6.6.6.6,6.6.6.6", "10.0.0.1"),
    ],
)
def test_counted_proxies_vouch_for_one_entry_each(count: int, header: str, address: str) -> None:
    assert behind(count, header) == address


@pytest.mark.parametrize(
    ("peer", "header", "address"),
    [
        ("10.0.0.1", "6.6.6.6, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "6.6.6.6, 192.0.2.1, 10.0.0.3, 10.0.0.2", "192.0.2.1"),
        ("fd00::1", "2001:db8::1, fd00::2", "2001:db8::1"),
        ("::ffff:10.0.0.1", "192.0.2.1", "192.0.2.1"),  # the proxy seen through a socket for both families
        ("192.0.2.9", "6.6.6.6", "192.0.2.9"),  # not a proxy of ours: its header is its own
        ("10.0.0.1", "6.6.6.6, unknown, 10.0.0.2", ""),  # never past what is no address
        ("10.0.0.1", "10.1.2.3, 10.0.0.2", "10.1.2.3"),  # a shopper in the house
        ("10.0.0.1", "", "10.0.0.1"),
        ("", "6.6.6.6", ""),  # behind a Unix socket nobody is in a network; say a number
    ],
)
def test_trusted_networks_vouch_as_far_as_they_reach(peer: str, header: str, address: str) -> None:
    assert outside(header, peer=peer) == address


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("for=192.0.2.1", "192.0.2.1"),
        ("for=6.6.6.6, for=192.0.2.1;proto=https;by=10.0.0.1", "192.0.2.1"),
        ('proto=https; FOR="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        ('For="192.0.2.1:443"', "192.0.2.1"),
        ("for=[2001:db8::1]", "2001:db8::1"),  # wrong, and common
        ("for=unknown", ""),
        ("for=_gazonk", ""),
        ("proto=https", ""),
        ('for="6.6.6.6, for=192.0.2.1', "192.0.2.1"),  # a quote that the sender left open swallows nothing
        ('for=192.0.2.1;host="a", for=6.6.6.6;x="', ""),  # no element of the grammar: nothing is picked out of it
        ('for="192.0.2.1', ""),
        ("for=", ""),
        ("for=6.6.6.6;for=192.0.2.1", ""),
        ("192.0.2.1", ""),
        ("xfor=6.6.6.6;for=192.0.2.1", "192.0.2.1"),
        ('x=";for=6.6.6.6;";for=192.0.2.1', "192.0.2.1"),
    ],
)
def test_forwarded_is_read_by_its_grammar(header: str, address: str) -> None:
    assert behind(1, header, name="forwarded") == address


@given(spoofed=st.text(max_size=80), shopper=ADDRESSES, count=st.integers(1, 4), networks=st.booleans())
def test_nothing_that_a_shopper_sends_changes_the_address(spoofed: str, shopper: str, count: int, networks: bool) -> None:
    """Each proxy in front writes who spoke to it; what was in the header before is the shopper's own."""
    proxies = [f"10.0.0.{number}" for number in range(count)]
    header = ", ".join([spoofed, shopper, *proxies[:-1]])
    told = client_address(proxies[-1], header, trust=PRIVATE if networks else count)
    address = ipaddress.ip_address(shopper)
    plain = getattr(address, "ipv4_mapped", None) or address
    if networks and any(plain in network for network in PRIVATE):
        return  # a shopper in a trusted network may say what it likes
    assert told == str(plain).partition("%")[0]


@given(spoofed=st.text(max_size=80), shopper=ADDRESSES)
def test_nothing_that_a_shopper_sends_changes_the_address_in_forwarded(spoofed: str, shopper: str) -> None:
    node = f'"[{shopper}]"' if ":" in shopper else shopper
    plain = getattr(ipaddress.ip_address(shopper), "ipv4_mapped", None) or shopper
    assert behind(1, f"{spoofed}, for={node};proto=https", name="forwarded") == str(plain)


@given(st.text(max_size=200), st.text(max_size=50), st.integers(0, PROXIES_MAX), st.sampled_from(NAMES))
def test_whatever_comes_the_answer_is_an_address_or_nothing(header: str, peer: str, count: int, name: str) -> None:
    for trust in (count, PRIVATE):
        told = client_address(peer, header, trust=trust, name=name)
        assert told == "" or ipaddress.ip_address(told)


@pytest.mark.parametrize("header", ["10.0.0.2," * 20_000, 'for="' * 20_000, "a=b;" * 20_000, "for=1;" + 'x="y";' * 20_000])
def test_a_header_of_a_hundred_kilobytes_is_read_in_no_time(header: str) -> None:
    began = time.process_time()
    for name in NAMES:
        assert outside(header, name=name) in ("", "10.0.0.2")
    assert time.process_time() - began < 0.5
