"""Header fields: what never reaches a backend or a client, and what is added (contract sections 4 and 6)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.bucket import Limit, Standing, Taken
from gateway.core.decision import Principal
from gateway.core.headers import (
    ALWAYS_REMOVED,
    HOP_BY_HOP,
    RemovedNames,
    identity_lines,
    passed_lines,
    rate_limit_headers,
    rate_limit_lines,
    wants_trailers,
)

CONFIGURED = ("X-Consumer-*", "X-Real-IP", "X-Forwarded-*", "X-User-Id")
REMOVED = RemovedNames.from_requests(CONFIGURED)

TRAILERS = RemovedNames.from_trailers()

spellings = st.lists(st.sampled_from(["lower", "upper", "title"]), min_size=1, max_size=8)


def respelled(name: str, choices: list[str], separator: str) -> bytes:
    parts = name.split("-")
    styled = [getattr(part, choices[at % len(choices)])() for at, part in enumerate(parts)]
    return separator.join(styled).encode()


@given(
    st.sampled_from([*sorted(HOP_BY_HOP | ALWAYS_REMOVED), "x-gateway-key-id", "x-consumer-name", "x-real-ip"]),
    spellings,
    st.sampled_from("-_."),
)
def test_a_forbidden_field_is_removed_however_it_is_spelled(name: str, choices: list[str], separator: str) -> None:
    assert not REMOVED.start(respelled(name, choices, separator))


@pytest.mark.parametrize("name", [b"Accept", b"Content-Type", b"Cookie", b"X-Customer", b"X-Real-IP-2", b"XGateway-Id"])
def test_other_fields_pass(name: bytes) -> None:
    assert REMOVED.start(name)


@pytest.mark.parametrize("name", [b"X-Api-Key", b"X-Anything"])
def test_a_name_is_removed_only_where_it_is_configured(name: bytes) -> None:
    assert RemovedNames.from_requests(()).start(name)
    assert not RemovedNames.from_requests(["x_api*", "X-ANYTHING"]).start(name)


def test_verdicts_stay_right_after_more_names_than_are_remembered() -> None:
    removed = RemovedNames.from_requests(CONFIGURED)
    for number in range(3000):
        assert removed.start(b"X-%d" % number)
        assert not removed.start(b"X-Gateway-%d" % number)
    assert removed.start(b"X-1") == b"X-1: "
    assert len(removed.starts) == 2048


def test_fields_keep_their_order_spelling_and_bytes() -> None:
    fields = [(b"aCCept", b"a"), (b"Host", b"h"), (b"X-B", b"\xff\xfe "), (b"accept", b"b"), (b"TE", b"trailers")]
    assert passed_lines(fields, REMOVED) == [b"aCCept: a", b"X-B: \xff\xfe ", b"accept: b"]


@pytest.mark.parametrize("connection", [[], [b"keep-alive"], [b"Close"], [b"close", b"Keep-Alive"], [b""]])
def test_a_connection_field_that_nominates_nothing_removes_nothing(connection: list[bytes]) -> None:
    fields = [(b"Connection", value) for value in connection] + [(b"X-Once", b"1")]
    assert passed_lines(fields, REMOVED) == [b"X-Once: 1"]


@pytest.mark.parametrize("connection", [[b"X-Once"], [b"close, x-once"], [b"close", b"X_ONCE ,"], [b",, x.once"]])
@pytest.mark.parametrize("name", [b"Connection", b"connection", b"CONNECTION"])
def test_fields_that_connection_nominates_are_removed(name: bytes, connection: list[bytes]) -> None:
    fields = [(b"X-Once", b"1"), *((name, value) for value in connection), (b"x_once", b"2"), (b"X-Once-More", b"3")]
    assert passed_lines(fields, REMOVED) == [b"X-Once-More: 3"]


def test_a_backend_learns_who_asks() -> None:
    principal = Principal("api_key_1", "acc_1", ("READ_BUDGETS", "WEBHOOKS"), "bk_live_1234")
    assert identity_lines(principal) == (
        b"X-Gateway-Key-Id: api_key_1\r\nX-Gateway-Account-Id: acc_1\r\nX-Gateway-Scopes: READ_BUDGETS WEBHOOKS\r\n"
    )


@pytest.mark.parametrize(
    "name",
    [
        b"Connection",
        b"Keep-Alive",
        b"Transfer-Encoding",
        b"Content-Length",
        b"x_request_id",
        b"X-RateLimit-Limit",
        b"X-Gateway-Any",
    ],
)
def test_a_backend_cannot_set_what_is_ours(name: bytes) -> None:
    assert not RemovedNames.from_answers().start(name)


def test_the_drafts_fields_are_the_backends_unless_we_send_them() -> None:
    for name in (b"RateLimit", b"ratelimit-policy", b"RateLimit_Policy"):
        assert RemovedNames.from_answers().start(name)
        assert not RemovedNames.from_answers(announced=True).start(name)
    assert RemovedNames.from_answers(announced=True).start(b"RateLimit-Limit")


def test_what_a_backend_answers_otherwise_passes() -> None:
    names = RemovedNames.from_answers()
    assert names.start(b"Content-Type")
    assert names.start(b"Set-Cookie")


HOURLY = Limit("hourly", 1000, 3_600_000)
TAKEN = Taken(
    admitted=True,
    now_ms=1_800_000_000_001,
    standings=(Standing(HOURLY, 998, 3_600), Standing(Limit("route", 10, 60_001), 9, 6_000)),
)


def test_the_tightest_bucket_is_described_in_whole_tokens_and_seconds() -> None:
    assert rate_limit_headers(TAKEN) == (
        ("X-RateLimit-Limit", "10"),
        ("X-RateLimit-Window", "61"),
        ("X-RateLimit-Remaining", "9"),
        ("X-RateLimit-Reset", "1800000007"),
    )


@pytest.mark.parametrize("announced", [False, True])
def test_a_head_says_the_same_in_bytes(announced: bool) -> None:
    limits = Limit("hourly", 1000, 3_600_000, announced=announced), Limit("route", 10, 60_001, announced=announced)
    standings = Standing(limits[0], 998, 3_600), Standing(limits[1], 9, 6_000)
    taken = Taken(admitted=True, now_ms=1_800_000_000_001, standings=standings)
    lines = "".join(f"{name}: {value}\r\n" for name, value in rate_limit_headers(taken))
    assert rate_limit_lines(taken) == lines.encode()


ANNOUNCED = Limit("hourly", 1000, 3_600_000, announced=True), Limit("a.b:1", 10, 60_001, announced=True)


def test_every_announced_bucket_is_described_as_in_the_draft() -> None:
    hourly, minute = ANNOUNCED
    taken = Taken(
        admitted=False, now_ms=1, standings=(Standing(hourly, 998, 3_601), Standing(minute, 0, 60_001, 5_001))
    )
    assert rate_limit_headers(taken)[4:] == (
        ("RateLimit-Policy", '"hourly";q=1000;w=3600, "a.b:1";q=10;w=61'),
        ("RateLimit", '"hourly";r=998;t=4, "a.b:1";r=0;t=6'),
    )


@given(st.integers(0, 10**13), st.integers(0, 1000), st.integers(0, 3_600_000), st.sampled_from([HOURLY, ANNOUNCED[0]]))
def test_both_forms_of_the_rate_limit_fields_say_the_same(
    now_ms: int, remaining: int, full_in_ms: int, limit: Limit
) -> None:
    taken = Taken(admitted=True, now_ms=now_ms, standings=(Standing(limit, remaining, full_in_ms),))
    lines = "".join(f"{name}: {value}\r\n" for name, value in rate_limit_headers(taken))
    assert rate_limit_lines(taken) == lines.encode()


@pytest.mark.parametrize(
    ("te", "wanted"),
    [
        ([], False),
        (["trailers"], True),
        (["deflate, Trailers "], True),
        (["gzip", "trailers"], True),
        (["trail"], False),
    ],
)
def test_trailers_are_wanted_where_te_says_so(te: list[str], wanted: bool) -> None:
    assert wants_trailers(te) is wanted


def test_what_comes_too_late_in_a_trailer_does_not_pass() -> None:
    names = [
        b"Checksum",
        b"set-cookie",
        b"Content-Type",
        b"Transfer-Encoding",
        b"X-Gateway-Key-Id",
        b"X-RateLimit-Limit",
    ]
    assert passed_lines([(name, b"1") for name in names], TRAILERS) == [b"Checksum: 1"]
