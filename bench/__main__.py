"""`python -m bench [SCENARIO …] [--quick] [--results DIRECTORY]`: runs scenarios, prints tables, writes one JSON file.

The status is 0 when all ran and every answer was good, whatever the figures are: a slow machine is no error, a lost event is.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from bench.comparisons import Comparison
from bench.machine import Machine, describe, why_not_here
from bench.report import print_comparison, print_machine, print_result
from bench.rounds import FULL, QUICK, Result
from bench.scenarios import PARTS, SCENARIOS

RESULTS = Path(__file__).parent / "results"
_NAMES = f"of {', '.join(SCENARIOS)}; none: all of these; or a part: {', '.join(PARTS)}"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    console = Console()
    reason = why_not_here()
    if reason is not None:
        console.print(reason)
        return 1
    pace = QUICK if options.quick else FULL
    results: list[Result | Comparison] = []
    machine = describe(Path(tempfile.gettempdir()))
    print_machine(console, machine, pace)
    for name in options.scenarios or SCENARIOS:
        with tempfile.TemporaryDirectory(prefix="footfall-bench-") as directory:
            result = (SCENARIOS | PARTS)[name](Path(directory), pace)
        if isinstance(result, Comparison):
            print_comparison(console, result)
        else:
            print_result(console, result)
        results.append(result)
    path = options.results / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"
    _write(path, machine, results)
    console.print(f"\n[dim]{path}[/]", soft_wrap=True)
    return int(any(isinstance(result, Comparison) and result.faults for result in results))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="The benchmark table, with its peers in the same run.")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=_NAMES)
    parser.add_argument("--quick", action="store_true", help="one round of a second each: does it work at all?")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIRECTORY", help="where the JSON goes")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.scenarios if name not in SCENARIOS | PARTS]
    if unknown:
        parser.error(f"no scenario {unknown[0]!r}; there are {', '.join(SCENARIOS | PARTS)}")
    return options


def _write(path: Path, machine: Machine, results: Sequence[Result | Comparison]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = msgspec.json.encode({"machine": machine, "scenarios": [_with_verdicts(result) for result in results]})
    path.write_bytes(msgspec.json.format(content, indent=1))


def _with_verdicts(result: Result | Comparison) -> dict[str, Any]:
    """The result and what follows from it, so that readers of the file need not know the rules."""
    goals = [{**msgspec.to_builtins(goal), "reached": goal.is_reached} for goal in result.goals]
    return {**msgspec.to_builtins(result), "goals": goals, "noisy": result.is_noisy}


if __name__ == "__main__":
    sys.exit(main())
