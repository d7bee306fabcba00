"""The addresses of an upstream: which there are, how they are doing, and which one the next request goes to.

Everything here happens when an address fails, comes back, appears or is gone; a request takes one step of an iterator.
"""

from __future__ import annotations

from collections import Counter
from random import random
from typing import TYPE_CHECKING, Any

import structlog

from gateway.adapters.http.endpoint import Endpoint
from gateway.core.balancing import least_connections, round_robin
from gateway.core.network import parse_address
from gateway.core.rotation import NEVER, Rotation
from gateway.core.upstreams import Balance

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Iterator

    from gateway.core.upstreams import UpstreamSettings, UpstreamTarget

log = structlog.get_logger()


class Endpoints:
    """All addresses of one upstream.

    *arranged* is told whose turn it is, one after the other, and whether that is settled: then requests need not ask;
    otherwise somebody is due for a trial, or there is nobody to send to. *ejected* is told of each that is ejected.
    *leaving* are those that the name does not stand for any more, but that are still busy.
    """

    __slots__ = (
        "_arranged",
        "_ejected",
        "_loop",
        "_rotation",
        "_settings",
        "_timer",
        "_turn",
        "_was_away",
        "everyone",
        "leaving",
    )

    def __init__(
        self,
        settings: UpstreamSettings,
        loop: asyncio.AbstractEventLoop,
        arranged: Callable[[Iterator[Endpoint], bool], None],
        ejected: Callable[[Endpoint], None],
    ) -> None:
        """Begin with the targets whose addresses need no look-up."""
        self._settings = settings
        self._loop = loop
        self._arranged = arranged
        self._ejected = ejected
        self._rotation = Rotation(settings.ejection, settings.probe_s, checks=settings.health is not None)
        self._timer: asyncio.TimerHandle | None = None
        self._was_away = False
        self.everyone = [
            self._make(target, address) for target in settings.targets if (address := fixed_address(target))
        ]
        self.leaving: list[Endpoint] = []
        self._turn: Iterator[Endpoint] = iter(())
        self._arrange()

    @property
    def is_open(self) -> bool:
        """Whether there are addresses, and none of them is to be asked."""
        return bool(self.everyone) and self._rotation.is_open(self.everyone)

    @property
    def is_away(self) -> bool:
        """Whether no address answers as it should: all are failing or unhealthy, or there is none."""
        return self._rotation.all_fail(self.everyone)

    def by_target(self) -> dict[str, list[Endpoint]]:
        """Give the addresses of each target, by its name; none while a name has not been looked up."""
        found: dict[str, list[Endpoint]] = {target.name: [] for target in self._settings.targets}
        for one in self.everyone:
            found[one.target.name].append(one)
        return found

    def report(self) -> dict[str, Any]:
        """Say how it is doing: `serving`, `degraded` or `away`, and how many addresses of each target are how."""
        targets = {name: dict(Counter(one.state for one in group)) for name, group in self.by_target().items()}
        well = all(group.keys() == {"serving"} for group in targets.values())
        state = "away" if self.is_away else "serving" if well else "degraded"
        return {"status": state, "required": self._settings.required, "targets": targets}

    def siblings(self, one: Endpoint) -> list[Endpoint]:
        """List the other addresses of the same target that are well."""
        return [
            other
            for other in self.everyone
            if other.target is one.target and other is not one and other.healthy and not other.failing
        ]

    def another(self, than: Endpoint) -> Endpoint:
        """Give the next address in turn that is not *than*, if there is one in rotation; a trial of *than* is over."""
        self.given_up(than)
        chosen = than
        for _ in range(sum(one.weight for one in self.everyone)):
            chosen = next(self._turn, than)
            if chosen is not than:
                break
        return chosen

    def trial(self) -> Endpoint | None:
        """Give the address that the next request is to be tried on, if there is one."""
        chosen = self._rotation.trial(self.everyone, self._loop.time())
        self._arrange()
        return chosen

    def failed(self, one: Endpoint) -> None:
        """Count a failure of *one*."""
        if self._rotation.failed(one, self.everyone, self._loop.time()):
            self._ejected(one)
            log.warning("address ejected", upstream=self._settings.name, target=one.target.name, times=one.ejections)
        if one.failing:
            self._arrange()

    def succeeded(self, one: Endpoint) -> None:
        """Take *one* back."""
        was_failing = one.failing
        self._rotation.succeeded(one, self._loop.time())
        if was_failing:
            self._arrange()

    def given_up(self, one: Endpoint) -> None:
        """End the trial of *one*, if there is one, without an outcome."""
        if one.on_trial:
            self._rotation.given_up(one)
            self._arrange()

    def checked(self, one: Endpoint, *, well: bool) -> None:
        """Count an active check."""
        assert self._settings.health is not None
        if self._rotation.checked(one, well=well, rules=self._settings.health, now=self._loop.time()):
            log.warning("health changed", upstream=self._settings.name, target=one.target.name, healthy=one.healthy)
            self._arrange()
        elif one.failing:
            self._arrange()  # It may be tried now, or not any more.

    def replace(self, target: UpstreamTarget, addresses: Collection[str]) -> None:
        """Go over to *addresses* for a target; those that stay keep their connections and their standing."""
        known = {one.address: one for one in self.everyone if one.target is target}
        if known.keys() == set(addresses):
            return
        for address, one in known.items():
            if address not in addresses:
                one.leave()
                self.leaving.append(one)
        self.leaving = [one for one in self.leaving if one.busy]
        now = [known.get(address) or self._make(target, address) for address in addresses]
        self.everyone = [one for one in self.everyone if one.target is not target] + now
        self._arrange()

    def inherit(self, before: Endpoints, *, connections: bool) -> None:
        """Take over how the addresses that stay were doing *before* the settings changed, and *connections* that wait.

        A name that has not been looked up yet goes on standing for what it stood for.
        """
        for target in self._settings.targets:
            known = {one.address: one for one in before.everyone if one.target.place == target.place}
            if not any(one.target is target for one in self.everyone):
                self.everyone += [self._make(target, address) for address in known]
            for one in self.everyone:
                if one.target is target and one.address in known:
                    one.inherit(known[one.address])
                    if connections:
                        one.take_connections(known[one.address])
        if self._settings.health is None:
            for one in self.everyone:
                one.healthy, one.streak = True, 0
        self._arrange()

    def close(self) -> None:
        """Keep no connection any more."""
        if self._timer is not None:
            self._timer.cancel()
        for one in self.everyone:
            one.leave()

    def _make(self, target: UpstreamTarget, address: str) -> Endpoint:
        watched = self._settings.ejection.server_errors
        return Endpoint(target, address, self._settings.idle_connections_max, watched=watched)

    def _arrange(self) -> None:
        """Make the order of those in rotation anew, and come back when somebody's time for a trial has come."""
        usable = self._rotation.usable(self.everyone)
        if not usable:
            self._turn = iter(())
        elif self._settings.balance is Balance.ROUND_ROBIN:
            self._turn = round_robin(usable)
        else:
            self._turn = least_connections(usable, random)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._rotation.next_trial(self.everyone)
        settled = bool(usable) and due > self._loop.time()
        if settled and due < NEVER:
            self._timer = self._loop.call_at(due, self._arrange)
        if self.everyone and self._was_away != self.is_away:
            self._was_away = not self._was_away
            log.warning("upstream away" if self._was_away else "upstream back", upstream=self._settings.name)
        self._arranged(self._turn, settled)


def fixed_address(target: UpstreamTarget) -> str | None:
    """Give the address of a target that does not need to be looked up: the path of a socket, or an IP address."""
    if target.path is not None:
        return target.path
    return None if parse_address(target.host) is None else target.host
