"""The hazard table, against the gateway in both tiers and against nginx as a control."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.hazards import TIERS
from tests.hazards.cases_framing import FRAMING
from tests.hazards.cases_targets import TARGETS
from tests.wire import CutShort

if TYPE_CHECKING:
    from tests.backends import Backend
    from tests.gateways import Gateway
    from tests.hazards.cases import Case, Outcome
    from tests.nginx import Nginx
    from tests.wire import Wire

TABLE = [*FRAMING, *TARGETS]
CASES = pytest.mark.parametrize("case", TABLE, ids=lambda case: f"{case.row} {case.name}"[:60])
PROBE = b"GET /api/public/budgets/probe HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"


def judge(wire: Wire, parts: tuple[bytes, ...], key: str, outcome: Outcome, backend: Backend) -> None:
    """Send *parts* one by one, and expect *outcome*, for the client and for the backend."""
    backend.forget()
    for part in parts:
        wire.send(part)
        time.sleep(0.02 if len(parts) > 1 else 0)  # noqa: TID251  # the parts are to arrive one by one
    if outcome.goes_on:
        wire.send(PROBE.replace(b"{key}", key.encode()))
    answers, probe, garbled = [], (200,) if outcome.goes_on else (), b""
    try:
        while True:
            answers.append(wire.answer().status)
    except CutShort as cut:
        garbled = b"".join(cut.args)
    # An answer in HTTP/0.9 has no head.
    assert not garbled or not outcome.answers
    assert tuple(answers) == outcome.answers + probe
    reached = [request.line for request in backend.requests if request.whole]
    assert tuple(reached[: len(reached) - len(probe)]) == outcome.reaches
    if not any("hidden" in line for line in outcome.reaches):
        assert b"hidden" not in backend.raw


@TIERS
@CASES
def test_the_gateway_does_what_is_right(gateway: Gateway, case: Case) -> None:
    data = case.bytes_with(gateway.everything)
    end_of_head = data.index(b"\r\n\r\n") + 4 if b"\r\n\r\n" in data else len(data) // 2
    for parts in ((data,), (data[:end_of_head], data[end_of_head:])):
        with gateway.connect() as wire:
            judge(wire, parts, gateway.everything, case.right, gateway.backend)


@CASES
def test_the_control_does_what_the_table_says(nginx: Nginx, case: Case) -> None:
    assert (case.control is None) == (not case.of_the_control.why)
    with nginx.connect() as wire:
        judge(wire, (case.bytes_with("none"),), "none", case.of_the_control, nginx.backend)
