"""Policy: what a key may do, which check answers first, and what is charged (contract sections 1, 3 and 4)."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from gateway.core.bucket import Algorithm, Charges, Limit, LimitBy
from gateway.core.credentials import NoCredential
from gateway.core.decision import (
    AddressNotAllowed,
    Admit,
    BadRequest,
    KeyExpired,
    KeyRevoked,
    KeySuspended,
    MethodNotAllowed,
    NotFound,
    Principal,
    ScopeMissing,
)
from gateway.core.facts import RequestFacts
from gateway.core.headers import identity_lines
from gateway.core.keys import KeyRecord, KeyStatus
from gateway.core.network import AddressSet
from gateway.core.oddities import REASONS, Oddity
from gateway.core.paths import Target
from gateway.core.policy import HOUR_MS, admission, decide, public_admission, refusal, unrouted
from gateway.core.routes import Matched, MethodUnknown, PathAmbiguous, PathOdd, PathUnknown, Pattern, Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.decision import Denial

NOW = 1_800_000_000.0
FACTS = RequestFacts("GET", Target("/a", "", ("a",)), "203.0.113.7", NoCredential())
ROUTE = Route("read", Pattern.parse("/a"), frozenset({"GET"}), scope="READ")
KEY = KeyRecord("api_key_1", "acc_1", "bk_live_1234", frozenset({"READ", "EXTRA"}), 1000)

BY_KEY = Limit("read:1", 10, 60_000, by=LimitBy.KEY)
BY_ADDRESS = Limit("read:2", 60, 60_000, by=LimitBy.ADDRESS)

# In the order in which they are checked: what spoils the key, and the denial that it leads to.
FLAWS: list[tuple[Callable[[KeyRecord], KeyRecord], Denial]] = [
    (lambda key: replace(key, status=KeyStatus.SUSPENDED), KeySuspended("bk_live_1234")),
    (lambda key: replace(key, retired_at=NOW), KeyRevoked("bk_live_1234")),
    (lambda key: replace(key, expires_at=NOW), KeyExpired(NOW)),
    (lambda key: replace(key, allowed=AddressSet(["192.0.2.0/24"])), AddressNotAllowed("203.0.113.7")),
    (lambda key: replace(key, scopes=frozenset({"B", "A"})), ScopeMissing("READ", ("A", "B"))),
]


def ask(key: KeyRecord, facts: RequestFacts = FACTS, route: Route = ROUTE) -> object:
    return decide(facts, key, route, NOW, Algorithm.TOKEN_BUCKET)


def test_a_key_without_flaws_is_admitted_and_charged_by_the_hour() -> None:
    principal = Principal("api_key_1", "acc_1", ("EXTRA", "READ"), "bk_live_1234")
    charges = Charges("api_key_1", (Limit("hourly", 1000, HOUR_MS),))
    assert ask(KEY) == Admit(principal, charges, identity_lines(principal))


@pytest.mark.parametrize(("spoil", "denial"), FLAWS)
def test_one_flaw_is_enough(spoil: Callable[[KeyRecord], KeyRecord], denial: Denial) -> None:
    assert ask(spoil(KEY)) == denial
    assert refusal(FACTS, spoil(KEY), ROUTE, NOW) == denial


def test_of_several_flaws_the_first_in_order_is_told() -> None:
    for count in range(2, len(FLAWS) + 1):
        for flaws in combinations(FLAWS, count):
            key = KEY
            for spoil, _ in flaws:
                key = spoil(key)
            assert ask(key) == flaws[0][1]


def test_a_revoked_key_stays_revoked_whatever_else_is_wrong() -> None:
    key = replace(KEY, status=KeyStatus.REVOKED, expires_at=NOW - 1, scopes=frozenset())
    assert ask(key) == KeyRevoked("bk_live_1234")


@pytest.mark.parametrize("status", KeyStatus)
def test_a_deleted_key_is_revoked_even_when_it_was_suspended(status: KeyStatus) -> None:
    assert ask(replace(KEY, status=status, deleted=True)) == KeyRevoked("bk_live_1234")


def test_a_key_expiring_this_very_moment_is_refused_and_one_moment_earlier_is_not() -> None:
    assert ask(replace(KEY, expires_at=NOW)) == KeyExpired(NOW)
    assert isinstance(ask(replace(KEY, expires_at=NOW + 0.001)), Admit)


def test_a_rotated_secret_works_until_its_grace_is_over() -> None:
    assert ask(replace(KEY, retired_at=NOW)) == KeyRevoked("bk_live_1234")
    assert isinstance(ask(replace(KEY, retired_at=NOW + 0.001)), Admit)


@pytest.mark.parametrize(
    ("networks", "admitted"),
    [(["203.0.113.7"], True), (["203.0.113.0/24", "::1"], True), (["203.0.113.8"], False), (["2001:db8::/32"], False)],
)
def test_an_allowlist_admits_its_addresses_only(networks: list[str], admitted: bool) -> None:
    assert isinstance(ask(replace(KEY, allowed=AddressSet(networks))), Admit) == admitted


def test_a_key_with_an_allowlist_is_refused_where_the_address_is_not_known() -> None:
    unknown = structs.replace(FACTS, address_is_known=False)
    assert ask(replace(KEY, allowed=AddressSet(["203.0.113.7"])), unknown) == AddressNotAllowed("203.0.113.7")
    assert isinstance(ask(KEY, unknown), Admit)


def test_a_route_without_a_scope_takes_any_key() -> None:
    assert isinstance(ask(replace(KEY, scopes=frozenset()), route=replace(ROUTE, scope=None)), Admit)


def test_a_scope_is_compared_whole() -> None:
    assert ask(replace(KEY, scopes=frozenset({"READ_ALL", "rEAD", "REA"}))) == ScopeMissing(
        "READ", ("REA", "READ_ALL", "rEAD")
    )


def test_the_limits_of_a_route_come_on_top_of_the_hourly_one() -> None:
    admit = admission(KEY, replace(ROUTE, limits=(BY_KEY, BY_ADDRESS)), Algorithm.TOKEN_BUCKET)
    assert admit.charges == Charges("api_key_1", (Limit("hourly", 1000, HOUR_MS), BY_KEY))


@pytest.mark.parametrize(
    ("of_key", "of_route", "of_all", "chosen"),
    [
        ("sliding_window", Algorithm.TOKEN_BUCKET, Algorithm.TOKEN_BUCKET, Algorithm.SLIDING_WINDOW),
        ("token_bucket", Algorithm.SLIDING_WINDOW, Algorithm.SLIDING_WINDOW, Algorithm.TOKEN_BUCKET),
        (None, Algorithm.SLIDING_WINDOW, Algorithm.TOKEN_BUCKET, Algorithm.SLIDING_WINDOW),
        (None, None, Algorithm.SLIDING_WINDOW, Algorithm.SLIDING_WINDOW),
        (None, None, Algorithm.TOKEN_BUCKET, Algorithm.TOKEN_BUCKET),
    ],
)
def test_the_nearest_choice_of_algorithm_holds(
    of_key: str | None, of_route: Algorithm | None, of_all: Algorithm, chosen: Algorithm
) -> None:
    admit = admission(replace(KEY, algorithm=of_key), replace(ROUTE, algorithm=of_route), of_all)
    assert admit.charges is not None
    assert admit.charges.limits[0].algorithm is chosen


def test_a_public_route_is_charged_to_the_address_and_has_no_principal() -> None:
    route = replace(ROUTE, public=True, scope=None, limits=(BY_KEY, BY_ADDRESS))
    assert public_admission(FACTS, route) == Admit(None, Charges("address:203.0.113.7", (BY_ADDRESS,)))


def test_a_public_route_without_limits_is_charged_to_nobody() -> None:
    assert public_admission(FACTS, replace(ROUTE, public=True, scope=None)) == Admit(None, None)


def test_all_addresses_of_an_ipv6_subscriber_share_a_bucket() -> None:
    route = replace(ROUTE, public=True, scope=None, limits=(BY_ADDRESS,))
    one = public_admission(structs.replace(FACTS, client_address="2001:db8::1"), route)
    other = public_admission(structs.replace(FACTS, client_address="2001:db8::ffff:2"), route)
    assert one == other == Admit(None, Charges("address:2001:db8::/64", (BY_ADDRESS,)))


@pytest.mark.parametrize(
    "facts", [structs.replace(FACTS, method="DELETE"), structs.replace(FACTS, client_address="198.51.100.1")]
)
def test_nothing_that_a_client_varies_changes_its_bucket(facts: RequestFacts) -> None:
    assert ask(KEY, facts) == ask(KEY)


@pytest.mark.parametrize(
    ("found", "denial"),
    [
        (PathUnknown(), NotFound()),
        (MethodUnknown(("GET", "POST")), MethodNotAllowed(("GET", "POST"))),
        (PathAmbiguous(), BadRequest("The path leads to different routes when it is read in different ways")),
        (PathOdd(Oddity.SEMICOLON), BadRequest(REASONS[Oddity.SEMICOLON])),
    ],
)
def test_without_a_route_it_is_said_why(found: Matched, denial: Denial) -> None:
    assert unrouted(found) == denial
