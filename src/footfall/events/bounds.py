"""How deep, long and wide a body's JSON may be (design 5.11), so that no reader downstream meets a value it cannot hold.

Looking at every value costs more than decoding it, so three counts over the raw bytes first prove most bodies harmless: a level
needs a bracket, a member needs five bytes and a comma, and no string is longer than its body.
"""

from __future__ import annotations

from typing import Final

from footfall.events.violations import Violations

DEPTH_MAX: Final = 32
STRING_BYTES_MAX: Final = 64 * 1024
MEMBERS_MAX: Final = 256
PATH_CHARS_MAX: Final = 128
"""Of a path in a violation, before its last part: ten thousand values at the end of a long path would fill memory."""


def is_within_bounds(body: bytes) -> bool:
    """True where no bound can be broken; False means only that somebody has to look."""
    return (
        len(body) <= STRING_BYTES_MAX
        and (len(body) < MEMBERS_MAX * 5 or body.count(b",") < MEMBERS_MAX)
        and body.count(b"{") + body.count(b"[") <= DEPTH_MAX
    )  # fmt: skip


def check_bounds(tree: object, violations: Violations) -> None:
    """Adds a violation for every value of a decoded body that is too deep, too long or too wide. Does not recurse."""
    pending: list[tuple[object, str, int]] = [(tree, "", 1)]
    while pending:
        value, path, depth = pending.pop()
        if type(value) is str:
            _check_string(value, path, violations=violations)
        elif type(value) is dict or type(value) is list:
            if depth > DEPTH_MAX:
                violations.add(
                    path, "nesting_too_deep", description=f"more than {DEPTH_MAX} levels of objects and arrays; flatten it"
                )
            else:
                pending.extend(_children(value, path, depth=depth + 1, violations=violations))


def _children(
    value: dict[str, object] | list[object], path: str, *, depth: int, violations: Violations
) -> list[tuple[object, str, int]]:
    """What to look at next, last first, so that problems come out in the order of the body."""
    if isinstance(value, list):
        return [(child, _joined(path, f"[{index}]"), depth) for index, child in enumerate(value)][::-1]
    if len(value) > MEMBERS_MAX:
        description = f"an object of {len(value)} members, where {MEMBERS_MAX} are allowed; send fewer properties"
        violations.add(path, "too_many_members", description=description)
    for name in value:
        _check_string(name, path, violations=violations)
    return [(child, _joined(path, name), depth) for name, child in value.items()][::-1]


def _check_string(text: str, path: str, *, violations: Violations) -> None:
    # A character takes at most four bytes, so short strings need no encoding to be measured.
    if len(text) * 4 > STRING_BYTES_MAX and len(text.encode()) > STRING_BYTES_MAX:
        violations.add(path, "string_too_long", description=f"a string over {STRING_BYTES_MAX // 1024} KiB; cut it")


def _joined(path: str, name: str) -> str:
    if len(path) + len(name) > PATH_CHARS_MAX:
        return path  # a path is for people; the nearest ancestor will do
    return f"{path}.{name}" if path and not name.startswith("[") else path + name
