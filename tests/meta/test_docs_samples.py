"""The answers and outputs shown on the pages are what a real server and the real commands say.

In a sample, `…` stands for any text and 1790000000000 for any time.
"""

from __future__ import annotations

import json
import re
import shlex
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


def test_the_answer_to_a_batch_is_as_shown(shared_footfall: Footfall) -> None:
    good = {"event_type": "HOME", "channel_type": "SITE", "timestamp": now_ms(), "user_id": "u-7c1f"}
    lines = [json.dumps(event) for event in (good, {**good, "event_type": "Home"}, good)]
    answer = shared_footfall.request(
        "POST",
        "/rmp/event/v1/platforms/SHOP/userevents:batch",
        body="\n".join(lines).encode(),
        headers={"X-API-Key": shared_footfall.keys["SHOP"], "Content-Type": "application/x-ndjson"},
    )
    assert answer.status == 200
    assert_shown("docs/http-api.md", beginning='{"accepted"', real=answer.json)


def test_a_record_of_the_log_has_the_form_shown(footfall: Footfall) -> None:
    footfall.send({"id": "e-1", "eventType": "HOME", "channelType": "SITE", "timestamp": str(now_ms()), "user_id": "u1"})
    (record,) = footfall.records("SHOP")
    record["position"] = record["position"].replace("w0/1", "w0/123")
    assert_shown("docs/http-api.md", beginning='{"position"', real=record)
    line = footfall.cli("log", "cat").stdout.decode()
    assert list(json.loads(line)) == list(json.loads(sample("docs/http-api.md", beginning='{"position"')))


def test_doctor_goes_the_way_shown(shared_footfall: Footfall) -> None:
    key = {"FOOTFALL_KEY": shared_footfall.keys["SHOP_TEST"]}
    done = run_cli("doctor", "--url", shared_footfall.url, "--platform", "SHOP_TEST", env=key)
    said = done.stdout.decode().replace(f"port {shared_footfall.port} ", "port 8080 ")
    assert re.sub(r"[0-9.]+ ms", "0.2 ms", said) == sample("docs/getting-started.md", beginning="✓ address")
    assert done.returncode == 0


def test_doctor_json_has_the_members_shown(shared_footfall: Footfall) -> None:
    real = json.loads(run_cli("doctor", "--url", shared_footfall.url, "--json").stdout)
    real["checks"] = [check for check in real["checks"] if check["check"] == "service"]
    assert_shown("docs/cli.md", beginning='{"checks"', real=real)


def test_find_json_has_the_members_shown(footfall: Footfall) -> None:
    footfall.send({"id": "e-1", "event_type": "HOME", "channel_type": "SITE", "timestamp": now_ms(), "user_id": "u1"})
    real = json.loads(footfall.cli("find", "e-1", "--json").stdout)
    real["found"][0]["position"] = real["found"][0]["position"].replace("w0/1", "w0/123")
    assert_shown("docs/cli.md", beginning='{"event_id"', real=real)


def test_the_commands_of_getting_started_that_need_a_server_run(footfall: Footfall, tmp_path: Path) -> None:
    """As they stand, but for the port, the id looked for, the file, and a shorter simulation."""
    event = {"id": "0199c2f4-7a11-7c3e-9d52-3f1c8e6b7a90", "event_type": "HOME", "channel_type": "SITE", "user_id": "u1"}
    file = tmp_path / "events.ndjson"
    file.write_text(json.dumps({**event, "timestamp": now_ms()}) + "\n")
    text = "".join(fence.text for fence in fences(ROOT / "docs/getting-started.md", "sh"))
    changed = text.replace(":8080", f":{footfall.port}").replace("--duration 10", "--duration 1").replace(file.name, str(file))
    wanted = ("send", "find", "simulate", "doctor --url")
    lines = [line for line in changed.splitlines() if line.startswith(tuple(f"footfall {name} " for name in wanted))]
    assert {line.split()[1] for line in lines} == {"send", "find", "simulate", "doctor"}
    environment = {"FOOTFALL_KEY": footfall.keys["SHOP_TEST"], **footfall.settings}
    for line in sorted(lines, key=lambda line: " find " in line):  # there is something to be found after the others only
        done = run_cli(*shlex.split(line)[1:], data=footfall.data, env=environment)
        assert done.returncode == 0, (line, done.stdout, done.stderr)


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
