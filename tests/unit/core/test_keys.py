"""Keys: which changes of state are legal (contract section 3)."""

from __future__ import annotations

import pytest

from gateway.core.keys import KeyStatus, may_become


@pytest.mark.parametrize("wanted", KeyStatus)
@pytest.mark.parametrize("current", [KeyStatus.ACTIVE, KeyStatus.SUSPENDED])
def test_a_key_that_is_not_revoked_may_become_anything(current: KeyStatus, wanted: KeyStatus) -> None:
    assert may_become(current, wanted)


@pytest.mark.parametrize("wanted", [KeyStatus.ACTIVE, KeyStatus.SUSPENDED])
def test_revocation_is_final(wanted: KeyStatus) -> None:
    assert not may_become(KeyStatus.REVOKED, wanted)


def test_revoking_a_revoked_key_again_changes_nothing_and_is_legal() -> None:
    assert may_become(KeyStatus.REVOKED, KeyStatus.REVOKED)


def test_statuses_are_written_as_the_page_has_them() -> None:
    assert [str(status) for status in KeyStatus] == ["ACTIVE", "SUSPENDED", "REVOKED"]
