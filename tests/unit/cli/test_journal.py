"""Whatever is logged leaves as one line, within bounds, without keys and without the words of exceptions."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from footfall.cli.journal import MESSAGE_BYTES_MAX, JsonLines, TextLines
from footfall.registry.keys import new_key

NASTY = 'shop\n{"level":"ERROR"}\r\x1b[31mred\x9b0m\x7f\x00\u2028\u202egnp\ud800é'
"""A second line, terminal sequences in both forms, a separator, a turn of direction, half a character; and one good letter."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
SECRET = "u-7c1f-at-home"


def logged(formatter: logging.Formatter, *arguments: object, name: str = "footfall.server", **options: Any) -> str:
    """What one call of `warning` writes."""
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(formatter)
    logger = logging.Logger(name)  # noqa: LOG001  (one that pytest and other tests know nothing of)
    logger.addHandler(handler)
    logger.warning(*arguments, **options)
    return output.getvalue().removesuffix("\n")


def as_json(*arguments: object, **options: Any) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(logged(JsonLines(part="w0"), *arguments, **options))
    return line


def raised() -> ValueError:
    """An exception with a cause, both of which quote what they must not."""
    with pytest.raises(ValueError) as caught:
        try:
            int(SECRET)
        except ValueError as cause:
            raise ValueError(f"cannot take {SECRET}") from cause
    return caught.value


def test_a_json_line_has_time_level_logger_part_and_message() -> None:
    line = as_json("%d requests", 3)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ", line.pop("time"))
    assert line == {"level": "WARNING", "logger": "footfall.server", "part": "w0", "message": "3 requests"}


def test_a_text_line_has_them_too() -> None:
    assert re.fullmatch(
        r"[-0-9]{10} [:0-9]{8},\d{3} WARNING w1 footfall\.server: 3 requests", logged(TextLines(part="w1"), "%d requests", 3)
    )


@pytest.mark.parametrize("formatter", [JsonLines(part="w0"), TextLines(part="w0")])
def test_nothing_that_is_logged_can_begin_a_line_or_steer_a_terminal(formatter: logging.Formatter) -> None:
    for line in (
        logged(formatter, "refused: %s", NASTY),
        logged(formatter, NASTY),
        logged(formatter, "refused", extra={"platform": NASTY, NASTY: 1}),
        logged(formatter, "refused", name=NASTY),
    ):
        assert CONTROL.findall(line) == []
        line.encode("utf-8")


def test_a_json_message_comes_back_as_it_was() -> None:
    assert as_json("%s", NASTY)["message"] == NASTY


def test_fields_stand_beside_the_message_and_replace_none_of_ours() -> None:
    extra = {"platform": "SHOP", "count": 3, "share": 0.25, "none": None, "time": "x", "level": "x", "logger": "x", "part": "x"}
    line = as_json("refused", extra=extra)
    assert {name: line[name] for name in ("platform", "count", "share", "none")} == {
        "platform": "SHOP",
        "count": 3,
        "share": 0.25,
        "none": None,
    }
    assert (line["level"], line["logger"], line["part"]) == ("WARNING", "footfall.server", "w0")
    assert logged(TextLines(part="w0"), "refused", extra={"platform": "SHOP"}).endswith("refused platform=SHOP")


@pytest.mark.parametrize("letter", ["x", "é", "€", "😀"])
def test_a_message_and_a_field_end_after_four_kibibytes(letter: str) -> None:
    line = as_json("%s", letter * 10_000, extra={"field": letter * 10_000})
    for text in (line["message"], line["field"]):
        assert MESSAGE_BYTES_MAX - 4 <= len(text.encode()) <= MESSAGE_BYTES_MAX
        assert text.startswith(letter * 1_000)
        assert text.endswith("…")


@pytest.mark.parametrize("formatter", [JsonLines(part="w0"), TextLines(part="w0")])
def test_a_key_is_masked_wherever_it_stands_even_where_the_message_is_cut(formatter: logging.Formatter) -> None:
    for mode in ("live", "test"):
        key = new_key(mode)
        for line in (
            logged(formatter, "key %s refused", key),
            logged(formatter, f"x-api-key: {key}"),
            logged(formatter, "refused", extra={"header": key, "list": [key]}),
            logged(formatter, "x" * (MESSAGE_BYTES_MAX - 20) + key),
        ):
            assert key[:20] not in line
            assert key[-20:] not in line


