"""Addresses to listen on: a port held for workers that share it, and the URL people are told."""

from __future__ import annotations

import socket

from footfall.errors import SettingsError


def url_of(scheme: str, host: str, port: int) -> str:
    """The URL of a listener; an IPv6 address stands in brackets there."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def hold_port(host: str, port: int) -> tuple[int, socket.socket]:
    """Takes a port (0: a free one) for as long as the returned socket lives, without listening on it.

    Workers bind beside it with SO_REUSEPORT, nobody else can: it is bound plainly first, and the options that let others in are
    set on the bound socket, so there is no moment at which two servers could share the port. Raises `SettingsError`.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        held = socket.socket(family, kind)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(address)
        # with it still set, another plain bind would be let in while nobody listens
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        held.close()
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return int(held.getsockname()[1]), held
