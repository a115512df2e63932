"""A file of events: which lines count, where they are, and that none is too long to hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer import Exit

from footfall.cli.lines import LINE_BYTES_MAX, count_events, event_lines


def written(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "events.ndjson"
    path.write_bytes(content)
    return str(path)


def test_blank_lines_are_skipped_and_counted_only_as_lines(tmp_path: Path) -> None:
    file = written(tmp_path, b'\n{"a":1}\r\n  \t\n\n{"b":2}')
    assert [(line.index, line.number, line.body) for line in event_lines(file)] == [(0, 2, b'{"a":1}'), (1, 5, b'{"b":2}')]
    assert count_events(file) == 2


def test_a_line_without_end_is_cut_and_the_next_one_is_whole(tmp_path: Path) -> None:
    file = written(tmp_path, b"x" * (3 * LINE_BYTES_MAX + 7) + b"\n{}\n")
    long, short = event_lines(file)
    assert (len(long.body), long.is_cut) == (LINE_BYTES_MAX + 1, True)
    assert (short.number, short.body, short.is_cut) == (2, b"{}", False)


def test_a_line_of_just_the_limit_is_whole(tmp_path: Path) -> None:
    file = written(tmp_path, b"x" * LINE_BYTES_MAX + b"\n{}\n")
    assert [len(line.body) for line in event_lines(file)] == [LINE_BYTES_MAX, 2]


def test_what_can_be_read_once_only_is_not_counted() -> None:
    assert count_events("-") is None
    assert count_events("/dev/null") is None


def test_a_file_that_is_not_there_ends_the_command_with_status_2(tmp_path: Path) -> None:
    with pytest.raises(Exit) as ended:
        list(event_lines(str(tmp_path / "none")))
    assert ended.value.exit_code == 2
