"""The lake: accepted events as the Delta table `events`.

    import footfall.lake

    with footfall.lake.open("footfall-data") as lake:
        lake.duckdb().sql("SELECT event_type, count(*) FROM events GROUP BY ALL").show()

`open` and `Lake` are imported when they are first asked for: landing, settings and the command line import this package, too, and
shall not wait for what only readers need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from footfall.lake.reading import Lake
    from footfall.lake.reading import open_lake as open  # noqa: A004 - `footfall.lake.open` reads as what it does

__all__ = ["Lake", "open"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from footfall.lake import reading

    return reading.open_lake if name == "open" else reading.Lake
