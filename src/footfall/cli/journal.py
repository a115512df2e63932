"""What the processes of a server write to standard error: one line a message, for people or for machines.

Whatever is logged, by us or by a library, leaves here within bounds: control characters are escaped, so that nobody who can get
a text into a message can forge a line or steer a terminal; a message ends after 4 KiB; API keys are masked; an exception is told
by its type and the places it went through, never by its own words, which may quote an event.

    {"time": "2026-11-23T12:00:00.123Z", "level": "WARNING", "logger": "footfall.server", "part": "w0", "message": "…"}
    2026-11-23 13:00:00,123 WARNING w0 footfall.server: …

Fields given with `extra=` stand beside these. With an exception there are `exception` (its type, and those of its causes) and
`places`.
"""

from __future__ import annotations

import errno
import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from footfall.cli.output import say
from footfall.registry.keys import KEY_PATTERN

Format = Literal["auto", "text", "json"]

MESSAGE_BYTES_MAX: Final = 4096
_PLACES_MAX: Final = 30
_CAUSES_MAX: Final = 10
_EXTRAS_MAX: Final = 20
_MASK: Final = "footfall_…_(masked)"
_CUT: Final = "…"
_OWN_FIELDS: Final = frozenset({"time", "level", "logger", "part", "message", "exception", "places"})
_RECORD_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
# C0, DEL, C1 (0x9b alone starts a terminal sequence), line and paragraph separators, marks that turn the direction of writing,
# and lone surrogates, which no encoding takes
_BEYOND_ASCII: Final = r"\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_UNPRINTABLE: Final = re.compile(rf"[\x00-\x1f{_BEYOND_ASCII}]")
_LEFT_BY_JSON: Final = re.compile(rf"[{_BEYOND_ASCII}]")


def is_for_people(form: Format, stream: TextIO | None = None) -> bool:
    """Whether that format is text, `auto` decided by the stream."""
    return form == "text" or (form == "auto" and (stream or sys.stderr).isatty())


def configure(form: Format, level: str, *, part: str, stream: TextIO | None = None) -> None:
    """Sends every log message of this process to `stream` (standard error) in the given format, in place of what was set up
    before; `auto` is text on a terminal, else JSON. Exceptions that nobody caught go the same way. `part` names the process."""
    output = stream or sys.stderr
    as_text = is_for_people(form, output)
    handler = logging.StreamHandler(output)
    handler.setFormatter(TextLines(part=part) if as_text else JsonLines(part=part))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.raiseExceptions = False  # a line that cannot be written would be printed by Python, with its values
    sys.excepthook = lambda kind, error, trace: _tell_uncaught(error)
    threading.excepthook = lambda uncaught: _tell_uncaught(uncaught.exc_value)


def tell(form: Format, markup: str) -> None:
    """A word to the operator: as it is on a terminal, as a line of the journal where that is for machines."""
    if is_for_people(form):
        say(markup)
    else:
        from rich.text import Text

        logging.getLogger("footfall.supervisor").info("%s", Text.from_markup(markup).plain)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, *, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": bounded(record.name),
            "part": self._part,
            "message": bounded(_message(record)),
            **_extras(record),
        }
        error = _exception(record)
        if error is not None:
            line |= {"exception": _types(error), "places": _places(error)}
        return _LEFT_BY_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(line, ensure_ascii=False))


class TextLines(logging.Formatter):
    """One line a message; the places of an exception follow, indented, in lines of their own."""

    def __init__(self, *, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _extras(record).items())
        lines = [f"{self._part} {record.name}: {bounded(_message(record))}{fields}"]
        error = _exception(record)
        if error is not None:
            lines += [f"  {' caused by '.join(_types(error))}", *(f"  {place}" for place in _places(error))]
        head = f"{self.formatTime(record)} {record.levelname} "
        return head + "\n".join(_UNPRINTABLE.sub(_escaped, line) for line in lines)


def bounded(text: str) -> str:
    """The text without keys, cut to what a line may carry."""
    masked = KEY_PATTERN.sub(_MASK, text)
    encoded = masked.encode("utf-8", "surrogatepass")
    if len(encoded) <= MESSAGE_BYTES_MAX:
        return masked
    return encoded[: MESSAGE_BYTES_MAX - len(_CUT.encode())].decode("utf-8", "ignore") + _CUT


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception as error:  # noqa: BLE001  (logging itself would print the values)
        return f"{record.msg} (the values for this message do not fit: {type(error).__name__})"
    # asyncio shows the arguments of callbacks and the words of exceptions behind these
    return re.split(r"[(<\n]", text, maxsplit=1)[0].rstrip() if record.name == "asyncio" else text


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    given = [(name, value) for name, value in vars(record).items() if name not in _RECORD_FIELDS and name not in _OWN_FIELDS]
    return {bounded(name): _plain(value) for name, value in given[:_EXTRAS_MAX]}


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    return round(value, 6) if isinstance(value, float) and abs(value) < 1e300 else bounded(str(value))


def _exception(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it came from, as Python would tell it."""
    cause: BaseException | None = error
    for _ in range(_CAUSES_MAX):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _types(error: BaseException) -> list[str]:
    return [f"{type(one).__module__}.{type(one).__qualname__}".removeprefix("builtins.") + _fact(one) for one in _chain(error)]


def _fact(error: BaseException) -> str:
    """What may be told of an exception beside its type, because no event can have put it there."""
    if isinstance(error, ImportError) and error.name:
        return f" ({error.name})"
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return f" ({errno.errorcode[error.errno]})"
    return ""


def _places(error: BaseException) -> list[str]:
    """Where it was raised and passed through, the raising line last; without source lines and values."""
    frames = traceback.extract_tb(error.__traceback__, limit=-_PLACES_MAX)
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]


def _tell_uncaught(error: BaseException | None) -> None:
    if error is not None and not isinstance(error, KeyboardInterrupt):
        logging.getLogger("footfall").critical("an exception that nobody caught", exc_info=error)
