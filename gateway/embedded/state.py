"""The demo's state directory: private, used by one demo at a time, and told from one that was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.embedded.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class State:
    """A state directory that is ours for now. *killed* says that the demo before us did not end in order."""

    path: Path
    killed: bool

    def log(self, name: str) -> Path:
        """Where the output of the child *name* goes."""
        return self.path / "logs" / f"{name}.log"


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[State]:
    """Make *directory* if it is not there, and keep other demos out of it while the block runs.

    The lock is the kernel's and ends with us, however we end; the pid in the file is for people, and its presence
    afterwards shows that we were killed.

    Raises EmbeddedError when another demo uses it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / "logs").mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="ascii") as lock:
        pid = lock.read().strip()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another demo (pid {pid}) uses {directory}: stop it, or choose another directory with --data"
            raise EmbeddedError(message) from None
        _rewrite(lock.fileno(), str(os.getpid()))
        try:
            yield State(directory.resolve(), killed=bool(pid))
        finally:
            _rewrite(lock.fileno(), "")


def _rewrite(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode("ascii"), 0)
