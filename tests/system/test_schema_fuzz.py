"""What schemathesis makes of our OpenAPI document, and of the published one where it is at hand: no 5xx, nothing undocumented.

FOOTFALL_PUBLISHED_OPENAPI names a file with the User Event API's own document; it is not ours to ship.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.contract.schema_fuzz import send_cases
from tests.serving import EVENTS_PATH, Footfall

PATHS = (EVENTS_PATH, EVENTS_PATH + ":batch", "/cdp/SEGMENT")
PUBLISHED = os.environ.get("FOOTFALL_PUBLISHED_OPENAPI", "")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    settings = {"FOOTFALL_THROTTLE__IDENTIFIER_PER_S": "20"}
    with Footfall(tmp_path_factory.mktemp("fuzz") / "data", settings=settings) as running:
        yield running
        running.check_log()


@pytest.fixture(scope="module")
def served(server: Footfall) -> dict[str, Any]:
    return dict(server.request("GET", "/openapi.json").json)


@pytest.mark.parametrize("path", PATHS)
def test_generated_requests_get_documented_answers(server: Footfall, served: dict[str, Any], path: str) -> None:
    statuses = send_cases(server, served, path=path, served=served, cases=80)
    assert statuses[200]
    assert statuses[400]


@pytest.mark.torture
@pytest.mark.parametrize("path", PATHS)
def test_ten_thousand_generated_requests_get_documented_answers(server: Footfall, served: dict[str, Any], path: str) -> None:
    worker = server.children()["w0"].pid
    statuses = send_cases(server, served, path=path, served=served, cases=4_000, number=2)
    assert sum(statuses.values()) > 3_000
    assert server.children()["w0"].pid == worker, "no worker died of it"


@pytest.mark.torture
@pytest.mark.skipif(not PUBLISHED, reason="FOOTFALL_PUBLISHED_OPENAPI names no file with the published document")
def test_requests_by_the_published_document_get_documented_answers(server: Footfall, served: dict[str, Any]) -> None:
    published = json.loads(Path(PUBLISHED).read_text())
    statuses = send_cases(server, published, path=EVENTS_PATH, served=served, cases=10_000, number=3)
    assert statuses[200]
