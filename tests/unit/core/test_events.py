"""Usage events: their members, their ids, and that no client text breaks a line (contract section 9)."""

from __future__ import annotations

import json
import uuid

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.events import encode, uuid7, uuid7_start
from tests.usage_events import usage_event

entropies = st.text("0123456789abcdef", min_size=32, max_size=32)


def test_a_full_event_has_the_members_of_the_contract() -> None:
    event = usage_event(
        account_id="acc_1",
        key_id="api_key_1",
        upstream="budgets",
        target="127.0.0.1:9001",
        upstream_us=1200,
        bytes_in=3,
        bytes_out=4,
        mode="sidecar",
    )
    assert json.loads(encode(event)) == {
        "id": "0197a1b2-0000-7000-8000-000000000000",
        "at": "2026-05-01T12:00:00.123Z",
        "requestId": "req_0123456789abcdef",
        "accountId": "acc_1",
        "keyId": "api_key_1",
        "route": "budgets.read",
        "endpoint": "/api/public/budgets/{id}",
        "method": "GET",
        "path": "/api/public/budgets/7",
        "clientIp": "203.0.113.7",
        "status": 200,
        "outcome": "admitted",
        "upstream": "budgets",
        "target": "127.0.0.1:9001",
        "durationUs": 1500,
        "upstreamUs": 1200,
        "bytesIn": 3,
        "bytesOut": 4,
        "mode": "sidecar",
        "configVersion": "c0ffee",
        "schema": 1,
    }


def test_what_is_unknown_is_null() -> None:
    event = json.loads(encode(usage_event(status=None)))
    unknown = {name for name, value in event.items() if value is None}
    assert unknown == {"status", "accountId", "keyId", "upstream", "target", "upstreamUs"}


@given(st.text(), st.text(), st.text(), st.text(), st.text())
def test_any_client_text_is_one_line_and_comes_back(
    endpoint: str, method: str, path: str, address: str, key_id: str
) -> None:
    line = encode(usage_event(endpoint=endpoint, method=method, path=path, client_address=address, key_id=key_id))
    assert b"\n" not in line
    assert b"\r" not in line
    event = json.loads(line)
    assert (event["endpoint"], event["method"], event["path"]) == (endpoint, method, path)
    assert (event["clientIp"], event["keyId"]) == (address, key_id)


def test_an_id_is_that_of_rfc_9562_but_for_two_random_bits() -> None:
    # Appendix A.6, whose variant is followed by 01 and not by 00.
    assert uuid7(uuid7_start(0x017F22E279B0), f"{0:014x}cc38c4dc0c0c07398f") == "017f22e2-79b0-7cc3-88c4-dc0c0c07398f"


@given(st.integers(0, 2**48 - 1), entropies)
def test_an_id_is_a_uuid_version_7_that_holds_its_time_and_its_entropy(unix_ms: int, entropy: str) -> None:
    text = uuid7(uuid7_start(unix_ms), entropy)
    number = uuid.UUID(text)
    assert str(number) == text
    assert number.variant == uuid.RFC_4122
    assert number.version == 7
    assert number.int >> 80 == unix_ms
    assert text[15:18] + text[20:23] + text[24:] == entropy[14:]


@given(st.integers(0, 2**48 - 2), entropies, entropies)
def test_ids_sort_by_time(unix_ms: int, one: str, other: str) -> None:
    assert uuid7(uuid7_start(unix_ms), one) < uuid7(uuid7_start(unix_ms + 1), other)
