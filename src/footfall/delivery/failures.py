"""What can go wrong on the way to a receiver, as one exception of ours in words that say what to look at."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import Final

from footfall.delivery.dialing import ProxyError
from footfall.delivery.http1 import AnswerError, Request, target_of
from footfall.errors import NetworkError

ON_THE_WAY: Final = (OSError, http.client.HTTPException, UnicodeError)
"""What the libraries below raise. Anything else is a bug of ours, and is not dressed up as a failure of the network."""
CUT: Final = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""The connection ended. A kept one that ends before any byte of the answer had died unseen: the request goes out once more."""


def network_error(error: Exception, request: Request) -> NetworkError:
    """What went wrong, with `error` as its cause. Holds no byte of what was sent or came."""
    failure = NetworkError(f"no answer from {target_of(request.url).authority}: {_cause(error, request.timeout_s)}")
    _empty(error)
    failure.__cause__ = error
    return failure


def _empty(error: Exception) -> None:
    """Takes out of an exception what it holds of the exchange, for it hangs on ours as its cause, and loggers print causes.

    An encoding error keeps the head of the request, with the key; so may the exceptions it was itself raised after.
    """
    error.__context__ = error.__cause__ = None
    if isinstance(error, UnicodeEncodeError):
        error.object = ""
    elif isinstance(error, http.client.IncompleteRead):
        error.partial = b""
    elif isinstance(error, http.client.BadStatusLine):
        vars(error).clear()
    if not isinstance(error, OSError):
        error.args = ()


def _cause(error: Exception, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing complete within {timeout_s:g} s"
    if isinstance(error, ProxyError):
        return str(error)
    if isinstance(error, socket.gaierror):
        return "the host name was not found; look at platform_name, region or base_url, and at the DNS of this machine"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted here ({getattr(error, 'verify_message', 'no reason given')})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({getattr(error, 'reason', None) or type(error).__name__})"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused; is the receiver running, and is the port right?"
    if isinstance(error, ConnectionError):
        return "the connection was cut before the answer was complete"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, UnicodeError):
        return "the host name cannot be looked up"
    if isinstance(error, AnswerError):
        return f"what came is not an HTTP answer, or only part of one ({error})"
    return f"what came is not an HTTP answer, or only part of one ({type(error).__name__})"
