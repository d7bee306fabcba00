"""What is wrong with a settings file, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Place = tuple[int, int]
"""Line and column in a file, both counted from 1."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing to put right: *what* says what is wrong and what was expected. *line* is 0 for the file as a whole."""

    file: str
    line: int
    column: int
    what: str

    def __str__(self) -> str:
        """Write it the way compilers do, so that editors can jump there."""
        return f"{self.file}:{self.line}:{self.column}: {self.what}" if self.line else f"{self.file}: {self.what}"


class SettingsError(Exception):
    """The settings cannot be used; *problems* are all that were found, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Sort *problems* by place."""
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SettingsUnreadableError(SettingsError):
    """There is no such file, or it may not be read."""
