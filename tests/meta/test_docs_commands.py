"""Command lines on the pages, and in messages of ours, are ones the program takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from footfall.cli.app import app
from tests.meta.pages import PAGES, ROOT, fences, name_of, spans

TREE: Any = typer.main.get_command(app)
_ENDS = {"|", "||", "&&", ";", "&", ">", ">>", "<"}


def simple_commands(line: str) -> Iterator[list[str]]:
    """The commands of a shell line, pipes and lists taken apart."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    words.commenters = "#"
    command: list[str] = []
    for word in words:
        if word in _ENDS:
            yield command
            command = []
        else:
            command.append(word)
    yield command


def shell_lines(page: Path) -> list[str]:
    text = "".join(fence.text for fence in fences(page, "sh"))
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def resolve(words: list[str]) -> tuple[Any, list[str]]:
    """The command or group these words name, and the words after it."""
    command, rest = TREE, words
    while rest and rest[0] in getattr(command, "commands", {}):
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in tree.commands:
        if hasattr(tree.commands[name], "commands"):
            yield from leaves(tree.commands[name], (*path, name))
        else:
            yield (*path, name), tree.commands[name]


FOOTFALL_LINES = [
    (name_of(page), command[1:])
    for page in PAGES
    for line in shell_lines(page)
    for command in simple_commands(line)
    if command[:1] == ["footfall"]
]
SPANS = sorted(
    {
        (name_of(path), span)
        for path, found in (
            *((page, spans(page)) for page in PAGES),
            *((module, re.findall(r"`([^`\n]+)`", module.read_text())) for module in (ROOT / "src").rglob("*.py")),
        )
        for span in found
        if re.match(r"footfall [a-z]", span)
    }
)


def test_the_pages_show_every_command() -> None:
    """Each leaf of the tree stands in a shell block somewhere, so that each is parsed by the next test."""
    shown = {id(resolve(words)[0]) for _, words in FOOTFALL_LINES}
    assert [" ".join(path) for path, leaf in leaves(TREE) if id(leaf) not in shown] == []


def test_the_reference_has_a_section_for_every_command() -> None:
    headings = re.findall(r"^### `footfall ([a-z ]+)`$", (ROOT / "docs/cli.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == [" ".join(path) for path, _ in leaves(TREE)]
    assert len(headings) > 10


@pytest.mark.parametrize(
    ("page", "words"), FOOTFALL_LINES, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_a_command_line_in_a_shell_block_parses(page: str, words: list[str]) -> None:
    command, rest = resolve(words)
    assert not hasattr(command, "commands"), f"{page}: footfall {' '.join(words)} is no command"
    command.make_context(command.name, list(rest))  # raises UsageError where an option or a value is none


@pytest.mark.parametrize(("page", "span"), SPANS)
def test_a_command_named_in_a_sentence_exists_with_its_options(page: str, span: str) -> None:
    for words in simple_commands(span):
        if words[:1] != ["footfall"]:
            continue
        command, rest = resolve(words[1:])
        assert command is not TREE, f"{page}: `{span}`"
        assert not (hasattr(command, "commands") and rest), f"{page}: `{span}`"
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)} <= known, f"{page}: `{span}`"


def test_every_make_verb_on_a_page_is_in_the_makefile_and_back() -> None:
    targets = set(re.findall(r"^([a-z]+): +.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {verb for page in PAGES for span in spans(page) for verb in re.findall(r"^make ([a-z]+)", span)}
    lines = [line for page in PAGES for line in shell_lines(page)]
    shown = {command[1] for line in lines for command in simple_commands(line) if command[:1] == ["make"]}
    assert named | shown <= targets
    assert targets - {"help"} <= named
