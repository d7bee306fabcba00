"""One table of requests, through the gateway and through proxies that ask it: the same answer, request and usage event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.sidecar_cases import TABLE, UNLIKE, UNLIKE_ALWAYS, Unlike
from tests.sidecar_outcomes import differing, outcomes

if TYPE_CHECKING:
    from tests.proxies import Modes
    from tests.sidecar_outcomes import Outcome


def unexpected(proxied: Outcome, decided: Outcome, *, once: Unlike | None, always: Unlike | None) -> dict[str, Any]:
    """What differs without a reason, and reasons of this case for which nothing differs."""
    what = () if once is None else once.what
    found = differing(proxied, decided)
    idle = {name: "does not differ any more" for name in what if not any(one.startswith(name) for one in found)}
    allowed = what if always is None else what + always.what
    return {name: two for name, two in found.items() if not name.startswith(allowed)} | idle


@pytest.mark.parametrize("name", TABLE)
def test_a_request_fares_the_same_through_every_proxy(modes: Modes, name: str) -> None:
    unlike = {mode: unlike for (case, mode), unlike in UNLIKE.items() if case == name}
    unasked = {mode for mode, unlike in unlike.items() if "event" in unlike.what}
    found = outcomes(modes.gateway, modes.ports, TABLE[name], unasked)
    proxied = found.pop("gateway")
    differences = {
        mode: unexpected(proxied, decided, once=unlike.get(mode), always=UNLIKE_ALWAYS.get(mode))
        for mode, decided in found.items()
    }
    assert {mode: difference for mode, difference in differences.items() if difference} == {}
