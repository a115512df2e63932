"""Which column of a table becomes which member of an event: by its name, or by a mapping.

A column is named as the member is, in either spelling, with dots and places where it lies deeper: `user_id`, `userId`,
`device.os`, `items[0].price.amount`. A mapping is a TOML file that says the same the other way round, member by member:

    event_type = "type"                              # the column `type`
    channel_type = { value = "SITE" }                # the same for every row
    "items[0].id" = "sku"
    [revenue]
    amount = "total"
    currency = { value = "USD" }

Without a mapping every column is a member, those that the API does not know included; with one, only what it names is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from footfall.lake.importing.sources import SourceError

Path: TypeAlias = "tuple[str | int, ...]"
"""`items[0].price.amount` is `("items", 0, "price", "amount")`."""

_PATH: Final = re.compile(r"[^.\[\]]+(?:\[[0-9]{1,3}\])?(?:\.[^.\[\]]+(?:\[[0-9]{1,3}\])?)*").fullmatch
_PART: Final = re.compile(r"[^.\[\]]+")
_INDEX_OF_PANDAS: Final = re.compile(r"__index_level_[0-9]+__").fullmatch
_NEEDED: Final = ({"event_type", "eventType"}, {"timestamp"}, {"channel_type", "channelType"})
"""Without these no row can be an event."""


class Column(NamedTuple):
    """The value of a row in the column of this name."""

    name: str


class Constant(NamedTuple):
    """The same value for every row."""

    value: str | int | float | bool


Choice: TypeAlias = "Column | Constant"
Tree: TypeAlias = "dict[str | int, Tree | Choice]"
"""An event as nested names and places, with what stands at its ends."""


def choices_of(columns: Sequence[str], mapping: str | None, *, name: str) -> dict[Path, Choice]:
    """Member → where its value comes from. Raises SourceError where that cannot be an event."""
    if mapping is not None:
        choices = _choices_of_mapping(mapping, columns, name=name)
    else:
        choices = {_path(column): Column(column) for column in columns if not _INDEX_OF_PANDAS(column)}
    present = {path[0] for path in choices}
    for spellings in _NEEDED:
        if not present & spellings:
            wanted = min(spellings, key=len) if "timestamp" in spellings else next(word for word in spellings if "_" in word)
            raise SourceError(
                f"{name} has no column for {wanted}; its columns are {_listed(columns)}: rename them as the members of an event,"
                " or say which is which with --mapping"
            )
    return choices


def tree_of(choices: Mapping[Path, Choice], *, name: str) -> Tree:
    """The same as a tree. Raises SourceError where one path leads through the end of another, or a member is list and object."""
    tree: Tree = {}
    for path, choice in choices.items():
        place = tree
        for part in path[:-1]:
            below = place.setdefault(part, {})
            if isinstance(below, (Column, Constant)) or not _fits(part, place):
                raise _clash(name, path)
            place = below
        if path[-1] in place or not _fits(path[-1], place):
            raise _clash(name, path)
        place[path[-1]] = choice
    return tree


def _fits(part: str | int, place: Tree) -> bool:
    """Whether all of them are names, or all are places."""
    return all(isinstance(part, int) == isinstance(other, int) for other in place)


def spelt(path: Path) -> str:
    """As a person writes it."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _path(text: str) -> Path:
    """A name that is no path stays one name."""
    if not _PATH(text):
        return (text,)
    parts: list[str | int] = []
    for piece in text.split("."):
        head, bracket, place = piece.partition("[")
        parts += [head, int(place[:-1])] if bracket else [head]
    return tuple(parts)


def _choices_of_mapping(text: str, columns: Sequence[str], *, name: str) -> dict[Path, Choice]:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SourceError(f"the mapping is no TOML: {error}") from None
    choices = dict(_ends(content, ()))
    missing = sorted({choice.name for choice in choices.values() if isinstance(choice, Column)} - set(columns))
    if missing:
        raise SourceError(f"{name} has no column {_listed(missing)}, which the mapping names; it has {_listed(columns)}")
    return choices


def _ends(content: Mapping[str, Any], before: Path) -> Iterable[tuple[Path, Choice]]:
    for key, value in content.items():
        path = before + _path(key)
        if isinstance(value, str):
            yield path, Column(value)
        elif isinstance(value, dict) and set(value) == {"value"} and isinstance(value["value"], (str, int, float, bool)):
            yield path, Constant(value["value"])
        elif isinstance(value, dict):
            yield from _ends(value, path)
        else:
            raise SourceError(
                f'the mapping says for {spelt(path)} neither a column ("{spelt(path)}") nor a constant ({{ value = "…" }})'
            )


def _clash(name: str, path: Path) -> SourceError:
    return SourceError(f"{name}: {spelt(path)} comes twice, whole and in parts: leave one of its columns out, or use --mapping")


def _listed(names: Iterable[str], *, names_max: int = 30) -> str:
    shown = list(names)
    more = f" and {len(shown) - names_max} more" if len(shown) > names_max else ""
    return ", ".join(shown[:names_max]) + more
