"""Requests to try a server with: valid ones, changed where it hurts, and bytes that nobody thought of."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from tests.hazards.cases_framing import CHUNKS, HEADS
from tests.hazards.cases_targets import HOSTS

if TYPE_CHECKING:
    from collections.abc import Iterator

INNER = "GET /api/public/budgets/hidden HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n"

_PLAIN_SEGMENTS = ("api", "customers", "1", "a.b", "...", "caf%C3%A9", "x~y", "a%20b", "-", ".hidden", "{", "*")
_SEGMENTS = (
    *(
        "",
        "",
        ".",
        "..",
        "customers",
        "%2e",
        "%2E%2e",
        ".%2e",
        "%252e%252e",
        "%2f",
        "..%2f",
        "%5c..",
        "a\\b",
        "..\\",
        ";",
    ),
    *("..;", ";v=1", "a;b", "%3b", "%00", "%0d%0aX:y", "%25", "%2", "%zz", "%u002e", "%ff", "%c0%ae", "%e2%82"),
    *("#", " ", "\t", "\x7f", "\xe9"),
)
_STARTS = ("/api/public/budgets",) * 3 + ("/open",) * 3 + ("/v1/api/public/budgets", "/v1/open", "/", "", "/v1", "//")
_PREFIXES = ("http://evil.example", "HTTPS://h:8", "http://u@h", "ftp://h", "http:", "*", "h:80", "http://[::1]")
_QUERIES = ("?", "?a=/../%2f", "?a#b", "?\xe9", "?a b", "?%00;\\")
_METHODS = ("HEAD", "DELETE", "PUT", "get", "OPTIONS", "CONNECT", "TRACE", "G T", "")
_VERSIONS = ("HTTP/1.0", "HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.1 ", "")
_FIELDS = (
    *(line for lines in HEADS for line in lines),
    *(f"Host: {host}" for host in HOSTS),
    *(f"Content-Length: {number}" for number in (0, 3, 5, len(INNER), len(INNER) + 7)),
    *("Transfer-Encoding: chunked", "transfer-encoding: Chunked", "Transfer_Encoding: chunked", "TE: trailers"),
    *(
        "Connection: close",
        "Connection: keep-alive",
        "Connection: X-Gateway-Key-Id, Host",
        "Connection: Content-Length",
    ),
    *("X-Gateway-Key-Id: forged", "x_gateway_scopes: forged", "X-HTTP-Method-Override: DELETE", "Upgrade: h2c"),
    *(
        "Expect: 100-continue",
        "Expect: x",
        "X-Forwarded-For: 10.0.0.1",
        "Forwarded: for=10.0.0.1",
        "Accept: */*",
        "X-Empty:",
    ),
)
_HARMLESS = (
    *(
        "Connection: close",
        "Connection: X-Gateway-Key-Id, Host",
        "Connection: Content-Length, Authorization",
        "Accept: */*",
    ),
    *(
        "X-Gateway-Key-Id: forged",
        "x_gateway_scopes: forged",
        "X-HTTP-Method-Override: DELETE",
        "Upgrade: h2c",
        "X-Empty:",
    ),
    *(
        "Transfer_Encoding: chunked",
        "Content.Length: 3",
        "TE: trailers",
        "X-Forwarded-For: 10.0.0.1",
        "Forwarded: for=a",
    ),
)
_MUTATIONS = (
    *("\r", "\n", "\0", " ", "\t", ":", "\r\n", "\r\n\r\n", "\x0b", "\xa0", "\xff"),
    *("a", "0", "-", "_", ",", ";", "/", ".", "..", "%2e", "%", "", ""),
)


def _mostly(usual: str, *others: str) -> st.SearchStrategy[str]:
    """Give *usual*, or sometimes one of *others*: requests of many oddities are refused for the first of them."""
    return st.sampled_from((usual,) * 3 * len(others) + others)


targets = st.builds(
    lambda prefix, start, segments, separator, query: (
        prefix + start + "".join(separator + one for one in segments) + query
    ),
    _mostly("", *_PREFIXES),
    st.sampled_from(_STARTS),
    st.one_of(*(st.lists(st.sampled_from(segments), max_size=3) for segments in (_PLAIN_SEGMENTS, _SEGMENTS))),
    _mostly("/", "\\", "%2f"),
    _mostly("", *_QUERIES),
)
"""Targets of request lines, many of them odd."""

_CHUNKED = f"{len(INNER):x}\r\n{INNER}\r\n0\r\n\r\n"
_framings = st.one_of(
    st.just(((), "")),
    st.just(((), "")),
    st.sampled_from((((f"Content-Length: {len(INNER)}",), INNER), (("Content-Length: 3",), "abc"))),
    st.tuples(st.just(("Transfer-Encoding: chunked",)), st.sampled_from((_CHUNKED, _CHUNKED, *CHUNKS))),
    st.tuples(st.just(()), st.sampled_from(("abc", INNER, _CHUNKED, "0\r\n\r\n" + INNER))),
)


def _assemble(line: tuple[str, str, str], framing: tuple[tuple[str, ...], str], fields: list[str]) -> str:
    lines = [" ".join(line), "Host: api.example.com", "Authorization: Bearer {key}", *framing[0], *fields]
    return "\r\n".join([*lines, "", ""]) + framing[1]


requests = st.builds(
    _assemble,
    st.tuples(
        st.one_of(_mostly("GET", *_METHODS), _mostly("POST", *_METHODS)), targets, _mostly("HTTP/1.1", *_VERSIONS)
    ),
    _framings,
    st.one_of(
        st.just([]), st.lists(st.sampled_from(_HARMLESS), max_size=3), st.lists(st.sampled_from(_FIELDS), max_size=2)
    ),
)
"""Texts in Latin-1 with `{key}` in the place of a key."""

MUTANTS = 9
"""How many changed ones are tried of each."""


def mutants(text: str, seed: int) -> Iterator[str]:
    """Give *text* as it is, and then changed in one to three places, by chance but the same for one *seed*."""
    yield text
    chance = Random(seed)
    for _ in range(MUTANTS):
        changed = text
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            at = chance.randrange(len(changed) + 1)
            added = chance.choice(_MUTATIONS) if chance.random() < 0.8 else chr(chance.randrange(256))
            changed = changed[:at] + added + changed[at + chance.randrange(3) :]
        yield changed


anything = st.one_of(requests, requests, requests, st.text(st.characters(max_codepoint=255), max_size=60))
"""As above, or bytes of any kind."""
