"""What a receiver says of itself in /openapi.json: whether it is a Footfall, and whether that one takes batches.

Batches are Footfall's own addition to the protocol, so they are never tried on a receiver to see what happens.
"""

from __future__ import annotations

from typing import Final

import msgspec

from footfall.delivery.transport import Response

BATCH_PATH_END: Final = "/userevents:batch"
NO_ROUTE: Final = frozenset({404, 405, 501})
"""Answers of a receiver that has no such route."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What came back, of any receiver. `version` and `takes_batches` are a Footfall's."""

    is_footfall: bool = False
    version: str = ""
    takes_batches: bool = False


class _Info(msgspec.Struct):
    x_footfall: bool = msgspec.field(name="x-footfall", default=False)
    version: str = ""


class _OpenApi(msgspec.Struct):
    info: _Info
    paths: dict[str, msgspec.Raw] = {}


_decode: Final = msgspec.json.Decoder(_OpenApi).decode


def read_document(response: Response) -> Document:
    """The answer to `GET /openapi.json`; a foreign one, of whatever kind, is a receiver that is no Footfall."""
    if response.status != 200:
        return Document()
    try:
        found = _decode(response.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Document()
    if not found.info.x_footfall:
        return Document()
    takes_batches = any(path.endswith(BATCH_PATH_END) for path in found.paths)
    return Document(is_footfall=True, version=found.info.version, takes_batches=takes_batches)
