"""Postgres away for long under load: no request is slower for it, and everything is counted once it is back.

`make crash` lasts longer (`--outage-s 600` is ten minutes), `make test` a few seconds.
"""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.demos import wait_until
from tests.faults.loads import Load
from tests.gateways import run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.embedded.postgres import EmbeddedPostgres
    from tests.faults.loads import Asked
    from tests.gateways import Gateway

BUDGETS = "/api/public/budgets"
CLIENTS, PAUSE_S = 4, 0.005
BEFORE_S = 2.0
RATIO_MAX = 3.0
NOISE_S = 0.1
"""A busy machine makes the slowest requests slower than any sink could: what is promised is no more than this."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A longer outage may take longer."""
    outage_s: float = metafunc.config.getoption("outage_s")
    metafunc.parametrize("outage_s", [pytest.param(outage_s, marks=pytest.mark.timeout(60 + 3 * outage_s))])


def p99_s(asked: Sequence[Asked]) -> float:
    took = sorted(one.took for one in asked)
    return took[int(len(took) * 0.99)]


@pytest.mark.slow
def test_an_outage_of_the_sink_slows_no_request_and_loses_no_event(
    start_gateway: Callable[..., Gateway], own_postgres: EmbeddedPostgres, redis_url: str, outage_s: float
) -> None:
    gateway = start_gateway(own_postgres.dsn, redis_url)
    wait = threading.Event().wait
    with Load(gateway, BUDGETS, gateway.everything, CLIENTS, pause_s=PAUSE_S) as load:
        wait(BEFORE_S)
        began = time.monotonic()
        # It hangs for the first half of the time, and refuses connections for the second.
        own_postgres.send_to_all(signal.SIGSTOP)
        wait(outage_s / 2)
        own_postgres.send_to_all(signal.SIGKILL)
        wait(outage_s / 2)
        over = time.monotonic()
        waiting = sum(path.stat().st_size for path in (gateway.state / "journal").glob("*.journal"))
        run(own_postgres.child.ended(5))
        run(own_postgres.start())
        assert wait_until(
            lambda: stored(gateway) >= len([one for one in load.asked if one.began < over]), 30 + outage_s
        )
        caught_up_s = time.monotonic() - over
    assert load.codes == {"200"}
    answered = {one.request_id for one in load.asked}
    assert wait_until(lambda: stored(gateway) == len(answered), 20), (stored(gateway), len(answered))
    assert {row["request_id"] for row in gateway.fetch("SELECT request_id FROM usage_events")} == answered
    before = [one for one in load.asked if one.began < began - 0.2]
    during = [one for one in load.asked if began <= one.began < over]
    after = load.since(over)
    print(
        f"\n{outage_s:.0f} s without Postgres at {len(during) / outage_s:.0f} requests/s: p99 {p99_s(before) * 1000:.1f} ms "
        f"before, {p99_s(during) * 1000:.1f} ms during (x {p99_s(during) / p99_s(before):.2f}), {p99_s(after) * 1000:.1f} ms "
        f"after (x {p99_s(after) / p99_s(before):.2f}); {waiting:,} bytes of journal, caught up in {caught_up_s:.1f} s; "
        f"{len(answered)} answered, all counted once"
    )
    assert p99_s(during) < p99_s(before) * RATIO_MAX + NOISE_S


def stored(gateway: Gateway) -> int:
    return int(gateway.fetch("SELECT count(*) AS count FROM usage_events")[0]["count"])
