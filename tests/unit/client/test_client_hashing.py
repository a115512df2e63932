"""Identifiers that nobody can turn back."""

from __future__ import annotations

import pytest

from footfall import hash_identifier


def test_the_hash_is_hmac_sha_256_in_hexadecimal() -> None:
    """Test case 2 of RFC 4231."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert hash_identifier("what do ya want for nothing?", "Jefe") == expected
    assert hash_identifier("what do ya want for nothing?", b"Jefe") == expected


def test_blanks_around_a_value_do_not_matter_and_case_does_unless_told() -> None:
    assert hash_identifier(" a@b.c\n", "k") == hash_identifier("a@b.c", "k")
    assert hash_identifier("A@b.c", "k") != hash_identifier("a@b.c", "k")
    assert hash_identifier("A@b.c", "k", casefold=True) == hash_identifier("a@b.c", "k")


@pytest.mark.parametrize("nobody", ["", "  ", "null", "Undefined", "nil", "invalid", "00000000-0000-0000-0000-000000000000"])
def test_a_value_that_names_nobody_stays_absent(nobody: str) -> None:
    assert hash_identifier(nobody, "k") == ""


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ValueError, match="secret key"):
        hash_identifier("a", "")
