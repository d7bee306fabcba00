"""Requests to try a server with: valid ones, changed where it hurts, and bytes that nobody thought of."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.hazards.cases_framing import CHUNKS, HEADS
from tests.hazards.cases_targets import HOSTS

INNER = "GET /api/public/budgets/hidden HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n"

_SEGMENTS = (
    *("api", "public", "budgets", "customers", "open", "1", "a.b", "...", "caf%C3%A9", "x~y", "", "", ".", ".."),
    *("%2e", "%2E%2e", ".%2e", "%252e%252e", "%2f", "..%2f", "%5c..", "a\\b", "..\\", ";", "..;", ";v=1", "a;b", "%3b"),
    *(
        "%00",
        "%0d%0aX:y",
        "%25",
        "%2",
        "%zz",
        "%u002e",
        "%ff",
        "%c0%ae",
        "%e2%82",
        "#",
        " ",
        "\t",
        "\x7f",
        "\xe9",
        "{",
        "*",
    ),
)
_STARTS = (
    "/api/public/budgets",
    "/api/public/budgets",
    "/open",
    "/v1/api/public/budgets",
    "/v1/open",
    "/",
    "",
    "/v1",
    "//",
)
_PREFIXES = ("",) * 12 + (
    "http://evil.example",
    "HTTPS://h:8",
    "http://u@h",
    "ftp://h",
    "http:",
    "*",
    "h:80",
    "http://[::1]",
)
_QUERIES = ("",) * 4 + ("?", "?a=/../%2f", "?a#b", "?\xe9", "?a b", "?%00;\\")
_METHODS = ("GET",) * 8 + ("POST",) * 8 + ("HEAD", "DELETE", "PUT", "get", "OPTIONS", "CONNECT", "TRACE", "G T", "")
_VERSIONS = ("HTTP/1.1",) * 20 + ("HTTP/1.0", "HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.1 ", "")
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
_BODIES = (
    *("",) * 6,
    *(
        "abc",
        "hello",
        INNER,
        "0\r\n\r\n" + INNER,
        f"{len(INNER):x}\r\n{INNER}\r\n0\r\n\r\n",
        "5;a\r\nhello\r\n0\r\nX: y\r\n\r\n",
    ),
    *CHUNKS,
)
_MUTATIONS = (
    "\r",
    "\n",
    "\0",
    " ",
    "\t",
    ":",
    "\r\n",
    "\r\n\r\n",
    "\x0b",
    "\xa0",
    "0",
    ",",
    ";",
    "/",
    "..",
    "%",
    "\xff",
    "",
)

targets = st.builds(
    lambda prefix, start, segments, separator, query: (
        prefix + start + "".join(separator + one for one in segments) + query
    ),
    st.sampled_from(_PREFIXES),
    st.sampled_from(_STARTS),
    st.lists(st.sampled_from(_SEGMENTS), max_size=4),
    st.sampled_from(("/", "/", "/", "/", "\\", "%2f")),
    st.sampled_from(_QUERIES),
)
"""Targets of request lines, most of them odd."""

_framings = st.sampled_from(
    (
        ((), ""),
        ((), ""),
        ((f"Content-Length: {len(INNER)}",), INNER),
        (("Transfer-Encoding: chunked",), f"{len(INNER):x}\r\n{INNER}\r\n0\r\n\r\n"),
        (("Content-Length: 3",), "abc"),
    )
)


def _assemble(
    line: tuple[str, str, str],
    framing: tuple[tuple[str, ...], str],
    fields: list[str],
    body: str,
    mutations: list[tuple[int, int, str]],
) -> str:
    lines = [" ".join(line), "Host: api.example.com", "Authorization: Bearer {key}", *framing[0], *fields]
    text = "\r\n".join([*lines, "", ""]) + (framing[1] or body)
    for place, removed, added in mutations:
        at = place % (len(text) + 1)
        text = text[:at] + added + text[at + removed :]
    return text


requests = st.builds(
    _assemble,
    st.tuples(st.sampled_from(_METHODS), targets, st.sampled_from(_VERSIONS)),
    _framings,
    st.lists(st.sampled_from(_FIELDS), max_size=3),
    st.sampled_from(_BODIES),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 2), st.sampled_from(_MUTATIONS)), max_size=2),
)
"""Texts in Latin-1 with `{key}` in the place of a key: structured requests with up to two changes anywhere."""

anything = st.one_of(requests, requests, st.text(st.characters(max_codepoint=255), max_size=60))
"""As above, or bytes of any kind."""
