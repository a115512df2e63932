"""`footfall simulate`: an invented shop that sends to a receiver of yours at a steady rate.

Invented shoppers must not get into anybody's statistics, so it speaks to this machine only unless told otherwise, and to the
original service never.
"""

from __future__ import annotations

import os
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from footfall.cli.batches import EVENTS_MAX
from footfall.cli.courier import Courier
from footfall.cli.destination import KeyOption, PlatformOption, destination, in_flags, read_key
from footfall.cli.output import (
    FAILED,
    INTERRUPTED,
    REFUSED,
    USAGE,
    JsonOption,
    complain,
    counted,
    fail,
    marked,
    print_json,
    print_table,
    progress_bar,
    results,
    say,
    table,
)
from footfall.cli.shopping import sessions
from footfall.cli.traffic import NO_ANSWER, Plan, Summary, Traffic
from footfall.client.settings import is_loopback
from footfall.clock import SystemClock
from footfall.errors import NetworkError

_NEVER: Final = "moloco.com"
_TIMEOUT_S: Final = 10.0
_LOOK_S: Final = 0.2
_SHORT_OF: Final = 0.95
"""A rate below this share of what was asked for deserves a word."""


def simulate(
    url: Annotated[str, typer.Option(help="Where to: http://127.0.0.1:8080")],
    platform: PlatformOption,
    key: KeyOption = "",
    rate: Annotated[float, typer.Option(metavar="R", min=0.1, max=100_000, help="Events a second.")] = 10.0,
    duration: Annotated[float, typer.Option(metavar="S", min=0.1, max=86_400, help="Seconds.")] = 60.0,
    batch: Annotated[
        int, typer.Option(metavar="N", min=1, max=EVENTS_MAX, help="Events a request; more than 1 needs a Footfall.")
    ] = 1,
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed: other people, other visits.")] = 1,
    allow_remote: Annotated[bool, typer.Option("--allow-remote", help="Allow another machine than this one.")] = False,
    json: JsonOption = False,
) -> None:
    """Send the events of an invented shop at a steady rate: people who arrive, search, view, sign in and buy.

    Exit 1 when one was refused, 3 when the receiver failed or cannot be reached.
    """
    _require_allowed(url, allow_remote=allow_remote)
    settings = destination(url=url, platform=platform, key=read_key(key))
    plan = Plan(rate=rate, duration_s=duration, batch=batch)
    courier = Courier(settings, batch=batch > 1, timeout_s=_TIMEOUT_S)
    traffic = Traffic(plan, events=sessions(seed), courier=courier, clock=SystemClock())
    try:
        _watch(traffic, plan, quiet=json)
    except KeyboardInterrupt:
        _print(traffic.summary(), plan, json=json)
        results().file.flush()
        os._exit(INTERRUPTED)  # at once: requests under way may be held by a dead receiver
    summary = traffic.summary()
    _print(summary, plan, json=json)
    if traffic.problem is None:
        _tell_shortfall(summary, plan)
    _end(traffic, summary, batch=batch)


def _end(traffic: Traffic, summary: Summary, *, batch: int) -> None:
    problem = traffic.problem
    if problem is not None and problem.status in (404, 405, 501) and batch > 1:
        fail("the receiver takes no batches, or not there; leave --batch out, and look at --url and --platform", USAGE)
    if problem is not None:
        status = f"{problem.status}: " if problem.status else ""
        fail(f"{status}{in_flags(problem.message)}", FAILED if isinstance(problem, NetworkError) else REFUSED)
    if summary.refused:
        complain(f"{counted(summary.refused, 'event')} refused; the first was told: {traffic.first_refusal or 'see by_status'}")
        raise typer.Exit(REFUSED)
    if summary.failed:
        fail(f"{counted(summary.failed, 'event')} got a 5xx or no answer; the receiver's log says why", FAILED)


def _require_allowed(url: str, *, allow_remote: bool) -> None:
    """Exit 2 unless invented events may go there."""
    try:
        host = (urlsplit(url).hostname or "").lower().rstrip(".")
    except ValueError:
        return  # no address at all: told with the other flags
    if host == _NEVER or host.endswith(f".{_NEVER}"):
        fail(f"invented events never go to {_NEVER}; to try your own integration there use its test platform", USAGE)
    if host and not allow_remote and not is_loopback(host):
        fail(f"{host} is another machine: say --allow-remote if it may get invented events", USAGE)


# -- how it looks


def _watch(traffic: Traffic, plan: Plan, *, quiet: bool) -> None:
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    columns = (BarColumn(bar_width=24), TextColumn("{task.fields[told]}"), TimeRemainingColumn(compact=True))
    with progress_bar(*columns, quiet=quiet) as progress:
        task = progress.add_task("sending", total=plan.requests * plan.batch, told="")

        def look() -> None:
            if not progress.disable:
                summary = traffic.summary()
                refused = f"  [red]{summary.refused:,} refused[/]" if summary.refused else ""
                failed = f"  [red]{summary.failed:,} failed[/]" if summary.failed else ""
                times = f"  p50 {summary.p50_ms:g} ms  p99 {summary.p99_ms:g} ms"
                told = f"{summary.sent / summary.seconds:,.0f}/s  {summary.accepted:,} accepted{refused}{failed}{times}"
                progress.update(task, completed=summary.sent, told=told)

        traffic.run(watch=look, every_s=_LOOK_S)


def _print(summary: Summary, plan: Plan, *, json: bool) -> None:
    if json:
        print_json(summary)
    else:
        rows = table("event type", "events", "share")
        for column in rows.columns[1:]:
            column.justify = "right"
        for event_type, count in summary.by_type.items():
            rows.add_row(event_type, f"{count:,}", f"{count / summary.sent:.0%}")
        print_table(rows)
        results().print(_counts(summary), soft_wrap=True)


def _tell_shortfall(summary: Summary, plan: Plan) -> None:
    wanted = min(plan.rate, plan.requests * plan.batch / plan.duration_s)
    if summary.rate < wanted * _SHORT_OF and not summary.failed:
        say(
            f"[yellow]{summary.rate:,g} of {plan.rate:,g} events/s[/]: the receiver or this sender was too slow, and the times "
            "above count the waiting" + ("; --batch sends more with less" if plan.batch == 1 else "")
        )


def _counts(summary: Summary) -> str:
    others = {status: count for status, count in summary.by_status.items() if status != "200"}
    told = "".join(
        f", [red]{count:,} {marked(status if status == NO_ANSWER else f'answered {status}')}[/]"
        for status, count in others.items()
    )
    return (
        f"\n{counted(summary.sent, 'event')} in {summary.seconds:.1f} s ({summary.rate:,g}/s): "
        f"[green]{summary.accepted:,} accepted[/]{told}; p50 {summary.p50_ms:g} ms, p99 {summary.p99_ms:g} ms"
    )
