"""`footfall doctor`: what is wrong here, or on the way to a receiver, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated

import typer

from footfall.cli.consultation import Question, consult
from footfall.cli.data import DEFAULT_DATA, DataOption
from footfall.cli.destination import KeyOption, destination, read_key
from footfall.cli.findings import Finding, Unreachable
from footfall.cli.output import FAILED, REFUSED, USAGE, JsonOption, fail, marked, print_json, results
from footfall.cli.settings import load
from footfall.clock import SystemClock

_SIGNS = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[red]✗[/]"}
_STAND_IN = "none"
"""For the platform and key that were not given: they are not sent."""


def doctor(
    url: Annotated[str | None, typer.Option(help="Look at the way to this receiver instead of at this machine.")] = None,
    platform: Annotated[str | None, typer.Option(metavar="ID", help="With --url: the platform id to try the key on.")] = None,
    key: KeyOption = "",
    send_test: Annotated[
        bool, typer.Option("--send-test", help="With --url: send one real HOME event too; to a live id it counts.")
    ] = False,
    json: JsonOption = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Look for what is wrong: on this machine or, with --url, on the way to a receiver.

    The key is tried without sending an event. Exit 1 when something must be mended, 3 when the receiver cannot be reached.
    """
    if url is None and (platform is not None or send_test):
        fail("--platform and --send-test go with --url", USAGE)
    examination = _machine(data) if url is None else _receiver(url, platform, key, send_test=send_test)
    findings: list[Finding] = []
    unreachable = False
    try:
        for finding in examination:
            findings.append(finding)
            _print(finding, quiet=json)
    except Unreachable as end:
        unreachable = True
        findings.append(end.finding)
        _print(end.finding, quiet=json)
    failed = any(finding.state == "fail" for finding in findings)
    if json:
        print_json({"checks": findings, "ok": not failed})
    if unreachable or failed:
        raise typer.Exit(FAILED if unreachable else REFUSED)


def _machine(data: DataOption) -> Iterator[Finding]:
    from footfall.cli.machine import examine_machine  # what it needs of the server side, a sender need not wait for

    return examine_machine(data, load(file=None, data=data, environment=os.environ))


def _receiver(url: str, platform: str | None, key: str, *, send_test: bool) -> Iterator[Finding]:
    tries_key = platform is not None and bool(key)
    if send_test and not tries_key:
        fail("--send-test needs --platform and --key", USAGE)
    settings = destination(
        url=url,
        platform=platform if platform is not None else _STAND_IN,
        key=read_key(key) if key and platform is not None else _STAND_IN,
    )
    return consult(Question(settings=settings, tries_key=tries_key, sends=send_test), clock=SystemClock())


def _print(finding: Finding, *, quiet: bool) -> None:
    if quiet:
        return
    cure = f" [dim]— {marked(finding.cure)}[/]" if finding.cure else ""
    results().print(f"{_SIGNS[finding.state]} [bold]{finding.check}[/] — {marked(finding.finding)}{cure}", soft_wrap=True)
