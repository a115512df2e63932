"""The example and the demo do what the README says, against a real server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.serving import Footfall

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "three_events.py"


def run_example(server: Footfall, mode: str) -> subprocess.CompletedProcess[str]:
    settings = {
        "MCM_MODE": mode,
        "MCM_BASE_URL": server.url,
        "MCM_PLATFORM_ID": "SHOP",
        "MCM_API_KEY": server.keys["SHOP"],
        "MCM_TEST_PLATFORM_ID": "SHOP_TEST",
        "MCM_TEST_API_KEY": server.keys["SHOP_TEST"],
    }
    return subprocess.run(
        [sys.executable, str(EXAMPLE)], env={**os.environ, **settings}, capture_output=True, text=True, timeout=60
    )


def test_the_example_is_under_sixty_lines() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 60


def test_the_three_events_go_to_the_test_platform_without_a_warning(footfall: Footfall) -> None:
    done = run_example(footfall, "test")
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if line[0].isupper()] == ["200", "200", "200"]
    assert done.stdout.count("warnings       none") == 3
    assert [r["event"]["event_type"] for r in footfall.records("SHOP_TEST")] == ["ITEM_PAGE_VIEW", "ADD_TO_CART", "PURCHASE"]
    assert footfall.records("SHOP") == []


def test_the_same_file_makes_them_durable_on_the_live_platform(footfall: Footfall) -> None:
    done = run_example(footfall, "live")
    assert done.returncode == 0, done.stderr
    footfall.kill()
    records = footfall.records("SHOP")
    assert [r["event"]["event_type"] for r in records] == ["ITEM_PAGE_VIEW", "ADD_TO_CART", "PURCHASE"]
    assert records[2]["event"]["revenue"] == {"currency": "USD", "amount": "44.97"}
    footfall.start()


def test_a_forgotten_mode_reaches_nobody(footfall: Footfall) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "MCM_MODE" in done.stderr
    assert footfall.records() == []


def test_the_demo_ends_by_itself_and_leaves_nothing_behind(tmp_path: Path) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "demo.py")],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("← 200") == 6
    assert "BadRequestError 400: invalid timestamp" in done.stdout
    assert "4 of 11 green" in done.stdout
    assert "11 of 11 green" in done.stdout
    assert '"position":"w0/3","platform":"SHOP","mode":"live"' in done.stdout.replace("\n", "")
    assert "MCM_PLATFORM_NAME" in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert time.monotonic() - began < 60
