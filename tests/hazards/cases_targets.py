"""What is asked for: hazards 1 to 4, 6 to 8 and 13. A target, a host, a version and a method have one reading each."""

from __future__ import annotations

from tests.hazards.cases import GET, HIDDEN, PATH, Case, Outcome, head, said, served

ELSEWHERE = "403 is what it has for customers: it decides on the normalised path"
UNKNOWN = "404 is what it has for other paths: it decides on the normalised path"
AS_SENT = "it forwards the path as sent, and the backend may resolve it to another"
NOT_LOOKED_AT = "it has no use for what it does not understand, and passes it on"
VERSION = "505 says the same"
BLANKS = "it takes blanks after the version"


def _get(target: str) -> str:
    return head(start=f"GET {target} HTTP/1.1")


def _sent(target: str, why: str = AS_SENT) -> Outcome:
    return served(f"GET {target} HTTP/1.1", why=why)


def _elsewhere() -> Outcome:
    return Outcome((403,), goes_on=True, why=ELSEWHERE)


def _unknown() -> Outcome:
    return Outcome((404,), goes_on=True, why=UNKNOWN)


DOTS: dict[str, Outcome | None] = {
    f"{PATH}/../customers": _elsewhere(),
    f"{PATH}/..": _unknown(),
    f"{PATH}/./1": _sent(f"{PATH}/./1"),
    f"{PATH}/.": _sent(f"{PATH}/."),
    f"{PATH}/%2e%2e/customers": _elsewhere(),
    f"{PATH}/%2E./customers": _elsewhere(),
    f"{PATH}/.%2e/customers": _elsewhere(),
    "/api/public//budgets": _sent("/api/public//budgets"),
    "//api/public/budgets": _sent("//api/public/budgets"),
    "//customers.example/api/public/budgets": _unknown(),
    f"{PATH}//1": _sent(f"{PATH}//1"),
    "/v1//api/public/budgets": _unknown(),
    "/v1/../api/public/budgets": _sent("/v1/../api/public/budgets"),
}
ESCAPES: dict[str, Outcome | None] = {
    f"{PATH}%2f1": _sent(f"{PATH}%2f1"),
    f"{PATH}/..%2fcustomers": _elsewhere(),
    f"{PATH}/..%5ccustomers": _sent(f"{PATH}/..%5ccustomers"),
    f"{PATH}/..\\customers": _sent(f"{PATH}/..\\customers"),
    f"{PATH}/..;/customers": _sent(f"{PATH}/..;/customers"),
    f"{PATH};x=1": _sent(f"{PATH};x=1"),
    f"{PATH}/1%00": None,
    f"{PATH}/1%0a": _sent(f"{PATH}/1%0a"),
    f"{PATH}/1%0d%0aX-Gateway-Key-Id:%20x": _sent(f"{PATH}/1%0d%0aX-Gateway-Key-Id:%20x"),
    f"{PATH}/%3f": _sent(f"{PATH}/%3f"),
    f"{PATH}/%23": _sent(f"{PATH}/%23"),
}
ENCODINGS: dict[str, Outcome | None] = {
    f"{PATH}/%252e%252e/customers": _sent(f"{PATH}/%252e%252e/customers"),
    f"{PATH}/%c0%ae%c0%ae/customers": _sent(f"{PATH}/%c0%ae%c0%ae/customers"),
    f"{PATH}/%u002e%u002e/customers": None,
    f"{PATH}/%zz": None,
    f"{PATH}/%": None,
    f"{PATH}/%2": None,
    "/%61pi/public/budgets": _sent("/%61pi/public/budgets"),
    "/api/public/%62udgets/1": _sent("/api/public/%62udgets/1"),
}
CHARACTERS: dict[str, Outcome | None] = {
    f"{PATH}#fragment": _sent(f"{PATH}#fragment"),
    f"{PATH}?x#fragment": _sent(f"{PATH}?x#fragment"),
    f"{PATH}/\x01": None,
    f"{PATH}/\x7f": None,
    f"{PATH}/caf\xe9": _sent(f"{PATH}/caf\xe9"),
    f"{PATH}?x=\xe9": _sent(f"{PATH}?x=\xe9"),
    f"{PATH}?x=\x0b": None,
}
FORMS: dict[str, Outcome | None] = {
    "api/public/budgets": None,
    "*": None,
    "http:/api/public/budgets": None,
    "http:///api/public/budgets": None,
    "http://user@host/api/public/budgets": None,
    "http://<host>/api/public/budgets": None,
    "http://[::1/api/public/budgets": None,
    f"http://host{PATH}/../customers": _elsewhere(),
    "http://host//api/public/budgets": served("GET //api/public/budgets HTTP/1.1", why=AS_SENT),
    "ftp://host/api/public/budgets": served(GET, why="any scheme will do"),
    "api.example.com:443": None,
}
PASSING = {
    f"http://evil.example{PATH}/1?x": f"{PATH}/1?x",
    f"HTTP://evil.example:8080{PATH}": PATH,
    f"http://[::1]:80{PATH}": PATH,
    f"{PATH}/...": f"{PATH}/...",
    f"{PATH}/caf%C3%A9": f"{PATH}/caf%C3%A9",
    f"{PATH}?a=%2e%2e%2f&b=//..;\\&c=%00": f"{PATH}?a=%2e%2e%2f&b=//..;\\&c=%00",
}

