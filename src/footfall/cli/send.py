"""`footfall send`: a file of events to a User Event API, ours or the original, as they stand."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from footfall.cli.check import FileArgument, event_lines
from footfall.cli.output import FAILED, REFUSED, USAGE, fail, print_json, results, talk
from footfall.cli.platforms import JsonOption
from footfall.client.answers import error_of
from footfall.client.settings import TIMEOUT_S, Settings, checked_settings
from footfall.clock import SystemClock
from footfall.delivery.transport import HttpTransport, Request
from footfall.errors import ApiError, BadRequestError, FootfallError, NetworkError

_IN_FLIGHT: Final = 16
_ATTEMPTS: Final = 4
_PAUSES_S: Final = (0.5, 2.0, 5.0)
"""Between attempts at a network failure, a 429 or a 5xx; a `Retry-After` that is longer wins, up to 30 s."""

KeyOption = Annotated[
    str, typer.Option("--key", envvar="FOOTFALL_KEY", help="The API key; - reads it from standard input.", show_default=False)
]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One event that was not accepted."""

    index: int
    status: int
    message: str
    violations: tuple[Any, ...] = ()


class Unreachable(Exception):  # noqa: N818  (names what the receiver is)
    """Nothing answers: going on would only repeat it."""


def send(
    file: FileArgument,
    url: Annotated[str, typer.Option(help="Where to: https://shop-evt.mcm-api.moloco.com, or http://127.0.0.1:8080")],
    platform: Annotated[str, typer.Option(help="The platform id in the path.")],
    key: KeyOption = "",
    json: JsonOption = False,
) -> None:
    """Send events, one request each. Exit 1 when one was refused, 3 when the receiver cannot be reached."""
    key = _key(key, file)
    sender = Sender(_settings(url, platform, key))
    lines = list(event_lines(file))
    accepted = 0
    refused: list[Outcome] = []
    try:
        with _progress(quiet=json) as progress:
            task = progress.add_task("sending", total=len(lines))
            for outcome in sender.send_all(lines):
                progress.advance(task)
                if outcome is None:
                    accepted += 1
                else:
                    refused.append(outcome)
                    if not json:
                        _print_refused(outcome)
    except Unreachable as error:
        fail(f"{error}; {accepted} of {len(lines)} events were accepted", FAILED)
    if json:
        print_json({"sent": len(lines), "accepted": accepted, "refused": refused})
    talk.print(f"{accepted} of {len(lines)} events accepted" + (f", [red]{len(refused)} refused[/]" if refused else ""))
    if refused:
        raise typer.Exit(REFUSED)


class Sender:
    """Posts bodies to one URL, a few at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        key = ("X-API-Key", settings.api_key)
        self._headers = (key, ("Content-Type", "application/json"), ("Accept", "application/json"))
        self._transport = HttpTransport()

    def send_all(self, bodies: Iterable[bytes]) -> Iterator[Outcome | None]:
        """One outcome for each body, in order: None for accepted. Raises `Unreachable`."""
        waiting: list[Future[Outcome | None]] = []
        numbered = enumerate(bodies)
        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            try:
                waiting += [pool.submit(self._send, index, body) for index, body in islice(numbered, _IN_FLIGHT)]
                while waiting:
                    yield waiting.pop(0).result()
                    waiting += [pool.submit(self._send, index, body) for index, body in islice(numbered, 1)]
            finally:
                for future in waiting:
                    future.cancel()

    def _send(self, index: int, body: bytes) -> Outcome | None:
        for attempt in range(_ATTEMPTS):
            try:
                answer = self._transport.send(
                    Request(url=self._settings.url, headers=self._headers, body=body, timeout_s=TIMEOUT_S)
                )
            except NetworkError as error:
                problem: ApiError | None = error
            else:
                problem = error_of(answer, secrets=(self._settings.api_key,), now_ms=SystemClock().now_ms())
            if problem is None:
                return None
            if not _passes(problem) or attempt == _ATTEMPTS - 1:
                break
            time.sleep(min(30.0, max(_PAUSES_S[attempt], getattr(problem, "retry_after_s", None) or 0)))
        assert problem is not None  # noqa: S101
        if isinstance(problem, NetworkError):
            raise Unreachable(problem.message)
        violations = problem.violations if isinstance(problem, BadRequestError) else ()
        return Outcome(index=index, status=problem.status, message=problem.message, violations=violations)

    def _post(self, body: bytes) -> ApiError | None:
        request = Request(url=self._settings.url, headers=self._headers, body=body, timeout_s=TIMEOUT_S)
        try:
            answer = self._transport.send(request)
        except NetworkError as error:
            return error
        if 200 <= answer.status < 300:
            return None
        return error_of(answer, secrets=(self._settings.api_key,), now_ms=SystemClock().now_ms())


def _settings(url: str, platform: str, key: str) -> Settings:
    return checked_settings(
        base_url=url,
        platform_id=platform,
        api_key=key,
        platform_name=None,
        region=None,
        currency=None,
        timeout_s=TIMEOUT_S,
        retries=0,
    )


def _passes(problem: FootfallError) -> bool:
    """Whether the same request may succeed later."""
    return problem.status in (0, 408, 429) or problem.status >= 500


def _key(key: str, file: str) -> str:
    if key == "-":
        if file == "-":
            fail("standard input can hold the events or the key, not both: put the key into FOOTFALL_KEY", USAGE)
        key = sys.stdin.readline().strip()
    if not key:
        fail("no API key: --key, FOOTFALL_KEY, or --key - for standard input", USAGE)
    return key


def _progress(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=talk, transient=True, disable=quiet or not talk.is_terminal or "CI" in os.environ)


def _print_refused(outcome: Outcome) -> None:
    results.print(f"[red]{outcome.status}[/] event {outcome.index}: {escape(outcome.message)}", soft_wrap=True)
    for violation in outcome.violations:
        results.print(
            f"      {escape(violation.field)}  [dim]{violation.reason}[/]  {escape(violation.description)}", soft_wrap=True
        )
