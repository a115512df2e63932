"""The columns of the table `events`: one list that the lander, the readers, the exports and docs/events-table.md all follow.

Evolution: columns are only ever added, at the end, nullable, with `since` one above the version before; none is renamed, retyped
or dropped. A data file says in its name which version wrote it (`1-…parquet`); to readers the columns it lacks are null.

Types are written as `string`, `long`, `timestamp`, `date`, `decimal(38,9)`, a dict for a struct, a list of one for an array;
`duckdb_type` and `delta_type` turn them into what the engines call them. Amounts are exact: text in the log, DECIMAL(38,9) here.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec

VERSION: Final = 1
"""Of the newest column."""

Type: TypeAlias = "str | dict[str, Any] | list[Any]"

MONEY: Final[Type] = {"currency": "string", "amount": "decimal(38,9)"}
_DEVICE: Final[Type] = dict.fromkeys(
    ("os", "os_version", "model", "ua", "language", "ip", "persistent_id", "unique_device_id", "advertising_id"), "string"
)
_ITEM: Final[Type] = {
    "id": "string", "item_group_id": "string", "price": MONEY, "quantity": "long", "seller_id": "string", "price_seller": MONEY,
}  # fmt: skip


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column. `is_member` says that it is the event's member of the same name; others are the lander's own work."""

    name: str
    type: Type
    description: str
    is_member: bool = True
    since: int = 1


COLUMNS: Final = (
    Column(name="platform", type="string", description="the live platform id; partition column", is_member=False),
    Column(
        name="event_date", type="date", is_member=False,
        description="the UTC day of `timestamp`; for events that were older than 800 days when they landed the first day of"
        " its month, older than 5 years of its year; partition column",
    ),
    Column(name="timestamp", type="timestamp", description="when it happened, as the sender says; UTC, to the millisecond"),
    Column(name="id", type="string", description="the sender's id of the event"),
    Column(name="event_type", type="string", description="one of the eight types, such as `PURCHASE`"),
    Column(name="channel_type", type="string", description="`APP`, `SITE`, `DESKTOP_SITE` or `MOBILE_SITE`"),
    Column(
        name="identifier", type="string", is_member=False,
        description="the identifier the event counts under: the first there is of user_id, device.persistent_id,"
        " device.unique_device_id, device.advertising_id, custom_id, session_id; null for ID_LESS",
    ),
    Column(name="identifier_kind", type="string", description="which of those it is, such as `user_id`", is_member=False),
    Column(name="user_id", type="string", description="the signed-in shopper; personal data"),
    Column(name="custom_id", type="string", description="the sender's own identifier; personal data"),
    Column(name="session_id", type="string", description="deprecated by the API, still sent; personal data"),
    Column(name="device", type=_DEVICE, description="what the shopper holds; `ip` and the ids in it are personal data"),
    Column(name="items", type=[_ITEM], description="the products, each with its price of one unit and its quantity"),
    Column(name="revenue", type=MONEY, description="what a purchase brought"),
    Column(name="shipping_charge", type=MONEY, description="what its shipping cost"),
    Column(name="search_query", type="string", description="what was searched for"),
    Column(name="page_id", type="string", description="the page"),
    Column(name="referrer_page_id", type="string", description="the page before"),
    Column(name="domain", type="string", description="the site"),
    Column(name="decision_track_id", type="string", description="the decision of the ad server this event follows"),
    Column(name="personalization_mode", type="string", description="`STANDARD` (or null), `METRIC_ONLY` or `ID_LESS`"),
    Column(name="extra", type="string", description="members the API does not know, as JSON text, keyed by their path"),
    Column(name="source", type="string", description="how it came: `api`, `batch`, `segment` or `import`", is_member=False),
    Column(name="received_at", type="timestamp", description="when it was accepted, by the server's clock", is_member=False),
    Column(name="landed_at", type="timestamp", description="when it was written to this table", is_member=False),
    Column(name="writer", type="string", description="with `sequence` its position in the log, for ever", is_member=False),
    Column(name="sequence", type="long", description="see `writer`", is_member=False),
)  # fmt: skip

PARTITION_COLUMNS: Final = ("platform", "event_date")
NAMES: Final = tuple(column.name for column in COLUMNS)
STORED: Final = tuple(column for column in COLUMNS if column.name not in PARTITION_COLUMNS)
"""What stands in a data file: a Delta table keeps partition columns in its log."""

_DUCKDB: Final = {"string": "VARCHAR", "long": "BIGINT", "timestamp": "TIMESTAMP WITH TIME ZONE", "date": "DATE"}


def duckdb_type(kind: Type) -> str:
    """As SQL of DuckDB spells it."""
    if isinstance(kind, dict):
        return f"STRUCT({', '.join(f'{quoted(name)} {duckdb_type(inner)}' for name, inner in kind.items())})"
    if isinstance(kind, list):
        return f"{duckdb_type(kind[0])}[]"
    return _DUCKDB.get(kind, kind.upper())


def delta_type(kind: Type) -> Any:
    """As the JSON schema of Delta spells it."""
    if isinstance(kind, dict):
        return {"type": "struct", "fields": [_delta_field(name, inner) for name, inner in kind.items()]}
    if isinstance(kind, list):
        return {"type": "array", "elementType": delta_type(kind[0]), "containsNull": True}
    return kind


def delta_schema() -> Any:
    """The table's schema as Delta's JSON."""
    return {"type": "struct", "fields": [_delta_field(column.name, column.type) for column in COLUMNS]}


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever it is."""
    return '"' + name.replace('"', '""') + '"'


def _delta_field(name: str, kind: Type) -> Any:
    return {"name": name, "type": delta_type(kind), "nullable": True, "metadata": {}}