HOSTS: dict[str, Outcome | None] = {
    "a b": None,
    "<script>": served(GET, why=NOT_LOOKED_AT),
    "a/b": None,
    "a@b": served(GET, why=NOT_LOOKED_AT),
    "a\tb": None,
    "[::1": served(GET, why=NOT_LOOKED_AT),
    "caf\xe9": served(GET, why=NOT_LOOKED_AT),
    "a:b": served(GET, why=NOT_LOOKED_AT),
    "a, b": None,
}
LINES: dict[str, tuple[int, Outcome | None]] = {
    f"GET {PATH} HTTP/2.0": (505, None),
    f"GET {PATH} HTTP/3.0": (400, said(505, VERSION)),
    f"GET {PATH} HTTP/0.9": (505, said(400, "it does not know that version")),
    f"GET {PATH} HTTP/1.2": (400, served(GET, why="it serves a higher minor version as 1.1 (RFC 9110 2.5)")),
    f"GET {PATH} HTTP/1": (400, None),
    f"GET {PATH} HTTP/11.1": (400, said(505, VERSION)),
    f"GET {PATH} http/1.1": (400, None),
    f"GET {PATH} HTTP/1.1 x": (400, None),
    f"GET {PATH}": (505, Outcome((), (GET,), why="it serves HTTP/0.9")),
    f" GET {PATH} HTTP/1.1": (400, None),
    f"GET\t{PATH}\tHTTP/1.1": (400, None),
    f"GET {PATH} HTTP/1.1 ": (400, served(GET, why=BLANKS)),
    f"get {PATH} HTTP/1.1": (400, None),
    f"G@T {PATH} HTTP/1.1": (400, None),
    f"G\0ET {PATH} HTTP/1.1": (400, None),
    f"{'A' * 30} {PATH} HTTP/1.1": (400, served(f"{'A' * 30} {PATH} HTTP/1.1", why="it passes on any method")),
    f" {PATH} HTTP/1.1": (400, None),
    "CONNECT customers:80 HTTP/1.1": (400, None),
    "CONNECT / HTTP/1.1": (404, said(405, "it says so of the method, whatever the path is")),
    f"CONNECT {PATH} HTTP/1.1": (405, None),
    "OPTIONS * HTTP/1.1": (400, None),
    "PRI * HTTP/2.0": (400, None),
}

TARGETS = [
    *(
        Case(row, target, _get(target), control=control)
        for row, targets in ((1, DOTS), (2, ESCAPES), (3, ENCODINGS), (4, CHARACTERS), (6, FORMS))
        for target, control in targets.items()
    ),
    *(Case(6, target, _get(target), served(f"GET {path} HTTP/1.1")) for target, path in PASSING.items()),
    *(
        Case(6, f"Host: {host}", head(start=GET, host=f"Host: {host}"), control=control)
        for host, control in HOSTS.items()
    ),
    Case(6, "no Host", head(start=GET, host="")),
    Case(6, "two Hosts", head("Host: b", start=GET)),
    Case(6, "two Hosts that are one", head("host: a", start=GET)),
    *(
        Case(
            7 if "HTTP/1.1" in line else 13,
            line,
            head(start=line) + HIDDEN * line.startswith("CONNECT"),
            Outcome((status,)),
            control,
        )
        for line, (status, control) in LINES.items()
    ),
    Case(
        8,
        "TRACE",
        head(start=f"TRACE {PATH} HTTP/1.1"),
        Outcome((405,), goes_on=True),
        said(405, "it ends the connection"),
    ),
    Case(13, "TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\0" * 100 + "\r\n\r\n"),
    Case(13, "PROXY protocol", "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + head(start=GET)),
    Case(12, "several blanks in the request line", head(start=f"GET   {PATH}  HTTP/1.1"), served(GET)),
    Case(12, "empty lines, then a nul", "\r\n\r\n\0\r\n"),
    Case(12, "an empty line before a request", "\r\n" + head(start=GET), served(GET)),
]
