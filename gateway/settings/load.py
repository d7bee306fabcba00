"""Loads `gateway.yaml`: reads it, checks it as a whole, and reports all problems at once, each with its place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from gateway.settings.document import UNREADABLE, Document, read_document
from gateway.settings.interpolation import Sources
from gateway.settings.problems import Problem, SettingsError, SettingsUnreadableError
from gateway.settings.rules import broken_rules
from gateway.settings.schema import Config
from gateway.settings.wording import place_of, worded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE_MAX_BYTES: Final = 1_048_576


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Load the settings in *path*, with *environ* as the environment that `${VAR}` refers to.

    Raises SettingsError with every problem of the file, SettingsUnreadableError when it cannot be read at all.
    """
    file = str(path)
    text = _read(path)
    document, problems = read_document(text, file, Sources(environ, path.parent))
    config: Config | None = None
    if document.value is not UNREADABLE:
        try:
            config = Config.model_validate(document.value)
        except ValidationError as error:
            problems += _problems(error, document, file)
        problems += [Problem(file, *document.place(where), what) for where, what in broken_rules(document)]
    if problems or config is None:
        raise SettingsError(problems)
    return config


def state_directory_of(path: Path, environ: Mapping[str, str]) -> Path:
    """Give the state directory that the settings in *path* name, whatever else is wrong with them, or the default."""
    try:
        document, _ = read_document(_read(path), str(path), Sources(environ, path.parent))
    except SettingsError:
        document = Document()
    named: Any = document.value.get("state_directory") if isinstance(document.value, dict) else None
    return Path(named if isinstance(named, str) and named else Config.model_fields["state_directory"].default)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        what = f"cannot be read ({error.strerror}); expected a readable file, by default gateway.yaml"
        raise SettingsUnreadableError([Problem(str(path), 0, 0, what)]) from None
    if len(content) > FILE_MAX_BYTES:
        what = f"the file is too large; expected at most {FILE_MAX_BYTES} bytes"
        raise SettingsError([Problem(str(path), 1, 1, what)])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        what = "not UTF-8; expected a text file in that encoding"
        raise SettingsError([Problem(str(path), line, column, what)]) from None


def _problems(error: ValidationError, document: Document, file: str) -> Iterator[Problem]:
    for details in error.errors(include_url=False):
        if details["input"] is UNREADABLE:
            continue
        if details["type"] == "too_short" and details["input"]:  # pydantic counts entries without the refused ones
            continue
        where, at_key = place_of(details)
        place = document.place_of_key(where) if at_key else document.place(where)
        yield Problem(file, *place, worded(details))
