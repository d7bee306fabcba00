"""Dialects: how the proxies in use tell of the original request, and what they can pass on of an answer.

Each has a path of its own below the endpoint. A proxy hands its client's fields on, so whoever reads all dialects at
once believes what a client sends in another one's fields: the bare path is for trying things out, and takes two
dialects that disagree for none (contract section 6b).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Fields(Protocol):
    """The fields of a request, as aiohttp has them."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]:
        """Give all values of the field *key*."""
        ...


class Dialect(enum.Enum):
    """Who asks, by the last part of the path."""

    NGINX = "nginx"
    FORWARD = "forward"
    ENVOY = "envoy"


@dataclass(frozen=True, slots=True)
class Original:
    """The request line that the proxy got, and the *dialect* that it is told in."""

    method: str
    target: str
    dialect: Dialect


@dataclass(frozen=True, slots=True)
class NotTold:
    """Why the original request is not known: *reason* is for whoever configures the proxy."""

    reason: str
    dialect: Dialect


_FIELDS: Final = {
    Dialect.NGINX: ("X-Original-Method", "X-Original-URI"),
    Dialect.FORWARD: ("X-Forwarded-Method", "X-Forwarded-Uri"),
}


def read_original(method: str, rest: str, headers: Fields) -> Original | NotTold:
    """Read the original request of one that came with *method*; *rest* is its target behind the endpoint's path.

    Nothing is read from the query of the decision's own address: proxies append the client's.
    """
    name = rest.partition("?")[0]
    if name == "/nginx":
        return _from_fields(Dialect.NGINX, headers)
    if name == "/forward":
        return _from_fields(Dialect.FORWARD, headers)
    if rest.startswith("/envoy/"):
        return Original(method, rest.removeprefix("/envoy"), Dialect.ENVOY)
    if name in {"", "/"}:
        return _whichever(headers)
    return NotTold("The path of the decision ends in /nginx, /forward or /envoy/...", Dialect.FORWARD)


def _from_fields(dialect: Dialect, headers: Fields) -> Original | NotTold:
    method_field, target_field = _FIELDS[dialect]
    methods, targets = headers.getall(method_field, ()), headers.getall(target_field, ())
    if len(methods) != 1 or len(targets) != 1:
        return NotTold(f"Exactly one {method_field} and one {target_field} are needed", dialect)
    return Original(methods[0], targets[0], dialect)


def _whichever(headers: Fields) -> Original | NotTold:
    """Read what is there; nginx' form goes first, whose proxy could not pass other answers on."""
    told = [dialect for dialect, names in _FIELDS.items() if any(headers.getall(name, ()) for name in names)]
    if not told:
        return NotTold(
            "X-Original-Method and X-Original-URI, or X-Forwarded-Method and -Uri, are needed", Dialect.FORWARD
        )
    originals = [_from_fields(dialect, headers) for dialect in told]
    first, last = originals[0], originals[-1]
    for original in originals:
        if isinstance(original, NotTold):
            return NotTold(original.reason, first.dialect)
    assert isinstance(first, Original)
    assert isinstance(last, Original)
    if (first.method, first.target) != (last.method, last.target):
        return NotTold("X-Original-* and X-Forwarded-* tell of different requests", first.dialect)
    return first
