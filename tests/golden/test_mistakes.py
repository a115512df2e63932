"""The mistakes real senders make, one a line in `mistakes.jsonl`, each with the exact refusal it gets."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from footfall.errors import InvalidEventError
from footfall.events.intake import read_event

NOW_MS = 1_790_000_000_000
MISTAKES: list[dict[str, Any]] = [
    json.loads(line) for line in Path(__file__).with_name("mistakes.jsonl").read_text("utf-8").split("\n") if line
]


def body_of(mistake: dict[str, Any]) -> bytes:
    return base64.b64decode(mistake["body_base64"]) if "body_base64" in mistake else mistake["body"].encode()


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake["name"])
def test_a_mistake_gets_its_message_and_every_problem_in_order(mistake: dict[str, Any]) -> None:
    with pytest.raises(InvalidEventError) as caught:
        read_event(body_of(mistake), now_ms=NOW_MS)
    found = [{"field": violation.field, "reason": violation.reason} for violation in caught.value.violations]
    assert (caught.value.message, found) == (mistake["message"], mistake["violations"])
    assert caught.value.status == 400


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake["name"])
def test_every_problem_is_described_in_a_sentence_that_helps(mistake: dict[str, Any]) -> None:
    with pytest.raises(InvalidEventError) as caught:
        read_event(body_of(mistake), now_ms=NOW_MS)
    for violation in caught.value.violations:
        assert 20 < len(violation.description) < 200, violation


def test_the_corpus_holds_sixty_mistakes_and_no_name_twice() -> None:
    names = [mistake["name"] for mistake in MISTAKES]
    assert len(names) == len(set(names)) >= 60
