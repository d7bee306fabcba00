"""Changes: what of new settings a running gateway can take up, and what has to wait for a restart."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator

Settings = TypeVar("Settings", bound=BaseModel)


class Needs(IntEnum):
    """What a change of a setting needs, as a mark in the annotation of its field; a reload does for all others."""

    RELOAD = 0
    RESTART = 1
    """Workers that begin anew: `gateway restart`."""
    START = 2
    """A parent that begins anew, too: it holds the listeners and the state directory."""


def adopted(running: Settings, wanted: Settings, step: Needs) -> tuple[Settings, dict[str, Needs]]:
    """Give *wanted*, with the values of *running* wherever a change needs more than *step*; and those by name.

    Names are as in the file, `postgres.pool_max`; with what their change needs.
    """
    kept: dict[str, object] = {}
    held: dict[str, Needs] = {}
    for name, field in type(wanted).model_fields.items():
        old, new = getattr(running, name), getattr(wanted, name)
        if old == new:
            continue
        needs = next((mark for mark in field.metadata if isinstance(mark, Needs)), Needs.RELOAD)
        if needs > step:
            kept[name] = old
            held |= dict.fromkeys(_named(name, old, new), needs)
        elif isinstance(old, BaseModel) and isinstance(new, BaseModel):
            kept[name], inner = adopted(old, new, step)
            held |= {f"{name}.{rest}": more for rest, more in inner.items()}
    return wanted.model_copy(update=kept), held


def _named(name: str, old: object, new: object) -> Iterator[str]:
    """Name the settings that differ, rather than the sections that they are in."""
    if type(old) is type(new) and isinstance(old, BaseModel):
        for inner in type(old).model_fields:
            before, after = getattr(old, inner), getattr(new, inner)
            if before != after:
                yield from (f"{name}.{rest}" for rest in _named(inner, before, after))
    else:
        yield name
