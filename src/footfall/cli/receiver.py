"""What can be learnt of a receiver without sending it an event: whether `GET /openapi.json` says that it is a Footfall, and
whether that one takes batches."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

_BYTES_MAX: Final = 4 << 20
_BATCH_PATH_END: Final = "/userevents:batch"


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. `is_footfall`: it is the OpenAPI document of a Footfall; `version` and `takes_batches` are that one's."""

    status: int
    headers: Mapping[str, str]
    is_footfall: bool = False
    version: str = ""
    takes_batches: bool = False


class _Info(msgspec.Struct):
    x_footfall: bool = msgspec.field(name="x-footfall", default=False)
    version: str = ""


class _OpenApi(msgspec.Struct):
    info: _Info
    paths: dict[str, msgspec.Raw] = {}


def ask_document(base_url: str, *, timeout_s: float) -> Document | None:
    """What `base_url` serves as /openapi.json; None where no answer comes."""
    answer = get(f"{base_url}/openapi.json", timeout_s=timeout_s)
    return understood(*answer) if answer is not None else None


def get(url: str, *, timeout_s: float, trusts_any: bool = False) -> tuple[int, Mapping[str, str], bytes] | None:
    """One GET on a connection of its own, without a key: status, headers by lower-case name, body. None where no answer comes.
    `trusts_any`: whatever the certificate, for listeners of this machine that are asked by address."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "https":
        context = ssl.create_default_context()
        if trusts_any:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", parts.path or "/", headers={"Accept": "application/json"})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read(_BYTES_MAX)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def understood(status: int, headers: Mapping[str, str], body: bytes) -> Document:
    """The answer as a Footfall's document, where it is one."""
    try:
        found = msgspec.json.decode(body, type=_OpenApi) if status == 200 else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = None
    if found is None or not found.info.x_footfall:
        return Document(status=status, headers=headers)
    takes_batches = any(path.endswith(_BATCH_PATH_END) for path in found.paths)
    return Document(status=status, headers=headers, is_footfall=True, version=found.info.version, takes_batches=takes_batches)
