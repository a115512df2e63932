"""Links between pages lead somewhere, and what the pages are to name they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import footfall
from tests.meta.pages import PAGES, ROOT, anchors, links, name_of, spans

LINKS = [(page, link) for page in PAGES for link in links(page) if not link.startswith(("https://", "http://"))]


@pytest.mark.parametrize(("page", "link"), LINKS, ids=lambda value: value if isinstance(value, str) else name_of(value))
def test_a_relative_link_leads_to_a_file_and_a_heading(page: Path, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    assert target.exists()
    assert target.is_relative_to(ROOT)
    if anchor:
        assert anchor in anchors(target)


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    pending = [ROOT / "README.md"]
    while pending:
        page = pending.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        pending += [
            (page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link and link[0] != "#"
        ]
    assert {name_of(page) for page in PAGES} == {name_of(page) for page in reached}


def test_every_exported_name_is_on_the_python_page() -> None:
    assert set(footfall.__all__) <= set(spans(ROOT / "docs/python.md"))


def test_every_variable_the_client_reads_is_on_its_page_and_no_other() -> None:
    read = set(re.findall(r'"(MCM_[A-Z_]+)"', (ROOT / "src/footfall/client/settings.py").read_text()))
    told = {word for span in spans(ROOT / "docs/sending-to-the-original-service.md") for word in re.findall(r"MCM_[A-Z_]+", span)}
    assert read == told
    assert read <= {word for span in spans(ROOT / "README.md") for word in re.findall(r"MCM_[A-Z_]+", span)}


def test_every_module_stands_in_the_architecture() -> None:
    """By its own name beside its package, so that a new module is placed before it is forgotten."""
    source = ROOT / "src/footfall"
    named = set(spans(ROOT / "docs/architecture.md"))
    modules = {path.stem for path in source.glob("*/*.py") if path.parent.name != "cli"} - {"__init__"}
    assert modules - named == set()
    assert {f"{path.name}/" for path in source.iterdir() if (path / "__init__.py").exists()} <= named


def test_paths_of_source_and_test_files_on_the_pages_exist() -> None:
    """A span such as `server/ingest.py` or `tests/golden/mistakes.jsonl` names a file, from the root or from the package."""
    pattern = re.compile(r"(?:\w+/)+\w+\.(?:py|jsonl|toml)")
    for page in PAGES:
        for path in (span for span in spans(page) if pattern.fullmatch(span)):
            assert (ROOT / path).exists() or (ROOT / "src/footfall" / path).exists(), f"{name_of(page)}: {path}"
