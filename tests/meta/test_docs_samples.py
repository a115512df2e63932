"""The answers and outputs shown on the pages are what a real server and the real commands say.

In a sample, `…` stands for any text and 1790000000000 for any time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.meta.pages import ROOT, fences
from tests.serving import Footfall, now_ms, run_cli

ANY_TEXT = "…"
ANY_TIME_MS = 1790000000000


def sample(page: str, *, beginning: str) -> str:
    """The one fence of that page that begins so."""
    (found,) = [fence.text for fence in fences(ROOT / page, "text", "json") if fence.text.startswith(beginning)]
    return found


def loosened(shown: Any, real: Any) -> Any:
    """`real` with whatever the sample leaves open replaced by the sample's own stand-in; longer lists and objects stay longer."""
    if shown == ANY_TEXT and isinstance(real, str):
        return ANY_TEXT
    if shown == ANY_TIME_MS and isinstance(real, int):
        return ANY_TIME_MS
    if isinstance(shown, dict) and isinstance(real, dict):
        return {name: loosened(shown.get(name), value) for name, value in real.items()}
    if isinstance(shown, list) and isinstance(real, list):
        return [loosened(shown[index] if index < len(shown) else None, value) for index, value in enumerate(real)]
    return real


def assert_shown(page: str, *, beginning: str, real: Any) -> None:
    shown = json.loads(sample(page, beginning=beginning))
    assert loosened(shown, real) == shown


def test_the_first_event_by_curl_gets_the_report_shown(shared_footfall: Footfall) -> None:
    event = {"event_type": "HOME", "channel_type": "SITE", "timestamp": str(now_ms()), "user_id": "u1"}
    answer = shared_footfall.send(event, platform="SHOP_TEST").json
    shown = json.loads(sample("docs/getting-started.md", beginning='{"test"'))
    answer["test"]["event"]["timestamp"] = shown["test"]["event"]["timestamp"]
    assert loosened(shown, answer) == shown


def test_the_report_of_a_purchase_is_as_shown(shared_footfall: Footfall) -> None:
    shown = json.loads(sample("docs/http-api.md", beginning='{"test"'))["test"]["event"]
    event = {**shown, "timestamp": now_ms(), "channel_type": "SITE", "user_id": "u-7c1f", "device": {"persistent_id": "p-90aa"}}
    assert_shown("docs/http-api.md", beginning='{"test"', real=shared_footfall.send(event, platform="SHOP_TEST").json)


def test_an_error_body_is_as_shown(shared_footfall: Footfall) -> None:
    event = {"event_type": "Home", "channel_type": "SITE", "timestamp": now_ms(), "user_id": "u-7c1f"}
    assert_shown("docs/http-api.md", beginning='{"code"', real=shared_footfall.send(event).json)


def test_a_record_of_the_log_has_the_form_shown(footfall: Footfall) -> None:
    footfall.send({"id": "e-1", "eventType": "HOME", "channelType": "SITE", "timestamp": str(now_ms()), "user_id": "u1"})
    (record,) = footfall.records("SHOP")
    record["position"] = record["position"].replace("w0/1", "w0/123")
    assert_shown("docs/http-api.md", beginning='{"position"', real=record)
    line = footfall.cli("log", "cat").stdout.decode()
    assert list(json.loads(line)) == list(json.loads(sample("docs/http-api.md", beginning='{"position"')))


def test_platform_add_prints_the_pair_shown(tmp_path: Path) -> None:
    assert run_cli("platform", "add", "SHOP", data=tmp_path).stdout.decode() == sample(
        "docs/getting-started.md", beginning="SHOP\t"
    )


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_check_prints_the_verdicts_shown(options: tuple[str, ...]) -> None:
    good = {
        "id": "e-1",
        "event_type": "SEARCH",
        "channel_type": "SITE",
        "timestamp": now_ms(),
        "user_id": "5b1f8a52c0de",
        "device": {"persistent_id": "7e02a9d4f1b3"},
        "search_query": "red shoes",
    }
    bad = {
        **good,
        "id": "e-2",
        "event_type": "PURCHASE",
        "items": [{"quantity": 2, "price": {"currency": "USD", "amount": 19.99}}],
    }
    done = run_cli("check", "-", *options, stdin=f"{json.dumps(good)}\n{json.dumps(bad)}\n".encode())
    assert done.returncode == 1
    if options:
        assert done.stdout.decode().splitlines()[1] + "\n" == sample("docs/cli.md", beginning='{"index"')
    else:
        assert (done.stdout + done.stderr).decode() == sample("docs/cli.md", beginning="refused ")


def test_golive_json_has_the_members_shown(shared_footfall: Footfall) -> None:
    event = {"id": "e-1", "event_type": "HOME", "channel_type": "SITE", "timestamp": now_ms(), "user_id": "u1"}
    done = run_cli("golive", "-", "--json", stdin=json.dumps(event).encode())
    shown, real = json.loads(sample("docs/cli.md", beginning='{"platform"')), json.loads(done.stdout)
    assert list(real) == list(shown)
    assert (real["green"], real["total"]) == (shown["green"], shown["total"])
    assert list(real["cases"][0]) == list(shown["cases"][0])


def test_send_says_what_was_accepted_and_exits_as_the_table_says(shared_footfall: Footfall) -> None:
    """0 when all were accepted, 1 when one was refused, 2 without a key."""
    good = {"event_type": "HOME", "channel_type": "SITE", "timestamp": now_ms(), "user_id": "u1"}
    command = ("send", "-", "--url", shared_footfall.url, "--platform", "SHOP_TEST", "--json")
    key = {"FOOTFALL_KEY": shared_footfall.keys["SHOP_TEST"]}
    for events, accepted, status in (((good,), 1, 0), ((good, {**good, "event_type": "Home"}), 1, 1)):
        done = run_cli(*command, stdin="\n".join(map(json.dumps, events)).encode(), env=key)
        assert (json.loads(done.stdout)["accepted"], done.returncode) == (accepted, status)
    assert run_cli(*command, stdin=b"{}", env={"FOOTFALL_KEY": ""}).returncode == 2


def test_a_port_that_is_taken_and_a_directory_that_is_owned_end_serve_as_the_table_says(shared_footfall: Footfall) -> None:
    taken = ("--port", str(shared_footfall.port), "--ops-port", "0")
    assert shared_footfall.cli("serve", *taken).returncode == 3
    assert shared_footfall.cli("serve", "--port", "0", "--ops-port", "0").returncode == 3
