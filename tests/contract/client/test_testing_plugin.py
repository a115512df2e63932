"""The pytest plugin as an engineer meets it: test files of a shop, run by a pytest of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

SHOP = """
    from footfall import Client, Item, Money

    def checkout(user):
        with Client.from_env() as client:
            client.insert_event(
                event_type="PURCHASE", channel_type="SITE", user_id=user, revenue=Money("USD", "39.98"),
                items=[Item(id="sku-1", price=Money("USD", "19.99"), quantity=2)],
            )
"""


def run_pytest(directory: Path, tests: str, *, settings: str = "") -> tuple[str, dict[str, int]]:
    """The output, and how many tests ended in which way. Warnings are errors there too."""
    (directory / "shop.py").write_text(dedent(SHOP))
    (directory / "test_shop.py").write_text(dedent(tests))
    (directory / "pytest.ini").write_text(f"[pytest]\nfilterwarnings = error\n{settings}")
    # Without autoloading, so that it is loaded by name whether or not the installed distribution declares it.
    environment = {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "COLUMNS": "200",
        "MCM_MODE": "live",
        "MCM_API_KEY": "real",
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "footfall.client.testing.plugin",
        "-p",
        "no:cacheprovider",
        "--strict-markers",
    ]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=100, check=False)
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout.splitlines()[-1])}
    return done.stdout + done.stderr, counts


def test_a_shop_that_sends_what_its_test_expects_passes(tmp_path: Path) -> None:
    output, counts = run_pytest(
        tmp_path,
        """
        import os, subprocess, sys
        from shop import checkout

        def test_checkout(events):
            checkout("u-1")
            purchase = events.assert_one("PURCHASE", user_id="u-1", revenue="39.98", items=1)
            assert purchase.items[0].quantity == 2
            events.assert_none("SEARCH")

        def test_each_test_begins_with_nothing(events, footfall_receiver):
            assert len(events) == 0 == footfall_receiver.received
            assert events is footfall_receiver.events

        def test_a_shop_in_another_process(events):
            subprocess.run([sys.executable, "-c", "import shop; shop.checkout('u-2')"], check=True)
            assert events.wait_for(1)[0].user_id == "u-2"

        def test_the_environment_is_the_receivers_alone(footfall_receiver):
            assert {name: value for name, value in os.environ.items() if name.startswith("MCM_")} == footfall_receiver.environment
            assert os.environ["MCM_BASE_URL"].startswith("http://127.0.0.1:")

        def test_the_environment_is_given_back():
            assert os.environ["MCM_MODE"] == "live" and os.environ["MCM_API_KEY"] == "real"
            assert "MCM_BASE_URL" not in os.environ
        """,
    )
    assert counts == {"passed": 5}, output


def test_a_failing_test_shows_what_came_and_what_differs_at_the_line_of_the_test(tmp_path: Path) -> None:
    output, counts = run_pytest(
        tmp_path,
        """
        from shop import checkout

        def test_checkout(events):
            checkout("u-1")
            events.within(0).assert_one("PURCHASE", revenue="40", items=2)
        """,
    )
    assert counts == {"failed": 1}, output
    assert 'E       AssertionError: one PURCHASE with revenue="40", items=2 expected, none came' in output
    assert "E         1  PURCHASE  user_id=u-1  revenue=USD 39.98  items=1 (sku-1 ×2)" in output
    assert 'E            ^ revenue is USD 39.98, not "40"; items are 1 (sku-1 ×2), not 2' in output
    assert "test_shop.py:6: AssertionError" in output
    assert "footfall/client/testing" not in output, "the engineer sees the own test, not our code"


def test_a_shop_that_sends_nothing_fails_after_the_wait_that_is_set(tmp_path: Path) -> None:
    output, counts = run_pytest(
        tmp_path,
        """
        import time

        def test_nothing(events):
            began_s = time.monotonic()
            try:
                events.assert_one("HOME")
            finally:
                assert 0.3 <= time.monotonic() - began_s < 1.5
        """,
        settings="footfall_wait_s = 0.3\n",
    )
    assert counts == {"failed": 1}, output
    assert "AssertionError: one HOME expected, none came" in output
    assert "nothing was accepted" in output


def test_what_a_background_thread_delivers_is_waited_for(tmp_path: Path) -> None:
    output, counts = run_pytest(
        tmp_path,
        """
        import threading
        from shop import checkout

        def test_late(events):
            late = threading.Timer(0.2, checkout, ["u-1"])
            late.start()
            events.assert_one("PURCHASE")
            late.join()
        """,
    )
    assert counts == {"passed": 1}, output


def test_the_fault_switch_and_the_marker_reach_the_receiver(tmp_path: Path) -> None:
    output, counts = run_pytest(
        tmp_path,
        """
        import pytest
        from footfall import Client, InternalServerError, NetworkError
        from shop import checkout

        def test_outage(events, footfall_receiver):
            footfall_receiver.fail(status=503, times=1)
            with pytest.raises(InternalServerError):
                checkout("u-1")
            footfall_receiver.down()
            with pytest.raises(NetworkError):
                checkout("u-1")
            footfall_receiver.up()
            checkout("u-1")
            events.assert_one("PURCHASE")

        @pytest.mark.footfall(footfall=False, platform_id="MY_SHOP")
        def test_original(footfall_receiver):
            with Client.from_env() as client:
                answer = client.insert_event(event_type="HOME", channel_type="SITE", user_id="u-1")
                assert "MY_SHOP" in repr(client)
            assert (answer.body, answer.report) == (b"{}", None)
        """,
    )
    assert counts == {"passed": 2}, output


def test_a_shop_with_an_outbox_delivers_in_the_background_and_a_lost_answer_counts_once(tmp_path: Path) -> None:
    output, counts = run_pytest(
        tmp_path,
        """
        import pytest
        from footfall.client.outbox import Outbox

        @pytest.fixture
        def outbox(tmp_path, events):
            with Outbox.from_env(tmp_path / "outbox") as outbox:
                yield outbox

        def test_tracked(outbox, events):
            track(outbox, "SEARCH", search_query="boots")
            events.assert_one("SEARCH", search_query="boots")

        def test_twice_received_once_counted(outbox, events, footfall_receiver):
            track(outbox, "HOME")
            events.wait_for(1)
            footfall_receiver.fail("lost_answer", times=1)
            track(outbox, "HOME")
            assert outbox.flush(20)
            assert (footfall_receiver.received, len(events)) == (3, 2)

        @pytest.mark.footfall(footfall=False)
        def test_refused(outbox, events):
            track(outbox, "SEARCH")
            assert outbox.flush(20)
            events.assert_one("SEARCH")

        def track(outbox, event_type, **members):
            return outbox.track(event_type=event_type, channel_type="SITE", user_id="u-1", **members)
        """,
    )
    assert counts == {"passed": 2, "failed": 1}, output
    assert "E         400  SEARCH  missing search_query" in output
