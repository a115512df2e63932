"""`footfall serve`: one process that takes events in."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from footfall.cli.configure import ConfigOption
from footfall.cli.data import DEFAULT_DATA, DataOption
from footfall.cli.output import say
from footfall.cli.settings import load


def serve(
    data: DataOption = DEFAULT_DATA,
    host: Annotated[str | None, typer.Option(help="Address of the public listener.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Its port; 0 picks one.  [default: 8080]")] = None,
    ops_host: Annotated[str | None, typer.Option(help="Address of the ops listener.  [default: 127.0.0.1]")] = None,
    ops_port: Annotated[int | None, typer.Option(help="Its port; 0 picks one.  [default: 8081]")] = None,
    config: ConfigOption = None,
) -> None:
    """Take events in. Ctrl-C or SIGTERM stops it without losing a request."""
    flags = {"server": {"host": host, "port": port, "ops_host": ops_host, "ops_port": ops_port}}
    settings = load(file=config, data=data, environment=os.environ, flags=flags)
    from footfall.cli.serving import serve_events  # the server's packages, which `footfall --help` must not wait for

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    status = serve_events(data, settings)
    say("stopped" if status == 0 else "stopped, because the log failed; start again: it recovers what was acknowledged")
    raise typer.Exit(status)
