"""What is killed, and how it is brought back: `kill -9` of a worker, the parent, Postgres, Valkey, or all of them."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.demos import wait_until
from tests.gateways import run
from tests.servers import gone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey
    from tests.gateways import Gateway

WORKERS: Final = 2
RECOVERY_S: Final = 30.0
_VICTIMS: Final = ("worker", "parent", "postgres", "valkey", "all")


@dataclass(frozen=True)
class Crash:
    """Who is killed, how long after the load began, and how long the stores are away then, in seconds."""

    victim: str
    after_s: float
    away_s: float


def draw(seed: int, times: int) -> Iterator[Crash]:
    """Draw crashes: every victim equally often, in any order, at any moment."""
    chance = random.Random(seed)
    rounds = (chance.sample(_VICTIMS, len(_VICTIMS)) for _ in itertools.count())
    for victim in itertools.islice(itertools.chain.from_iterable(rounds), times):
        yield Crash(victim, chance.uniform(0.05, 0.8), chance.uniform(0.0, 0.8))


@dataclass(frozen=True)
class Site:
    """Everything that can be killed."""

    gateway: Gateway
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey

    def suffer(self, crash: Crash) -> None:
        """Kill, bring back what nobody else does, and return when the site is ready; within RECOVERY_S."""
        workers = self.gateway.workers
        if crash.victim == "worker":
            _kill(workers[int(crash.after_s * 1e6) % len(workers)])
        if crash.victim in {"parent", "all"}:
            self.gateway.process.kill()
        if crash.victim == "all":
            for worker in workers:
                _kill(worker)
        if crash.victim in {"postgres", "all"}:
            self.postgres.send_to_all(signal.SIGKILL)
        if crash.victim in {"valkey", "all"}:
            self.valkey.child.kill()
        self._bring_back(crash, workers)

    def _bring_back(self, crash: Crash, workers: list[int]) -> None:
        if crash.victim in {"parent", "all"}:
            self.gateway.process.wait(RECOVERY_S)
            # Workers that lost their parent finish what they began, and hold the port meanwhile.
            assert wait_until(lambda: all(gone(worker) for worker in workers), RECOVERY_S)
            self.gateway.begin("--workers", str(WORKERS))
        threading.Event().wait(crash.away_s)
        for store in (self.postgres, self.valkey):
            if not store.child.alive:
                run(store.start())
        assert wait_until(self._whole, RECOVERY_S), self.gateway.health

    def _whole(self) -> bool:
        running = self.gateway.workers
        serving = len(running) == WORKERS and not any(gone(worker) for worker in running)
        return serving and self.gateway.health.get("status") == "ready"


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
