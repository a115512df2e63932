"""Whatever arrives in whatever order and is landed at whatever moments: the table is what a dictionary says it must be."""

from __future__ import annotations

import hmac
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from footfall.lake.landing import Persons
from footfall.lake.settings import LakeSettings
from tests.contract.lake.stage import DAY_MS, NOW_MS, Model, Stage, erased_record, event, record

PEPPER: Final = b"pepper of a test"


class Gone(NamedTuple):
    """Somebody who was erased."""

    platform: str
    kind: str
    identifier: str
    requested_at: int

    @property
    def mac(self) -> bytes:
        return hmac.digest(PEPPER, f"{self.platform}\0{self.kind}\0{self.identifier}".encode(), "sha256")

    def covers(self, envelope: Mapping[str, Any]) -> bool:
        content = envelope["event"]
        told = {**content, **content.get("device", {})}.get(self.kind)
        return (
            envelope["platform"] == self.platform
            and told == self.identifier
            and isinstance(content["timestamp"], int)
            and content["timestamp"] < self.requested_at
        )


AGES = (1000, 60_000, DAY_MS, 900 * DAY_MS, 3000 * DAY_MS, NOW_MS - 10**10)
moments = st.sampled_from(AGES).map(lambda age: NOW_MS - age)
people = st.sampled_from([None, None, "anna", "bob", "a\0\"'\n\U0001f600"])


@st.composite
def records(draw: st.DrawFn) -> bytes:
    platform = draw(st.sampled_from(["SHOP", "OTHER"]))
    source = draw(st.sampled_from(["api", "batch"]))
    received_at = NOW_MS + draw(st.integers(0, 4))
    kind = draw(st.integers(0, 30))
    if kind == 0:
        return erased_record(platform=platform, source=source, received_at=received_at)
    user = draw(people)
    made = event(
        id=draw(st.sampled_from([None, "e1", "e2", "e\0", "e\0x", "'"])),
        event_type=draw(st.sampled_from(["PAGE_VIEW", "PURCHASE"])),
        timestamp="no number" if kind == 1 else draw(moments),
        user_id=user,
        custom_id=draw(people),
        device={"persistent_id": user} if user and draw(st.booleans()) else None,
        extra={"colour": 1.5} if draw(st.booleans()) else None,
    )
    return record(made, platform=platform, source=source, received_at=received_at)


@st.composite
def gone(draw: st.DrawFn) -> Gone:
    kind = draw(st.sampled_from(["user_id", "persistent_id", "custom_id"]))
    moment = draw(moments) + draw(st.integers(0, 1))
    return Gone(draw(st.sampled_from(["SHOP", "OTHER"])), kind, draw(people.filter(bool)) or "", moment)


appends = st.tuples(st.sampled_from(["w0", "w1", "import-x"]), st.lists(records(), min_size=1, max_size=12))
rounds = st.tuples(st.lists(appends, min_size=1, max_size=4), st.lists(gone(), max_size=1), st.integers(1, 20), st.integers(0, 3))


Story: TypeAlias = "list[tuple[list[tuple[str, list[bytes]]], list[Gone], int, int]]"
"""Rounds: what is appended, who is erased, how many events a batch holds, and how many days have passed."""
stories = st.lists(rounds, min_size=1, max_size=4)


def tell(story: Story) -> None:
    """Lands round after round, and compares table and books with the model in the end."""
    with tempfile.TemporaryDirectory() as directory:
        stage, model, erasures = Stage(Path(directory)), Model(), list[Gone]()
        for round_appends, more_gone, batch_events_max, days in story:
            erasures += more_gone
            stage.persons = Persons(erasures, PEPPER)
            stage.clock.advance(days * 86_400)
            for writer, bodies in round_appends:
                last = stage.append(writer, *bodies)
                for sequence, body in enumerate(bodies, last - len(bodies) + 1):
                    model.take(writer, sequence, body, gone=lambda seen: _is_gone(seen, erasures))  # noqa: B023
            stage.land(settings=LakeSettings(batch_events_max=batch_events_max))
        model.require_equal(stage)


def _is_gone(envelope: Mapping[str, Any], erasures: list[Gone]) -> bool:
    return any(person.covers(envelope) for person in erasures)


@given(stories)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_table_is_what_the_model_says(story: Story) -> None:
    """Over several writers, batch sizes, landers and landing days, with repeats, missing ids, poison and erasures between."""
    tell(story)
