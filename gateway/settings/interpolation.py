"""Replaces `${VAR}`, `${VAR:-default}` and `${file:PATH}` in one scalar value; `$$` is a literal dollar.

It works on values that YAML has already taken apart, so what comes from outside can never change the structure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE_MAX_BYTES: Final = 65_536

_REFERENCE: Final = re.compile(r"\$(?:\$|\{([^}]*)(\}?))")
_VARIABLE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_FORMS: Final = "expected ${VAR}, ${VAR:-default} or ${file:/path}; a literal dollar is written $$"


class Interpolated(str):
    """A value that came from outside, and the text it was *written* as; messages show only the latter."""

    __slots__ = ("written",)
    written: str

    @classmethod
    def of(cls, value: str, written: str) -> Interpolated:
        """Give *value*, remembering how it was written."""
        made = cls(value)
        made.written = written
        return made


class InterpolationError(ValueError):
    """References that cannot be replaced; *reasons* has a sentence for each."""

    def __init__(self, reasons: list[str]) -> None:
        """Keep all *reasons*."""
        self.reasons = tuple(reasons)
        super().__init__("; ".join(reasons))


class _UnresolvedError(Exception):
    """One reference that cannot be replaced."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where values come from: environment variables, and files relative to *directory*."""

    environ: Mapping[str, str]
    directory: Path

    def interpolate(self, text: str) -> str:
        """Replace every reference in *text*; raises InterpolationError with all that cannot be.

        The result is an Interpolated as soon as anything but `$$` was replaced.
        """
        reasons: list[str] = []
        references = 0

        def replacement(match: re.Match[str]) -> str:
            nonlocal references
            if match[0] == "$$":
                return "$"
            references += 1
            try:
                return self._resolve(match)
            except _UnresolvedError as problem:
                reasons.append(str(problem))
                return ""

        result = _REFERENCE.sub(replacement, text)
        if reasons:
            raise InterpolationError(reasons)
        return Interpolated.of(result, text) if references else result

    def _resolve(self, match: re.Match[str]) -> str:
        reference, closed = match[1], match[2]
        if not closed:
            message = f"a reference that begins with ${{ is not closed; {_FORMS}"
            raise _UnresolvedError(message)
        if reference.startswith("file:"):
            return self._content(reference.removeprefix("file:"))
        variable = _VARIABLE.fullmatch(reference)
        if variable is None:
            message = f"what stands between ${{ and }} is not a reference; {_FORMS}"
            raise _UnresolvedError(message)
        name, default = variable.groups()
        value = self.environ.get(name)
        if default is not None:
            return value or str(default)
        if value is None:
            message = f"the environment variable {name} is not set; set it, or give a default: ${{{name}:-default}}"
            raise _UnresolvedError(message)
        return value

    def _content(self, path: str) -> str:
        """Read a secret's file, without the line end that editors leave."""
        try:
            with (self.directory / path).open("rb") as file:
                content = file.read(FILE_MAX_BYTES + 1)
            if len(content) > FILE_MAX_BYTES:
                message = f"the file {path} has more than {FILE_MAX_BYTES} bytes; expected one short value"
                raise _UnresolvedError(message)
            return content.decode().rstrip("\r\n")
        except OSError as error:
            message = f"the file {path} cannot be read ({error.strerror}); expected a readable file with the value"
            raise _UnresolvedError(message) from None
        except ValueError:
            message = f"the file {path} cannot be used; expected its name and content to be UTF-8 text"
            raise _UnresolvedError(message) from None
