"""Envoy's header mutations: what is taken from a request before it is decided on, what is sent, what comes back.

Envoy compares names in lower case; `_` and `.` are matched as `-`, as everywhere here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gateway.core.headers import ALWAYS_REMOVED, ANNOUNCED, HOP_BY_HOP, OURS
from gateway.render.envoy_types import FILTERS, typed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.core.snapshot import Snapshot

BODY_LENGTH: Final = "x-original-content-length"
_KEY: Final = "x-api-key"
_CARRIED: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "authorization", "traceparent", "connection"}
)
"""Envoy frames messages itself and writes Host; the key is needed for the decision; a trace goes on as it is."""


def removals(names: Iterable[str], prefixes: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Give the mutations that remove *names*, and whatever begins with one of *prefixes*."""
    every = {_pattern(name) for name in names} | {f"{_pattern(prefix)}.*" for prefix in prefixes}
    return [{"remove_on_match": {"key_matcher": {"safe_regex": {"regex": regex}}}} for regex in sorted(every)]


def _pattern(name: str) -> str:
    return re.sub("[-_.]", "[-_.]", re.sub(r"[^A-Za-z0-9_.-]", "", name.lower()))


def written(name: str, value: str, action: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> dict[str, Any]:
    """Give the mutation that writes a field, unless *value* comes to nothing."""
    return {"append": {"header": {"key": name, "value": value}, "append_action": action}}


def before_decision(snapshot: Snapshot, *, trusted: bool) -> dict[str, Any]:
    """Give what the client may not say; of a *trusted* proxy everything is taken that is not ours to say."""
    configured = () if trusted else [name.lower() for name in snapshot.removed_headers]
    exact = (HOP_BY_HOP | ALWAYS_REMOVED | {name for name in configured if not name.endswith("*")}) - _CARRIED
    prefixes = {*OURS, "x-envoy-", "x-original-", *(name[:-1] for name in configured if name.endswith("*"))}
    told = {name for name in exact if not _covers_key(name)}, {name for name in prefixes if not _covers_key(name)}
    mutation = typed("http.early_header_mutation.header_mutation.v3.HeaderMutation", mutations=removals(*told))
    return {"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": mutation}


def _covers_key(name: str) -> bool:
    """Say whether the key would go with *name*, which has to wait until it has been decided on."""
    return _KEY.startswith(name) and name.startswith("x-api")


def for_decision() -> dict[str, Any]:
    """Give what the decision is told, what is known only before it, and what nobody asks for in a refusal."""
    mutations = [
        written(BODY_LENGTH, "%REQ(content-length)%"),
        written("x-forwarded-host", "%REQ(:authority)%", "ADD_IF_ABSENT"),
    ]
    unsaid = [{"remove": "x-envoy-upstream-service-time"}]
    return _filter({"request_mutations": mutations, "response_mutations": unsaid})


def exchanged(snapshot: Snapshot) -> dict[str, Any]:
    """Give what an upstream gets of what was decided, and what a client gets of an upstream's answer."""
    ours = [f"x-gateway-{name}" for name in ("upstream", "target", "path", "route", "event-id")]
    announced = ANNOUNCED if snapshot.limits_announced else frozenset[str]()
    keys = [name.lower()[:-1] for name in snapshot.removed_headers if name.lower().rstrip("*") == _KEY]
    return _filter(
        {
            "request_mutations": [
                written("via", "1.1 gateway", "APPEND_IF_EXISTS_OR_ADD"),
                *removals([*ours, BODY_LENGTH, _KEY], ["x-envoy-", *keys]),
            ],
            "response_mutations": removals({"x-request-id", *announced}, [*OURS, "x-ratelimit-"]),
        }
    )


def _filter(mutations: dict[str, Any]) -> dict[str, Any]:
    config = typed(f"{FILTERS}.http.header_mutation.v3.HeaderMutation", mutations=mutations)
    return {"name": "envoy.filters.http.header_mutation", "typed_config": config}
