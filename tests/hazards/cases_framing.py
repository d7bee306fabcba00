"""Where a request ends: hazards 9, 10, 12 and 25. What could be read as two requests is refused, and its connection ended."""

from __future__ import annotations

from tests.hazards.cases import GET, HIDDEN, PATH, POST, Case, Outcome, both, head, said, served

LINE_FEED = "a bare line feed may end a line (RFC 9112 2.2), but a backend may not know that"
NOT_LOOKED_AT = "it does not look at what it drops: extensions and trailers"
UNKNOWN_CODING = "501 is as good: the coding is not implemented (RFC 9112 6.1)"
LENIENT = "it passes on fields that are none"

INNER = f"GET {PATH}/inner HTTP/1.1\r\nHost: a\r\n\r\n"

CODINGS = (
    *("xchunked", "chunked, identity", "identity", "gzip, chunked", "chunked, chunked", "\x0bchunked", "chunked\x0c"),
    *('"chunked"', "chunked;x=y", ""),
)
HEADS: dict[tuple[str, ...], Outcome | None] = {
    ("Content-Length: 5", "Transfer-Encoding: chunked"): None,
    ("Transfer-Encoding: chunked", "Content-Length: 5"): None,
    ("Content-Length: 5", "Content-Length: 6"): None,
    ("Content-Length: 0", "Content-Length: 56"): None,
    ("Content-Length: 5", "Content-Length: 5"): None,
    **{(f"Content-Length: {length}",): None for length in ("5, 5", "+5", "-5", "0x5", "5 5", "5_0", "", "5,", "\xb2")},
    ("Content-Length : 5",): None,
    ("Content-Length: 99999999999999999999999",): None,
    **{(f"Transfer-Encoding: {coding}",): said(501, UNKNOWN_CODING) for coding in CODINGS},
    ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"): None,
    ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"): None,
    ("Transfer-Encoding : chunked",): None,
    ("X: y\rTransfer-Encoding: chunked",): None,
    ("X: y\nTransfer-Encoding: chunked",): both(LINE_FEED),
    ("X: y", " Transfer-Encoding: chunked"): None,
    ("X: y", "\tfolded"): None,
    (" X: y",): None,
    ("X: a\0b",): None,
    ("X: a\x01b",): Outcome((200, 400), (POST,), why=LENIENT),
    ("X\0: a",): None,
    ("X y: a",): None,
    ("X y",): None,
    (": empty",): None,
    ("X: a\rb",): None,
    ("(X): a",): Outcome((200, 400), (POST,), why=LENIENT),
    ("Authorization: Bearer {key}",): None,
    ("authorization: Basic YTpi",): None,
    ("Host: a",): None,
}

CHUNKS: dict[str, Outcome | None] = {
    **{f"{size}\r\nhello\r\n0\r\n\r\n": None for size in ("xyz", "0x5", "+5", "-5", " 5", "", "FFFFFFFFFFFFFFFFF")},
    "5 \r\nhello\r\n0\r\n\r\n": both("it skips blanks after a chunk's size"),
    "5\nhello\r\n0\r\n\r\n": both(LINE_FEED),
    "5\r\nhello0\r\n\r\n": None,
    "5\r\nhello\n0\r\n\r\n": both(LINE_FEED),
    "5\r\nhelloXX0\r\n\r\n": None,
    "5;x\ny\r\nhello\r\n0\r\n\r\n": None,
    "5;\0\r\nhello\r\n0\r\n\r\n": both(NOT_LOOKED_AT),
    "5\r\nhello\r\n0\r\nX y: bad\r\n\r\n": both(NOT_LOOKED_AT),
    "5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n": both(NOT_LOOKED_AT),
    "5\r\nhello\r\n0\n\n": both(LINE_FEED),
}

OTHERS = [
    Case(
        9,
        "HTTP/1.0 with chunks",
        head("Transfer-Encoding: chunked", start=f"POST {PATH} HTTP/1.0") + "0\r\n\r\n" + HIDDEN,
    ),
    Case(
        10,
        "line feeds only",
        head(start=GET).replace("\r\n", "\n") + "\r\n\r\n" + HIDDEN,
        control=both(LINE_FEED, GET),
    ),
    Case(10, "carriage returns only", head(start=GET).replace("\r\n", "\r") + "\r\n\r\n" + HIDDEN),
    Case(
        10,
        "a length among the trailers",
        head("Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n" + HIDDEN,
        control=both(NOT_LOOKED_AT),
    ),
    Case(
        10,
        "an extension that looks like an end",
        head("Transfer-Encoding: chunked") + '5;a="x\r\n0\r\n\r\n"\r\nhello\r\n0\r\n\r\n',
    ),
    Case(
        10,
        "an extension in order is dropped",
        head("Transfer-Encoding: Chunked") + '5;a="x";b\r\nhello\r\n0\r\n\r\n' + HIDDEN,
        both(""),
    ),
    Case(11, "a body that is a request", head(f"Content-Length: {len(INNER)}") + INNER, served(POST)),
    Case(
        15,
        "nothing runs after a refusal",
        head(start=f"GET {PATH}/\x01 HTTP/1.1") + HIDDEN,
    ),
]

FRAMING = [
    *(
        Case(
            25 if "uthorization" in lines[0] else 6 if "Host" in lines[0] else 12 if lines[0][:1] in "X (:" else 9,
            repr(lines),
            head(*lines) + "0\r\n\r\n" + HIDDEN,
            control=control,
        )
        for lines, control in HEADS.items()
    ),
    *(
        Case(10, repr(body), head("Transfer-Encoding: chunked") + body + HIDDEN, control=control)
        for body, control in CHUNKS.items()
    ),
    *OTHERS,
]
