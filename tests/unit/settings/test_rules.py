"""Rules that span several settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.settings.conftest import STORES, TRAFFIC

if TYPE_CHECKING:
    from tests.unit.settings.conftest import Load, Problems

SECTIONS = STORES + TRAFFIC.partition("routes:")[0] + "routes:\n"
READ = "{name: read, methods: [GET], path: /a/**, scope: READ, upstream: things}"
PUBLIC = "name: x, methods: [GET], path: /x, public: true, upstream: things"
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS"
KEYED = "name: x, methods: [GET], path: /x, scope: READ, upstream: things"


def _with(*routes: str) -> str:
    return SECTIONS + "".join(f"  - {route}\n" for route in routes)


WRONG = [
    (
        "{name: x, methods: [GET], path: /x, scope: READS, upstream: thing}",
        [
            'routes[1].scope "READS" is not a known scope; did you mean READ? (scopes are listed at line 4)',
            'routes[1].upstream "thing" is not a known upstream; did you mean things? (upstreams are listed at line 5)',
        ],
    ),
    (
        f"{{{KEYED}, allow_in_path: [semicolon, encoded_slash]}}",
        [
            "routes[1].allow_in_path has encoded_slash, which has a reading with another number of segments; expected a path that ends in /**"
        ],
    ),
    (f"{{{PUBLIC}, scope: READ}}", ["routes[1] is public and has a scope; expected exactly one of the two"]),
    (
        "{name: x, methods: [GET], path: /x, upstream: things}",
        ["routes[1] has no scope; expected scope: NAME, or public: true for requests without a key"],
    ),
    (
        "{name: x, methods: [POST], path: /x, public: true, answer: webhooks.test}",
        ["routes[1] is public, but its answer is for a key; expected scope: NAME"],
    ),
    (
        "{name: x, methods: [GET], path: /x, scope: READ}",
        ["routes[1] has neither upstream nor answer; expected exactly one of the two"],
    ),
    (
        "{name: x, methods: [POST], path: /x, scope: READ, answer: webhooks.test, timeouts: {idle_s: 3}}",
        ["routes[1] has timeouts without an upstream; expected both, or neither"],
    ),
    (
        f"{{{KEYED}, answer: webhooks.test}}",
        ["routes[1] has an upstream and an answer; expected exactly one of the two"],
    ),
    (
        f"{{{PUBLIC}, limits: [{{requests: 1, per: hour}}]}}",
        ["routes[1].limits[0] counts by key on a public route; expected by: address"],
    ),
    (
        f"{{{PUBLIC.replace('true', chr(34) + '${P:-true}' + chr(34))}, limits: [{{requests: 1, per: hour}}]}}",
        ["routes[1].limits[0] counts by key on a public route; expected by: address"],
    ),
    (
        f"{{{KEYED}, limits: [{{requests: 1, per: hour, by: address}}]}}",
        ["routes[1].limits[0] counts by address on a route with a scope; expected by: key"],
    ),
    (
        f"{{{KEYED.replace('GET', 'POST')}, websocket: true}}",
        [("routes[1] carries WebSockets but does not take GET, which opens them; expected GET among its methods")],
    ),
    (
        "{name: x, methods: [GET], path: /x, scope: READ, answer: webhooks.test, stream: true, websocket: true}",
        [
            "routes[1].stream is for an upstream's answers; expected upstream: NAME",
            "routes[1].websocket is for an upstream's answers; expected upstream: NAME",
        ],
    ),
    (
        f"{{{KEYED}, cors: {{origins: ['*'], credentials: true}}}}",
        ['cors.origins has "*", which excludes credentials and other origins; expected a list of origins'],
    ),
    (
        f"{{{KEYED}, emits: {{POST: thing.made}}}}",
        ["routes[1].emits names POST, which the route does not take; expected one of GET, HEAD"],
    ),
    (
        "{name: x, methods: [POST], path: /x, public: true, upstream: things, emits: {POST: thing.made}}",
        [
            (
                "routes[1].emits is on a public route, whose requests belong to no account; expected scope: NAME, or "
                "that the backend posts its events to /events"
            )
        ],
    ),
    (
        "{name: x, methods: [POST], path: /x, scope: READ, answer: webhooks.test, emits: {POST: thing.made}}",
        ["routes[1].emits is for an upstream's answers; expected upstream: NAME"],
    ),
    (
        f"{{{KEYED}, emits: {{GET: thing.read, FETCH: thing.read}}}}",
        ['routes[1].emits.FETCH "FETCH" is not known; did you mean PATCH?; expected ' + METHODS],
    ),
    (
        "{name: read, methods: [GET], path: /x, scope: READ, upstream: things}",
        ['routes[1].name "read" is taken by the route in line 8; expected another one'],
    ),
    (
        "{name: auth.login, methods: [GET], path: /x, scope: READ, upstream: things}",
        ['routes[1].name "auth.login" is the name of a built-in route; expected another one'],
    ),
    (
        "{name: x, methods: [HEAD], path: '/a/{id}', scope: READ, upstream: things}",
        [
            (
                'routes[1].path "/a/{id}" can never match, because the route in line 8 takes its requests; '
                "expected it earlier, with another path, or not at all"
            )
        ],
    ),
    (
        "{name: x, methods: [POST], path: /api-keys, scope: READ, upstream: things}",
        [
            (
                'routes[1].path "/api-keys" can never match, because the built-in route keys.create takes its '
                "requests; expected it earlier, with another path, or not at all"
            )
        ],
    ),
]


@pytest.mark.parametrize(("route", "expected"), WRONG)
def test_a_route_that_breaks_a_rule_is_refused(problems: Problems, route: str, expected: list[str]) -> None:
    found = [problem.split(": ", 1) for problem in problems(_with(READ, route))]
    assert [what for _, what in found] == expected
    assert all(place.startswith("gateway.yaml:9:") for place, _ in found)


def test_a_route_may_take_the_place_of_a_document_that_is_switched_off(problems: Problems, loaded: Load) -> None:
    settings = _with(READ, "{name: x, methods: [GET], path: /docs, scope: READ, upstream: things}")
    (problem,) = problems(settings)
    assert "the built-in route docs takes its requests" in problem
    assert len(loaded(settings + "management: {docs: false}\n").routes) == 2


@pytest.mark.parametrize(("auth", "name"), [("", "gateway"), ("auth: {audience: things}\n", "things")])
def test_an_upstream_with_signed_identity_is_not_called_as_logins_are(
    problems: Problems, loaded: Load, auth: str, name: str
) -> None:
    settings = _with(READ).replace("things: {", f"{name}: {{signed_identity: true, ")
    settings = settings.replace("upstream: things", f"upstream: {name}")
    (problem,) = problems(settings + auth)
    assert problem == (
        f"gateway.yaml:6:{len(name) + 23}: upstreams.{name} wants a signed identity and is called as auth.audience is; "
        "expected two names, by which identities and login tokens are told apart"
    )
    assert loaded(settings + "auth: {audience: logins}\n")


def test_rules_are_checked_although_other_settings_of_the_route_are_wrong(problems: Problems) -> None:
    route = (
        "{names: x, methods: [FETCH, GET], path: 'x', scope: REED, upstream: 7, limits: [{requests: 0}], emits: [x]}"
    )
    found = problems(_with(route))
    for part in (
        "routes[0].name is missing",
        "routes[0].names is not a known setting; did you mean name?",
        'routes[0].methods[0] "FETCH" is not known; did you mean PATCH?',
        'routes[0].path: pattern "x" must begin with /',
        'routes[0].scope "REED" is not a known scope; did you mean READ?',
        "routes[0].upstream is a number; expected a text",
        "routes[0].limits[0].per is missing",
        "routes[0].limits[0].requests is 0; expected at least 1",
        "routes[0].emits is a list; expected a mapping",
    ):
        assert any(part in problem for problem in found), part


def test_what_routes_emit_needs_the_sink_that_delivers_it(problems: Problems) -> None:
    sinks = "usage: {sinks: {postgres: false, json_lines: {}}}\n"
    (found,) = problems(_with(f"{{{KEYED}, emits: {{GET: thing.read}}}}") + sinks)
    assert found.endswith(
        "routes[0].emits needs usage.sinks.postgres, by which its events are delivered; expected it on, or no emits"
    )


@pytest.mark.parametrize("junk", ["", "text", "[]", "7"])
def test_what_is_no_route_at_all_is_reported_once(problems: Problems, junk: str) -> None:
    found = problems(_with(READ, junk))
    assert len(found) == 1
    assert "routes[1] is " in found[0]
    assert found[0].endswith("; expected a mapping")


def test_rules_do_not_stumble_over_sections_of_other_shapes(problems: Problems) -> None:
    found = problems(STORES + "scopes: [READ]\nupstreams: things\nroutes: {a: b}\n")
    assert [problem.split(": ", 1)[1] for problem in found] == [
        "scopes is a list; expected a mapping",
        "upstreams is a text; expected a mapping",
        "routes is a mapping; expected a list",
    ]


def test_route_that_an_earlier_one_takes_only_in_part_is_accepted(loaded: Load) -> None:
    config = loaded(_with(READ, "{name: all, methods: [GET, POST], path: /a/b, scope: READ, upstream: things}"))
    assert len(config.routes) == 2


def test_headers_of_balancers_are_expected_only_from_somebody_who_is_believed(problems: Problems, loaded: Load) -> None:
    settings = _with(READ) + "listen: {public: {port: 8080, proxy_protocol: true}}\n"
    (problem,) = problems(settings)
    assert "expected the balancers in trusted_proxies" in problem
    assert loaded(settings + "trusted_proxies: [10.0.0.1]\n").listen.public.proxy_protocol
