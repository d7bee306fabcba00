"""Header fields: what is removed, what is forwarded, what is added (contract sections 4 and 6, RFC 9110 7.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.bucket import Taken
    from gateway.core.decision import Principal

Field = tuple[bytes, bytes]

_NAMES_REMEMBERED_MAX: Final = 2048
_CONNECTION_SIZE: Final = len("connection")
_PLAIN_CONNECTION: Final = frozenset({b"keep-alive", b"Keep-Alive", b"close"})

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    }
)
"""Fields of one connection, RFC 9110 section 7.6.1 and RFC 9112; never passed on."""

ALWAYS_REMOVED: Final = frozenset(
    {
        "host",
        "content-length",
        "expect",
        "authorization",
        "x-request-id",
        "traceparent",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-url",
        "x-original-uri",
        "x-original-method",
        "x-rewrite-url",
    }
)
"""Fields of the request that are rewritten, or that would let two servers read a request differently."""

OURS: Final = ("x-gateway-",)
"""Name prefixes that only we may set, in both directions."""

_REWRITTEN: Final = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-api-key")
ANNOUNCED: Final = frozenset({"ratelimit", "ratelimit-policy"})
"""Fields of an answer in which the IETF's draft describes limits."""
TRAILERS_REMOVED: Final = frozenset(
    {
        *("age", "authorization", "cache-control", "content-encoding", "content-range", "content-type", "date"),
        *("expires", "host", "location", "pragma", "retry-after", "set-cookie", "vary", "warning", "www-authenticate"),
    }
)
"""What says how to frame, route, judge or read a message comes too late in a trailer (RFC 9110 section 6.5.1)."""

ANSWER_REMOVED: Final = HOP_BY_HOP | {"content-length", "x-request-id"}


def folded(name: bytes) -> str:
    """Fold a field name for comparison: lower case, with `_` and `.` read as `-`, as CGI-like backends do."""
    return name.decode("latin-1").lower().replace("_", "-").replace(".", "-")


class RemovedNames:
    """Says for each field name whether it is removed; up to 2,048 spellings are remembered.

    *starts* has them: what the line of a field begins with, nothing if it is removed.
    """

    __slots__ = ("_exact", "_prefixes", "starts")

    def __init__(self, exact: Iterable[str], prefixes: Iterable[str]) -> None:
        """Remove the folded names *exact*, and all that begin with one of *prefixes*."""
        self._exact = frozenset(exact)
        self._prefixes = tuple(prefixes)
        self.starts: dict[bytes, bytes] = {}

    @classmethod
    def from_requests(cls, configured: Iterable[str]) -> RemovedNames:
        """Compile the *configured* names, prefixes among them written with a last `*` (contract section 6)."""
        names = [folded(name.encode("latin-1")) for name in configured]
        exact = HOP_BY_HOP | ALWAYS_REMOVED | {name for name in names if not name.endswith("*")}
        return cls(exact, (*OURS, *(name[:-1] for name in names if name.endswith("*"))))

    @classmethod
    def from_answers(cls, *more: str, announced: bool = False) -> RemovedNames:
        """Compile what a backend may not say: what is ours to say. We limit everywhere, so `X-RateLimit-*` too.

        *more* are further beginnings of names. Where limits are *announced*, `RateLimit` and `RateLimit-Policy` are
        ours as well.
        """
        return cls(ANSWER_REMOVED | (ANNOUNCED if announced else frozenset()), (*OURS, "x-ratelimit-", *more))

    @classmethod
    def from_trailers(cls) -> RemovedNames:
        """Compile what may not stand behind a body."""
        return cls(ANSWER_REMOVED | ANNOUNCED | TRAILERS_REMOVED, (*OURS, "x-ratelimit-", "access-control-"))

    def start(self, name: bytes) -> bytes:
        """Judge a spelling that is not remembered."""
        plain = folded(name)
        removed = plain in self._exact or plain.startswith(self._prefixes)
        start = b"" if removed else name + b": "
        if len(self.starts) < _NAMES_REMEMBERED_MAX:
            self.starts[name] = start
        return start


