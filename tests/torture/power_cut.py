"""A volume whose power can be cut: ext4 in a file, mounted through a loop device, shut down without a flush of its journal.

What was not synced by then is gone, as after a real cut: the kernel drops it and goes on from the journal at the next mount. The
processes that wrote there must be dead before the cut: one that still runs sees errors that no dying machine shows.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.serving import until

CYCLES: Final = int(os.environ.get("FOOTFALL_POWER_CUTS", "5"))
"""How often the power is cut in each test."""
_SHUTDOWN: Final = 0x8004587D  # FS_IOC_SHUTDOWN, _IOR('X', 125, __u32)
_WITHOUT_LOG_FLUSH: Final = struct.pack("I", 2)
_IMAGE_BYTES: Final = 768 << 20


class CutVolume:
    """Mounted at `path`."""

    def __init__(self, image: Path, path: Path) -> None:
        self._image = image
        self.path = path

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.path)], check=True, capture_output=True)

    def unmount(self) -> None:
        def done() -> bool:
            return subprocess.run(["umount", str(self.path)], check=False, capture_output=True).returncode == 0

        assert until(done, seconds=10), "somebody still uses the volume"

    def cut(self) -> None:
        """The power goes, and comes back."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, _WITHOUT_LOG_FLUSH)
        finally:
            os.close(descriptor)
        self.unmount()
        self.mount()


@contextmanager
def cut_volume(root: Path) -> Iterator[CutVolume]:
    """A fresh one. Skips the test where this user may not mount, or has no ext4."""
    make = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if os.geteuid() != 0 or make is None or shutil.which("mount") is None:
        pytest.skip("needs root, mount and mkfs.ext4")
    image, path = root / "volume.ext4", root / "volume"
    with image.open("wb") as opened:
        opened.truncate(_IMAGE_BYTES)
    path.mkdir()
    subprocess.run([make, "-q", "-F", str(image)], check=True, capture_output=True)
    volume = CutVolume(image, path)
    try:
        volume.mount()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"may not mount through a loop device here: {error.stderr.decode(errors='replace').strip()}")
    try:
        yield volume
    finally:
        volume.unmount()
