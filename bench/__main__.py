"""`make bench`: runs the scenarios, prints a table with ratios, writes JSON to bench/results/."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import ingest_single

RESULTS = Path(__file__).parent / "results"
TARGETS = {"empty": 0.55, "fastapi": 2.5}
NAMES = {
    "footfall": "Footfall: keys, rules, durable before the 200",
    "empty": "the same HTTP server: reads the body, answers an empty 200",
    "fastapi": "FastAPI + pydantic on uvicorn, stores nothing",
}


def main() -> None:
    console = Console()
    console.print(f"{platform.platform()}, Python {platform.python_version()}; server on one core, load on the other")
    result = ingest_single.run()
    _print(console, result)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result['scenario']}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"
    path.write_text(json.dumps(result, indent=1))
    console.print(f"[dim]{path}[/]")


def _print(console: Console, result: dict[str, Any]) -> None:
    table = Table("", "requests/s", "p50 ms", "p99 ms", "RSS MB", "Footfall is", "to reach", box=None)
    for name, row in result["rows"].items():
        ratio = result["ratios"].get(name)
        table.add_row(
            NAMES[name],
            f"{row['rate']:,.0f}",
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            f"{row['memory_mb']:.0f}",
            "" if ratio is None else f"{ratio:.2f} ×",
            "" if ratio is None else f"≥ {TARGETS[name]} ×",
        )
    console.print(f"[bold]one event a request, {result['connections']} connections, median of {result['rounds']} rounds[/]")
    console.print(table)


if __name__ == "__main__":
    main()
