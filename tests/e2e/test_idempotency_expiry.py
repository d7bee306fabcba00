"""The answers of repeatable requests have keys in them: a gateway that runs forgets them in time, without being asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.demos import wait_until
from tests.gateways import run
from tests.servers import execute

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateways import Gateway

pytestmark = pytest.mark.timeout(60)


def test_a_gateway_that_starts_forgets_what_came_of_age_while_none_ran(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    old, young = ("now() - interval '11 minutes'", "now()")
    for name, at in (("old", old), ("young", young)):
        values = f"('account:1', 'keys.create', '{name}', 'api_key_1', 'sealed', 'key', {at})"
        columns = "scope, operation, idempotency_key, key_id, answer, answer_key_id, created_at"
        run(execute(postgres_dsn, f"INSERT INTO idempotency_records ({columns}) VALUES {values}"))
    gateway = start_gateway(postgres_dsn, redis_url)

    def kept() -> list[str]:
        rows = gateway.fetch("SELECT idempotency_key FROM idempotency_records WHERE answer IS NOT NULL")
        return [row["idempotency_key"] for row in rows]

    assert wait_until(lambda: kept() == ["young"], 10)
    assert len(gateway.fetch("SELECT FROM idempotency_records")) == 2
