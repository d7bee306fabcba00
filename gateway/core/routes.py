"""Routes: which method and path lead where, under which scope and limits; the first match wins.

Patterns (contract section 1): `{name}` is one segment, `{name:token}` is 1-100 of `[A-Za-z0-9_-]`, and `**`, last
only, is the collection itself and everything below it. No regular expressions come from the configuration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.core.oddities import Oddity, readings
from gateway.core.upstreams import Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.core.bucket import Algorithm, Limit
    from gateway.core.cors import Cors
    from gateway.core.paths import Target

_LITERAL: Final = re.compile(r"[A-Za-z0-9._~!$&'()+,=:@-]+")
_PARAMETER: Final = re.compile(r"\{[a-z][A-Za-z0-9_]*(:token)?\}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")

ANY: Final = "{}"
TOKEN: Final = "{:token}"  # noqa: S105  # a pattern, not a password


class PatternError(ValueError):
    """A path pattern that cannot be used; the message says why and what is allowed."""


def _is_literal(part: str) -> bool:
    return _LITERAL.fullmatch(part) is not None and part not in {".", ".."}


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled path pattern: literal segments, ANY or TOKEN; *tail* when it ends in `**`."""

    text: str
    segments: tuple[str, ...]
    tail: bool

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Compile *text*; raises PatternError."""
        if not text.startswith("/"):
            message = f'pattern "{text}" must begin with /'
            raise PatternError(message)
        parts = text[1:].split("/")
        tail = parts[-1] == "**"
        if tail:
            parts.pop()
        segments: list[str] = []
        for part in parts:
            parameter = _PARAMETER.fullmatch(part)
            if parameter is not None:
                segments.append(TOKEN if parameter[1] else ANY)
            elif _is_literal(part) or (part == "" and len(segments) == len(parts) - 1 and not tail):
                segments.append(part)
            else:
                message = (
                    f'pattern "{text}": segment "{part}" is neither a literal, {{name}}, {{name:token}} nor a last **'
                )
                raise PatternError(message)
        return cls(text, tuple(segments), tail)

    def covers(self, other: Pattern) -> bool:
        """Say whether every path that *other* matches is matched by this pattern too."""
        if len(other.segments) < len(self.segments) or (other.tail and not self.tail):
            return False
        if not self.tail and len(other.segments) != len(self.segments):
            return False
        return all(
            (mine in (ANY, theirs) and (theirs != "" or mine == ""))
            or (mine == TOKEN and theirs not in (ANY, "") and _TOKEN.fullmatch(theirs) is not None)
            for mine, theirs in zip(self.segments, other.segments, strict=False)
        )


@dataclass(frozen=True, slots=True)
class Route:
    """Where a matching request goes and what it needs.

    Exactly one of *upstream* (a name) and *answer* (the name of an answer of the gateway's own) is set. *scope* is
    None on *public* routes. *emits* maps a method to the webhook event that its success announces. *audience* is who
    the upstream is in the signed identity that it wants, None if it wants none. *timeouts* hold where there is an
    upstream. A WebSocket is carried where *websocket_idle_s* is set, and ended after so long a silence. The answers
    of a *stream* may go on without end, as long as the key may use the route. *cors* is None where browsers are not
    told anything.
    """

    name: str
    pattern: Pattern
    methods: frozenset[str]
    scope: str | None = None
    public: bool = False
    upstream: str | None = None
    answer: str | None = None
    limits: tuple[Limit, ...] = ()
    algorithm: Algorithm | None = None
    body_max_bytes: int = 10 * 1024 * 1024
    emits: Mapping[str, str] = field(default_factory=dict)
    timeouts: Timeouts = field(default_factory=Timeouts)
    audience: str | None = None
    allow_in_path: frozenset[Oddity] = frozenset()
    websocket_idle_s: float | None = None
    stream: bool = False
    cors: Cors | None = None
    _endpoints: tuple[str, str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make the endpoints that statistics tell apart."""
        collection = self.pattern.text.removesuffix("/**").replace(":token}", "}")
        endpoints = (collection or "/", f"{collection}/{{id}}", f"{collection}/{{id}}/**")
        object.__setattr__(self, "_endpoints", endpoints)

    def __hash__(self) -> int:
        """Hash by name: names are unique in one snapshot."""
        return hash(self.name)

    def endpoint(self, target: Target) -> str:
        """Give the endpoint that statistics count *target* under: made of the pattern, never of client text."""
        if not self.pattern.tail:
            return self._endpoints[0]
        below = len(target.segments) - len(self.pattern.segments)
        return self._endpoints[min(below, 2)]


@dataclass(frozen=True, slots=True)
class PathUnknown:
    """No route has this path."""


@dataclass(frozen=True, slots=True)
class MethodUnknown:
    """Routes have this path, but none allows the method; *allowed* do."""

    allowed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PathAmbiguous:
    """The path as sent and the path with its escapes resolved lead to different routes."""


@dataclass(frozen=True, slots=True)
class PathOdd:
    """The path is odd in a way that its route, if it has one, does not allow."""

    oddity: Oddity


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    any: _Node | None = None
    token: _Node | None = None
    ends: list[int] = field(default_factory=list)
    tails: list[int] = field(default_factory=list)

    def child(self, segment: str) -> _Node:
        if segment == ANY:
            self.any = self.any or _Node()
            return self.any
        if segment == TOKEN:
            self.token = self.token or _Node()
            return self.token
        return self.literals.setdefault(segment, _Node())

    def collect(self, segments: Sequence[str], at: int, found: list[int]) -> None:
        """Add the indexes of all routes that match *segments* from *at* on."""
        node: _Node | None = self
        while node is not None:
            if node.tails:
                found.extend(node.tails)
            if at == len(segments):
                found.extend(node.ends)
                return
            segment = segments[at]
            at += 1
            if node.any is not None and segment:
                node.any.collect(segments, at, found)
            if node.token is not None and _TOKEN.fullmatch(segment):
                node.token.collect(segments, at, found)
            node = node.literals.get(segment)


Matched = PathUnknown | MethodUnknown | PathAmbiguous | PathOdd
_UNKNOWN = PathUnknown()


class RouteTable:
    """All routes of a snapshot, as a trie over path segments."""

    __slots__ = ("_root", "routes")

    def __init__(self, routes: Iterable[Route]) -> None:
        """Index *routes* in their order."""
        self.routes = tuple(routes)
        self._root = _Node()
        for index, route in enumerate(self.routes):
            node = self._root
            for segment in route.pattern.segments:
                node = node.child(segment)
            (node.tails if route.pattern.tail else node.ends).append(index)

    def match(self, method: str, target: Target) -> Route | Matched:
        """Find the first route for *method* and *target*; HEAD goes where GET goes."""
        found = self._first(method, target.segments)
        return found if target.decoded is None else self._agreed(found, method, target)

    def _agreed(self, found: Route | Matched, method: str, target: Target) -> Route | Matched:
        """Take what was found for the path as sent only if its other readings lead there too."""
        assert target.decoded is not None
        allowed = found.allow_in_path if isinstance(found, Route) else frozenset[Oddity]()
        for oddity in Oddity:
            if oddity in target.oddities and oddity not in allowed:
                return PathOdd(oddity)
        others = readings(target.path, target.oddities) if target.oddities else (target.decoded,)
        return found if all(self._first(method, other) == found for other in others) else PathAmbiguous()

    def _first(self, method: str, segments: Sequence[str]) -> Route | Matched:
        found: list[int] = []
        self._root.collect(segments, 0, found)
        if not found:
            return _UNKNOWN
        if len(found) > 1:
            found.sort()
        for index in found:
            if method in self.routes[index].methods:
                return self.routes[index]
        return MethodUnknown(tuple(sorted({allowed for index in found for allowed in self.routes[index].methods})))

    def shadowed(self) -> list[tuple[Route, Route]]:
        """List routes that can never match, each with an earlier route that takes its requests."""
        result: list[tuple[Route, Route]] = []
        for index, route in enumerate(self.routes):
            earlier = [other for other in self.routes[:index] if other.pattern.covers(route.pattern)]
            taken = frozenset[str]().union(*(other.methods for other in earlier))
            if route.methods <= taken:
                result.append((route, next(other for other in earlier if other.methods & route.methods)))
        return result
