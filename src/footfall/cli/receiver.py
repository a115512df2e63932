"""A look at a receiver without sending it an event: what a GET is answered. `delivery.document` reads what it says of itself."""

from __future__ import annotations

import http.client
import ssl
from typing import Final
from urllib.parse import urlsplit

from footfall.delivery.transport import Response

_BYTES_MAX: Final = 4 << 20


def ask(base_url: str, *, timeout_s: float) -> Response | None:
    """What `base_url` serves as /openapi.json; None where no answer comes."""
    return get(f"{base_url}/openapi.json", timeout_s=timeout_s)


def get(url: str, *, timeout_s: float, trusts_any: bool = False) -> Response | None:
    """One GET on a connection of its own, without a key. None where no answer comes.
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
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Response(status=answer.status, headers=headers, body=answer.read(_BYTES_MAX))
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
