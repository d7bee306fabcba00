"""CORS: an origin on the list is allowed by name, any other learns nothing."""

from __future__ import annotations

import pytest

from gateway.core.cors import Cors

APP = "https://app.example.com"
LISTED = Cors(frozenset({APP}), ("GET", "PUT"), ("Authorization",), ("X-Request-Id", "Retry-After"), 600)
ANY = Cors(frozenset({"*"}), ("GET",), ("Authorization",), (), 5)
COOKIES = Cors(frozenset({APP}), ("GET",), (), (), 0, credentials=True)


def test_an_origin_on_the_list_is_allowed_by_its_name() -> None:
    assert LISTED.lines([APP]).decode().split("\r\n") == [
        f"Access-Control-Allow-Origin: {APP}",
        "Vary: Origin",
        "Access-Control-Expose-Headers: X-Request-Id, Retry-After",
        "",
    ]
    assert LISTED.preflight([APP]) == (
        ("Access-Control-Allow-Methods", "GET, PUT"),
        ("Access-Control-Allow-Headers", "Authorization"),
        ("Access-Control-Max-Age", "600"),
    )


@pytest.mark.parametrize(
    "origins",
    [[], ["https://evil.example"], [APP, APP], [f"{APP}.evil.example"], [APP.upper()], ["null"], [f"{APP}:443"], ["*"]],
)
def test_any_other_origin_is_told_nothing_but_that_it_matters(origins: list[str]) -> None:
    for cors in (LISTED, COOKIES):
        assert cors.lines(origins) == b"Vary: Origin\r\n"
        assert cors.preflight(origins) == ()


def test_any_origin_is_allowed_without_a_name_and_without_cookies() -> None:
    for origins in ([], [APP], ["null"]):
        assert ANY.lines(origins) == b"Access-Control-Allow-Origin: *\r\n"
        assert dict(ANY.preflight(origins))["Access-Control-Max-Age"] == "5"


def test_cookies_are_allowed_to_origins_on_the_list_only() -> None:
    assert b"Access-Control-Allow-Credentials: true\r\n" in COOKIES.lines([APP])
    assert b"Credentials" not in COOKIES.lines(["https://evil.example"]) + LISTED.lines([APP])
