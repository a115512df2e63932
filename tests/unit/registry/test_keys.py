"""The form of a key: made at random, checked by its own characters, never found in ordinary text."""

from __future__ import annotations

import random
import string
from pathlib import Path

import pytest

from footfall.registry.keys import KEY_PATTERN, digest, is_well_formed, new_key


@pytest.mark.parametrize("mode", ["live", "test"])
def test_a_new_key_names_its_mode_and_checks_itself(mode: str) -> None:
    key = new_key(mode)  # type: ignore[arg-type]
    assert key.startswith(f"footfall_{mode}_")
    assert len(key) == len(f"footfall_{mode}_") + 36
    assert is_well_formed(key)


def test_keys_do_not_repeat() -> None:
    assert len({new_key("live") for _ in range(2_000)}) == 2_000


def test_every_typo_of_one_character_is_noticed() -> None:
    key = new_key("test")
    for place in range(len(key)):
        for character in "aZ0_":
            if character != key[place]:
                assert not is_well_formed(key[:place] + character + key[place + 1 :])


def test_a_cut_or_padded_key_is_noticed() -> None:
    key = new_key("live")
    assert not any(is_well_formed(key[:end]) for end in range(len(key)))
    assert not is_well_formed(key + "0")
    assert not is_well_formed(" " + key)


def test_the_pattern_for_secret_scanners_finds_keys_and_nothing_in_ordinary_source() -> None:
    text = "\n".join(f"API_KEY = '{new_key('live')}'  # comment" for _ in range(1_000))
    assert len(KEY_PATTERN.findall(text)) == 1_000
    for path in Path(__file__).parents[3].joinpath("src").rglob("*.py"):
        assert not KEY_PATTERN.search(path.read_text())
    chance = random.Random(1)
    assert not KEY_PATTERN.search("".join(chance.choices(string.printable, k=200_000)))


def test_a_digest_takes_any_text_a_header_may_hold() -> None:
    assert len(digest("")) == 32
    assert digest("a\udcff") != digest("a")
