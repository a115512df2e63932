"""Every exception of Footfall in one tree, split by who must act.

    FootfallError                       .status (HTTP, 0 where none), .message
    ├── ApiError                        an answer of the User Event API, or the lack of one (raised by the client)
    │   ├── RejectedError               4xx: the sender must act
    │   │   ├── BadRequestError         400  mend the event; `.violations` say where
    │   │   ├── UnauthorizedError       401  send a key
    │   │   ├── ForbiddenError          403  the key does not open this platform
    │   │   ├── NotFoundError           404  wrong URL or platform id
    │   │   ├── MethodNotAllowedError   405  wrong HTTP method
    │   │   └── TooManyRequestsError    429  slow down; `.retry_after_s` where the receiver named it
    │   ├── InternalServerError         5xx: nobody, try again later
    │   └── NetworkError                no answer: nobody, try again later
    ├── InvalidEventError               an event that breaks the rules, found before or at the door; `.violations`
    ├── LogError                        the durable log
    │   ├── LogFullError                nobody: no room now, try again later; nothing was stored
    │   ├── LogClosedError              the log was closed, or stopped after a failed fsync: this process must end
    │   ├── LogLockedError              the operator: another process owns this directory
    │   └── LogCorruptError             the operator: bytes below the durable mark are damaged
    ├── LakeError                       the table of events, or where it lies, cannot be used
    │   ├── LakeOwnedError              the operator: another process lands into this table
    │   └── LakeConflictError           nobody: another process was quicker; look again
    ├── RegistryError                   the operator: the registry cannot be used
    │   └── RegistryRefusedError        the operator: no such platform or key, or an id that is none
    └── SettingsError                   the operator: a setting is unknown or out of range

No message holds a payload, the value of an identifier, or a key. The numbers of `GRPC_CODES` are those of the published error
body (protocol notes, section 10), chosen per HTTP status by design section 5.2.
"""

from __future__ import annotations

from typing import Final

import msgspec

GRPC_CODES: Final[dict[int, int]] = {
    400: 3, 411: 3, 413: 3, 415: 3, 401: 16, 403: 7, 404: 5, 405: 12, 408: 4, 429: 8, 500: 13, 503: 14,
}  # fmt: skip
"""HTTP status of a refusal → the `code` of its body."""


class Violation(msgspec.Struct, frozen=True):
    """One thing wrong with an event: where, in words, and as a stable name for programs.

    `field` is a path such as `items[0].price.amount`, empty for the body as a whole. `description` says what came, what is
    expected, the likely cause and cure, and never repeats the value of an identifier. `reason` is snake_case and never changes.
    """

    field: str
    description: str
    reason: str


class FootfallError(Exception):
    """Root of the tree: catch this to catch everything Footfall raises on purpose."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class ApiError(FootfallError):
    """The receiver said no, or nothing."""


class RejectedError(ApiError):
    """A 4xx answer, or a 3xx, which would carry the key elsewhere. Sending the same again unchanged will not help, except after
    408 and 429."""


class BadRequestError(RejectedError):
    """400. `violations` is empty where the receiver does not list them (the original service does not)."""

    def __init__(self, message: str, *, status: int = 400, violations: tuple[Violation, ...] = ()) -> None:
        super().__init__(message, status=status)
        self.violations = violations


class UnauthorizedError(RejectedError):
    """401: no key came with the request."""


class ForbiddenError(RejectedError):
    """403: the key is unknown, expired, revoked, or made for another platform id."""


class NotFoundError(RejectedError):
    """404: the URL or the platform id is wrong."""


class MethodNotAllowedError(RejectedError):
    """405: something other than POST arrived; usually a redirect or a proxy on the way."""


class TooManyRequestsError(RejectedError):
    """429: this identifier, key or platform sends too fast. Often one default identifier shared by all visitors."""

    def __init__(self, message: str, *, status: int = 429, retry_after_s: float | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after_s = retry_after_s


class InternalServerError(ApiError):
    """5xx: the receiver's fault. The event may or may not be stored: send it again with the same `id` and `timestamp`."""

    def __init__(self, message: str, *, status: int = 500, retry_after_s: float | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after_s = retry_after_s


class NetworkError(ApiError):
    """No answer came: no such host, refused, reset, TLS, or late. The event may or may not be stored."""


class InvalidEventError(FootfallError):
    """An event the rules refuse. `message` is the first problem in the documented order, `violations` hold every one."""

    def __init__(self, message: str, violations: tuple[Violation, ...]) -> None:
        super().__init__(message, status=400)
        self.violations = violations


class LogError(FootfallError):
    """The durable log could not do what was asked."""


class LogFullError(LogError):
    """No room on the volume. What was asked was not stored, nothing stored before is touched, room may return."""


class LogClosedError(LogError):
    """Nothing more can be written through this handle. After a failed fsync the process must end (rule R5)."""


class LogLockedError(LogError):
    """Another process owns the directory."""


class LogCorruptError(LogError):
    """Damage where the log had been durable. Nothing is deleted; `footfall log verify` says where."""


class LakeError(FootfallError):
    """The lake could not do what was asked."""


class LakeOwnedError(LakeError):
    """Another process owns the table: it lands, compacts and erases there."""


class LakeConflictError(LakeError):
    """Another process committed first, and nothing of this commit was done; on an object store it may also be that the answer to
    this very commit was lost. Look again, then decide."""


class RegistryError(FootfallError):
    """The registry could not be reached or used."""


class RegistryRefusedError(RegistryError):
    """What was asked of the registry makes no sense: nothing was changed."""


class SettingsError(FootfallError):
    """A setting is unknown, of the wrong type, or out of range."""
