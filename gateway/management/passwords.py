"""Passwords: argon2id in two threads of its own, so that a login costs the event loop nothing.

A login of an unknown e-mail does the work of a known one, so that neither answer nor time tells them apart.
"""

from __future__ import annotations

import asyncio
import base64
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable

_Result = TypeVar("_Result")

PASSWORD_MAX_BYTES: Final = 1024
THREADS: Final = 2
WAITING_MAX: Final = 32

_HASH_BYTES: Final = 32
_SALT_BYTES: Final = 16


class PasswordsBusy(Exception):
    """More than 32 logins wait for their password to be checked; one more would only wait longer."""


class Passwords:
    """Hashes and checks passwords with the configured cost; *close* it at the end."""

    def __init__(self, time_cost: int, memory_kib: int, parallelism: int) -> None:
        """Take the cost of argon2id (RFC 9106): passes, KiB, lanes."""
        self._hasher = PasswordHasher(time_cost, memory_kib, parallelism, _HASH_BYTES, _SALT_BYTES)
        nobody = f"$argon2id$v=19$m={memory_kib},t={time_cost},p={parallelism}${_zeros(_SALT_BYTES)}"
        self._nobodys_hash = f"{nobody}${_zeros(_HASH_BYTES)}"
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords")
        self._asked = 0

    async def hash(self, password: str) -> str:
        """Hash a new *password*; raises PasswordsBusy."""
        return await self._work(lambda: self._hasher.hash(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Say whether *password* is the one of *password_hash*; without a hash it takes as long to say no.

        Raises PasswordsBusy.
        """
        compared = self._nobodys_hash if password_hash is None else password_hash
        matches = await self._work(lambda: self._matches(compared, password))
        return matches and password_hash is not None

    def outdated(self, password_hash: str) -> bool:
        """Say whether *password_hash* was made at another cost than is configured now."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        """Give the threads back; a check that has begun is finished first."""
        self._threads.shutdown(cancel_futures=True)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _work(self, work: Callable[[], _Result]) -> _Result:
        if self._asked >= THREADS + WAITING_MAX:
            raise PasswordsBusy
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._asked -= 1


def _zeros(length: int) -> str:
    """Write *length* zero bytes as argon2 hashes do: base64 without its padding."""
    return base64.b64encode(bytes(length)).rstrip(b"=").decode()
