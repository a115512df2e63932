"""Whose events are to be erased, known without knowing who: what is kept of an identifier is a keyed hash.

    mac = HMAC-SHA256(pepper, platform + "\\0" + kind + "\\0" + identifier)        all text in UTF-8

Whoever reads the log or the table computes the same of each event and drops those that match and are older than the request,
whenever they arrive. That needs the identifier exactly as it was sent: nothing is trimmed or folded. The platform id is in the
hash, so the same person at two shops is two strangers. The pepper lies in the registry too: the hash keeps identifiers out of
files and backups of files, it does not protect them from somebody who holds the registry and guesses.

An erasure is pending until `finish` notes its receipt. Asked for again it is pending again, with a later `requested_at`, so that
whoever was at work on the earlier request cannot finish the later one.

The functions that take a connection run inside a transaction of `store.Registry`.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

import msgspec
import sqlalchemy as sql

from footfall.errors import RegistryRefusedError
from footfall.registry import tables
from footfall.registry.snapshot import Platform

ErasureKind = Literal["user_id", "persistent_id", "custom_id"]
KINDS: Final[tuple[str, ...]] = get_args(ErasureKind)

PEPPER_BYTES: Final = 32
_PEPPER: Final = "pepper"
_MACS_A_QUERY: Final = 500  # below the 999 parameters that older SQLite takes


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """One person to be forgotten on one platform id. Times are Unix milliseconds."""

    id: str
    """ids sort by the time of the first request"""
    platform: str
    kind: ErasureKind
    mac: bytes
    requested_at: int
    """events with an earlier timestamp go"""
    finished_at: int | None = None
    """None: pending"""
    receipt: str | None = None
    """JSON: what was erased, where and when"""


def erasure_mac(pepper: bytes, *, platform: str, kind: ErasureKind, identifier: str) -> bytes:
    """What is kept of an identifier: 32 bytes that only the holder of the pepper can compute, for this platform id and kind only.

    Neither a platform id nor a kind holds a NUL, so no two triples make the same text. Raises `UnicodeEncodeError` for a lone
    surrogate, which no stored event holds."""
    return hmac.digest(pepper, f"{platform}\0{kind}\0{identifier}".encode(), "sha256")


def require_askable(kind: str, identifiers: Sequence[str]) -> None:
    """Refuses what can be no identifier of a stored event; says which by its place, never by its value."""
    if kind not in KINDS:
        raise RegistryRefusedError(f"people are erased by {', '.join(KINDS)}")
    for index, identifier in enumerate(identifiers):
        if not identifier or not _is_encodable(identifier):
            raise RegistryRefusedError(f"identifier {index} is empty, or no text that could be sent in an event")


def covered(platform: Platform, pair: Mapping[str, Platform]) -> list[str]:
    """The platform ids whose events go: with the live id those of its test id too. Not the other way round, for test keys lie
    about in many places, and must not reach what is live."""
    return sorted(pair) if platform.mode == "live" else [platform.id]


def pepper_of(connection: sql.Connection) -> bytes | None:
    found = connection.execute(sql.select(tables.secrets.c.value).where(tables.secrets.c.name == _PEPPER)).scalar()
    return None if found is None else bytes(found)


def make_pepper(connection: sql.Connection) -> bytes:
    """The pepper, made now where there is none. The caller holds the write lock."""
    pepper = pepper_of(connection)
    if pepper is None:
        pepper = secrets.token_bytes(PEPPER_BYTES)
        connection.execute(tables.secrets.insert().values(name=_PEPPER, value=pepper))
    return pepper


def record(
    connection: sql.Connection, *, platform: str, kind: ErasureKind, identifiers: Sequence[str], now_ms: int
) -> list[Erasure]:
    """One pending erasure for each different identifier, in their order. The caller holds the write lock."""
    pepper = make_pepper(connection)
    macs = list(
        dict.fromkeys(erasure_mac(pepper, platform=platform, kind=kind, identifier=identifier) for identifier in identifiers)
    )
    known = _by_mac(connection, platform=platform, kind=kind, macs=macs)
    asked = [_asked(known.get(mac), platform=platform, kind=kind, mac=mac, now_ms=now_ms) for mac in macs]
    new = [msgspec.structs.asdict(erasure) for erasure in asked if erasure.mac not in known]
    again = [{"erasure_id": erasure.id, "at": erasure.requested_at} for erasure in asked if erasure.mac in known]
    if new:
        connection.execute(tables.erasures.insert(), new)
    if again:
        update = tables.erasures.update().where(tables.erasures.c.id == sql.bindparam("erasure_id"))
        connection.execute(
            update.values(requested_at=sql.bindparam("at", type_=sql.BigInteger), finished_at=None, receipt=None), again
        )
    return asked


def listed(connection: sql.Connection, *, pending: bool | None) -> list[Erasure]:
    query = sql.select(tables.erasures).order_by(tables.erasures.c.id)
    if pending is not None:
        column = tables.erasures.c.finished_at
        query = query.where(column.is_(None) if pending else column.is_not(None))
    return [_erasure(row) for row in connection.execute(query).mappings()]


def finish(connection: sql.Connection, erasure_id: str, *, requested_at: int, receipt: str, now_ms: int) -> bool:
    """Whether it was pending for that very request, and is not any more."""
    table = tables.erasures
    update = table.update().where(table.c.id == erasure_id, table.c.requested_at == requested_at, table.c.finished_at.is_(None))
    return connection.execute(update.values(finished_at=now_ms, receipt=receipt)).rowcount == 1


def reopen(connection: sql.Connection) -> int:
    """All finished ones are pending again, for the same moment; returns how many."""
    table = tables.erasures
    update = table.update().where(table.c.finished_at.is_not(None))
    return connection.execute(update.values(finished_at=None, receipt=None)).rowcount


def _by_mac(connection: sql.Connection, *, platform: str, kind: str, macs: Sequence[bytes]) -> dict[bytes, Erasure]:
    table = tables.erasures
    found: dict[bytes, Erasure] = {}
    for some in _in_parts(macs):
        query = sql.select(table).where(table.c.platform == platform, table.c.kind == kind, table.c.mac.in_(some))
        found |= {erasure.mac: erasure for erasure in map(_erasure, connection.execute(query).mappings())}
    return found


def _in_parts(macs: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [macs[start : start + _MACS_A_QUERY] for start in range(0, len(macs), _MACS_A_QUERY)]


def _asked(known: Erasure | None, *, platform: str, kind: ErasureKind, mac: bytes, now_ms: int) -> Erasure:
    if known is None:
        return Erasure(id=_new_id(now_ms), platform=platform, kind=kind, mac=mac, requested_at=now_ms)
    # later than before even within one millisecond, or where a clock was set back: `finish` compares it
    requested_at = max(now_ms, known.requested_at + 1)
    return msgspec.structs.replace(known, requested_at=requested_at, finished_at=None, receipt=None)


def _new_id(now_ms: int) -> str:
    return f"erasure_{now_ms:012x}{secrets.token_hex(5)}"  # 48 bits of milliseconds, as in a UUID of version 7


def _erasure(row: Mapping[str, Any] | sql.RowMapping) -> Erasure:
    return Erasure(**{**{name: row[name] for name in Erasure.__struct_fields__}, "mac": bytes(row["mac"])})


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
