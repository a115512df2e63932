"""The bytes that a receiver in memory answers with: the shapes and words of a Footfall test platform, or of the original service.

The real server has these shapes too, in a package that a shop does not install; a test sends the same bodies to both and compares
every answer, so neither can drift from the other.
"""

from __future__ import annotations

import http
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from footfall import __version__
from footfall.client.answers import Report, ReportedIdentifier
from footfall.delivery.transport import Response
from footfall.errors import GRPC_CODES, InvalidEventError, Violation
from footfall.events.golive import cases_of
from footfall.events.intake import Intake
from footfall.events.quality import warnings

EVENTS_PATH: Final = "/rmp/event/v1/platforms/{platform}/userevents"
BATCH_PATH: Final = EVENTS_PATH + ":batch"
DOCUMENT_PATH: Final = "/openapi.json"

THROTTLED_MESSAGE: Final = "request denied by throttler, try again later"
"""In the documented wording (protocol notes, section 10)."""
VIOLATIONS_MAX: Final = 1_000
"""Violations listed in the answer to one batch, as the server bounds them."""

_JSON: Final = {"content-type": "application/json"}
_BAD_REQUEST_TYPE: Final = "type.googleapis.com/google.rpc.BadRequest"
_UNKNOWN_CODE: Final = 2
_encode: Final = msgspec.json.Encoder().encode


def accepted(report: Report | None) -> Response:
    """A 200: the report of a test platform, or the empty object of everybody else."""
    return Response(status=200, headers=_JSON, body=b"{}" if report is None else _encode({"test": report}))


def report_of(intake: Intake, *, now_ms: int) -> Report:
    """How a test platform understood an event."""
    event, identifier = intake
    kind = None if identifier is None else ReportedIdentifier(kind=identifier.kind)
    return Report(event=event, identifier=kind, warnings=warnings(event, now_ms=now_ms), cases=cases_of(event))


def refused(
    status: int, message: str, *, violations: Sequence[Violation] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """An answer other than 200, in the published shape."""
    return Response(status=status, headers={**_JSON, **(headers or {})}, body=_encode(_error(status, message, violations)))


def batch_answer(
    accepted_count: int, *, rejected: list[dict[str, Any]], reports: list[dict[str, Any]], wait_s: float
) -> Response:
    """A 200 to a batch, event by event. `wait_s` is how long the throttled ones should wait, 0 without any."""
    headers = {**_JSON, **(retry_after(wait_s) if wait_s else {})}
    return Response(
        status=200, headers=headers, body=_encode({"accepted": accepted_count, "rejected": rejected, "reports": reports})
    )


def rejection(index: int, error: InvalidEventError, *, listed_max: int) -> dict[str, Any]:
    """One event of a batch that breaks the rules; at most `listed_max` of its violations are listed."""
    return {"index": index, **_error(400, error.message, error.violations[:listed_max])}


def throttling(index: int) -> dict[str, Any]:
    """One event of a batch that came too fast."""
    return {"index": index, **_error(429, THROTTLED_MESSAGE, ())}


def retry_after(wait_s: float) -> dict[str, str]:
    """The header, in whole seconds, one at least."""
    return {"retry-after": str(max(1, math.ceil(wait_s)))}


def not_found_by_the_original() -> Response:
    """What the original's front answers to a path it does not have: plain text."""
    return Response(status=404, headers={"content-type": "text/plain; charset=utf-8"}, body=b"404 page not found\n")


def failed(status: int, *, retry_after_s: float | None) -> Response:
    """A failure that has nothing to do with the event, in the words of a gateway."""
    known = status in http.HTTPStatus._value2member_map_
    message = THROTTLED_MESSAGE if status == 429 else http.HTTPStatus(status).phrase if known else "failed"
    return refused(status, message, headers=retry_after(retry_after_s) if retry_after_s is not None else None)


def html(status: int) -> Response:
    """What a proxy on the way says for itself."""
    page = f"<!DOCTYPE html>\n<html><head><title>{status}</title></head><body><h1>{status}</h1><hr>proxy</body></html>\n"
    return Response(status=status, headers={"content-type": "text/html"}, body=page.encode())


def document() -> Response:
    """As much of the server's OpenAPI document as a sender looks at: that this is a Footfall, and that it takes batches."""
    paths = {path: {"post": {"responses": {"200": {"description": "Accepted."}}}} for path in (EVENTS_PATH, BATCH_PATH)}
    info = {"title": "Footfall: a receiver for tests", "version": __version__, "x-footfall": True}
    return Response(status=200, headers=_JSON, body=_encode({"openapi": "3.1.0", "info": info, "paths": paths}))


def _error(status: int, message: str, violations: Sequence[Violation]) -> dict[str, Any]:
    details = [{"@type": _BAD_REQUEST_TYPE, "field_violations": violations}] if violations else []
    return {"code": GRPC_CODES.get(status, _UNKNOWN_CODE), "message": message, "details": details}
