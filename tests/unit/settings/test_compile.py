"""From a checked file to the snapshot that requests see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.core.bucket import Algorithm, Limit, LimitBy
from gateway.core.paths import Target
from gateway.core.routes import MethodUnknown, PathUnknown, Route
from gateway.core.snapshot import KeyFormat, RequestLimits, Snapshot
from gateway.core.upstreams import Timeouts, UpstreamTarget
from gateway.settings.compile import compile_snapshot, version_of
from tests.unit.settings.conftest import STORES, TRAFFIC

if TYPE_CHECKING:
    from tests.unit.settings.conftest import Load

RIGHT = STORES + TRAFFIC


def _route(snapshot: Snapshot, name: str) -> Route:
    return next(route for route in snapshot.routes.routes if route.name == name)


def _target(path: str) -> Target:
    return Target(path, "", tuple(path[1:].split("/")))


def test_cors_of_a_route_stands_before_that_of_all(loaded: Load) -> None:
    own = RIGHT.replace("upstream: things}", "upstream: things, cors: {origins: ['*'], methods: [GET]}}")
    off = own.replace("origins: ['*']", "origins: []")
    every = "cors: {origins: [https://a.example]}\n"
    snapshots = [compile_snapshot(loaded(text)) for text in (RIGHT, RIGHT + every, own + every, off + every)]
    found = [
        {
            name: route.cors and (route.cors.origins, route.cors.methods)
            for name in ("things.read", "auth.login")
            for route in [_route(snapshot, name)]
        }
        for snapshot in snapshots
    ]
    listed = frozenset({"https://a.example"})
    login = (listed, ("POST",))
    assert found == [
        {"things.read": None, "auth.login": None},
        {"things.read": (listed, ("GET", "HEAD")), "auth.login": login},
        {"things.read": (frozenset({"*"}), ("GET",)), "auth.login": login},
        {"things.read": None, "auth.login": login},
    ]
    assert [snapshot.cors is not None for snapshot in snapshots] == [False, True, True, True]


def test_a_route_carries_websockets_and_streams_where_it_says_so(loaded: Load) -> None:
    route = _route(compile_snapshot(loaded(RIGHT)), "things.read")
    assert (route.websocket_idle_s, route.stream) == (None, False)
    text = RIGHT.replace("upstream: things}", "upstream: things, websocket: true, websocket_idle_s: 7, stream: true}")
    route = _route(compile_snapshot(loaded(text)), "things.read")
    assert (route.websocket_idle_s, route.stream) == (7.0, True)


def test_defaults_of_the_file_are_the_defaults_of_the_core(loaded: Load) -> None:
    snapshot = compile_snapshot(loaded(RIGHT))
    assert snapshot.key_format == KeyFormat()
    assert snapshot.request_limits == RequestLimits()
    assert snapshot.upstreams["things"].timeouts == Timeouts()
    assert snapshot.upstreams["things"].idle_connections_max == 128
    assert snapshot.algorithm is Algorithm.TOKEN_BUCKET
    assert snapshot.on_limiter_error == "local"
    assert not snapshot.trusted_proxies
    assert _route(snapshot, "things.read").body_max_bytes == 10 * 1024 * 1024


def test_built_in_routes_stand_in_front(loaded: Load) -> None:
    snapshot = compile_snapshot(loaded(RIGHT))
    login = snapshot.routes.match("POST", _target("/auth/login"))
    assert isinstance(login, Route)
    assert (login.name, login.answer, login.body_max_bytes) == ("auth.login", "login", 65536)
    create = snapshot.routes.match("POST", _target("/api-keys"))
    assert isinstance(create, Route)
    assert (create.name, create.answer, create.body_max_bytes) == ("keys.create", "keys.create", 65536)


def test_public_keys_are_there_for_logins_and_for_signed_identities(loaded: Load) -> None:
    signed = RIGHT.replace("things: {", "things: {signed_identity: true, ")
    assert signed != RIGHT
    no_login = "auth: {login: false}\n"
    for text, there in ((RIGHT, True), (RIGHT + no_login, False), (signed + no_login, True), (signed, True)):
        snapshot = compile_snapshot(loaded(text))
        assert isinstance(snapshot.routes.match("GET", _target("/.well-known/jwks.json")), Route) is there
        assert isinstance(snapshot.routes.match("POST", _target("/auth/login")), Route) is (no_login not in text)


@pytest.mark.parametrize(("setting", "there"), [("", True), ("management: {docs: false}\n", False)])
def test_documents_are_there_unless_they_are_switched_off(loaded: Load, setting: str, there: bool) -> None:
    snapshot = compile_snapshot(loaded(RIGHT + setting))
    for path in ("/openapi.json", "/docs"):
        assert isinstance(snapshot.routes.match("GET", _target(path)), Route) is there


def test_get_includes_head(loaded: Load) -> None:
    snapshot = compile_snapshot(loaded(RIGHT))
    assert snapshot.routes.match("HEAD", _target("/things/1")) is _route(snapshot, "things.read")
    assert snapshot.routes.match("POST", _target("/things/1")) == MethodUnknown(("GET", "HEAD"))
    assert snapshot.routes.match("GET", _target("/thing")) == PathUnknown()


def test_limits_are_named_after_their_route_and_follow_its_algorithm(loaded: Load) -> None:
    snapshot = compile_snapshot(
        loaded(
            RIGHT + "  - name: x\n    methods: [GET]\n    path: /x\n    public: true\n    upstream: things\n"
            "    body_max_bytes: 0\n    limits:\n"
            "      - {requests: 5, per: second, by: address}\n      - {requests: 60, per: minute, by: address}\n"
            "  - name: y\n    methods: [POST]\n    path: /y\n    scope: READ\n    answer: webhooks.test\n"
            "    algorithm: token_bucket\n    limits: [{requests: 7, per: hour}]\n"
            "  - name: z\n    methods: [POST]\n    path: /z\n    scope: READ\n    upstream: things\n"
            "    emits: {POST: thing.made}\n"
            "limits: {algorithm: sliding_window, on_error: closed}\n"
        )
    )
    window, bucket = Algorithm.SLIDING_WINDOW, Algorithm.TOKEN_BUCKET
    x, y, z = (_route(snapshot, name) for name in "xyz")
    assert x.limits == (
        Limit("x:1", 5, 1_000, window, LimitBy.ADDRESS),
        Limit("x:2", 60, 60_000, window, LimitBy.ADDRESS),
    )
    assert (x.public, x.scope, x.algorithm, x.body_max_bytes) == (True, None, None, 0)
    assert y.limits == (Limit("y:1", 7, 3_600_000, bucket, LimitBy.KEY),)
    assert (y.algorithm, y.answer, y.upstream, y.emits) == (bucket, "webhooks.test", None, {})
    assert z.emits == {"POST": "thing.made"}
    assert (snapshot.algorithm, snapshot.on_limiter_error) == (window, "closed")


@pytest.mark.parametrize(
    ("capacity", "refill", "window_ms"), [(2000, 20, 100_000), (1, 10, 100), (1000, 3, 333_333), (10**6, 1, 10**9)]
)
def test_failed_authentications_refill_at_the_given_rate(
    loaded: Load, capacity: int, refill: int, window_ms: int
) -> None:
    given = f"limits: {{failed_authentications: {{capacity: {capacity}, refill_per_s: {refill}}}}}\n"
    snapshot = compile_snapshot(loaded(RIGHT + given))
    assert snapshot.failed_authentications == Limit("failed", capacity, window_ms, by=LimitBy.ADDRESS)


def test_largest_limit_that_is_accepted_compiles(loaded: Load) -> None:
    limit = "upstream: things, limits: [{requests: 1000000000, per: hour}]"
    snapshot = compile_snapshot(loaded(RIGHT.replace("upstream: things", limit)))
    assert _route(snapshot, "things.read").limits[0].capacity == 10**9


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://things", UpstreamTarget("things", 80, "things")),
        ("http://things/", UpstreamTarget("things", 80, "things")),
        ("http://things_1.internal:8000", UpstreamTarget("things_1.internal", 8000, "things_1.internal:8000")),
        ("http://[fd00::1]:8000", UpstreamTarget("fd00::1", 8000, "[fd00::1]:8000")),
    ],
)
def test_targets_are_split_into_where_to_connect_and_what_to_call_it(
    loaded: Load, url: str, expected: UpstreamTarget
) -> None:
    snapshot = compile_snapshot(loaded(RIGHT.replace("[http://things:8000]", f'["{url}"]')))
    assert snapshot.upstreams["things"].targets == (expected,)


def test_what_is_set_reaches_the_snapshot(loaded: Load) -> None:
    snapshot = compile_snapshot(
        loaded(
            RIGHT.replace(
                "targets: [http://things:8000]",
                "targets: [http://a, http://b], preserve_host: true, idle_connections_max: 3, "
                "timeouts: {connect_s: 0.5, first_byte_s: 2, idle_s: 3, total_s: 4}",
            )
            + "trusted_proxies: [10.0.0.0/8]\nstrip_prefixes: [/v1, /v2]\nkeys: {prefixes: [x_], legacy: true}\n"
            "headers: {removed: [X-Who*]}\n"
            "requests: {target_max_bytes: 300, field_max_bytes: 301, head_max_bytes: 1024, fields_max: 10, "
            "body_max_bytes: 5, body_idle_s: 6}\n"
        )
    )
    upstream = snapshot.upstreams["things"]
    assert upstream.timeouts == Timeouts(0.5, 2, 3, 4)
    assert (upstream.name, len(upstream.targets), upstream.preserve_host) == ("things", 2, True)
    assert upstream.idle_connections_max == 3
    assert "10.1.2.3" in snapshot.trusted_proxies
    assert snapshot.strip_prefixes == ("/v1", "/v2")
    assert snapshot.key_format == KeyFormat(("x_",), legacy=True)
    assert snapshot.removed_headers == ("X-Who*",)
    assert snapshot.request_limits == RequestLimits(300, 301, 1024, 10, 6)
    assert _route(snapshot, "things.read").body_max_bytes == 5
    assert snapshot.scopes == {"READ": "Read things"}


def test_version_follows_the_content_but_neither_comments_nor_secrets(loaded: Load) -> None:
    version = version_of(loaded(RIGHT))
    assert len(version) == 12
    assert version == compile_snapshot(loaded("# a comment\n" + RIGHT)).version
    assert version == version_of(loaded(RIGHT, DATABASE_URL="postgresql://elsewhere/db"))
    assert version != version_of(loaded(RIGHT.replace("/things/**", "/things")))
