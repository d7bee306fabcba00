"""A live view: lines that are drawn anew in place, on a screen that leaves the terminal as it was."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import termios
import tty
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

_ENTER: Final = "\x1b[?1049h\x1b[?25l"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_HOME: Final = "\x1b[H"
_CLEAR_LINE: Final = "\x1b[K"
_CLEAR_BELOW: Final = "\x1b[J"
_QUIT: Final = b"qQ"


def plain(text: str) -> str:
    """Replace what could move a terminal's cursor."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


class LiveView:
    """Shows lines on standard output, which is a terminal, until q or Ctrl-C is pressed or the process is ended."""

    def __init__(self) -> None:
        """Change nothing yet."""
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._keys = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._modes: list[Any] = []

    def __enter__(self) -> Self:
        """Take the screen, and the keys where they come from a terminal."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._loop.add_signal_handler(number, self._over.set)
        if self._keys is not None:
            self._modes = termios.tcgetattr(self._keys)
            tty.setcbreak(self._keys)
            self._loop.add_reader(self._keys, self._read_key)
        self._write(_ENTER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give all back."""
        if self._keys is not None:
            self._loop.remove_reader(self._keys)
            with suppress(termios.error):  # The terminal is gone.
                termios.tcsetattr(self._keys, termios.TCSADRAIN, self._modes)
        with suppress(OSError):
            self._write(_LEAVE)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._loop.remove_signal_handler(number)

    def show(self, lines: Sequence[str]) -> None:
        """Draw *lines*, so far as there is room for them."""
        width, height = shutil.get_terminal_size()
        shown = [plain(line)[:width] + _CLEAR_LINE for line in lines[:height]]
        self._write(_HOME + "\n".join(shown) + _CLEAR_BELOW)

    async def over(self, within_s: float) -> bool:
        """Say whether the view was ended *within_s* from now."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._over.wait()
        return self._over.is_set()

    def _read_key(self) -> None:
        assert self._keys is not None
        pressed = os.read(self._keys, 64)
        if not pressed or set(pressed) & set(_QUIT):
            self._over.set()

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
