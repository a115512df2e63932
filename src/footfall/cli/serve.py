"""`footfall serve` and its parts alone: `footfall ingest` takes events in, `footfall console` tells how that goes."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from footfall.cli import journal
from footfall.cli.configure import ConfigOption
from footfall.cli.data import DEFAULT_DATA, DataOption
from footfall.cli.settings import Settings, load

HostOption = Annotated[str | None, typer.Option(help="Address of the public listener.  [default: 127.0.0.1]")]
PortOption = Annotated[int | None, typer.Option(help="Its port; 0 picks one.  [default: 8080]")]
OpsHostOption = Annotated[str | None, typer.Option(help="Address of the ops listener.  [default: 127.0.0.1]")]
OpsPortOption = Annotated[int | None, typer.Option(help="Its port; 0 picks one.  [default: 8081]")]
WorkersOption = Annotated[int | None, typer.Option(help="Processes that take events; 0: one a core.  [default: 1]")]
CertOption = Annotated[str | None, typer.Option(metavar="F", help="Certificate chain (PEM): speak TLS.")]
KeyFileOption = Annotated[str | None, typer.Option(metavar="F", help="Its private key (PEM).")]
QuarantineOption = Annotated[
    bool, typer.Option("--quarantine-corrupt", help="Set damaged log files aside and go on; without it, damage ends the start.")
]


def serve(
    data: DataOption = DEFAULT_DATA,
    host: HostOption = None,
    port: PortOption = None,
    ops_host: OpsHostOption = None,
    ops_port: OpsPortOption = None,
    workers: WorkersOption = None,
    tls_cert: CertOption = None,
    tls_key: KeyFileOption = None,
    quarantine_corrupt: QuarantineOption = False,
    config: ConfigOption = None,
) -> None:
    """Take events in. Ctrl-C or SIGTERM stops it without losing a request, SIGHUP replaces the workers one by one."""
    flags: dict[str, Any] = {"host": host, "port": port, "ops_host": ops_host, "ops_port": ops_port}
    flags |= {"workers": workers, "tls_cert": tls_cert, "tls_key": tls_key}
    _serve(data, config, flags, with_ops=True, quarantine_corrupt=quarantine_corrupt)


def ingest(
    data: DataOption = DEFAULT_DATA,
    host: HostOption = None,
    port: PortOption = None,
    workers: WorkersOption = None,
    tls_cert: CertOption = None,
    tls_key: KeyFileOption = None,
    quarantine_corrupt: QuarantineOption = False,
    config: ConfigOption = None,
) -> None:
    """Take events in, and nothing else: `serve` without its ops process."""
    flags: dict[str, Any] = {"host": host, "port": port, "workers": workers, "tls_cert": tls_cert, "tls_key": tls_key}
    _serve(data, config, flags, with_ops=False, quarantine_corrupt=quarantine_corrupt)


def console(
    data: DataOption = DEFAULT_DATA, ops_host: OpsHostOption = None, ops_port: OpsPortOption = None, config: ConfigOption = None
) -> None:
    """Health and metrics of the server on this data directory, and nothing else: the ops process of `serve`."""
    flags = {"ops_host": ops_host, "ops_port": ops_port}
    settings = _loader(data, config, flags)()
    from footfall.cli.ops import serve_ops_alone

    _write_journal(settings, part="ops")
    raise typer.Exit(serve_ops_alone(data, settings))


def _serve(data: Path, config: Path | None, flags: dict[str, Any], *, with_ops: bool, quarantine_corrupt: bool) -> None:
    load_again = _loader(data, config, flags)
    settings = load_again()
    from footfall.cli.serving import Wanted, serve_events  # the server's packages, which `footfall --help` must not wait for

    _write_journal(settings, part="supervisor")
    status = serve_events(Wanted(data=data, load=load_again, with_ops=with_ops, quarantine_corrupt=quarantine_corrupt))
    why = "" if status == 0 else ", because something failed; what was acknowledged is durable"
    journal.tell(settings.logging.format, f"stopped{why}")
    raise typer.Exit(status)


def _loader(data: Path, config: Path | None, flags: dict[str, Any]) -> partial[Settings]:
    return partial(load, file=config, data=data, environment=os.environ, flags={"server": flags})


def _write_journal(settings: Settings, *, part: str) -> None:
    journal.configure(settings.logging.format, settings.logging.level, part=part)
