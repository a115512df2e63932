"""The tables on the pages of the client are complete, and say what the code says."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import get_args

import pytest

from footfall import Outbox, Stats
from footfall.client.outbox.worths import NAMES
from footfall.client.web.settings import Options
from footfall.delivery.protocol import Course, Policy, Verdict, after, verdict_on
from footfall.testing import Events, FaultName, Receiver
from tests.meta.pages import PAGES, ROOT, fences, name_of

OUTBOX, WEB, TESTING = (ROOT / "docs" / f"{name}.md" for name in ("outbox", "web", "testing"))
SAID = {
    "2xx": Verdict.ACCEPTED,
    "400, 413, 415, 422": Verdict.REFUSED,
    "429": Verdict.THROTTLED,
    "408, 425, 499, 5xx, no answer": Verdict.FAILED,
    "401, 403, 404, 405, 407, a redirect, any other 4xx": Verdict.BARRED,
}
"""The rows of the page, and what the protocol calls them."""

TESTS = {
    page: [fence.text for fence in fences(page, "python") if fence.text.startswith("def test_")]
    for page in PAGES
    if any(fence.text.startswith("def test_") for fence in fences(page, "python"))
}
"""The tests that pages show, which are not run by being typed in."""
SHOP = """
    from types import SimpleNamespace

    import pytest
    from footfall import Device, Item, Money, Outbox

    @pytest.fixture
    def shop(footfall_receiver, tmp_path):
        with Outbox.from_env(tmp_path) as outbox:
            def post(path):
                person = {"channel_type": "SITE", "user_id": "u-1", "device": Device(persistent_id="p-1")}
                outbox.track(event_type="SEARCH", search_query="boots", **person)
                items = [Item(id=sku, price=Money("USD", "19.99"), quantity=1) for sku in ("sku-1", "sku-2")]
                outbox.track(event_type="PURCHASE", items=items, revenue=Money("USD", "39.98"), **person)
                return SimpleNamespace(status_code=200)

            yield SimpleNamespace(post=post)
"""


def rows(text: str, *, head: str) -> list[list[str]]:
    """The cells of the one table whose first line begins so."""
    (found,) = re.findall(rf"^\| {re.escape(head)} \|.*\n\|[ \-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found.splitlines()]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_option_of_an_outbox_is_on_its_page_with_its_default() -> None:
    shown = {code(option)[0]: default.strip("`") for option, default, *_ in rows(OUTBOX.read_text(), head="Option")}
    options = {name: option for name, option in inspect.signature(Outbox).parameters.items() if name != "directory"}
    assert shown == {
        name: "required" if option.default is inspect.Parameter.empty else repr(option.default)
        for name, option in options.items()
    }


def test_every_count_and_state_of_an_outbox_is_on_its_page() -> None:
    table = rows(OUTBOX.read_text(), head="Field")
    assert [code(field)[0] for field, *_ in table] == list(Stats.__struct_fields__)
    (states,) = (code(meaning) for field, meaning, *_ in table if field == "`state`")
    assert set(states) == set(get_args(inspect.get_annotations(Stats, eval_str=True)["state"]))


def test_every_log_of_a_tray_is_drawn() -> None:
    drawn = re.search(r"```text\nvar/outbox/.*?```", OUTBOX.read_text(), re.DOTALL)
    assert drawn is not None
    assert all(f"{name}/" in drawn[0] for name in (*NAMES, "refused"))


def test_the_table_of_answers_is_the_protocol() -> None:
    """Every status from 200 to 599, and none at all, stands in the row of its verdict."""
    assert [answer for answer, *_ in rows(OUTBOX.read_text(), head="Answer")] == list(SAID)
    named = {int(status): row for row in SAID for status in re.findall(r"\b\d{3}\b", row)}
    families = {2: "2xx", 3: "401, 403, 404, 405, 407, a redirect, any other 4xx", 5: "408, 425, 499, 5xx, no answer"}
    families[4] = families[3]
    for status in range(200, 600):
        assert verdict_on(status) is SAID[named.get(status, families[status // 100])], status
    assert verdict_on(0) is SAID[families[5]]


def test_the_times_of_the_attempts_are_those_of_the_protocol() -> None:
    course, now_s, times = Course(), 0.0, [0]
    for _ in range(8):
        course = after(course, Verdict.FAILED, now_s=now_s, hint_s=None, policy=Policy(), random=lambda: 0.0)
        now_s = course.not_before_s
        times.append(round(now_s))
    (shown,) = rows(OUTBOX.read_text(), head="Attempt")
    assert [int(cell) for cell in shown[1:8]] == times[:7]
    assert shown[8] == f"every {times[8] - times[7]}"
    assert times[8] - times[7] == times[7] - times[6]


def test_every_option_of_web_shops_is_documented_in_the_code() -> None:
    table = rows(WEB.read_text(), head="Option")
    assert [code(option)[0] for option, *_ in table] == list(Options.__annotations__)
    assert all(len(meaning.split()) > 3 for *_, meaning in table), table


def test_every_fault_and_assertion_is_on_its_page_and_exists() -> None:
    page = TESTING.read_text()
    faults = "\n".join(re.findall(r"^\| `.*$", page, re.MULTILINE))
    assert set(re.findall(r'fail\("(\w+)"\)', faults)) == set(get_args(FaultName))
    for name in re.findall(r"events\.(\w+)\(", page):
        assert hasattr(Events, name), name
    for name in re.findall(r"footfall_receiver\.(\w+)", page):
        assert hasattr(Receiver, name), name
    public = {name for name in vars(Events) if not name.startswith("_")}
    assert all(f"events.{name}(" in page for name in public)


def test_the_pages_on_testing_show_tests() -> None:
    assert {name_of(page): len(shown) for page, shown in TESTS.items()} == {"README.md": 1, "docs/testing.md": 2}


@pytest.mark.parametrize("page", TESTS, ids=name_of)
def test_the_tests_that_a_page_shows_pass_in_a_shop(page: Path, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(dedent(SHOP))
    (tmp_path / "test_shop.py").write_text("\n\n".join(TESTS[page]))
    command = ("-m", "pytest", "-q", "-W", "error", "-p", "footfall.client.testing.plugin", "-p", "no:cacheprovider")
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert f"{len(TESTS[page])} passed" in done.stdout, done.stdout + done.stderr
