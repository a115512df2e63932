"""One of several processes that use a registry at once: `server` looks and reports uses as a worker does, `person` makes keys.

busy_process.py DIRECTORY server|person ROUNDS        begins when a line comes on stdin; ends with 0, or a traceback
"""

from __future__ import annotations

import sys
from pathlib import Path

from footfall.registry.store import Registry

SHOP = "SHOP"


def server(registry: Registry, *, rounds: int) -> None:
    """Every change of `person` adds one key, so a snapshot shows by itself whether it is of one moment."""
    seen = registry.snapshot()
    for use in range(rounds):
        if registry.revision() != seen.revision:
            newer = registry.snapshot()
            assert newer.revision > seen.revision, "a revision went backwards"
            assert len(newer.keys) - newer.revision == len(seen.keys) - seen.revision, "a snapshot mixes two moments"
            seen = newer
        registry.record_use({key.id: use for key in seen.keys.values()})


def person(registry: Registry, *, rounds: int) -> None:
    for _ in range(rounds):
        registry.create_key(SHOP)


def main() -> None:
    directory, role, rounds = sys.argv[1:]
    print("loaded", flush=True)
    sys.stdin.readline()
    with Registry.in_directory(Path(directory)) as registry:
        registry.limits(SHOP)  # its table is there, whoever made it
        (server if role == "server" else person)(registry, rounds=int(rounds))


if __name__ == "__main__":
    main()
