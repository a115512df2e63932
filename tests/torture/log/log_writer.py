"""A program that writes to a log for ever: `log_writer.py TREE NUMBER`. After each sync it prints what is durable."""

from __future__ import annotations

import os
import sys

from footfall.log.segments import SegmentWriter


def main(tree: str, serial: int, groups_max: int) -> None:
    writer = SegmentWriter.open(tree, segment_bytes=20_000, free_bytes_min=0)
    for _ in range(groups_max):
        bodies = [b"%d:%s" % (serial + offset, b"x" * (serial % 90)) for offset in range(serial % 7 + 1)]
        last = writer.write(bodies)
        writer.sync()
        serial += len(bodies)
        os.write(1, b"%d %d\n" % (last, serial))
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1 << 60)
