"""How commands speak: nothing from outside steers the terminal, and times read well."""

from __future__ import annotations

import pytest
from rich.text import Text

from footfall.cli.output import age, counted, indented, marked, plain, when

DAY_MS = 86_400_000
NOW_MS = 1_790_000_000_000


@pytest.mark.parametrize("text", ["red \x1b[31m", "two\nlines", "bell\a", "turned \u202e round", "half \ud800", "c1 \x9b31m"])
def test_control_characters_are_replaced(text: str) -> None:
    assert plain(text).isprintable()
    assert len(plain(text)) == len(text)


@pytest.mark.parametrize("text", ["[bold]x[/]", "a\\[b]", "[/]", "\\", "[link=http://x]y", "trailing\\"])
def test_marked_text_shows_itself(text: str) -> None:
    assert Text.from_markup(f"{marked(text)}[bold]![/]").plain == f"{text}!"


@pytest.mark.parametrize(
    ("passed_ms", "said"),
    [
        (-5_000, "just now"),
        (59_999, "just now"),
        (60_000, "1 min ago"),
        (3_600_000, "1 h ago"),
        (DAY_MS, "1 day ago"),
        (3 * DAY_MS, "3 days ago"),
    ],
)
def test_ages_are_short(passed_ms: int, said: str) -> None:
    assert age(NOW_MS - passed_ms, now_ms=NOW_MS) == said


def test_times_are_utc_and_a_time_beyond_the_calendar_is_its_number() -> None:
    assert when(1_700_000_000_000) == "2023-11-14 22:13"
    assert when(None) == "–"
    assert when(10**18) == str(10**18)


def test_counts_have_their_plural() -> None:
    assert [counted(count, "event") for count in (0, 1, 1000)] == ["0 events", "1 event", "1,000 events"]


def test_paragraphs_fold_between_words_only() -> None:
    identifier = "0" * 64
    lines = indented(f"some words before {identifier} and after", cells=4, width=50).split("\n")
    assert all(line.startswith("    ") for line in lines)
    assert any(identifier in line for line in lines)
