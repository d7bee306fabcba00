"""Request targets that are understood, and those that have two readings and are refused (hazards 1 to 6)."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.oddities import Oddity
from gateway.core.paths import Target, TargetRefused, parse_target

MUST_BE_PATH = "The request target must be a path that begins with /"
UNESCAPED = "The path contains characters that must be percent-encoded"
FRAGMENT = "The path contains a fragment"
TWO_SLASHES = "The path contains an empty segment"
NO_ESCAPE = "The path contains a percent sign that is not an escape"
QUERY = "The query contains characters that must be percent-encoded"
DOTS, EMPTY, SLASH, BACKSLASH = Oddity.DOT_SEGMENTS, Oddity.DOUBLE_SLASH, Oddity.ENCODED_SLASH, Oddity.BACKSLASH
SEMICOLON, PERCENT, DELIMITER = Oddity.SEMICOLON, Oddity.ENCODED_PERCENT, Oddity.ENCODED_DELIMITER
CONTROL, NOT_UTF8 = Oddity.CONTROL_CHARACTER, Oddity.INVALID_UTF8


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("/%u002e%u002e/b", NO_ESCAPE),
        ("/a%", NO_ESCAPE),
        ("/a%2", NO_ESCAPE),
        ("/a%zz", NO_ESCAPE),
        ("/a b", UNESCAPED),
        ("/a\tb", UNESCAPED),
        ("/a\nb", UNESCAPED),
        ("/a\n", UNESCAPED),
        ("/a\0", UNESCAPED),
        ("/a\x7f", UNESCAPED),
        ("/é", UNESCAPED),
        ("/\uff0e\uff0e/a", UNESCAPED),
        ("/\udcff", UNESCAPED),
        ("/a?b#c", QUERY),
        ("/a?b c", QUERY),
        ("/a?b\nc", QUERY),
        ("/a?b\n", QUERY),
        ("/a?\x00", QUERY),
        ("/a?é", QUERY),
        ("", MUST_BE_PATH),
        ("*", MUST_BE_PATH),
        ("a", MUST_BE_PATH),
        ("?a", MUST_BE_PATH),
        ("api.example.com:443", MUST_BE_PATH),
        ("ftp://a/b", MUST_BE_PATH),
        ("http:///b", MUST_BE_PATH),
        ("http:/b", MUST_BE_PATH),
        ("http://", MUST_BE_PATH),
        ("http://me:secret@a/b", MUST_BE_PATH),
        (" /a", MUST_BE_PATH),
        ("//", TWO_SLASHES),
        ("//a", TWO_SLASHES),
        ("/\\a", TWO_SLASHES),
        ("/v1//a", TWO_SLASHES),
        ("http://a//b", TWO_SLASHES),
        ("/a#b", FRAGMENT),
        ("http://a b/c", MUST_BE_PATH),
        ("http://<a>/c", MUST_BE_PATH),
        ("http://[::1/c", MUST_BE_PATH),
        ("http://a:b/c", MUST_BE_PATH),
        ("http://:80/c", MUST_BE_PATH),
        ("http://a\\b/c", MUST_BE_PATH),
    ],
)
def test_target_that_no_route_can_allow_is_refused(raw: str, reason: str) -> None:
    assert parse_target(raw, ("/v1",)) == TargetRefused(reason)


@pytest.mark.parametrize(
    ("raw", "oddities"),
    [
        ("/..", {DOTS}),
        ("/.", {DOTS}),
        ("/a/../b", {DOTS}),
        ("/a/./b", {DOTS}),
        ("/a/..", {DOTS}),
        ("/a/%2e%2e/b", {DOTS}),
        ("/a/%2E./b", {DOTS}),
        ("/a/.%2e", {DOTS}),
        ("/%2e", {DOTS}),
        ("/%2e/", {DOTS}),
        ("/a//b", {EMPTY}),
        ("/a//", {EMPTY}),
        ("/a%2fb", {SLASH}),
        ("/a%2Fb", {SLASH}),
        ("/a%5cb", {BACKSLASH}),
        ("/a%5Cb", {BACKSLASH}),
        ("/a\\b", {BACKSLASH}),
        ("/..\\b", {DOTS, BACKSLASH}),
        ("/a;b", {SEMICOLON}),
        ("/a/..;/b", {DOTS, SEMICOLON}),
        ("/a%3bb", {SEMICOLON}),
        ("/a%00", {CONTROL}),
        ("/a%0a", {CONTROL}),
        ("/a%0D%0Ab", {CONTROL}),
        ("/a%1f", {CONTROL}),
        ("/a%7f", {CONTROL}),
        ("/a%3fb", {DELIMITER}),
        ("/a%23b", {DELIMITER}),
        ("/a%252e%252e/b", {PERCENT}),
        ("/a%252fb", {SLASH, PERCENT}),
        ("/a%25", {PERCENT}),
        ("/%c0%ae%c0%ae/b", {NOT_UTF8}),
        ("/a%c0%afb", {NOT_UTF8}),
        ("/a%ff", {NOT_UTF8}),
        ("/a%e2%82", {NOT_UTF8}),
        ("/%ed%a0%80", {NOT_UTF8}),
        ("http://a/%2e%2e/b", {DOTS}),
        ("/a/;x/b", {EMPTY, SEMICOLON}),
        ("/a%2f..%2fb", {DOTS, SLASH}),
        ("/a%2f", {SLASH}),
        ("/a/%252e%252e%255cb", {DOTS, BACKSLASH, PERCENT}),
        ("/a%2500b", {PERCENT, CONTROL}),
        ("/a%253b", {SEMICOLON, PERCENT}),
        ("/a%25ff", {PERCENT, NOT_UTF8}),
        ("/%5cb", {EMPTY, BACKSLASH}),
    ],
)
def test_target_with_two_readings_is_known_to_be_odd(raw: str, oddities: set[Oddity]) -> None:
    target = parse_target(raw, ("/v1",))
    assert isinstance(target, Target)
    assert target.oddities == oddities
    assert target.decoded is not None


@pytest.mark.parametrize(
    ("raw", "path", "query", "segments", "decoded"),
    [
        ("/", "/", "", ("",), None),
        ("/?", "/", "?", ("",), None),
        ("/a", "/a", "", ("a",), None),
        ("/a/", "/a/", "", ("a", ""), None),
        ("/a/b?c=d&e=/../%2e%00;\\", "/a/b", "?c=d&e=/../%2e%00;\\", ("a", "b"), None),
        ("/a??b", "/a", "??b", ("a",), None),
        ("/...", "/...", "", ("...",), None),
        ("/.hidden", "/.hidden", "", (".hidden",), None),
        ("/a.b..c", "/a.b..c", "", ("a.b..c",), None),
        ("/-_~!$&'()*+,=:@", "/-_~!$&'()*+,=:@", "", ("-_~!$&'()*+,=:@",), None),
        ('/<"|^`{}>', '/<"|^`{}>', "", ('<"|^`{}>',), None),
        ("/ol%C3%A9/x", "/ol%C3%A9/x", "", ("ol%C3%A9", "x"), ("olé", "x")),
        ("/%61", "/%61", "", ("%61",), ("a",)),
        ("/a%20b", "/a%20b", "", ("a%20b",), ("a b",)),
        ("/%2e%2e%2e", "/%2e%2e%2e", "", ("%2e%2e%2e",), ("...",)),
        ("/%ef%bc%8e%ef%bc%8e", "/%ef%bc%8e%ef%bc%8e", "", ("%ef%bc%8e%ef%bc%8e",), ("\uff0e\uff0e",)),
        ("http://other.example/a?b", "/a", "?b", ("a",), None),
        ("HTTPS://other.example:8443/a", "/a", "", ("a",), None),
        ("http://other.example", "/", "", ("",), None),
        ("http://other.example?a", "/", "?a", ("",), None),
    ],
)
def test_target_with_one_reading_is_kept_as_sent(
    raw: str, path: str, query: str, segments: tuple[str, ...], decoded: tuple[str, ...] | None
) -> None:
    authority = raw.split("/")[2].partition("?")[0] if raw[:1] in "hH" else None
    assert parse_target(raw) == Target(path, query, segments, decoded, authority=authority)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/v1/a", "/a"),
        ("/v1/a/v1/b", "/a/v1/b"),
        ("/v1", "/"),
        ("/v1/", "/"),
        ("/v1?a", "/"),
        ("/v1/v1/a", "/v1/a"),
        ("/v10/a", "/v10/a"),
        ("/V1/a", "/V1/a"),
        ("/%761/a", "/%761/a"),
        ("/beta/a", "/a"),
        ("/beta/v1/a", "/v1/a"),
        ("/a/v1", "/a/v1"),
        ("http://other.example/v1/a", "/a"),
    ],
)
def test_first_prefix_that_fits_is_taken_off_once(raw: str, path: str) -> None:
    target = parse_target(raw, ("/v1", "/beta"))
    assert isinstance(target, Target)
    assert target.path == path
    assert target.segments == tuple(path[1:].split("/"))


@given(st.text(alphabet="/.%25aef0\\;?#\t é~", max_size=12))
def test_what_is_accepted_has_one_reading(tail: str) -> None:
    target = parse_target("/" + tail)
    if isinstance(target, TargetRefused) or target.oddities:
        return
    assert target.path + target.query == "/" + tail
    assert "/" + "/".join(target.segments) == target.path
    decoded = target.decoded or target.segments
    assert decoded == tuple(unquote(segment, errors="strict") for segment in target.segments)
    assert all(segment not in {".", ".."} for segment in decoded)
    assert "" not in decoded[:-1]
    assert not any(character in segment for segment in decoded for character in "/\\;%?#\t")
