"""When a synchronous caller may try again: a pure decision, by the failure protocol of section 12 of the protocol notes.

A caller waits here, in a request perhaps, so retrying is off unless asked for, and gives up where a durable queue would go on.
"""

from __future__ import annotations

from typing import Final

from footfall.delivery.protocol import Policy, backoff_s
from footfall.errors import ApiError, InternalServerError, NetworkError

HINT_S_MAX: Final = 900.0
"""A receiver that asks for more than a quarter of an hour is not waited for by a blocked caller."""


def wait_s(failure: ApiError, *, attempt: int, retries: int) -> float | None:
    """Seconds to wait before the next attempt, or None to give up. `attempt` counts those made, from 1.

    5, 10, 20, 40 … seconds; `Retry-After` only lengthens. Only where nobody is to blame: 5xx and the network.
    """
    if attempt > retries or not isinstance(failure, (InternalServerError, NetworkError)):
        return None
    hint_s = (failure.retry_after_s if isinstance(failure, InternalServerError) else None) or 0.0
    if hint_s > HINT_S_MAX:
        return None
    return max(hint_s, backoff_s(attempt, policy=Policy()))