@dataclass(frozen=True, slots=True)
class Removed:
    """Which fields are removed: everything suspicious from strangers, less from trusted proxies; ours from answers."""

    from_strangers: RemovedNames
    from_trusted: RemovedNames
    from_answers: RemovedNames
    from_answers_with_cors: RemovedNames

    @classmethod
    def compile(cls, configured: Iterable[str], *, announced: bool) -> Removed:
        """Compile the *configured* list; from trusted proxies only what we write ourselves is removed.

        *announced* is whether the `RateLimit` fields of answers are ours.
        """
        return cls(
            RemovedNames.from_requests(configured),
            RemovedNames.from_requests(_REWRITTEN),
            RemovedNames.from_answers(announced=announced),
            RemovedNames.from_answers("access-control-", announced=announced),
        )


def passed_lines(fields: Iterable[Field], removed: RemovedNames) -> list[bytes]:
    """Give the fields that pass on, each as a line without its end, in their order and spelling.

    What Connection fields nominate does not pass either (RFC 9110 section 7.6.1).
    """
    lines: list[bytes] = []
    nominated: list[bytes] = []
    remembered = removed.starts.get
    for name, value in fields:
        start = remembered(name)
        if start is None:
            start = removed.start(name)
        if start:
            lines.append(start + value)
        elif len(name) == _CONNECTION_SIZE and value not in _PLAIN_CONNECTION and name.lower() == b"connection":
            nominated += value.split(b",")
    if nominated:
        names = {folded(name.strip()) for name in nominated}
        return [line for line in lines if folded(line[: line.index(b":")]) not in names]
    return lines


def wants_trailers(te: Iterable[str]) -> bool:
    """Say whether who sent these values of TE understands trailers (RFC 9110 section 10.1.4)."""
    return any(coding.strip().lower() == "trailers" for value in te for coding in value.split(","))


def identity_lines(principal: Principal) -> bytes:
    """Give the lines that tell the upstream who asks."""
    return (
        f"X-Gateway-Key-Id: {principal.key_id}\r\n"
        f"X-Gateway-Account-Id: {principal.account_id}\r\n"
        f"X-Gateway-Scopes: {' '.join(principal.scopes)}\r\n"
    ).encode("latin-1")


def rate_limit_headers(taken: Taken) -> tuple[tuple[str, str], ...]:
    """Describe the tightest bucket of an answer of the limiter (contract section 4)."""
    tightest = taken.tightest
    reset_s = -(-(taken.now_ms + tightest.full_in_ms) // 1000)
    return (
        ("X-RateLimit-Limit", str(tightest.limit.capacity)),
        ("X-RateLimit-Window", str(-(-tightest.limit.window_ms // 1000))),
        ("X-RateLimit-Remaining", str(tightest.remaining)),
        ("X-RateLimit-Reset", str(reset_s)),
        *(announced_headers(taken) if tightest.limit.announced else ()),
    )


def announced_headers(taken: Taken) -> tuple[tuple[str, str], ...]:
    """Describe every bucket in the fields of draft-ietf-httpapi-ratelimit-headers-10.

    `t` is when an empty bucket has a token again, as Retry-After says, and otherwise when the bucket is full.
    """
    standings = taken.standings
    return (
        ("RateLimit-Policy", ", ".join([standing.limit.policy for standing in standings])),
        (
            "RateLimit",
            ", ".join(
                [
                    f'"{standing.limit.name}";r={standing.remaining}'
                    f";t={-(-(standing.retry_in_ms or standing.full_in_ms) // 1000)}"
                    for standing in standings
                ]
            ),
        ),
    )


def rate_limit_lines(taken: Taken) -> bytes:
    """Give the rate-limit fields as bytes of a head, for the path that every request takes."""
    tightest = taken.standings[0] if len(taken.standings) == 1 else taken.tightest
    limit = tightest.limit
    lines = b"%bX-RateLimit-Remaining: %d\r\nX-RateLimit-Reset: %d\r\n" % (
        limit.lines,
        tightest.remaining,
        -(-(taken.now_ms + tightest.full_in_ms) // 1000),
    )
    if limit.announced:
        lines += "".join([f"{name}: {value}\r\n" for name, value in announced_headers(taken)]).encode("ascii")
    return lines
