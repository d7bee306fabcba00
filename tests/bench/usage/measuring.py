"""How the parts are measured: CPU time as the kernel counts it, which survives a busy machine, and quantiles."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.core.events import UsageEvent, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

ENDPOINTS = 4
STATUSES = (200, 404)


def cpu_us(pid: int) -> float:
    """Give the time that the main thread of *pid* has had on a core, in microseconds. Linux only."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1000


def quantile(figures: Sequence[float], share: float) -> float:
    ordered = sorted(figures)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def print_row(name: str, *figures: str) -> None:
    print(f"  {name:44}" + "".join(f"{figure:>16}" for figure in figures), flush=True)


def event(number: int, key: str, account: str = "account_0") -> bytes:
    """One event as the data plane writes it, of now; *number* decides on what it differs in."""
    return encode(
        UsageEvent(
            id=str(uuid.uuid4()),
            at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            account_id=account,
            key_id=key,
            route="budgets.read",
            upstream="budgets",
            config_version="0123456789ab",
            request_id=f"req_{number:016x}",
            endpoint=f"/api/public/budgets/{{id}}/part-{number % ENDPOINTS}",
            method="GET",
            path=f"/api/public/budgets/{number % 1000}/part-{number % ENDPOINTS}",
            client_address=f"203.0.113.{number % 250}",
            outcome="admitted",
            status=STATUSES[number // ENDPOINTS % len(STATUSES)],
            target="http://budgets:8000",
            duration_us=1_000 + number * 7919 % 90_000,
            upstream_us=900,
            bytes_in=0,
            bytes_out=1024,
        )
    )


def plan_figures(plan: str) -> tuple[int, int]:
    """Give the rows read from tables and the pages touched, of EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)."""
    (top,) = json.loads(plan)
    return _rows_read(top["Plan"]), top["Plan"]["Shared Hit Blocks"] + top["Plan"]["Shared Read Blocks"]


def _rows_read(node: dict[str, Any]) -> int:
    below = sum(_rows_read(child) for child in node.get("Plans", ()))
    if "Relation Name" not in node:
        return below
    passed_over = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return below + int((node["Actual Rows"] + passed_over) * node["Actual Loops"])
