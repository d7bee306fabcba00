"""Login attempts: all spellings of a login are one."""

from __future__ import annotations

import pytest

from gateway.core.attempts import AttemptLimits, folded


@pytest.mark.parametrize(
    "spelling",
    [
        "Istanbul@Example.com",
        "\u0130stanbul@example.com",  # a dotted capital I, which Postgres may make an i of
        "i\u0307stanbul@example.com",
        "\uff29stanbul@example.com",
        "I\u017ftanbul@example.com",
    ],
)
def test_spellings_that_may_be_one_login_come_out_equal(spelling: str) -> None:
    assert folded(spelling) == folded("istanbul@example.com")


@pytest.mark.parametrize("other", ["istanbul@example.org", "istanbu1@example.com", "istan.bul@example.com", ""])
def test_other_logins_come_out_different(other: str) -> None:
    assert folded(other) != folded("istanbul@example.com")


@pytest.mark.parametrize("capital", "ABCXYZ\u00c4\u00d6\u00c9\u03a3\u0416\u1e9e")
def test_capitals_do_not_matter(capital: str) -> None:
    assert folded(f"{capital}@example.com") == folded(f"{capital.lower()}@example.com")


def test_by_default_a_pair_fails_ten_times_and_an_address_a_hundred_times_in_a_quarter_of_an_hour() -> None:
    limits = AttemptLimits()
    assert (limits.pair_max, limits.address_max, limits.window_ms) == (10, 100, 15 * 60 * 1000)
