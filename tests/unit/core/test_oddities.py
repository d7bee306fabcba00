"""Odd paths: let through only where a route allows them, and only if every way to read them leads to it."""

from __future__ import annotations

import pytest

from gateway.core.oddities import REASONS, Oddity
from gateway.core.paths import Target, parse_target
from gateway.core.routes import PathOdd, Pattern, Route, RouteTable


def _target(path: str) -> Target:
    target = parse_target(path)
    assert isinstance(target, Target)
    return target


def _open(name: str, path: str, *oddities: Oddity) -> Route:
    return Route(name, Pattern.parse(path), frozenset({"GET"}), allow_in_path=frozenset(oddities))


@pytest.mark.parametrize(
    ("path", "oddity"),
    [
        ("/files/a%2Fb", Oddity.ENCODED_SLASH),
        ("/files/a//b", Oddity.DOUBLE_SLASH),
        ("/files/a//", Oddity.DOUBLE_SLASH),
        ("/files/a/../b", Oddity.DOT_SEGMENTS),
        ("/files/a/b/./%2e%2e", Oddity.DOT_SEGMENTS),
        ("/files/a\\b%5Cc", Oddity.BACKSLASH),
        ("/files/a;v=1/b%3B", Oddity.SEMICOLON),
        ("/files/100%25", Oddity.ENCODED_PERCENT),
        ("/files/why%3F%23", Oddity.ENCODED_DELIMITER),
        ("/files/a%00%0a", Oddity.CONTROL_CHARACTER),
        ("/files/%ff%c0%ae", Oddity.INVALID_UTF8),
    ],
)
def test_odd_path_is_let_through_only_where_its_route_allows_it(path: str, oddity: Oddity) -> None:
    table = RouteTable([_open("files", "/files/**", oddity), _open("others", "/others/**", *(set(Oddity) - {oddity}))])
    assert table.match("GET", _target(path)) is table.routes[0]
    for refused in (path.replace("files", "others"), path.replace("files", "nowhere")):
        assert table.match("GET", _target(refused)) == PathOdd(oddity)
    assert table.match("POST", _target(path)) == PathOdd(oddity)
    assert REASONS[oddity]


@pytest.mark.parametrize(
    "path",
    [
        "/files/../secret",
        "/files/a/../../secret",
        "/files/%2e%2e/secret",
        "/files/..%2fsecret",
        "/files/..\\secret",
        "/files/..%5Csecret",
        "/files/..;/secret",
        "/files/..;x=/secret",
        "/files/%252e%252e/secret",
        "/files/%252e%252e%252fsecret",
        "/files/a/..//../secret",
        "/files/private/x",
        "/files/private%2fx",
        "/files/a%2f..%2fprivate/x",
        "/files/;a/private",
        "/files//private",
        "/files/private;a",
        "/files/%70rivate",
        "/files/%2570rivate",
        "/files/..",
        "/files/../other/..;/files/x",
        "/secret/..%2ffiles/x",
    ],
)
def test_odd_path_with_a_reading_that_leads_elsewhere_is_refused_whatever_is_allowed(path: str) -> None:
    table = RouteTable([_open("private", "/files/private/**"), _open("files", "/files/**", *Oddity)])
    assert table.match("GET", _target(path)) is not table.routes[1]


def test_odd_path_leads_to_its_route_in_every_reading() -> None:
    table = RouteTable([_open("all", "/**", *Oddity), _open("never", "/x")])
    assert table.match("GET", _target("/a/..;/..%2f..%5C%252e%252e/%00%ff")) is table.routes[0]
