"""Which table belongs to which data directory: positions are named by writer (`w0`), and every data directory has a `w0`.

Each data directory has an id, made durable before its first commit; the table names it in an app transaction. A lander whose id
the table does not name is refused, for to it the sequences of its own new events would look as if they had landed.

The same would come of a log that was removed while the table stayed. That is seen (`staging.require_reached`), and remembered in
a file, because the new log grows, and would one day be long enough to pass the look.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from uuid import uuid4

from footfall.errors import LakeError
from footfall.lake.table import OWNED_NAME, EventsTable, owner_name
from footfall.log.disk import Disk, write_all

ID_NAME: Final = "lake-id"
REFUSED_NAME: Final = "lake-refused"


def require_belonging(data: Path, table: EventsTable) -> None:
    """Raises LakeError where the table is another data directory's; one that is nobody's yet becomes this one's, durably."""
    known = _id_in(data)
    if known and table.transaction(owner_name(known)) is not None:
        return
    if table.transaction(OWNED_NAME) is not None:
        raise LakeError(
            f"the table {table.volume.uri} belongs to another data directory than {data}, whose events have the same positions:"
            f" give each its own lake.table (or, if the file {ID_NAME} was lost here, bring it back from a backup)"
        )
    if not known:
        _write(data / ID_NAME, known := uuid4().hex)
    table.commit(transactions={owner_name(known): 1, OWNED_NAME: 1})


def refuse(data: Path, why: str) -> None:
    """Remembers, durably, that nothing may land here until somebody has looked."""
    _write(data / REFUSED_NAME, why)


def require_allowed(data: Path) -> None:
    """Raises LakeError where `refuse` was called, until its file is gone."""
    try:
        why = (data / REFUSED_NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    raise LakeError(f"{why}; see docs/lake-upkeep.md, and remove {data / REFUSED_NAME} when it is mended")


def _id_in(data: Path) -> str:
    try:
        return (data / ID_NAME).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    disk = Disk()
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = disk.create(new)
    try:
        write_all(disk, descriptor, text.encode())
        disk.sync_file(descriptor)
    finally:
        disk.close(descriptor)
    disk.rename(new, path)
    disk.sync_directory(path.parent)
