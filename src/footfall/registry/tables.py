"""The tables of the registry. Times are Unix milliseconds.

    platforms ──┬── api_keys              meta             one row: the revision that servers watch
                ├── platform_limits       erasures_meta    one row: the revision that whoever erases watches
                ├── platform_retention    secrets          what must not change as long as there are erasures
                └── erasures

A registry of an older version gains the tables it lacks when it is opened; so a change of the schema is a new table, never a new
column of an old one.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sql

metadata: Final = sql.MetaData()

platforms: Final = sql.Table(
    "platforms",
    metadata,
    sql.Column("id", sql.String(80), primary_key=True),
    sql.Column("mode", sql.String(4), nullable=False),
    sql.Column("shop", sql.String(80), nullable=False),
    sql.Column("created_at", sql.BigInteger, nullable=False),
    sql.Column("disabled_at", sql.BigInteger),
)
keys: Final = sql.Table(
    "api_keys",
    metadata,
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
limits: Final = sql.Table(
    "platform_limits",
    metadata,
    sql.Column("platform", sql.String(80), sql.ForeignKey("platforms.id"), primary_key=True),
    sql.Column("scope", sql.String(10), primary_key=True),  # a field of `Limits`; no row: the server's default
    sql.Column("per_s", sql.Float),  # null, as `burst`: no limit
    sql.Column("burst", sql.BigInteger),
)
retention: Final = sql.Table(
    "platform_retention",
    metadata,
    sql.Column("platform", sql.String(80), sql.ForeignKey("platforms.id"), primary_key=True),
    sql.Column("lake_days", sql.Float),  # null, as no row: the settings decide
    sql.Column("log_days", sql.Float),
)
meta: Final = sql.Table(
    "meta",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),  # always 1: two makers of one registry cannot both insert it
    sql.Column("revision", sql.BigInteger, nullable=False),
)
erasures: Final = sql.Table(
    "erasures",
    metadata,
    sql.Column("id", sql.String(40), primary_key=True),
    sql.Column("platform", sql.String(80), sql.ForeignKey("platforms.id"), nullable=False),
    sql.Column("kind", sql.String(20), nullable=False),
    sql.Column("mac", sql.LargeBinary(32), nullable=False),  # never the identifier itself
    sql.Column("requested_at", sql.BigInteger, nullable=False),
    sql.Column("finished_at", sql.BigInteger),
    sql.Column("receipt", sql.Text),
    sql.UniqueConstraint("platform", "kind", "mac"),
)
erasures_meta: Final = sql.Table(
    "erasures_meta",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),  # as in `meta`
    sql.Column("revision", sql.BigInteger, nullable=False),
)
secrets: Final = sql.Table(
    "secrets",
    metadata,
    sql.Column("name", sql.String(20), primary_key=True),
    sql.Column("value", sql.LargeBinary(32), nullable=False),
)
