"""`footfall send`: a file of events to a User Event API, ours or the original, as they stand.

Nothing is kept of the file: it is read as it is sent, so its size does not matter.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import msgspec
import typer

from footfall.cli.batches import EVENTS_MAX, BatchSender, NoBatchesError
from footfall.cli.destination import KeyOption, PlatformOption, UrlOption, destination, in_flags, read_key
from footfall.cli.lines import FileArgument, count_events, event_lines
from footfall.cli.output import (
    FAILED,
    INTERRUPTED,
    REFUSED,
    USAGE,
    JsonOption,
    counted,
    counting_bar,
    fail,
    marked,
    results,
    say,
    talk,
)
from footfall.cli.sender import Accepted, Outcome, Refused, Sender, Stopped
from footfall.client.settings import TIMEOUT_S


def send(
    file: FileArgument,
    url: UrlOption,
    platform: PlatformOption,
    key: KeyOption = "",
    batch: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=EVENTS_MAX, help="Events a request, to receivers that are a Footfall; much faster."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Send events, one request each unless --batch says otherwise.

    Exit 1 when one was refused, 3 when the receiver cannot be reached.
    """
    settings = destination(url=url, platform=platform, key=read_key(key, file=file))
    sender = BatchSender(settings, events_max=batch, tell=_tell) if batch else Sender(settings, timeout_s=TIMEOUT_S, tell=_tell)
    tally = _JsonTally(count_events(file)) if json else _Tally(count_events(file))
    try:
        with counting_bar(quiet=json) as progress:
            task = progress.add_task("sending", total=tally.total)
            for outcome in sender.send_all(event_lines(file)):
                tally.add(outcome)
                progress.advance(task)
    except Stopped as stopped:
        _end_early(tally, stopped)
    except NoBatchesError:
        tally.end()
        fail(f"{url} takes no batches, which are an addition of Footfall: leave --batch out", USAGE)
    except KeyboardInterrupt:
        tally.end()
        sys.stdout.flush()
        os._exit(INTERRUPTED)  # at once: the interpreter would wait for requests that a dead receiver may hold for seconds
    tally.end()
    if tally.refused:
        raise typer.Exit(REFUSED)


def _end_early(tally: _Tally, stopped: Stopped) -> NoReturn:
    where = stopped.line.number
    if stopped.refused is not None:
        tally.add(stopped.refused)
        tally.end()
        fail(f"stopped at line {where}, for the next events would be answered the same", REFUSED)
    tally.end()
    fail(f"{in_flags(stopped.message)}; once mended, go on from line {where} (an event with an id counts once)", FAILED)


class _Tally:
    """What became of the events, told to a person."""

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.accepted = self.refused = self.warned = 0

    def add(self, outcome: Outcome) -> None:
        if isinstance(outcome, Accepted):
            self.accepted += 1
            self.warned += bool(outcome.warnings)
        else:
            self.refused += 1
            self._tell(outcome)

    def end(self) -> None:
        """The last word, whatever ended the sending."""
        of_all = f"{counted(self.accepted, 'event')} accepted"
        if self.total is not None:
            of_all = f"{self.accepted:,} of {counted(self.total, 'event')} accepted"
        refused = f", [red]{self.refused:,} refused[/]" if self.refused else ""
        warned = f", [yellow]{self.warned:,} with warnings[/] (footfall check names them)" if self.warned else ""
        say(f"{of_all}{refused}{warned}")

    def _tell(self, refused: Refused) -> None:
        # where both are the terminal, the one that knows of the progress bar prints
        console = talk() if results().is_terminal else results()
        console.print(f"[red]{refused.status}[/] event {refused.index}: {marked(refused.message)}", soft_wrap=True)
        for violation in refused.violations:
            field = f"[bold]{marked(violation.field)}[/]  " if violation.field else ""
            told = f"      {field}[dim]{marked(violation.reason)}[/]  {marked(violation.description)}"
            console.print(told, soft_wrap=True)


class _JsonTally(_Tally):
    """The same as one JSON object, written as it grows: a list of a million refusals need not fit into memory."""

    def __init__(self, total: int | None) -> None:
        super().__init__(total)
        sys.stdout.write('{"refused":[')

    def end(self) -> None:
        counts = {"sent": self.accepted + self.refused, "accepted": self.accepted, "warned": self.warned}
        sys.stdout.write("]," + msgspec.json.encode(counts).decode()[1:] + "\n")
        super().end()

    def _tell(self, refused: Refused) -> None:
        sys.stdout.write(("," if self.refused > 1 else "") + msgspec.json.encode(refused).decode())


def _tell(message: str) -> None:
    say(f"[yellow]{marked(in_flags(message))}[/]")
