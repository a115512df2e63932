"""Answers that were not yes, read once: verdict, hint, and words that may be shown."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from footfall.delivery.answers import BatchAnswer, message_of, remedy_of, retry_after, safe, values_in
from footfall.delivery.api import Refusal
from footfall.delivery.protocol import Verdict, verdict_on
from footfall.delivery.transport import Response
from footfall.errors import NetworkError


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What stands between an event and its delivery."""

    verdict: Verdict
    status: int
    """0 where no answer came."""
    hint_s: float | None
    result: Response | NetworkError

    def refusal(self, event: bytes, *, key: str) -> Refusal:
        """Why this event is set aside."""
        secrets = _secrets(event, key=key)
        if isinstance(self.result, NetworkError):
            return Refusal(status=self.status, message=safe(self.result.message, secrets or (key,)))
        return Refusal(status=self.status, message=message_of(self.result, secrets=secrets))

    def remedy(self, events: Sequence[bytes], *, key: str) -> str:
        """What an operator should know, when these events met it. With many the receiver is not quoted: it may quote one."""
        secrets = None if len(events) > 1 else _secrets(events[0], key=key) if events else (key,)
        return remedy_of(self.result, secrets=secrets)


def _secrets(event: bytes, *, key: str) -> tuple[str, ...] | None:
    """What is struck out of words about this event; None where they are not to be repeated at all."""
    values = values_in(event)
    return None if values is None else (key, *values)


def problem_of(result: Response | NetworkError, verdict: Verdict, *, now_ms: int) -> Problem:
    hint = result.headers.get("retry-after", "") if isinstance(result, Response) else ""
    hint_s = retry_after(hint, now_ms=now_ms) if hint else None
    return Problem(verdict=verdict, status=result.status, hint_s=hint_s, result=result)


def problems_in(answer: BatchAnswer, response: Response, *, now_ms: int) -> dict[int, Problem]:
    """Index of a rejected event → what it would have met alone. A hint is for those that were throttled or failed."""
    problems: dict[int, Problem] = {}
    for rejection in answer.rejected:
        body = msgspec.json.encode({"message": rejection.message})
        alone = Response(status=rejection.status, headers=response.headers, body=body)
        problems[rejection.index] = problem_of(alone, verdict_on(rejection.status), now_ms=now_ms)
    return problems
