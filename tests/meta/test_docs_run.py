"""The Python on the pages runs as it stands, against a real server, and prints what the page says it prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.meta.pages import PAGES, fences, name_of
from tests.serving import Footfall

WITH_PYTHON = [page for page in PAGES if fences(page, "python")]


def test_the_pages_that_teach_show_python() -> None:
    teaching = ("getting-started", "sending-to-the-original-service", "python", "outbox", "web", "testing")
    assert {"README.md", *(f"docs/{name}.md" for name in teaching)} <= {name_of(page) for page in WITH_PYTHON}


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_the_python_of_a_page_runs_and_prints_its_output_blocks(page: Path, shared_footfall: Footfall, tmp_path: Path) -> None:
    """All blocks of a page are one program, as a reader would type them in; `output` fences hold what it prints, and
    what it leaves on the disk is under its own working directory."""
    program = "\n".join(fence.text for fence in fences(page, "python"))
    expected = "".join(fence.text for fence in fences(page, "output"))
    place = {
        "MCM_MODE": "test",
        "MCM_BASE_URL": shared_footfall.url,
        "MCM_TEST_PLATFORM_ID": "SHOP_TEST",
        "MCM_TEST_API_KEY": shared_footfall.keys["SHOP_TEST"],
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env={**os.environ, **place},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)
