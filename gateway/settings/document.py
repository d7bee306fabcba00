"""Reads YAML safely into plain mappings, lists and scalars, and remembers the place of each.

YAML 1.2's scalars, so `on`, `no` and `012` are text. No tag can name a Python object, no alias can grow the document
beyond its bounds, no merge key can hide where a value came from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from gateway.settings.interpolation import InterpolationError
from gateway.settings.problems import Place, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.settings.interpolation import Sources

Path = tuple[str | int, ...]
"""The way from the root to a value: keys and list positions."""

NODES_MAX: Final = 100_000
DEPTH_MAX: Final = 50

_TAG: Final = "tag:yaml.org,2002:"


_CONVERSIONS: Final[dict[str, Callable[[str], Any]]] = {
    "int": int,
    "float": float,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "null": lambda _: None,
}


class _Unreadable:
    """Stands for a scalar that has a problem already, so that nothing else is said of it."""

    def __repr__(self) -> str:
        return "UNREADABLE"


UNREADABLE: Final = _Unreadable()


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML's own attribute, emptied here


for _name, _pattern, _first in (
    ("null", r"(~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"(true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]{0,17})$", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?$", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(_pattern), _first)


@dataclass(slots=True)
class Document:
    """A document's *value*, and where each part of it stands in the file."""

    value: Any = None
    _values: dict[Path, Place] = field(default_factory=dict)
    _keys: dict[Path, Place] = field(default_factory=dict)

    def place(self, path: Path) -> Place:
        """Give the place of the value at *path*, or of what encloses it when there is none."""
        while path and path not in self._values:
            path = path[:-1]
        return self._values.get(path, (1, 1))

    def place_of_key(self, path: Path) -> Place:
        """Give the place of the last key of *path*."""
        return self._keys.get(path) or self.place(path)


class _TooMuchError(Exception):
    """The document is larger than any real one; *place* is where that was noticed."""

    def __init__(self, place: Place, what: str) -> None:
        super().__init__(what)
        self.place = place


def read_document(text: str, file: str, sources: Sources) -> tuple[Document, list[Problem]]:
    """Read *text*, replacing references from *sources*; *file* is what problems call it.

    A document that cannot be read as a whole (syntax, size) has the value UNREADABLE.
    """
    reader = _Reader(file, sources)
    try:
        root = _compose(text)
        if root is None:
            reader.say((1, 1), "the file is empty; expected a mapping that begins with version: 1")
            reader.document.value = UNREADABLE
        else:
            reader.document.value = reader.read(root, ())
    except _TooMuchError as error:
        reader.document.value = UNREADABLE
        reader.say(error.place, str(error))
    return reader.document, reader.problems


def _compose(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or error.context or ""
        if reason.startswith("found undefined alias"):  # its name may be a secret that nobody quoted
            reason = "an alias (*) without its anchor (&)"
        what = f"not YAML: {reason}; expected well-formed YAML, text that begins with * & ! or % in quotes"
        raise _TooMuchError(_place(mark) if mark else (1, 1), what) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = (before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        what = "not YAML: a control character; expected text without them"
        raise _TooMuchError(place, what) from None
    except RecursionError:
        what = f"not YAML that can be read: nested too deeply; expected at most {DEPTH_MAX} levels"
        raise _TooMuchError((1, 1), what) from None
    except (ValueError, OverflowError):
        what = "not YAML: an escape in a quoted text names no character; expected e.g. \\u00e9"
        raise _TooMuchError((1, 1), what) from None


def _place(mark: yaml.Mark) -> Place:
    return mark.line + 1, mark.column + 1


class _Reader:
    """Turns composed nodes into values, collecting problems."""

    def __init__(self, file: str, sources: Sources) -> None:
        self.document = Document()
        self.problems: list[Problem] = []
        self._file = file
        self._sources = sources
        self._nodes = 0

    def say(self, place: Place, what: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(self._file, *place, what))

    def read(self, node: yaml.Node, path: Path) -> Any:
        """Give the value of *node*, which stands at *path*; aliases are read anew at each place."""
        place = _place(node.start_mark)
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise _TooMuchError(place, f"aliases make too much of this; expected at most {NODES_MAX} values in all")
        if len(path) > DEPTH_MAX:
            raise _TooMuchError(place, f"nested too deeply; expected at most {DEPTH_MAX} levels")
        self.document._values[path] = place  # noqa: SLF001  # the reader fills the document that it makes
        kind = node.tag.removeprefix(_TAG)
        match node:
            case yaml.MappingNode() if kind == "map":
                return self._mapping(node, path)
            case yaml.SequenceNode() if kind == "seq":
                return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
            case yaml.ScalarNode() if kind in {"str", "int", "float", "bool", "null"}:
                return self._scalar(node.value, kind, place)
        self.say(place, "a tag (!) that is not accepted; expected a plain value, text that begins with ! in quotes")
        return UNREADABLE

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = _place(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self.say(place, "a key is a list or a mapping; expected a name")
                continue
            key = str(key_node.value)
            if key == "<<" and key_node.style is None:
                self.say(place, "merge keys (<<) are not accepted; expected the settings themselves")
            elif key in result:
                first = self.document.place_of_key((*path, key))
                self.say(place, f'the key "{key[:60]}" is there twice (first in line {first[0]}); expected it once')
            else:
                self.document._keys[*path, key] = place  # noqa: SLF001  # as above
                result[key] = self.read(value_node, (*path, key))
        return result

    def _scalar(self, text: str, kind: str, place: Place) -> Any:
        try:
            if kind != "str":
                return _CONVERSIONS[kind](text)
            text.encode()
            return self._sources.interpolate(text) if "$" in text else text
        except InterpolationError as error:
            for reason in error.reasons:
                self.say(place, reason)
        except (ValueError, KeyError):
            self.say(place, f"not a value of the type {kind}; expected one that is, in plain characters")
        return UNREADABLE
