"""Progress of long commands: one line that changes at a terminal, and elsewhere a line every ten seconds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import TextIO

_TERMINAL_S: Final = 0.2
_LOG_S: Final = 10.0


class Progress:
    """Says how far something is, on *to*."""

    def __init__(self, to: TextIO) -> None:
        """Begin now."""
        self._to = to
        self._terminal = to.isatty()
        self._open = False
        self.began = self._shown_at = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return time.monotonic() - self.began

    def due(self) -> bool:
        """Say whether it is time to say something again."""
        return time.monotonic() - self._shown_at >= (_TERMINAL_S if self._terminal else _LOG_S)

    def say(self, text: str) -> None:
        """Say *text* now; before there was anything to wait for, only a terminal is told."""
        if not self._terminal and self.seconds < _LOG_S:
            return
        self._shown_at = time.monotonic()
        self._to.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        self._to.flush()
        self._open = self._terminal

    def end(self) -> None:
        """End the line that changes, if there is one."""
        if self._open:
            self._to.write("\n")
            self._open = False
