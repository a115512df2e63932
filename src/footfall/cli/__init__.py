"""The `footfall` command: the composition root. Reads settings, environment and signals; chooses the back ends.

The bare client distribution installs this entry point too, without the packages the commands need: then it says how to add them.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

_NEEDED = ("typer", "rich", "granian", "sqlalchemy", "prometheus_client", "zstandard")


def main() -> None:
    """Entry point. Exit status: 0 done, 1 the input was refused, 2 usage, 3 the system failed; 130 after Ctrl-C."""
    try:
        if any(find_spec(name) is None for name in _NEEDED):
            sys.stderr.write("The footfall command needs the server packages:\n\n    pip install 'footfall[server]'\n")
            sys.exit(2)
        from footfall.cli.app import run

        run()
    except KeyboardInterrupt:  # while modules load; later the commands see to it
        sys.exit(130)
