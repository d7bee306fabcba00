"""Rules that span several settings: names that must exist, routes that can never match, what excludes what.

They look at the document rather than at a checked `Config`, so that they are reported together with everything else;
what is not as it should be is simply passed over here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from gateway.core.oddities import BELOW_ONLY
from gateway.core.routes import Pattern, PatternError, Route, RouteTable
from gateway.settings.auth import AUDIENCE
from gateway.settings.compile import BUILT_IN_ROUTES, built_in_routes, with_head
from gateway.settings.fields import as_switch
from gateway.settings.traffic import Method
from gateway.settings.wording import meant, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.document import Document, Path

Finding = tuple["Path", str]
"""Where something is wrong, and what."""


def broken_rules(document: Document) -> Iterator[Finding]:
    """Find what breaks a rule in *document*."""
    routes = [(index, _mapping(route)) for index, route in enumerate(_sequence(_get(document.value, "routes")))]
    yield from _repeated_names(routes, document)
    for index, route in routes:
        path: Path = ("routes", index)
        yield from _unknown_names(path, route, document)
        yield from _access(path, route)
        yield from _destination(path, route)
        yield from _limits(path, route)
        yield from _emits(path, route, document)
        yield from _oddities(path, route)
        yield from _carried(path, route)
    yield from _never_matching(routes, document)
    yield from _audiences(document)
    yield from _announced(document)


def _get(value: object, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _is_on(document: Document, section: str, switch: str) -> bool:
    return as_switch(_get(_get(document.value, section), switch)) is not False


def _signed(document: Document) -> list[str]:
    """Name the upstreams that want a signed identity."""
    upstreams = _mapping(_get(document.value, "upstreams"))
    return [name for name, upstream in upstreams.items() if as_switch(_get(upstream, "signed_identity")) is True]


def _audiences(document: Document) -> Iterator[Finding]:
    """Find upstreams for which login tokens would be meant too: they are signed with the same keys."""
    audience = _mapping(_get(document.value, "auth")).get("audience", AUDIENCE)
    for name in _signed(document):
        if name == audience:
            what = f"upstreams.{name} wants a signed identity and is called as auth.audience is; expected two names"
            yield ("upstreams", name, "signed_identity"), f"{what}, by which identities and login tokens are told apart"


def _repeated_names(routes: list[tuple[int, Mapping[str, Any]]], document: Document) -> Iterator[Finding]:
    built_in = {route.name for route in BUILT_IN_ROUTES}
    first: dict[str, int] = {}
    for index, route in routes:
        name = route.get("name")
        if not isinstance(name, str):
            continue
        path: Path = ("routes", index, "name")
        if name in built_in:
            yield path, f"routes[{index}].name {shown(name)} is the name of a built-in route; expected another one"
        elif name in first:
            line = document.place(("routes", first[name], "name"))[0]
            yield path, f"routes[{index}].name {shown(name)} is taken by the route in line {line}; expected another one"
        else:
            first[name] = index


def _unknown_names(path: Path, route: Mapping[str, Any], document: Document) -> Iterator[Finding]:
    for setting, section in (("scope", "scopes"), ("upstream", "upstreams")):
        name = route.get(setting)
        known = _get(document.value, section)
        if isinstance(name, str) and isinstance(known, Mapping) and name not in known:
            line = document.place_of_key((section,))[0]
            what = f"routes[{path[1]}].{setting} {shown(name)} is not a known {setting}{meant(name, known)}"
            yield (*path, setting), f"{what} ({section} are listed at line {line})"


def _access(path: Path, route: Mapping[str, Any]) -> Iterator[Finding]:
    is_public = as_switch(route.get("public")) is True
    if is_public and route.get("scope") is not None:
        yield (*path, "scope"), f"routes[{path[1]}] is public and has a scope; expected exactly one of the two"
    elif not is_public and route.get("scope") is None and route:
        yield path, f"routes[{path[1]}] has no scope; expected scope: NAME, or public: true for requests without a key"


def _destination(path: Path, route: Mapping[str, Any]) -> Iterator[Finding]:
    given = [setting for setting in ("upstream", "answer") if route.get(setting) is not None]
    if len(given) == 2:
        yield (*path, "answer"), f"routes[{path[1]}] has an upstream and an answer; expected exactly one of the two"
    elif given == ["answer"] and as_switch(route.get("public")) is True:
        yield (*path, "answer"), f"routes[{path[1]}] is public, but its answer is for a key; expected scope: NAME"
    elif not given and route:
        yield path, f"routes[{path[1]}] has neither upstream nor answer; expected exactly one of the two"
    if route.get("upstream") is None and route.get("timeouts") is not None:
        yield (*path, "timeouts"), f"routes[{path[1]}] has timeouts without an upstream; expected both, or neither"


def _limits(path: Path, route: Mapping[str, Any]) -> Iterator[Finding]:
    is_public = as_switch(route.get("public")) is True
    for position, limit in enumerate(_sequence(route.get("limits"))):
        by = _mapping(limit).get("by", "key")
        where = f"routes[{path[1]}].limits[{position}]"
        if is_public and by == "key":
            yield (*path, "limits", position), f"{where} counts by key on a public route; expected by: address"
        elif not is_public and by == "address":
            yield (*path, "limits", position), f"{where} counts by address on a route with a scope; expected by: key"


def _emits(path: Path, route: Mapping[str, Any], document: Document) -> Iterator[Finding]:
    methods = with_head(method for method in _sequence(route.get("methods")) if isinstance(method, str))
    for method in _mapping(route.get("emits")):
        if method in get_args(Method) and method not in methods:
            what = f"routes[{path[1]}].emits names {method}, which the route does not take"
            yield (*path, "emits", method), f"{what}; expected one of {', '.join(sorted(methods))}"
    if not route.get("emits"):
        return
    if as_switch(route.get("public")) is True:
        what = f"routes[{path[1]}].emits is on a public route, whose requests belong to no account"
        yield (*path, "emits"), f"{what}; expected scope: NAME, or that the backend posts its events to /events"
    if route.get("upstream") is None:
        yield (*path, "emits"), f"routes[{path[1]}].emits is for an upstream's answers; expected upstream: NAME"
    if as_switch(_get(_get(_get(document.value, "usage"), "sinks"), "postgres")) is False:
        what = f"routes[{path[1]}].emits needs usage.sinks.postgres, by which its events are delivered"
        yield (*path, "emits"), f"{what}; expected it on, or no emits"


def _oddities(path: Path, route: Mapping[str, Any]) -> Iterator[Finding]:
    for position, oddity in enumerate(_sequence(route.get("allow_in_path"))):
        if oddity in list(BELOW_ONLY) and not str(route.get("path")).endswith("**"):
            what = f"routes[{path[1]}].allow_in_path has {oddity}, which has a reading with another number of segments"
            yield (*path, "allow_in_path", position), f"{what}; expected a path that ends in /**"


def _carried(path: Path, route: Mapping[str, Any]) -> Iterator[Finding]:
    if as_switch(route.get("websocket")) is True and "GET" not in _sequence(route.get("methods")):
        what = f"routes[{path[1]}] carries WebSockets but does not take GET, which opens them"
        yield (*path, "websocket"), f"{what}; expected GET among its methods"
    for setting in ("websocket", "stream"):
        if as_switch(route.get(setting)) is True and route.get("upstream") is None:
            yield (*path, setting), f"routes[{path[1]}].{setting} is for an upstream's answers; expected upstream: NAME"


def _never_matching(routes: list[tuple[int, Mapping[str, Any]]], document: Document) -> Iterator[Finding]:
    compiled: list[Route] = []
    for index, route in routes:
        methods = [method for method in _sequence(route.get("methods")) if method in get_args(Method)]
        try:
            pattern = Pattern.parse(str(route.get("path")))
        except PatternError:
            continue
        if methods:
            compiled.append(Route(str(index), pattern, with_head(methods)))
    built_in = built_in_routes(
        login=_is_on(document, "auth", "login"),
        identity=bool(_signed(document)),
        docs=_is_on(document, "management", "docs"),
    )
    for shadowed, by in RouteTable((*built_in, *compiled)).shadowed():
        index = int(shadowed.name)
        if by in built_in:
            taker = f"the built-in route {by.name} takes its requests"
        else:
            place = document.place(("routes", int(by.name)))[0]
            taker = f"the route in line {place} takes its requests"
        what = f"routes[{index}].path {shown(routes[index][1]['path'])} can never match, because {taker}"
        yield ("routes", index, "path"), f"{what}; expected it earlier, with another path, or not at all"


def _announced(document: Document) -> Iterator[Finding]:
    """Find a listener for headers that nobody may write."""
    switch = _get(_get(_get(document.value, "listen"), "public"), "proxy_protocol")
    if as_switch(switch) is True and not _sequence(_get(document.value, "trusted_proxies")):
        what = "listen.public.proxy_protocol is on, but nobody is believed; expected the balancers in trusted_proxies"
        yield ("listen", "public", "proxy_protocol"), what
