"""Clients that ask all the time, and what they saw: the history that a fault is judged by."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.wire import CutShort, Wire

if TYPE_CHECKING:
    from types import TracebackType

    from tests.gateways import Gateway
    from tests.wire import Answer

_PAUSE_S = 0.02
_REFUSED_PAUSE_S = 0.05


@dataclass(frozen=True)
class Asked:
    """One request: when it began and how long it took, in seconds, and its code; *request_id* is empty if lost.

    *sent* tells whether any of it left: nobody listened otherwise. *answer* is None if lost.
    """

    began: float
    took: float
    code: str
    request_id: str
    sent: bool = True
    answer: Answer | None = None


class Load:
    """Asks on a few connections at once while the block runs, one request after the other on each.

    With *fresh* every request has a connection of its own.
    """

    def __init__(
        self,
        gateway: Gateway,
        path: str,
        key: str,
        clients: int = 4,
        *,
        method: str = "GET",
        body: bytes | None = None,
        fresh: bool = False,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._fresh, self._pause_s = fresh, pause_s
        self._gateway = gateway
        self._path, self._key = path, key
        self._method, self._body = method, body
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]
        self.asked: list[Asked] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask no more, and wait for the last answers."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(10)

    @property
    def codes(self) -> set[str]:
        return {asked.code for asked in self.asked}

    @property
    def slowest_s(self) -> float:
        return max(asked.took for asked in self.asked)

    def since(self, moment: float) -> list[Asked]:
        return [asked for asked in self.asked if asked.began >= moment]

    def _ask(self) -> None:
        wire: Wire | None = None
        while not self._stopping.is_set():
            began, sent, answer = time.monotonic(), False, None
            try:
                wire = wire or self._gateway.connect()
                sent = True
                answer = wire.ask(self._method, self._path, self._key, body=self._body)
                code, request_id = answer.code, answer.one("x-request-id")
                if self._fresh or answer.all("connection") == ["close"]:
                    wire.close()
                    wire = None
            except (OSError, CutShort):
                code, request_id = "lost", ""
                if wire is not None:
                    wire.close()
                wire = None
            self.asked.append(Asked(began, time.monotonic() - began, code, request_id, sent, answer))
            self._stopping.wait(self._pause_s if sent else _REFUSED_PAUSE_S)
        if wire is not None:
            wire.close()
