"""The project's pages as the tests of this folder read them: fences, links, code spans."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Fence(NamedTuple):
    language: str
    text: str


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def fences(page: Path, *languages: str) -> list[Fence]:
    found = [Fence(match[1], match[2]) for match in _FENCE.finditer(page.read_text(encoding="utf-8"))]
    return [fence for fence in found if fence.language in languages]


def prose(page: Path) -> str:
    """The page without its fences."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def spans(page: Path) -> list[str]:
    return _SPAN.findall(prose(page))


def links(page: Path) -> list[str]:
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """What headings can be linked to, in the way code hosts make them: lower case, dashes for blanks, no punctuation."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(prose(page))}


def project_files() -> Iterator[Path]:
    """Every file that belongs to the project: what .gitignore does not leave out."""
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line and "/" not in line[:-1]]
    ignored_paths = [line for line in (ROOT / ".gitignore").read_text().splitlines() if "/" in line[:-1]]
    pending = [ROOT]
    while pending:
        for path in sorted(pending.pop().iterdir()):
            if path.name == ".git" or any(fnmatch.fnmatch(path.name, pattern) for pattern in ignored):
                continue
            if any(f"{name_of(path)}/".startswith(pattern) for pattern in ignored_paths):
                continue
            if path.is_dir():
                pending.append(path)
            elif path.is_file():
                yield path
