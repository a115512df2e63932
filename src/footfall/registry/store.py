"""Platforms, API keys and limits, kept in a small SQL database: SQLite in the data directory, or any URL SQLAlchemy knows.

Every change bumps one revision number in the same transaction, so that a server can ask "anything new?" for the price of one
row. Changes come from people at a command line; nothing here is on the path of a request. The one door to SQLAlchemy.

Many processes use one registry at once. A transaction that will write takes the write lock with its first statement, so writers
queue up (for 5 s at most) instead of failing to upgrade a read lock. Tables are made under that lock, and only where a look has
shown that some are missing: the registry of an older version gains them, that of this version is opened without writing.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from footfall.clock import Clock, SystemClock
from footfall.errors import RegistryError, RegistryRefusedError
from footfall.registry.keys import digest, new_key
from footfall.registry.snapshot import (
    ApiKey,
    Limit,
    Limits,
    Platform,
    Rate,
    Scope,
    Snapshot,
)

PLATFORM_ID_PATTERN: Final = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
TEST_SUFFIX: Final = "_TEST"
FILE_NAME: Final = "registry.db"

_metadata = sql.MetaData()
_platforms = sql.Table(
    "platforms",
    _metadata,
    sql.Column("id", sql.String(80), primary_key=True),
    sql.Column("mode", sql.String(4), nullable=False),
    sql.Column("shop", sql.String(80), nullable=False),
    sql.Column("created_at", sql.BigInteger, nullable=False),
    sql.Column("disabled_at", sql.BigInteger),
)
_keys = sql.Table(
    "api_keys",
    _metadata,
    sql.Column("id", sql.String(20), primary_key=True),
    sql.Column("digest", sql.LargeBinary(32), nullable=False, unique=True),
    sql.Column("platform", sql.String(80), sql.ForeignKey("platforms.id"), nullable=False),
    sql.Column("scope", sql.String(10), nullable=False),
    sql.Column("name", sql.String(128), nullable=False),
    sql.Column("last4", sql.String(4), nullable=False),
    sql.Column("created_at", sql.BigInteger, nullable=False),
    sql.Column("expires_at", sql.BigInteger),
    sql.Column("revoked_at", sql.BigInteger),
    sql.Column("last_used_at", sql.BigInteger),
)
_limits = sql.Table(
    "platform_limits",
    _metadata,
    sql.Column("platform", sql.String(80), sql.ForeignKey("platforms.id"), primary_key=True),
    sql.Column("scope", sql.String(10), primary_key=True),  # a field of `Limits`; no row: the server's default
    sql.Column("per_s", sql.Float),  # null, as `burst`: no limit
    sql.Column("burst", sql.BigInteger),
)
_meta = sql.Table(
    "meta",
    _metadata,
    sql.Column("id", sql.Integer, primary_key=True),  # always 1: two makers of one registry cannot both insert it
    sql.Column("revision", sql.BigInteger, nullable=False),
)


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
            connection.execute(_platforms.insert(), [_row(platform) for platform in pair])
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
                connection.execute(_platforms.update().where(_platforms.c.id == platform_id).values(disabled_at=now_ms))
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
                connection.execute(_limits.delete().where(_limits.c.platform == platform_id, _limits.c.scope == scope))
                if limit != "default":
                    connection.execute(_limits.insert().values(platform=platform_id, scope=scope, **_limit_columns(limit)))
            return _limits_by_platform(connection, platform_id).get(platform_id, Limits())

    def limits(self, platform_id: str) -> Limits:
        with self._transaction() as connection:
            _require_platform(connection, platform_id)
            return _limits_by_platform(connection, platform_id).get(platform_id, Limits())

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
            connection.execute(_keys.insert().values(digest=digest(key), **_row(kept)))
        return key, kept

    def keys(self, platform_id: str | None = None) -> list[ApiKey]:
        query = sql.select(_keys).order_by(_keys.c.created_at, _keys.c.id)
        if platform_id is not None:
            query = query.where(_keys.c.platform == platform_id)
        with self._transaction() as connection:
            if platform_id is not None:
                _require_platform(connection, platform_id)
            return [_api_key(row) for row in connection.execute(query).mappings()]

    def revoke_key(self, key_id: str) -> ApiKey:
        """Ends a key; running servers refuse it within seconds. Again: the same."""
        with self._change() as connection:
            row = connection.execute(sql.select(_keys).where(_keys.c.id == key_id)).mappings().first()
            if row is None:
                raise RegistryRefusedError(f"no key has the id {key_id}; `footfall key list` shows them")
            if row["revoked_at"] is None:
                connection.execute(_keys.update().where(_keys.c.id == key_id).values(revoked_at=self._clock.now_ms()))
            row = connection.execute(sql.select(_keys).where(_keys.c.id == key_id)).mappings().one()
        return _api_key(row)

    def record_use(self, used_at: Mapping[str, int]) -> None:
        """Notes when keys were last used (key id → Unix milliseconds). Does not move the revision: no server needs to know.

        Several servers report the same keys in any order: the latest use stays."""
        if not used_at:
            return
        at = sql.bindparam("at", type_=sql.BigInteger)
        is_newer = sql.or_(_keys.c.last_used_at.is_(None), _keys.c.last_used_at < at)
        update = _keys.update().where(_keys.c.id == sql.bindparam("key_id"), is_newer).values(last_used_at=at)
        with self._transaction() as connection:
            # in one order, so that two reporters never wait for each other's rows
            connection.execute(update, [{"key_id": key_id, "at": used_at[key_id]} for key_id in sorted(used_at)])

    # -- for servers

    def revision(self) -> int:
        """Moves whenever a platform, a key or a limit changes."""
        with self._transaction() as connection:
            return _revision(connection)

    def snapshot(self) -> Snapshot:
        with self._transaction() as connection:
            # Read first: where the database lets a change slip in between two statements, the snapshot is newer than its
            # revision and is replaced at the next look. The other way round a revoked key would stay open.
            revision = _revision(connection)
            rows = connection.execute(sql.select(_keys)).mappings().all()
            return Snapshot(
                revision=revision,
                platforms=_platforms_by_id(connection),
                keys={row["digest"]: _api_key(row) for row in rows},
                limits=_limits_by_platform(connection),
            )

    def _ensure_tables(self) -> None:
        with self._transaction() as connection:
            there = set(sql.inspect(connection).get_table_names())
            if there.issuperset(_metadata.tables) and connection.execute(sql.select(_meta.c.revision)).first() is not None:
                return
        with self._transaction(begin="BEGIN IMMEDIATE") as connection:
            _metadata.create_all(connection)
            if connection.execute(sql.select(_meta.c.revision)).first() is None:
                connection.execute(_meta.insert().values(id=1, revision=1))

    @contextmanager
    def _transaction(self, *, begin: str = "BEGIN") -> Iterator[sql.Connection]:
        try:
            with self._engine.execution_options(sqlite_begin=begin).begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or type(error).__name__)  # without the statement and its parameters
            raise RegistryError(f"the registry cannot be used: {cause}") from None

    @contextmanager
    def _change(self) -> Iterator[sql.Connection]:
        with self._transaction() as connection:
            # first, so that two changers queue up at the write lock instead of failing to upgrade a read lock
            connection.execute(_meta.update().values(revision=_meta.c.revision + 1))
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
    connection.execute("PRAGMA synchronous = FULL")


def _begin_sqlite(connection: sql.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options()["sqlite_begin"])


def _row(value: Platform | ApiKey) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__}


def _api_key(row: sql.RowMapping) -> ApiKey:
    return ApiKey(**{name: row[name] for name in ApiKey.__struct_fields__})


def _platforms_by_id(connection: sql.Connection, *, shop: str | None = None) -> dict[str, Platform]:
    query = sql.select(_platforms)
    if shop is not None:
        query = query.where(_platforms.c.shop == shop)
    return {row["id"]: Platform(**row) for row in connection.execute(query).mappings()}


def _limits_by_platform(connection: sql.Connection, platform_id: str | None = None) -> dict[str, Limits]:
    query = sql.select(_limits).where(_limits.c.scope.in_(Limits.__struct_fields__))
    if platform_id is not None:
        query = query.where(_limits.c.platform == platform_id)
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


def _require_platform(connection: sql.Connection, platform_id: str) -> Platform:
    row = connection.execute(sql.select(_platforms).where(_platforms.c.id == platform_id)).mappings().first()
    if row is None:
        raise RegistryRefusedError(f"no platform has the id {platform_id}; `footfall platform list` shows them")
    return Platform(**row)


def _revision(connection: sql.Connection) -> int:
    return int(connection.execute(sql.select(_meta.c.revision)).scalar_one())
