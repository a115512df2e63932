"""Platforms, API keys, limits and erasures, in a small SQL database: SQLite in the data directory, or any URL SQLAlchemy knows.

Every change bumps one revision number in the same transaction, so that a server can ask "anything new?" for the price of one
row. Erasures have a revision of their own: servers that take events need no new snapshot for them. Changes come from people at a
command line; nothing here is on the path of an event. With `tables` and `erasures` the one door to SQLAlchemy.

Many processes use one registry at once. A transaction that will write takes the write lock with its first statement, so writers
queue up (for 5 s at most) instead of failing to upgrade a read lock. Tables are made under that lock, and only where a look has
shown that some are missing: the registry of an older version gains them, that of this version is opened without writing.

A call that changed something returns when the change is on stable storage, the end of SQLite's journal included.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from footfall.clock import Clock, SystemClock
from footfall.errors import RegistryError, RegistryRefusedError
from footfall.registry import erasures as erasing
from footfall.registry import tables
from footfall.registry.erasures import Erasure, ErasureKind
from footfall.registry.keys import digest, new_key
from footfall.registry.snapshot import (
    ApiKey,
    Days,
    Limit,
    Limits,
    Platform,
    Rate,
    Retention,
    Scope,
    Snapshot,
    days_trouble,
)

PLATFORM_ID_PATTERN: Final = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
TEST_SUFFIX: Final = "_TEST"
FILE_NAME: Final = "registry.db"


class Registry:
    """The registry's own handle. Thread-safe; every call may block for as long as the database takes (at most about 5 s), and
    raises `RegistryError` when it cannot be reached."""

    def __init__(self, url: str | sql.URL, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._engine = _sqlite(url) if sql.make_url(url).get_backend_name() == "sqlite" else sql.create_engine(url)
        try:
            self._ensure_tables()
        except RegistryError:
            # a database that cannot be locked before it has tables: another process made them, in one transaction, so now all
            # are there; and a registry that cannot be used fails again
            self._ensure_tables()

    @classmethod
    def in_directory(cls, data: Path, *, clock: Clock | None = None) -> Registry:
        """The SQLite registry of a data directory; made, readable by its owner only, when there is none."""
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = data / FILE_NAME
        path.touch(mode=0o600, exist_ok=True)
        return cls.at(path, clock=clock)

    @classmethod
    def at(cls, path: Path, *, clock: Clock | None = None) -> Registry:
        """The SQLite registry in an existing file; where there is none, none is made."""
        address = path.absolute().as_uri()  # a URI, since only one can say `mode`; escaped, since a path may hold `?` and `#`
        return cls(sql.URL.create("sqlite", database=address, query={"mode": "rw", "uri": "true"}), clock=clock)

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- platforms

    def add_platform(self, shop: str) -> tuple[Platform, Platform]:
        """Makes the pair `shop` (live) and `shop_TEST` (test), or returns it when it is there."""
        if not PLATFORM_ID_PATTERN.fullmatch(shop):
            raise RegistryRefusedError(
                "a platform id has capital letters, digits and underscores, begins with a letter, 63 at most: SHOP"
            )
        if shop.endswith(TEST_SUFFIX):
            raise RegistryRefusedError(f"{shop} would be a test id: add {shop.removesuffix(TEST_SUFFIX)}, which makes both")
        now_ms = self._clock.now_ms()
        pair = (
            Platform(id=shop, mode="live", shop=shop, created_at=now_ms),
            Platform(id=shop + TEST_SUFFIX, mode="test", shop=shop, created_at=now_ms),
        )
        with self._change() as connection:
            there = _platforms_by_id(connection, shop=shop)
            if there:
                return there[pair[0].id], there[pair[1].id]
            connection.execute(tables.platforms.insert(), [_row(platform) for platform in pair])
        return pair

    def platforms(self) -> list[Platform]:
        with self._transaction() as connection:
            return sorted(_platforms_by_id(connection).values(), key=lambda platform: (platform.shop, platform.mode))

    def platform(self, platform_id: str) -> Platform:
        with self._transaction() as connection:
            return _require_platform(connection, platform_id)

    def disable_platform(self, platform_id: str) -> Platform:
        """Refuses all events of this id from now on (403). What is stored stays. Again: the same."""
        with self._change() as connection:
            platform = _require_platform(connection, platform_id)
            if platform.disabled_at is None:
                now_ms = self._clock.now_ms()
                connection.execute(
                    tables.platforms.update().where(tables.platforms.c.id == platform_id).values(disabled_at=now_ms)
                )
        return self.platform(platform_id)

    # -- limits

    def set_limits(
        self, platform_id: str, *, identifier: Limit | None = None, platform: Limit | None = None, key: Limit | None = None
    ) -> Limits:
        """Changes the limits that are given, leaves those that are None, returns all three. Running servers follow when they
        next look at the revision."""
        given = {"identifier": identifier, "platform": platform, "key": key}
        changes = {scope: limit for scope, limit in given.items() if limit is not None}
        for limit in changes.values():
            _require_sane(limit)
        with self._change() as connection:
            _require_platform(connection, platform_id)
            for scope, limit in changes.items():
                connection.execute(
                    tables.limits.delete().where(tables.limits.c.platform == platform_id, tables.limits.c.scope == scope)
                )
                if limit != "default":
                    connection.execute(tables.limits.insert().values(platform=platform_id, scope=scope, **_limit_columns(limit)))
            return _limits_by_platform(connection, platform_id).get(platform_id, Limits())

    def limits(self, platform_id: str) -> Limits:
        with self._transaction() as connection:
            _require_platform(connection, platform_id)
            return _limits_by_platform(connection, platform_id).get(platform_id, Limits())

    # -- retention

    def set_retention(self, platform_id: str, *, lake_days: Days | None = None, log_days: Days | None = None) -> Retention:
        """Changes what is given, leaves what is None, returns both."""
        given = {"lake_days": lake_days, "log_days": log_days}
        changes = {name: None if days == "default" else days for name, days in given.items() if days is not None}
        for days in changes.values():
            _require_days(days)
        with self._change() as connection:
            if _require_platform(connection, platform_id).mode == "test" and changes.get("lake_days") is not None:
                raise RegistryRefusedError(f"{platform_id} is a test id: its events never reach the lake")
            kept = msgspec.structs.replace(_retention_of(connection, platform_id), **changes)
            connection.execute(tables.retention.delete().where(tables.retention.c.platform == platform_id))
            if kept != Retention():
                connection.execute(tables.retention.insert().values(platform=platform_id, **_row(kept)))
            return kept

    def retention(self, platform_id: str) -> Retention:
        with self._transaction() as connection:
            _require_platform(connection, platform_id)
            return _retention_of(connection, platform_id)

    def retentions(self) -> dict[str, Retention]:
        """Those of the platform ids that have their own."""
        with self._transaction() as connection:
            rows = connection.execute(sql.select(tables.retention)).mappings()
            return {row["platform"]: _retention(row) for row in rows}

    # -- erasures

    def pepper(self) -> bytes:
        """The secret that identifiers are hashed with: 32 bytes, made once, the same as long as the registry lives."""
        with self._transaction() as connection:
            pepper = erasing.pepper_of(connection)
        if pepper is not None:
            return pepper
        with self._erasure_change() as connection:
            return erasing.make_pepper(connection)

    def request_erasures(self, platform: str, kind: ErasureKind, identifiers: Sequence[str], *, now_ms: int) -> list[Erasure]:
        """Asks for people to be forgotten: all of them or, where it raises, none. An erasure of a live id's people covers its
        test id too, with an erasure of its own; one of a test id covers that alone. Asked again: pending again, from now.

        Identifiers exactly as they were sent. Raises `RegistryRefusedError` for an unknown platform id, an unknown kind, or what
        is no identifier."""
        erasing.require_askable(kind, identifiers)
        with self._erasure_change() as connection:
            named = _require_platform(connection, platform)
            covered = erasing.covered(named, _platforms_by_id(connection, shop=named.shop))
            return [
                erasure
                for each in covered
                for erasure in erasing.record(connection, platform=each, kind=kind, identifiers=identifiers, now_ms=now_ms)
            ]

    def erasures(self, *, pending: bool | None = None) -> list[Erasure]:
        """All erasures, the pending, or the finished ones, by the time they were first asked for."""
        with self._transaction() as connection:
            return erasing.listed(connection, pending=pending)

    def finish_erasure(self, erasure_id: str, *, requested_at: int, receipt: str, now_ms: int) -> bool:
        """Notes that it is done, with its receipt (JSON, without the identifier). False, and nothing is noted, where it was asked
        for again since `requested_at`, or is finished already."""
        with self._erasure_change() as connection:
            return erasing.finish(connection, erasure_id, requested_at=requested_at, receipt=receipt, now_ms=now_ms)

    def reopen_erasures(self) -> int:
        """Makes every finished erasure pending again, as after a restore; returns how many."""
        with self._erasure_change() as connection:
            return erasing.reopen(connection)

    def erasures_revision(self) -> int:
        """Moves whenever an erasure is asked for or finished."""
        with self._transaction() as connection:
            return _revision(connection, tables.erasures_meta)

    # -- keys

    def create_key(
        self, platform_id: str, *, scope: Scope = "ingest", name: str = "", expires_in_ms: int | None = None
    ) -> tuple[str, ApiKey]:
        """A new key for exactly this platform id: the key, shown this once, and what is kept of it."""
        if len(name) > 128:
            raise RegistryRefusedError("a key's name has at most 128 characters")
        now_ms = self._clock.now_ms()
        with self._change() as connection:
            platform = _require_platform(connection, platform_id)
            key = new_key(platform.mode)
            kept = ApiKey(
                id="key_" + secrets.token_hex(6),
                platform=platform_id,
                scope=scope,
                name=name,
                last4=key[-4:],
                created_at=now_ms,
                expires_at=None if expires_in_ms is None else now_ms + expires_in_ms,
            )
            connection.execute(tables.keys.insert().values(digest=digest(key), **_row(kept)))
        return key, kept

    def keys(self, platform_id: str | None = None) -> list[ApiKey]:
        query = sql.select(tables.keys).order_by(tables.keys.c.created_at, tables.keys.c.id)
        if platform_id is not None:
            query = query.where(tables.keys.c.platform == platform_id)
        with self._transaction() as connection:
            if platform_id is not None:
                _require_platform(connection, platform_id)
            return [_api_key(row) for row in connection.execute(query).mappings()]

    def revoke_key(self, key_id: str) -> ApiKey:
        """Ends a key; running servers refuse it within seconds. Again: the same."""
        with self._change() as connection:
            row = connection.execute(sql.select(tables.keys).where(tables.keys.c.id == key_id)).mappings().first()
            if row is None:
                raise RegistryRefusedError(f"no key has the id {key_id}; `footfall key list` shows them")
            if row["revoked_at"] is None:
                connection.execute(tables.keys.update().where(tables.keys.c.id == key_id).values(revoked_at=self._clock.now_ms()))
            row = connection.execute(sql.select(tables.keys).where(tables.keys.c.id == key_id)).mappings().one()
        return _api_key(row)

    def record_use(self, used_at: Mapping[str, int]) -> None:
        """Notes when keys were last used (key id → Unix milliseconds). Does not move the revision: no server needs to know.

        Several servers report the same keys in any order: the latest use stays."""
        if not used_at:
            return
        at = sql.bindparam("at", type_=sql.BigInteger)
        is_newer = sql.or_(tables.keys.c.last_used_at.is_(None), tables.keys.c.last_used_at < at)
        update = tables.keys.update().where(tables.keys.c.id == sql.bindparam("key_id"), is_newer).values(last_used_at=at)
        with self._transaction() as connection:
            # in one order, so that two reporters never wait for each other's rows
            connection.execute(update, [{"key_id": key_id, "at": used_at[key_id]} for key_id in sorted(used_at)])

    # -- for servers

    def revision(self) -> int:
        """Moves whenever a platform, a key, a limit or a retention changes."""
        with self._transaction() as connection:
            return _revision(connection, tables.meta)

    def snapshot(self) -> Snapshot:
        with self._transaction() as connection:
            # Read first: where the database lets a change slip in between two statements, the snapshot is newer than its
            # revision and is replaced at the next look. The other way round a revoked key would stay open.
            revision = _revision(connection, tables.meta)
            rows = connection.execute(sql.select(tables.keys)).mappings().all()
            return Snapshot(
                revision=revision,
                platforms=_platforms_by_id(connection),
                keys={row["digest"]: _api_key(row) for row in rows},
                limits=_limits_by_platform(connection),
            )

    def _ensure_tables(self) -> None:
        with self._transaction() as connection:
            there = set(sql.inspect(connection).get_table_names())
            if there.issuperset(tables.metadata.tables) and not _without_revision(connection):
                return
        with self._transaction(begin="BEGIN IMMEDIATE") as connection:
            tables.metadata.create_all(connection)
            for table in _without_revision(connection):
                connection.execute(table.insert().values(id=1, revision=1))

    @contextmanager
    def _transaction(self, *, begin: str = "BEGIN") -> Iterator[sql.Connection]:
        try:
            with self._engine.execution_options(sqlite_begin=begin).begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or type(error).__name__)  # without the statement and its parameters
            raise RegistryError(f"the registry cannot be used: {cause}") from None

    def _change(self) -> AbstractContextManager[sql.Connection]:
        return self._revised(tables.meta)

    def _erasure_change(self) -> AbstractContextManager[sql.Connection]:
        return self._revised(tables.erasures_meta)

    @contextmanager
    def _revised(self, table: sql.Table) -> Iterator[sql.Connection]:
        with self._transaction() as connection:
            # first, so that two changers queue up at the write lock instead of failing to upgrade a read lock
            connection.execute(table.update().values(revision=table.c.revision + 1))
            yield connection


def _sqlite(url: str | sql.URL) -> sql.Engine:
    """Opens the file for each transaction: a connection that is kept would go on with a file that was replaced for ever."""
    engine = sql.create_engine(url, poolclass=sql.NullPool)
    sql.event.listen(engine, "connect", _prepare_sqlite)
    sql.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # Python's own handling of transactions leaves reads and CREATE TABLE outside of them: ours begin in `_begin_sqlite`
    connection.isolation_level = None
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")
    # FULL leaves the journal's removal in memory: a power cut would take back what was promised
    connection.execute("PRAGMA synchronous = EXTRA")


def _begin_sqlite(connection: sql.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options()["sqlite_begin"])


def _row(value: Platform | ApiKey | Retention) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__}


def _api_key(row: sql.RowMapping) -> ApiKey:
    return ApiKey(**{name: row[name] for name in ApiKey.__struct_fields__})


def _platforms_by_id(connection: sql.Connection, *, shop: str | None = None) -> dict[str, Platform]:
    query = sql.select(tables.platforms)
    if shop is not None:
        query = query.where(tables.platforms.c.shop == shop)
    return {row["id"]: Platform(**row) for row in connection.execute(query).mappings()}


def _limits_by_platform(connection: sql.Connection, platform_id: str | None = None) -> dict[str, Limits]:
    query = sql.select(tables.limits).where(tables.limits.c.scope.in_(Limits.__struct_fields__))
    if platform_id is not None:
        query = query.where(tables.limits.c.platform == platform_id)
    found: dict[str, dict[str, Limit]] = {}
    for row in connection.execute(query).mappings():
        limit: Limit = "none" if row["per_s"] is None else Rate(row["per_s"], row["burst"])
        found.setdefault(row["platform"], {})[row["scope"]] = limit
    return {platform: Limits(**limits) for platform, limits in found.items()}


def _limit_columns(limit: Limit) -> dict[str, float | int | None]:
    return {"per_s": limit.per_s, "burst": limit.burst} if isinstance(limit, Rate) else {"per_s": None, "burst": None}


def _require_sane(limit: Limit) -> None:
    trouble = limit.trouble() if isinstance(limit, Rate) else None
    if trouble is not None:
        raise RegistryRefusedError(trouble)


def _retention_of(connection: sql.Connection, platform_id: str) -> Retention:
    query = sql.select(tables.retention).where(tables.retention.c.platform == platform_id)
    row = connection.execute(query).mappings().first()
    return Retention() if row is None else _retention(row)


def _retention(row: sql.RowMapping) -> Retention:
    return Retention(lake_days=row["lake_days"], log_days=row["log_days"])


def _require_days(days: float | None) -> None:
    trouble = None if days is None else days_trouble(days)
    if trouble is not None:
        raise RegistryRefusedError(trouble)


def _require_platform(connection: sql.Connection, platform_id: str) -> Platform:
    row = connection.execute(sql.select(tables.platforms).where(tables.platforms.c.id == platform_id)).mappings().first()
    if row is None:
        raise RegistryRefusedError(f"no platform has the id {platform_id}; `footfall platform list` shows them")
    return Platform(**row)


def _revision(connection: sql.Connection, table: sql.Table) -> int:
    return int(connection.execute(sql.select(table.c.revision)).scalar_one())


def _without_revision(connection: sql.Connection) -> list[sql.Table]:
    """Of the tables that hold one row with a revision, those that hold none yet."""
    return [
        table for table in (tables.meta, tables.erasures_meta) if connection.execute(sql.select(table.c.revision)).first() is None
    ]
