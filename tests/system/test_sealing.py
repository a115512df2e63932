"""A running server seals what it wrote when it is asked to, and goes on."""

from __future__ import annotations

from footfall.log.rewriting import rewrite_records
from footfall.log.sealing import seal_all
from tests.serving import Footfall, home


def test_every_worker_of_a_running_server_seals_when_asked_and_records_can_then_be_changed(footfall: Footfall) -> None:
    for number in range(3):
        assert footfall.send(home(id=f"before-{number}")).status == 200
        assert footfall.send(home(id=f"test-{number}"), platform="SHOP_TEST").status == 200
    for mode in ("live", "test"):
        tree = footfall.data / "log" / mode
        assert seal_all(tree, timeout_s=15, accept_tmpfs=True) == []
        changed = [
            rewrite_records(directory, change=lambda bodies: [body.replace(b'"HOME"', b'"LAND"') for body in bodies]).records
            for directory in tree.iterdir()
        ]
        assert sum(changed) == 3
        assert not list(tree.glob("*/seal"))
    assert footfall.send(home(id="after")).status == 200
    records = footfall.records()
    kinds = {record["event"]["id"]: record["event"]["event_type"] for record in records}
    assert len(kinds) == len(records) == 7
    assert {event_id for event_id, kind in kinds.items() if kind == "HOME"} == {"after"}
    footfall.check_log()
