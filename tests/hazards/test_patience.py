"""No bytes of a client make a pattern of ours look for long: what nearly fits is judged as fast as what fits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.hazards import TIERS

if TYPE_CHECKING:
    from tests.gateways import Gateway

pytestmark = TIERS

PATIENCE_S = 1.5
BUDGETS = "/api/public/budgets"
NEARLY = {
    "a path of many segments": (BUDGETS + "/a" * 3_900 + "|", ()),
    "a path of one segment": (BUDGETS + "/" + "a." * 3_900 + "\\", ()),
    "a path of dots": (BUDGETS + "/" + "." * 7_900 + ";", ()),
    "a path of escapes": (BUDGETS + "/%41" * 1_950 + "%4", ()),
    "a query": (BUDGETS + "?" + "a=b&" * 1_950 + "#", ()),
    "a token": (BUDGETS + "/token/" + "a" * 7_900 + "!", ()),
    "an absolute form": ("http://" + "a." * 3_900 + "@" + BUDGETS, ()),
    "a key": (BUDGETS, ("Authorization: Bearer bk_live_" + "a" * 8_000 + "!",)),
    "a scheme": (BUDGETS, ("Authorization: " + "Bearer " * 1_150,)),
    "a trace": (BUDGETS, ("traceparent: 00-" + "0" * 8_000,)),
    "a host": (BUDGETS, ("Host: " + "a-" * 4_000 + "/",)),
    "an origin": (BUDGETS, ("Origin: http://" + "a." * 4_000,)),
    "addresses": (BUDGETS, ("X-Forwarded-For: " + "1.1.1.1," * 1_000, "Forwarded: " + 'for="[' * 1_300)),
    "lists": (BUDGETS, ("Connection: " + "a," * 4_000, "TE: " + "a;q=0.1," * 1_000)),
}


@pytest.mark.parametrize("case", NEARLY)
def test_what_nearly_fits_is_judged_at_once(gateway: Gateway, case: str) -> None:
    target, fields = NEARLY[case]
    began = time.monotonic()
    answer = gateway.ask("GET", target, None, fields)
    assert answer.status < 500
    assert time.monotonic() - began < PATIENCE_S
