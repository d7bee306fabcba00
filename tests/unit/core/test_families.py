"""Families of field names, for proxies that cannot remove fields by a prefix."""

from __future__ import annotations

import pytest

from gateway.core.families import MEMBERS, Families

FAMILIES = Families(("X-Consumer-*", "X-User-Id"))


@pytest.mark.parametrize("name", [b"X-Consumer-Secret", b"x_consumer_secret", b"X-Gateway-Other", b"x.gateway.other"])
def test_a_member_that_is_not_spelt_out_is_unknown(name: bytes) -> None:
    for _ in range(2):  # The second time it is remembered.
        assert FAMILIES.has_unknown([b"Accept", name])


@pytest.mark.parametrize("name", [b"X-Consumer-Id", b"X-User-Id", b"X-User-Id-2", b"Accept", b"X-Consumer"])
def test_what_is_spelt_out_or_of_no_family_passes(name: bytes) -> None:
    for _ in range(2):
        assert not FAMILIES.has_unknown([name])


def test_all_that_is_spelt_out_can_be_removed() -> None:
    assert not Families(("X-*",)).has_unknown(name.encode() for name in MEMBERS)
