"""Routes: patterns, the first match, and routes that can never match."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.paths import Target, parse_target
from gateway.core.routes import (
    MethodUnknown,
    PathAmbiguous,
    PathUnknown,
    Pattern,
    PatternError,
    Route,
    RouteTable,
)

METHODS = ("GET", "POST", "PUT")


def _route(name: str, path: str, *methods: str) -> Route:
    return Route(name, Pattern.parse(path), frozenset(methods or {"GET"}))


def _target(path: str) -> Target:
    target = parse_target(path)
    assert isinstance(target, Target)
    return target


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("/", ["/"], ["/a", "/a/"]),
        ("/a", ["/a"], ["/", "/a/", "/b", "/A", "/a/b", "/ab"]),
        ("/a/", ["/a/"], ["/a", "/a/b"]),
        ("/a.b", ["/a.b"], ["/axb"]),
        ("/a/{id}", ["/a/1", "/a/x.y", "/a/-"], ["/a", "/a/", "/a/1/", "/a/1/b"]),
        ("/a/{id}/", ["/a/1/"], ["/a/1", "/a/1/b"]),
        ("/a/{id}/b", ["/a/1/b"], ["/a//b", "/a/1/c"]),
        ("/a/{t:token}", ["/a/aB_-9", "/a/" + "x" * 100], ["/a/a.b", "/a/a~", "/a/", "/a/" + "x" * 101]),
        ("/**", ["/", "/a", "/a/", "/a/b"], []),
        ("/a/**", ["/a", "/a/", "/a/b", "/a/b/c/"], ["/", "/ab", "/b/a"]),
        ("/a/{id}/**", ["/a/1", "/a/1/", "/a/1/b"], ["/a", "/a/"]),
    ],
)
def test_pattern_matches_exactly_its_paths(pattern: str, matching: list[str], others: list[str]) -> None:
    table = RouteTable([_route("x", pattern)])
    for path in matching:
        assert table.match("GET", _path(path)) is table.routes[0], path
    for path in others:
        assert table.match("GET", _path(path)) == PathUnknown(), path


def _path(path: str) -> Target:
    return Target(path, "", tuple(path[1:].split("/")))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a/b",
        "//",
        "/a//b",
        "/a/**/b",
        "/**/",
        "/*",
        "/a*",
        "/a**",
        "/{",
        "/{}",
        "/{A}",
        "/{a}b",
        "/x{a}",
        "/{a:b}",
        "/{a:}",
        "/.",
        "/..",
        "/a/../b",
        "/a b",
        "/%61",
        "/é",
        "/a\\b",
        "/a;b",
        "/a?b",
        "/a#b",
        "//**",
        "/a\n",
    ],
)
def test_pattern_that_cannot_be_used_is_refused(text: str) -> None:
    with pytest.raises(PatternError, match="pattern"):
        Pattern.parse(text)


def test_first_match_wins_whatever_is_more_specific() -> None:
    wide, narrow = _route("wide", "/a/**"), _route("narrow", "/a/{id}")
    assert RouteTable([wide, narrow]).match("GET", _target("/a/1")) is wide
    assert RouteTable([narrow, wide]).match("GET", _target("/a/1")) is narrow


def test_route_without_the_method_leaves_the_path_to_later_ones() -> None:
    table = RouteTable([_route("read", "/a/{id}", "GET", "HEAD"), _route("write", "/a/**", "POST")])
    assert table.match("POST", _target("/a/1")) is table.routes[1]


def test_known_path_with_an_unknown_method_tells_the_allowed_ones() -> None:
    table = RouteTable([_route("read", "/a/{id}", "GET", "HEAD"), _route("write", "/a/**", "POST", "GET")])
    assert table.match("PATCH", _target("/a/1")) == MethodUnknown(("GET", "HEAD", "POST"))
    assert table.match("get", _target("/a")) == MethodUnknown(("GET", "POST"))


def test_escapes_that_lead_elsewhere_are_ambiguous() -> None:
    table = RouteTable([_route("public", "/a/{t:token}"), _route("all", "/a/**"), _route("b", "/b/x")])
    assert table.match("GET", _target("/a/%61")) == PathAmbiguous()
    assert table.match("GET", _target("/%61/1")) == PathAmbiguous()
    assert table.match("GET", _target("/b/%78")) == PathAmbiguous()


def test_escapes_that_lead_to_the_same_route_are_forwarded() -> None:
    table = RouteTable([_route("all", "/a/**")])
    assert table.match("GET", _target("/a/ol%C3%A9")) is table.routes[0]
    assert table.match("GET", _target("/b/ol%C3%A9")) == PathUnknown()
    assert table.match("PUT", _target("/a/ol%C3%A9")) == MethodUnknown(("GET",))


@pytest.mark.parametrize(
    ("pattern", "path", "endpoint"),
    [
        ("/a/{id}", "/a/secret", "/a/{id}"),
        ("/a/**", "/a", "/a"),
        ("/a/**", "/a/", "/a/{id}"),
        ("/a/**", "/a/1", "/a/{id}"),
        ("/a/**", "/a/1/b", "/a/{id}/**"),
        ("/a/**", "/a/1/b/c", "/a/{id}/**"),
        ("/a/{id}/**", "/a/1", "/a/{id}"),
        ("/**", "/", "/{id}"),
        ("/**", "/a/b", "/{id}/**"),
    ],
)
def test_endpoint_comes_from_the_pattern_and_never_from_the_client(pattern: str, path: str, endpoint: str) -> None:
    assert _route("x", pattern).endpoint(_target(path)) == endpoint


def test_endpoint_of_nothing_below_the_root_is_the_root() -> None:
    assert _route("x", "/**").endpoint(Target("/", "", ())) == "/"


def test_routes_hash_by_name() -> None:
    assert hash(_route("x", "/a")) == hash(_route("x", "/b"))


@pytest.mark.parametrize(
    ("earlier", "later", "shadows"),
    [
        ("/a/**", "/a", True),
        ("/a/**", "/a/{id}", True),
        ("/a/**", "/a/**", True),
        ("/a/**", "/a/{id}/**", True),
        ("/a/{id}", "/a/b", True),
        ("/a/{id}", "/a/{t:token}", True),
        ("/a/{x}", "/a/{y}", True),
        ("/a/{t:token}", "/a/b", True),
        ("/a/{t:token}", "/a/{u:token}", True),
        ("/a/", "/a/", True),
        ("/**", "/a/b/c", True),
        ("/a/{t:token}", "/a/{id}", False),
        ("/a/{t:token}", "/a/b.c", False),
        ("/a/{t:token}", "/a/", False),
        ("/a/{id}", "/a/", False),
        ("/a/{id}", "/a/**", False),
        ("/a/{id}", "/a/b/c", False),
        ("/a/{id}/b", "/a/{id}", False),
        ("/a/b", "/a/{id}", False),
        ("/a/b", "/a/c", False),
        ("/a/b/**", "/a/**", False),
    ],
)
def test_route_is_shadowed_exactly_when_all_its_paths_are_taken(earlier: str, later: str, *, shadows: bool) -> None:
    first, second = _route("first", earlier, "GET"), _route("second", later, "GET")
    assert RouteTable([first, second]).shadowed() == ([(second, first)] if shadows else [])


def test_route_with_a_method_of_its_own_is_not_shadowed() -> None:
    assert RouteTable([_route("a", "/a", "GET"), _route("b", "/a", "GET", "POST")]).shadowed() == []


def test_route_whose_methods_are_taken_by_several_is_shadowed() -> None:
    put, get, post = _route("put", "/a", "PUT"), _route("get", "/a", "GET"), _route("post", "/**", "POST")
    both = _route("both", "/a", "GET", "POST")
    assert RouteTable([put, get, post, both]).shadowed() == [(both, get)]


_PARTS = st.sampled_from(["a", "b", "c.d", "{id}", "{t:token}"])
_PATTERNS = st.builds(
    lambda parts, last: "/" + "/".join([*parts, *last]),
    st.lists(_PARTS, min_size=1, max_size=3),
    st.sampled_from([[], ["**"], [""]]),
)
_ROUTES = st.lists(st.tuples(_PATTERNS, st.sets(st.sampled_from(METHODS), min_size=1)), min_size=1, max_size=8).map(
    lambda rows: [_route(str(number), path, *methods) for number, (path, methods) in enumerate(rows)]
)
_PATHS = st.lists(st.sampled_from(["a", "b", "c.d", "e~", "F_9", ""]), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(part for part in parts[:-1] if part) + "/" * any(parts[:-1]) + parts[-1]
)


def _naive(routes: list[Route], method: str, path: str) -> Route | PathUnknown | MethodUnknown:
    """Walk the routes in order with regular expressions: slow, and plainly what the contract says."""
    matching = [route for route in routes if re.fullmatch(_expression(route.pattern.text), path)]
    for route in matching:
        if method in route.methods:
            return route
    allowed = {allowed for route in matching for allowed in route.methods}
    return MethodUnknown(tuple(sorted(allowed))) if matching else PathUnknown()


def _expression(pattern: str) -> str:
    tail = pattern.endswith("/**")
    kinds = {"{id}": "[^/]+", "{t:token}": "[A-Za-z0-9_-]{1,100}"}
    parts = [kinds.get(part) or re.escape(part) for part in pattern.removesuffix("/**").split("/")]
    return "/".join(parts) + ("(/.*)?" if tail else "")


@given(_ROUTES, st.sampled_from(METHODS), _PATHS)
def test_table_agrees_with_a_naive_model(routes: list[Route], method: str, path: str) -> None:
    assert RouteTable(routes).match(method, _path(path)) == _naive(routes, method, path)


@given(_ROUTES, st.lists(_PATHS, min_size=1, max_size=10))
def test_shadowed_route_never_matches(routes: list[Route], paths: list[str]) -> None:
    table = RouteTable(routes)
    shadowed = {route.name for route, _ in table.shadowed()}
    for path in paths:
        for method in METHODS:
            found = table.match(method, _path(path))
            assert not isinstance(found, Route) or found.name not in shadowed
