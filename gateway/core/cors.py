"""CORS: which pages of other origins may read answers, said by the gateway so that no backend has to (Fetch, 3.2).

A preflight is answered here, without a key and without the backend. Nothing of a request is repeated in an answer but
an origin that is on the list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class Cors:
    """What pages of *origins* (or ANY alone) may do: *methods* and request *headers*, and read *exposed* fields.

    With *credentials* a browser sends its cookies along, which ANY excludes. A preflight holds for *max_age_s*.
    """

    origins: frozenset[str]
    methods: tuple[str, ...]
    headers: tuple[str, ...]
    exposed: tuple[str, ...]
    max_age_s: int
    credentials: bool = False

    def lines(self, origins: Sequence[str]) -> bytes:
        """Give the lines of a head that answer a request with these *origins*, the values of its Origin fields."""
        if ANY in self.origins:
            return b"Access-Control-Allow-Origin: *\r\n" + self._exposed()
        if len(origins) != 1 or origins[0] not in self.origins:
            # Another origin's answer is another one: caches must know even where nothing is allowed.
            return b"Vary: Origin\r\n"
        allowed = f"Access-Control-Allow-Origin: {origins[0]}\r\nVary: Origin\r\n".encode("ascii")
        credentials = b"Access-Control-Allow-Credentials: true\r\n" if self.credentials else b""
        return allowed + credentials + self._exposed()

    def preflight(self, origins: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Give the further fields of the answer to a preflight: none for an origin that is not allowed."""
        if ANY not in self.origins and (len(origins) != 1 or origins[0] not in self.origins):
            return ()
        return (
            ("Access-Control-Allow-Methods", ", ".join(self.methods)),
            ("Access-Control-Allow-Headers", ", ".join(self.headers)),
            ("Access-Control-Max-Age", str(self.max_age_s)),
        )

    def _exposed(self) -> bytes:
        names = ", ".join(self.exposed)
        return f"Access-Control-Expose-Headers: {names}\r\n".encode("ascii") if names else b""
