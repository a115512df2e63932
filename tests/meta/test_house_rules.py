"""House rules that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import footfall
from tests.meta.pages import ROOT, name_of, project_files

MODULES = sorted((ROOT / "src").rglob("*.py"))
# Put together from pieces, so that this file passes its own test.
_MACHINE_PATH = re.compile(r"(?<![\w.:*-])/(?:" + "|".join(("wo" + "rk", "ro" + "ot", "tmp/" + "env", "ho" + r"me/\w+")) + r")/")
_PACKAGE_INDEX = re.compile("|".join(("py" + r"pi\.org", "python" + r"hosted\.org", "registry" + r"\.npmjs", '"reso' + 'lved":')))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_says_why_it_exists(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or not tree.body  # an empty __init__ has nothing to explain


def test_no_file_holds_a_path_of_somebodys_machine_or_a_package_index() -> None:
    found = []
    for path in project_files():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        text = content.decode("utf-8", "replace")
        found += [f"{name_of(path)}: {match[0]}" for match in (_MACHINE_PATH.search(text), _PACKAGE_INDEX.search(text)) if match]
    assert found == []


@pytest.mark.parametrize("line", ["cd /wo" + "rk/main", "from /tmp/" + "env/bin/python", "https://py" + "pi.org/simple"])
def test_the_search_for_such_paths_finds_them(line: str) -> None:
    assert _MACHINE_PATH.search(line) or _PACKAGE_INDEX.search(line)


def test_imports_follow_the_arrows() -> None:
    lint = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    done = subprocess.run(
        [sys.executable, "-c", lint, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout


def test_the_changelog_has_an_entry_for_the_version_and_the_version_is_said_once() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == declared == footfall.__version__