@pytest.mark.parametrize("formatter", [JsonLines(part="w0"), TextLines(part="w0")])
def test_an_exception_is_told_by_type_and_places_never_by_its_words(formatter: logging.Formatter) -> None:
    shown = logged(formatter, "failed", exc_info=raised())
    assert SECRET not in shown
    assert "cannot take" not in shown
    assert "ValueError" in shown
    assert re.search(r"test_journal\.py:\d+ in raised", shown)


def test_a_json_exception_names_its_causes_and_ends_with_the_raising_place() -> None:
    line = as_json("failed", exc_info=raised())
    assert line["exception"] == ["ValueError", "ValueError"]
    assert line["places"][-1].endswith(" in raised")


def test_a_missing_module_and_an_error_of_the_system_say_which() -> None:
    """Facts, not words: what an operator needs, and nothing an event could have put there."""
    for fail, told in (
        (lambda: __import__("footfall.nowhere"), "ModuleNotFoundError (footfall.nowhere)"),
        (lambda: os.stat(f"/nowhere/{SECRET}"), "FileNotFoundError (ENOENT)"),
    ):
        with pytest.raises((ImportError, OSError)) as caught:
            fail()
        line = as_json("failed", exc_info=caught.value)
        assert line["exception"] == [told]
        assert SECRET not in json.dumps(line)


def test_a_message_whose_values_do_not_fit_is_written_without_them() -> None:
    line = as_json("%d requests", SECRET)
    assert SECRET not in json.dumps(line)
    assert line["message"].startswith("%d requests (the values for this message do not fit")


def test_asyncio_does_not_quote_arguments_and_exceptions_of_tasks() -> None:
    message = f"Exception in callback take('{SECRET}')\nhandle: <Handle take('{SECRET}')>"
    assert as_json(message, name="asyncio")["message"] == "Exception in callback take"


def run(form: str, program: str, *, level: str = "INFO") -> subprocess.CompletedProcess[str]:
    """A process of its own, set up by `configure`, with standard error in a pipe."""
    head = "import asyncio, logging, threading\nfrom footfall.cli import journal\n"
    head += f"journal.configure({form!r}, {level!r}, part='w3')\n"
    return subprocess.run([sys.executable, "-c", head + program], capture_output=True, text=True, timeout=30)


def test_auto_is_json_where_nobody_watches_and_text_is_text() -> None:
    program = "logging.getLogger('any.library').info('hello')"
    assert json.loads(run("auto", program).stderr)["part"] == "w3"
    assert json.loads(run("json", program).stderr)["message"] == "hello"
    assert run("text", program).stderr.endswith("INFO w3 any.library: hello\n")


def test_less_than_the_level_is_not_written() -> None:
    done = run("json", "logging.getLogger('a').info('less'); logging.getLogger('a').warning('more')", level="WARNING")
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()] == ["more"]


def test_exceptions_nobody_caught_leave_the_same_way() -> None:
    """From a thread, from a task, and the one that ends the process."""
    program = (
        "def fail(): raise ValueError('SECRET')\n"
        "async def task(): fail()\n"
        "async def main():\n"
        "    failing = asyncio.ensure_future(task())\n"
        "    await asyncio.wait([failing])\n"
        "thread = threading.Thread(target=fail)\n"
        "thread.start(); thread.join()\n"
        "asyncio.run(main())\n"
        "fail()\n"
    ).replace("SECRET", SECRET)
    done = run("json", program)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 1
    assert SECRET not in done.stderr
    assert [line["exception"] for line in lines] == [["ValueError"]] * 3
    assert [line["message"] for line in lines].count("an exception that nobody caught") == 2
    assert all(line["places"][-1].endswith(" in fail") for line in lines)


def test_a_log_call_that_cannot_be_written_prints_nothing_of_its_values() -> None:
    program = (
        "class Bad:\n"
        "    def __str__(self): raise ValueError('SECRET')\n"
        "logging.getLogger('a').warning('x', extra={'bad': Bad(), 'user': 'SECRET'})\n"
        "logging.getLogger('a').warning('after')\n"
    ).replace("SECRET", SECRET)
    done = run("json", program)
    assert SECRET not in done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["message"] == "after"
