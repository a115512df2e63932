"""What is wrong with a body that is no JSON: reason, place, likely cause and cure. Runs on the way to a 400 only.

The causes are those seen in the field: a Python dict printed instead of encoded, a form, a template with comments left in, two
events in one body, a file saved with a byte order mark, compressed bytes without their header.
"""

from __future__ import annotations

import re

from footfall.errors import InvalidEventError, Violation
from footfall.events.violations import refusal

_byte_position = re.compile(r"\(byte (\d+)\)").search
_lone_surrogate = re.compile(
    rb"(?<!\\)(?:\\\\)*(?:\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F])"
).search
_non_finite = re.compile(rb"-?(?:NaN|nan|Infinity|inf)").match
_other_literal = re.compile(rb"None|True|False|undefined").match
_form = re.compile(rb"\s*[\w.%\[\]+-]+=[^{}]*$", re.DOTALL).match
_COMPRESSED_MAGICS = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x9c")  # gzip, zstd, zlib


def diagnose(body: bytes, error: Exception) -> InvalidEventError:
    """The refusal for a body that the JSON decoder gave up on with `error`."""
    return _before_parsing(body) or _utf8_refusal(body) or _while_parsing(body, error)


def _before_parsing(body: bytes) -> InvalidEventError | None:
    """Bodies that say what they are with their first bytes."""
    if not body.strip():
        return _refused("empty_body", "the body is empty; send one event as a JSON object")
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return _refused(
            "byte_order_mark", "the body begins with a byte order mark; send plain UTF-8 without it (in Python: encoding='utf-8')"
        )
    if body.startswith(_COMPRESSED_MAGICS):
        return _refused("compressed_body", "the body looks compressed; send plain JSON")
    if _form(body):
        return _refused(
            "form_body",
            "the body looks like a form (name=value); send JSON (with curl: -H 'Content-Type: application/json' --data-binary)",
        )
    return None


def _utf8_refusal(body: bytes) -> InvalidEventError | None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return _refused(
            "invalid_utf8",
            "the body is not UTF-8 at this place; encode it as UTF-8 (it may be Latin-1 or Windows-1252)",
            where=_line_and_column(body, error.start),
        )
    return None


def _while_parsing(body: bytes, error: Exception) -> InvalidEventError:
    if isinstance(error, RecursionError):
        return _refused("nesting_too_deep", "objects and arrays are nested more than 32 levels deep")
    text = str(error)
    if "out of range" in text:
        return _refused("number_too_long", "an integer has thousands of digits; no member of an event needs more than 19")
    surrogate = _lone_surrogate(body) if "truncated" in text or "surrogate" in text or "escape" in text else None
    if surrogate:
        return _refused(
            "lone_surrogate",
            "a string holds half of a surrogate pair, probably an emoji cut in two; cut text by characters, not by UTF-16 units",
            where=_line_and_column(body, surrogate.start()),
        )
    position = _byte_position(text)
    if position is None:
        return _refused(
            "truncated_json",
            "the body ends in the middle of a value; compare Content-Length with what was sent",
            where=_line_and_column(body, len(body)),
        )
    at = int(position[1])
    if "trailing characters" in text:  # the only message that counts the byte after
        at -= 1
    reason, description = _syntax_problem(body, at, text)
    return _refused(reason, description, where=_line_and_column(body, at))


def _syntax_problem(body: bytes, at: int, text: str) -> tuple[str, str]:
    rest = body[at:]
    if "trailing characters" in text:
        return "trailing_text", "something follows the event; send one event a request"
    if "trailing comma" in text:
        return "trailing_comma", "there is a comma before a closing bracket; remove it, or build the body with a JSON library"
    if rest.startswith((b"//", b"/*", b"#")):
        return "comment_in_json", "JSON has no comments; remove everything from // to the end of the line"
    if _non_finite(rest) or (at and _non_finite(body[at - 1 :])):
        return "non_finite_literal", "NaN and Infinity are no JSON numbers; leave the member out where there is no amount"
    if _other_literal(rest):
        return "non_json_literal", "None, True, False and undefined are not JSON; write null, true, false (in Python: json.dumps)"
    if rest.startswith(b"'"):
        return "single_quotes", "JSON needs double quotes; a Python dict was probably printed: encode it with json.dumps"
    if "keys must be strings" in text:
        return "unquoted_name", "a member name is not in double quotes; build the body with a JSON library"
    return "malformed_json", "this is not JSON at this place; build the body with a JSON library instead of by hand"


def _refused(reason: str, description: str, *, where: str = "") -> InvalidEventError:
    detail = f"{where}: {description}" if where else description
    return refusal((Violation("", detail, reason),), where=where)


def _line_and_column(body: bytes, at: int) -> str:
    """`line 3:14`, both from 1, the column in bytes."""
    line = body.count(b"\n", 0, at) + 1
    column = at - body.rfind(b"\n", 0, at)
    return f"line {line}:{column}"
