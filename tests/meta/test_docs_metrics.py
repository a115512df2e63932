"""The metrics page says what a scrape of a real server holds."""

from __future__ import annotations

import re
import time

from prometheus_client.parser import text_string_to_metric_families

from footfall.console.metrics import METRICS
from tests.meta.pages import ROOT
from tests.serving import Footfall, home

PAGE = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")


def test_every_metric_has_its_row_and_no_row_is_left_over() -> None:
    rows = {row[0]: row[1:] for row in re.findall(r"^\| `(footfall_\w+)` \| (\w+) \| ([^|]*) \|", PAGE, re.MULTILINE)}
    assert {name: (kind, tuple(re.findall(r"\w+", labels))) for name, (kind, labels) in rows.items()} == {
        metric.name: (metric.kind, metric.labels) for metric in METRICS
    }


def test_names_used_in_the_prose_and_alerts_exist() -> None:
    known = {metric.name for metric in METRICS}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"footfall_[a-z_]+", PAGE)} <= known


def test_names_end_in_their_unit_and_counters_in_total() -> None:
    for metric in METRICS:
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert metric.help.endswith("."), metric.name
        assert len(metric.watch.split()) > 2, metric.name


def test_every_documented_metric_is_in_the_scrape_of_a_real_server_and_no_other(shared_footfall: Footfall) -> None:
    assert shared_footfall.send(home()).status == 200
    assert shared_footfall.send(home(), key="").status == 401
    missing = ["all"]
    deadline_s = time.monotonic() + 10
    while missing and time.monotonic() < deadline_s:  # what was counted is told a moment later
        reply = shared_footfall.ops("/metrics")
        families = {family.name: family for family in text_string_to_metric_families(reply.body.decode())}
        missing = [name for name, family in families.items() if not family.samples]
        time.sleep(0.02)
    assert missing == []
    assert set(families) == {metric.name.removesuffix("_total") for metric in METRICS}
