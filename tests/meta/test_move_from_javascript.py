"""The page for those who move from the JavaScript client: the call on the page and the Python beside it send the same event."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

import footfall
from footfall.delivery.transport import ScriptedTransport
from tests.meta.pages import ROOT, fences

PAGE = ROOT / "docs" / "sending-to-the-original-service.md"
_CALL = re.compile(r"client\.insertEvent\((\{.*\})\);", re.DOTALL)


def javascript_payloads() -> list[dict[str, Any]]:
    """The objects passed to insertEvent, as the JavaScript client would get them."""
    found = []
    for fence in fences(PAGE, "javascript"):
        for literal in _CALL.findall(fence.text):
            quoted = re.sub(r"([{,\s])([A-Za-z]\w*): ", r'\1"\2": ', literal).replace("Date.now()", "1790000000000")
            found.append(json.loads(re.sub(r",(\s*[}\]])", r"\1", quoted)))
    return found


def sent(transport: ScriptedTransport) -> list[dict[str, Any]]:
    """What went over the wire, without the two members that differ from call to call."""
    bodies = [json.loads(request.body) for request in transport.requests]
    return [{name: value for name, value in body.items() if name not in ("id", "timestamp")} for body in bodies]


def client(transport: ScriptedTransport) -> footfall.Client:
    return footfall.Client(platform_name="shop", platform_id="SHOP", api_key="k", transport=transport)


def test_the_page_shows_the_three_documented_events() -> None:
    assert [payload["eventType"] for payload in javascript_payloads()] == ["ITEM_PAGE_VIEW", "ADD_TO_CART", "PURCHASE"]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_javascript_call_and_the_python_beside_it_send_the_same_members(index: int) -> None:
    pasted, written = ScriptedTransport(), ScriptedTransport()
    client(pasted).insert_event(javascript_payloads()[index])

    names: dict[str, Any] = {name: getattr(footfall, name) for name in ("Client", "Device", "Item", "Money")}
    names["client"] = client(written)
    for fence in fences(PAGE, "python"):
        if fence.text.startswith(("visitor = ", "view = ", "cart = ", "purchase = ")):
            exec(fence.text, names)
        elif "PHONE = " in fence.text:
            exec(fence.text[fence.text.index("PHONE = ") :], names)

    assert sent(pasted) == [sent(written)[index]]
