"""The parts of pages that are made from code are what the code says today."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from footfall.cli.settings import Settings
from footfall.events import golive, quality, violations
from footfall.server import answers
from tests.meta.pages import ROOT, fences

SCRIPT = ROOT / "scripts" / "docs.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=60)


def copied_pages(to: Path) -> None:
    shutil.copy(ROOT / "README.md", to)
    shutil.copytree(ROOT / "docs", to / "docs")


def test_every_made_part_is_fresh() -> None:
    done = run("--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_stale_page_is_named_and_mended_by_a_run_without_check(tmp_path: Path) -> None:
    copied_pages(tmp_path)
    page = tmp_path / "docs" / "settings.md"
    whole = page.read_text(encoding="utf-8")
    page.write_text(whole.replace("`body_bytes_max`", "`body_size`"), encoding="utf-8")

    assert run("--check", str(tmp_path)).stdout.splitlines() == ["stale: docs/settings.md (make docs)"]
    assert run("--check", str(tmp_path)).returncode == 1
    assert run(str(tmp_path)).returncode == 0
    assert page.read_text(encoding="utf-8") == whole


def test_a_part_that_does_not_exist_or_does_not_end_is_an_error(tmp_path: Path) -> None:
    copied_pages(tmp_path)
    page = tmp_path / "docs" / "settings.md"
    page.write_text("<!-- made from code: nothing -->\n<!-- end -->\n")
    assert "no part 'nothing'" in run("--check", str(tmp_path)).stderr
    page.write_text("<!-- made from code: settings -->\n")
    assert "a part without its end" in run("--check", str(tmp_path)).stderr


def test_the_http_page_lists_every_reason_and_every_case() -> None:
    first_cells = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/http-api.md").read_text(encoding="utf-8"), re.MULTILINE))
    for table in (violations.REASONS, quality.REASONS, golive.DESCRIPTIONS):
        assert set(table) <= first_cells


GENERAL = {"invalid", "not_stored"}
"""Those that only choose the words of others."""


def test_the_http_page_shows_every_refusal_the_door_can_give() -> None:
    """Those that are values are found by themselves; those that are functions need a sample call in the script."""
    page = (ROOT / "docs/http-api.md").read_text(encoding="utf-8")
    for name, value in vars(answers).items():
        if isinstance(value, answers.Refusal):
            assert value.message in page, name
        elif inspect.isfunction(value) and value.__annotations__.get("return") == "Refusal" and name not in GENERAL:
            assert f"answers.{name}(" in SCRIPT.read_text(encoding="utf-8"), name


def test_every_setting_has_its_row_and_its_line_of_documentation() -> None:
    rows = dict(
        re.findall(
            r"^\| `\w+` \| `FOOTFALL_(\w+__\w+)` \|.*\| ([^|]+) \|$", (ROOT / "docs/settings.md").read_text(), re.MULTILINE
        )
    )
    names = {
        f"{section.name}__{field.name}".upper()
        for section in msgspec.structs.fields(Settings)
        for field in msgspec.structs.fields(section.type)
    }
    assert set(rows) == names
    assert all(len(doc.split()) > 2 for doc in rows.values()), rows


def test_the_python_shown_beside_javascript_is_the_example_file() -> None:
    """Block by block: the lines on the page are lines of the file, in the same order, only moved to the left edge."""
    lines = [line.strip() for line in (ROOT / "examples/three_events.py").read_text(encoding="utf-8").splitlines()]
    page = ROOT / "docs/sending-to-the-original-service.md"
    names = ("visitor", "view", "cart", "purchase")
    blocks = [fence.text for fence in fences(page, "python") if fence.text.startswith(tuple(f"{name} = " for name in names))]
    assert [block.split(" = ")[0] for block in blocks] == list(names)
    for block in blocks:
        shown = [line.strip() for line in block.splitlines()]
        begin = lines.index(shown[0])
        assert lines[begin : begin + len(shown)] == shown
