"""Small private files that must survive a restart: passwords, secret keys, what was seeded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PRIVATE = 0o600


def write_private(path: Path, text: str) -> None:
    """Put *text* at *path*, whole or not at all, readable by us only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """The secret at *path*, made by *make* the first time."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        secret = make()
        write_private(path, secret)
        return secret
