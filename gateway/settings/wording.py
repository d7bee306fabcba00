"""Says in words what pydantic found: what is wrong, what was expected, and what was probably meant.

Values of secrets and values that came from outside are never repeated.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args, get_origin

from pydantic import BaseModel

from gateway.settings.interpolation import Interpolated
from gateway.settings.schema import Config
from gateway.settings.sentences import sentences

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

    from gateway.settings.document import Path

_EXPECTED_TYPES: Final = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "path_type": "a path",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "finite_number": "a finite number",
}
_TYPE_NAMES: Final = (
    (type(None), "empty"),
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "a text"),
    (list, "a list"),
    (dict, "a mapping"),
)
_EMPTY: Final = {"too_short": "entry", "string_too_short": "character"}
_BOUNDS: Final = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}
_KEY: Final = "[key]"
_LONG_CHARACTERS: Final = 8
"""A value of this length stands in no word by chance."""


def spelled(path: Path) -> str:
    """Write *path* the way people do: ``routes[3].scope``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step[:60]}" for step in path)
    return text.removeprefix(".") or "the file"


def meant(word: object, known: Iterable[str]) -> str:
    """Give `; did you mean X?` when *word* is close to one of the *known*, else nothing."""
    by_folded = {name.casefold(): name for name in known}
    close = get_close_matches(str(word)[:100].casefold(), by_folded, n=1, cutoff=0.6)
    return f"; did you mean {by_folded[close[0]]}?" if close else ""


def shown(value: object) -> str:
    """Give *value* as a message may show it: quoted and short, and as it was written if it came from outside."""
    text = value.written if isinstance(value, Interpolated) else str(value)
    return f'"{text[:60]}"' if isinstance(value, str) else text[:60]


def place_of(error: ErrorDetails) -> tuple[Path, bool]:
    """Give the path that *error* is about, and whether it is about the key rather than its value."""
    path = error["loc"]
    if path and path[-1] == _KEY:
        return path[:-1], True
    return path, error["type"] == "extra_forbidden"


def worded(error: ErrorDetails) -> str:
    """Say what is wrong and what was expected, beginning with the setting's name."""
    where = spelled(place_of(error)[0])
    what = _about_structure(error) or _about_value(error)
    if what is not None:
        return f"{where} {what}"
    if error["type"] != "value_error":
        return f"{where} cannot be used; {error['msg'][:1].lower()}{error['msg'][1:]}"
    reason = _without_outside_values(str(error["ctx"]["error"]), error["input"])
    is_about_section = isinstance(error["input"], dict)
    return reason if is_about_section else f"{where}: {reason}"


def _about_structure(error: ErrorDetails) -> str | None:
    """Word what does not belong, what is not there, and what is of another type."""
    kind = error["type"]
    if kind == "extra_forbidden":
        return "is not a known setting" + _meant_setting(error["loc"])
    if kind == "missing":
        return f"is missing; expected {_description(error['loc'])}"
    if kind in _EXPECTED_TYPES:
        return f"is {_type_of(error['input'])}; expected {_EXPECTED_TYPES[kind]}"
    if kind in _EMPTY:
        return f"is empty; expected at least one {_EMPTY[kind]}"
    return None


def _about_value(error: ErrorDetails) -> str | None:
    """Word what is of the right type, but out of range or not one of the words."""
    kind = error["type"]
    context = error.get("ctx", {})
    if kind in _BOUNDS:
        name, bound = _BOUNDS[kind]
        return f"is {shown(error['input'])}; expected {bound} {context[name]}"
    if kind in {"literal_error", "enum"}:
        expected = context["expected"].replace("'", "")
        words = expected.replace(" or ", ", ").split(", ")
        return f"{shown(error['input'])} is not known{meant(error['input'], words)}; expected {expected}"
    return None


def _without_outside_values(reason: str, value: object) -> str:
    """Put what *value* was written as for what it is; reasons show it whole or cut.

    A short value also stands in words of our own, where nobody can tell that it is one.
    """
    if not isinstance(value, Interpolated) or not value:
        return reason
    shown_as = "|".join(map(re.escape, (value, value[:60])))
    if len(value) < _LONG_CHARACTERS:
        shown_as = rf"(?<!\w)(?:{shown_as})(?!\w)"
    return re.sub(shown_as, lambda _: value.written, reason)


def _type_of(value: object) -> str:
    if isinstance(value, Interpolated):
        return f"what {value.written[:60]} stands for"
    return next((name for kind, name in _TYPE_NAMES if isinstance(value, kind)), "something else")


def _section_at(path: Path) -> type[BaseModel]:
    """Give the section at *path*, which pydantic has found to be one."""
    kind: Any = Config
    for step in path:
        kind = kind.model_fields[str(step)].annotation if _is_section(kind) else _section_in(kind)
        # A section that may be left out.
        kind = _section_in(kind) if isinstance(kind, UnionType) else kind
    section: type[BaseModel] = kind
    return section


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _section_in(kind: object) -> Any:
    parts = (get_args(part)[0] if get_origin(part) is Annotated else part for part in get_args(kind))
    return next(part for part in parts if _is_section(part))


def _meant_setting(path: Path) -> str:
    fields = _section_at(path[:-1]).model_fields
    return meant(path[-1], fields) or f"; expected one of {', '.join(fields)}"


def _description(path: Path) -> str:
    """Give the first sentence of a setting's documentation, to go on with in a sentence."""
    description = sentences(_section_at(path[:-1])).get(str(path[-1]), "")
    sentence = " ".join(description.split()).partition(". ")[0].rstrip(".")
    return sentence[:1].lower() + sentence[1:]
