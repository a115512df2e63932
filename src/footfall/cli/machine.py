"""This machine, looked at before a server runs on it or while one does: disk, registry, log, ports, limits, clock.

Nothing is changed and nothing is left behind. Every check is one function that yields what it found; a check that itself fails
is a finding, too.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from footfall.cli.data import REGISTRY_NAME, TREES, tree
from footfall.cli.findings import Finding, fail, ok, warn
from footfall.cli.output import counted
from footfall.cli.receiver import get
from footfall.cli.room import free_bytes_min
from footfall.cli.settings import Settings
from footfall.clock import SystemClock
from footfall.delivery.document import read_document
from footfall.errors import FootfallError
from footfall.log.directory import LOCK_NAME
from footfall.log.disk import Disk
from footfall.log.reader import SegmentReader

FLUSH_IGNORED_US: Final = 20.0
"""No drive makes 4 KiB durable faster than this; what answers sooner did not wait for one."""
FLUSH_SLOW_MS: Final = 20.0
_FLUSHES: Final = 40
_FLUSHES_S_MAX: Final = 1.0
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_OVER_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph"})
_DESCRIPTORS_BESIDE: Final = 256
"""Files, listeners and pipes that a worker opens besides its connections."""
_YEARS: Final = range(2025, 2100)
_ASK_TIMEOUT_S: Final = 2.0


def examine_machine(data: Path, settings: Settings) -> Iterator[Finding]:
    yield _versions()
    yield _clock()
    directory = _directory(data)
    yield directory
    if directory.state == "ok":
        yield from _volume(data, settings)
        yield _registry(data)
        yield from _log(data)
    server = settings.server
    scheme = "https" if server.tls_cert else "http"
    yield _port("public port", server.host, server.port, f"{scheme}://{_loopback(server.host)}:{server.port}/openapi.json")
    yield _port("ops port", server.ops_host, server.ops_port, f"http://{_loopback(server.ops_host)}:{server.ops_port}/healthz")
    yield _open_files(settings)


def _versions() -> Finding:
    names = ("footfall", "granian", "msgspec", "sqlalchemy")
    packages = ", ".join(f"{name} {_version(name)}" for name in names)
    return ok("versions", f"{packages}; Python {platform.python_version()} on {platform.system()} {platform.release()}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(missing)"


def _clock() -> Finding:
    now = time.gmtime()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", now)
    if now.tm_year not in _YEARS:
        return fail("clock", f"{shown}, which cannot be", cure="set it, and let NTP keep it: events are judged by it")
    return ok("clock", shown)


def _directory(data: Path) -> Finding:
    check = "data directory"
    try:
        if not data.exists():
            return warn(
                check, f"there is none at {data} yet", cure="footfall serve makes it; --data or FOOTFALL_DATA chooses another"
            )
        if not data.is_dir():
            return fail(check, f"{data} is no directory", cure="choose another with --data or FOOTFALL_DATA")
        if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
            return fail(check, f"{data} may not be written by this user", cure="run as its owner, or chown it")
    except OSError as error:
        return fail(check, f"{data} cannot be used ({error.strerror})", cure="choose another with --data or FOOTFALL_DATA")
    return ok(check, str(data.resolve()))


# -- the volume


def _volume(data: Path, settings: Settings) -> Iterator[Finding]:
    kind = Disk().file_system(data)
    yield _file_system(kind, settings)
    yield _room(data, settings)
    if kind not in _IN_MEMORY:
        yield _flush(data)


def _file_system(kind: str, settings: Settings) -> Finding:
    check = "file system"
    if kind in _IN_MEMORY and settings.durability.accept_tmpfs:
        return warn(check, f"{kind}: a power cut takes everything", cure="for demos and tests only, as you set it")
    if kind in _IN_MEMORY:
        return fail(
            check, f"{kind} is memory: a power cut takes everything, so a server refuses it", cure="choose a directory on a disk"
        )
    if kind in _OVER_NETWORK:
        return warn(
            check, f"{kind} is a network's: locks and flushes may not mean what they say", cure="use a disk of this machine"
        )
    if kind == "overlay":
        return warn(check, "overlay: it goes when the container goes", cure="mount a volume for the data directory")
    return ok(check, kind or "unknown to this system")


def _room(data: Path, settings: Settings) -> Finding:
    free, needed = Disk().free_bytes(data), free_bytes_min(data, settings)
    told = f"{free >> 20:,} MiB free, new events are refused below {needed >> 20:,} MiB"
    if free < needed:
        return fail("room", told, cure="make room, or move the data directory; durability.free_bytes_min sets the floor")
    if free < 2 * needed:
        return warn("room", told, cure="make room before it is needed")
    return ok("room", told)


def _flush(data: Path) -> Finding:
    check = "flush"
    try:
        p50_us = flush_p50_us(data)
    except OSError as error:
        return fail(
            check, f"a file cannot be written and synced there ({error.strerror})", cure="look at the volume and its owner"
        )
    told = f"{p50_us:,.0f} µs to make 4 KiB durable (p50)"
    if p50_us < FLUSH_IGNORED_US:
        cure = "turn the host's or hypervisor's write cache to honour flushes: a power cut may take acknowledged events"
        return warn(check, f"{told}: too fast for any drive, so flushes are probably ignored", cure=cure)
    if p50_us > FLUSH_SLOW_MS * 1000:
        return warn(check, f"{told}: slow, and every answer waits for one", cure="use a faster disk; batches share one flush")
    return ok(check, told)


def flush_p50_us(directory: Path) -> float:
    """The median of some fdatasyncs after 4 KiB each, on a file that has no name and is gone afterwards."""
    disk = Disk()
    times_us: list[float] = []
    with tempfile.TemporaryFile(dir=directory) as file:
        start_s = time.perf_counter()
        while len(times_us) < _FLUSHES and time.perf_counter() - start_s < _FLUSHES_S_MAX:
            os.write(file.fileno(), bytes(4096))
            before_s = time.perf_counter()
            disk.sync_data(file.fileno())
            times_us.append((time.perf_counter() - before_s) * 1e6)
    return sorted(times_us)[len(times_us) // 2]


# -- what lies there


def _registry(data: Path) -> Finding:
    from footfall.registry.store import Registry  # its SQL library costs 0.2 s

    check, path = "registry", data / REGISTRY_NAME
    none_yet = "make a pair with footfall platform add SHOP, then footfall key create SHOP_TEST"
    if not path.exists():
        return warn(check, "there is none yet", cure=none_yet)
    try:
        with Registry.at(path) as registry:
            platforms, keys = registry.platforms(), registry.keys()
    except FootfallError as error:
        return fail(check, error.message, cure=f"look at {path}: its owner, its volume; restore it from a backup")
    active = sum(key.is_active(SystemClock().now_ms()) for key in keys)
    told = f"{counted(len(platforms), 'platform id')}, {counted(active, 'active key')} of {len(keys):,}"
    if not platforms or not active:
        return warn(check, f"{told}: nobody could send", cure=none_yet)
    return ok(check, told)


def _log(data: Path) -> Iterator[Finding]:
    disk = Disk()
    for mode in TREES:
        check = f"{mode} log"
        reader = SegmentReader(tree(data, mode), disk=disk)
        try:
            durable, unconfirmed = reader.durable(), sum(reader.unconfirmed().values())
            in_use = any(disk.is_locked(tree(data, mode) / writer / LOCK_NAME) for writer in durable)
        except (FootfallError, OSError) as error:
            told = error.message if isinstance(error, FootfallError) else error.strerror or "it cannot be read"
            yield fail(check, told, cure="copy the data directory first, then footfall log verify")
            continue
        finally:
            reader.close()
        told = f"{counted(sum(durable.values()), 'durable record')} by {counted(len(durable), 'writer')}"
        if unconfirmed:
            cure = "start footfall serve: it confirms what is whole"
            yield warn(check, f"{told}, and {unconfirmed:,} written that were never confirmed", cure=cure)
        else:
            yield ok(check, f"{told}, {'in use' if in_use else 'at rest'}; footfall log verify reads every byte")


# -- what a server needs of the system


def _port(check: str, host: str, port: int, url: str) -> Finding:
    if port == 0:
        return ok(check, "0: a free one is picked")
    where, flag = f"{host}:{port}", "--ops-port" if check == "ops port" else "--port"
    try:
        if not _is_taken(host, port):
            return ok(check, f"{where} is free")
    except OSError as error:
        return fail(check, f"{where} cannot be listened on ({error.strerror})", cure=f"choose another with {flag}")
    answer = get(url, timeout_s=_ASK_TIMEOUT_S, trusts_any=True)
    if answer is not None and (url.endswith("/healthz") and answer.status == 200 and b"alive" in answer.body):
        return _readiness(check, where, url)
    document = read_document(answer) if answer is not None else None
    if document is not None and document.is_footfall:
        return ok(check, f"Footfall {document.version} serves {where}")
    who = "something that speaks HTTP" if answer is not None else "something"
    return fail(check, f"{who} else listens on {where}", cure=f"stop it, or choose another port with {flag}")


def _readiness(check: str, where: str, url: str) -> Finding:
    answer = get(url.replace("/healthz", "/readyz"), timeout_s=_ASK_TIMEOUT_S)
    if answer is not None and answer.status == 200:
        return ok(check, f"a Footfall serves {where}, and would take an event now")
    why = answer.body.decode(errors="replace")[:300].strip() if answer is not None else "no answer"
    return warn(check, f"a Footfall serves {where}, and would take no event now: {why}", cure="its log says more")


def _is_taken(host: str, port: int) -> bool:
    """Whether somebody listens there. OSError where this user may not listen at all."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == 98 or "in use" in (error.strerror or ""):
                return True
            raise
    return False


def _loopback(host: str) -> str:
    """Where a listener on `host` is asked from this machine."""
    if host in ("0.0.0.0", ""):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return "[::1]" if host == "::" else f"[{host}]" if ":" in host else host


def _open_files(settings: Settings) -> Finding:
    check = "open files"
    if sys.platform == "win32":
        return ok(check, "not limited here")
    import resource

    needed = settings.limits.connections_max + _DESCRIPTORS_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        cure = f"ulimit -n {needed} (LimitNOFILE= in a systemd unit), or a lower limits.connections_max"
        return warn(
            check, f"{soft:,} a process; {settings.limits.connections_max:,} connections a worker need {needed:,}", cure=cure
        )
    told = "not limited" if soft == resource.RLIM_INFINITY else f"{soft:,} of {hard:,} a process"
    return ok(check, f"{told}, enough for {settings.limits.connections_max:,} connections a worker")
