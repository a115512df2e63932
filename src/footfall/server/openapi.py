"""`GET /openapi.json`: an OpenAPI 3.1 document of exactly what this server serves, made from the code that serves it.

`info.x-footfall` is how our own clients know that a receiver speaks the additions of Footfall. Names, enums and limits come from
`events.schema` and the settings; a test sends what the document allows and forbids through the real door.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import msgspec

from footfall.events import schema
from footfall.events.batch import NDJSON_TYPES
from footfall.server.answers import BATCH_PATH, ERASURE_PATH, EVENTS_PATH, OPENAPI_PATH, SEGMENT_PATH
from footfall.server.management import IDENTIFIERS_MAX, INPUT_VALIDATION
from footfall.server.settings import LimitSettings

_ID_MAX = schema.IDENTIFIER_CHARS_MAX
_NULL = {"type": "null"}


def document(limits: LimitSettings) -> bytes:
    """The document as JSON bytes, made once at start."""
    return msgspec.json.format(msgspec.json.encode(_document(limits)), indent=2)


def _document(limits: LimitSettings) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Footfall: User Event API",
            "version": version("footfall"),
            "description": "Takes in what shoppers do on a marketplace. 200 means the event is on stable storage. "
            "A body may be JSON of at most "
            f"{limits.body_bytes_max} bytes; members may be spelt in snake_case or lowerCamelCase; unknown members are kept.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "x-footfall": True,
        },
        "security": [{"ApiKey": []}],
        "paths": {
            EVENTS_PATH: {"post": _post_user_event()},
            BATCH_PATH: {"post": _post_user_events(limits)},
            SEGMENT_PATH: {"post": _post_segment_event()},
            ERASURE_PATH: {"post": _post_erasure()},
            OPENAPI_PATH: {
                "get": {
                    "operationId": "getOpenApi",
                    "summary": "This document",
                    "security": [],
                    "responses": {"200": {"description": "The document.", "content": _json({"type": "object"})}},
                }
            },
        },
        "components": {
            "securitySchemes": {"ApiKey": {"type": "apiKey", "name": "X-API-Key", "in": "header"}},
            "schemas": _schemas(),
        },
    }


_REFUSED = {
    "400": "The event breaks a rule; `details` list every field. Mend it: sent again unchanged it is refused again.",
    "401": "No API key came.",
    "403": "The key is unknown, expired, revoked, without the scope, or made for another platform id.",
    "404": "No such platform id, or no such path.",
    "408": "The body did not arrive in time.",
    "411": "No Content-Length, or a Transfer-Encoding.",
    "413": "The body is too large, or becomes so by inflation.",
    "415": "A form body, or an unknown Content-Encoding.",
    "429": "This identifier, platform id or key sends too fast: send again after `Retry-After` seconds.",
    "500": "The server's fault.",
    "503": "Not known to be stored: send it again with the same `id` and `timestamp`, after `Retry-After` seconds.",
}
_PLATFORM = {
    "name": "platform",
    "in": "path",
    "required": True,
    "description": "The platform id: the live one stores, the test one explains.",
    "schema": {"type": "string"},
}
_ENCODING = {
    "name": "Content-Encoding",
    "in": "header",
    "description": "How the body is compressed.",
    "schema": {"type": "string", "enum": ["identity", "gzip", "zstd"]},
}


_ERASURE_REFUSED = {
    **{status: text for status, text in _REFUSED.items() if status not in ("400", "429", "503")},
    "400": "The request cannot be taken as it is; `details` say why, and never repeat an identifier.",
    "503": "Not known to be recorded: send it again after `Retry-After` seconds.",
}


def _post_user_event() -> dict[str, Any]:
    return {
        "operationId": "postUserEvent",
        "summary": "Send one event",
        "parameters": [_PLATFORM, _ENCODING],
        "requestBody": {"required": True, "content": _json(_ref("Event"))},
        "responses": _responses(
            "Accepted and durable. An empty object from a live platform, a report from a test one.",
            {"anyOf": [_ref("Accepted"), _ref("TestReport")]},
        ),
    }


def _post_segment_event() -> dict[str, Any]:
    header = {"name": "x-platform-id", "in": "header", "required": True, "description": "The platform id.", "schema": _string()}
    return {
        "operationId": "postSegmentEvent",
        "summary": "Send one event as Segment's destination does: the platform id in a header, times also in ISO 8601",
        "parameters": [header, _ENCODING],
        "requestBody": {"required": True, "content": _json(_ref("SegmentEvent"))},
        "responses": _responses("As for one event.", {"anyOf": [_ref("Accepted"), _ref("TestReport")]}),
    }


def _post_user_events(limits: LimitSettings) -> dict[str, Any]:
    ndjson = {"schema": {"type": "string", "description": "One event a line; blank lines are skipped."}}
    return {
        "operationId": "postUserEvents",
        "summary": "Send many events in one durable write",
        "description": f"At most {limits.batch_events_max} events and {limits.batch_bytes_max} bytes as sent. Each event is "
        "judged by itself; what is not in `rejected` is durable. 503 is for the whole batch.",
        "parameters": [_PLATFORM, _ENCODING],
        "requestBody": {
            "required": True,
            "content": {**_json(_ref("Batch")), **dict.fromkeys(sorted(NDJSON_TYPES), ndjson)},
        },
        "responses": {
            status: response
            for status, response in _responses("What became of each event.", _ref("BatchAnswer")).items()
            if status != "429"  # throttled events are in `rejected`
        },
    }


def _post_erasure() -> dict[str, Any]:
    return {
        "operationId": "createUserDataDeletionRequest",
        "summary": "Ask for all stored events of people to be erased",
        "description": "Needs a key of the scope `manage`. 200 means that the request is on stable storage; what happened before "
        "it is then erased, also where it arrives later.",
        "parameters": [{**_PLATFORM, "name": "platform_id", "description": "A live id covers its test id too."}, _ENCODING],
        "requestBody": {"required": True, "content": _json(_ref("ErasureRequest"))},
        "responses": {
            "200": {"description": "Recorded and durable.", "content": _json(_ref("Accepted"))},
            **{
                status: {"description": text, "content": _json(_ref("CategorizedStatus"))}
                for status, text in sorted(_ERASURE_REFUSED.items())
            },
        },
    }


def _responses(accepted: str, schema_: dict[str, Any]) -> dict[str, Any]:
    return {
        "200": {"description": accepted, "content": _json(schema_)},
        **{status: {"description": text, "content": _json(_ref("Status"))} for status, text in _REFUSED.items()},
    }


def _schemas() -> dict[str, Any]:
    return {
        "Event": _event(),
        "Device": _members({name: _text() for name in schema.Device.__struct_fields__}, "What the shopper holds."),
        "Item": _members(
            {
                "id": _text("As in the catalog; this or `item_group_id` is required on item events."),
                "item_group_id": _text(),
                "price": _money("Price of one unit."),
                "quantity": _integer("Units.", bits=32),
                "seller_id": _text(),
                "price_seller": _money(),
            },
            "One product.",
        ),
        "Money": _members(
            {
                "currency": _text(
                    "ISO 4217; known: " + ", ".join(sorted(schema.CURRENCIES)) + ". Others are kept, with a warning."
                ),
                "amount": {
                    "anyOf": [{"type": "number"}, {"type": "string", "pattern": _NUMBER}, _NULL],
                    "description": f"Exact: at most {schema.AMOUNT_FRACTION_DIGITS_MAX} fraction digits, below 10^15.",
                },
            },
            "An amount of one currency.",
        ),
        "SegmentEvent": _segment_event(),
        # what is wrong with an element is told in the answer: only the shape around the events is the batch's own
        "Batch": {
            "anyOf": [
                {"type": "array", "items": {}},
                {"type": "object", "properties": {"events": {"type": "array", "items": {}}}, "required": ["events"]},
            ],
            "description": "Events as in `postUserEvent`: an array, or an object that holds it.",
        },
        "BatchAnswer": _batch_answer(),
        **_erasure(),
        "Accepted": {"type": "object", "maxProperties": 0},
        "TestReport": _closed({"test": _report()}),
        "Violation": _closed({"field": _string(), "description": _string(), "reason": _string()}),
        "BadRequest": _closed(_bad_request()),
        "Status": _status("BadRequest"),
    }


_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


def _event() -> dict[str, Any]:
    text = {
        "id": _text(
            "Made by the sender; with `event_type` and `timestamp` it makes a resent event count once.", chars_max=_ID_MAX
        ),
        "domain": _text(),
        "search_query": _text("Required for SEARCH."),
        "page_id": _text("Required for PAGE_VIEW."),
        "referrer_page_id": _text(),
        "decision_track_id": _text(),
        "user_id": _text("The shop's own user, hashed.", chars_max=_ID_MAX),
        "custom_id": _text(chars_max=_ID_MAX),
        "session_id": {**_text(chars_max=_ID_MAX), "deprecated": True},
    }
    members = {
        **text,
        "event_type": {"type": "string", "enum": sorted(schema.EVENT_TYPES)},
        "timestamp": _integer("Unix milliseconds, at most a few minutes ahead.", bits=64, nullable=False),
        "channel_type": {"type": "string", "enum": sorted(schema.CHANNEL_TYPES)},
        "device": {"anyOf": [_ref("Device"), _NULL]},
        "items": {"anyOf": [{"type": "array", "items": _ref("Item")}, _NULL]},
        "revenue": _money("What the shopper paid, for PURCHASE."),
        "shipping_charge": _money(),
        "personalization_mode": {
            "enum": ["", "UNKNOWN_PERSONALIZATION_MODE", *sorted(schema.PERSONALIZATION_MODES), None],
            "description": "ID_LESS: all identifiers, the address and unknown members are dropped before anything is stored.",
        },
    }
    return {
        **_members(members, "What one shopper did, once. One identifier at least, unless ID_LESS."),
        "required": ["event_type", "timestamp", "channel_type"],
        "allOf": [
            _when("SEARCH", {"required": ["search_query"], "properties": {"search_query": _some_text()}}),
            _when("PAGE_VIEW", {"required": ["page_id"], "properties": {"page_id": _some_text()}}),
            *[
                _when(event_type, {"required": ["items"], "properties": {"items": {"type": "array", "minItems": 1}}})
                for event_type in sorted(schema.ITEM_EVENT_TYPES)
            ],
        ],
    }


def _segment_event() -> dict[str, Any]:
    event = _event()
    number = event["properties"]["timestamp"]
    iso = {"type": "string", "format": "date-time"}
    return {**event, "properties": {**event["properties"], "timestamp": {"anyOf": [*number["anyOf"], iso]}}}


def _batch_answer() -> dict[str, Any]:
    index = {"type": "integer", "minimum": 0}
    rejected = _closed(
        {
            "index": {**index, "description": "Which event of the request, from 0; blank lines do not count."},
            "code": {"enum": [3, 8], "description": "3: it breaks a rule. 8: throttled, send it again after `Retry-After`."},
            "message": _string(),
            "details": {"type": "array", "items": _ref("BadRequest")},
        }
    )
    answer = _closed({"accepted": index, "rejected": {"type": "array", "items": rejected}})
    reports = {"type": "array", "items": _closed({"index": index, "test": _report()}), "description": "From a test platform id."}
    return {**answer, "properties": {**answer["properties"], "reports": reports}}


def _erasure() -> dict[str, Any]:
    """What is particular to the management route: as published, whatever is in `details` names its type and category."""
    user_id = {"type": "string", "minLength": 1, "maxLength": _ID_MAX, "description": "Exactly as in the person's events."}
    person = {**_members({"user_id": user_id}, "Whose events are to be erased."), "required": ["user_id"]}
    people = {"type": "array", "items": person, "maxItems": IDENTIFIERS_MAX}
    return {
        "ErasureRequest": {**_members({"identifiers": people}, "Asks for people to be forgotten."), "required": ["identifiers"]},
        "CategorizedBadRequest": _closed({**_bad_request(), "type": _string(), "category": {"const": INPUT_VALIDATION}}),
        "CategorizedStatus": _status("CategorizedBadRequest"),
    }


def _bad_request() -> dict[str, Any]:
    return {
        "@type": {"const": "type.googleapis.com/google.rpc.BadRequest"},
        "field_violations": {"type": "array", "items": _ref("Violation"), "minItems": 1},
    }


def _status(detail: str) -> dict[str, Any]:
    return _closed(
        {
            "code": {"type": "integer", "description": "The gRPC code."},
            "message": {"type": "string", "minLength": 1},
            "details": {"type": "array", "items": _ref(detail)},
        }
    )


def _report() -> dict[str, Any]:
    warning = _closed({"reason": _string(), "field": _string(), "description": _string()})
    return _closed(
        {
            "event": {"type": "object", "description": "As understood: normalised names and types."},
            "identifier": {"anyOf": [_closed({"kind": {"enum": list(schema.IDENTIFIER_PATHS)}}), _NULL]},
            "warnings": {"type": "array", "items": warning},
            "cases": {"type": "array", "items": _string()},
        }
    )


def _when(event_type: str, then: dict[str, Any]) -> dict[str, Any]:
    return {"if": {"properties": {"event_type": {"const": event_type}}, "required": ["event_type"]}, "then": then}


def _members(properties: dict[str, Any], description: str) -> dict[str, Any]:
    return {"type": "object", "description": description, "properties": properties, "additionalProperties": True}


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _text(description: str = "", *, chars_max: int | None = None) -> dict[str, Any]:
    limit = {} if chars_max is None else {"maxLength": chars_max}
    return {"type": ["string", "null"], **limit, **({"description": description} if description else {})}


def _some_text() -> dict[str, Any]:
    return {"type": "string", "minLength": 1}


def _string() -> dict[str, Any]:
    return {"type": "string"}


def _integer(description: str, *, bits: int, nullable: bool = True) -> dict[str, Any]:
    number = {"type": "integer", "format": f"int{bits}", "minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1}
    text = {"type": "string", "pattern": _NUMBER}
    return {"anyOf": [number, text, *([_NULL] if nullable else [])], "description": description}


def _money(description: str = "") -> dict[str, Any]:
    return {"anyOf": [_ref("Money"), _NULL], **({"description": description} if description else {})}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(content: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": content}}
