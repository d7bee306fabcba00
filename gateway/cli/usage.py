"""`gateway usage`: what keys were used for, from the sums that Postgres keeps."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from gateway.adapters.postgres.audit import key_account
from gateway.adapters.postgres.statistics import GroupBy, GroupUsage, account_usage, key_usage
from gateway.cli.database import checked_connection
from gateway.cli.key_options import Command, json_option
from gateway.cli.key_output import print_json
from gateway.cli.live_view import LiveView, plain
from gateway.cli.run import config_option, load_or_exit
from gateway.cli.usage_replay import replay
from gateway.cli.usage_tail import tail
from gateway.core.statistics import PERIODS
from gateway.management.statistics import shown_statistics, shown_sums

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.adapters.postgres.connection import Connection
    from gateway.adapters.postgres.statistics import KeyUsage
    from gateway.core.statistics import Period

REDRAW_S: Final = 1.0
_HEAD: Final = f"{'REQUESTS':>10} {'ERRORS':>8} {'AVG MS':>8} {'P95 MS':>8} {'P99 MS':>8}"
"""As wide as leaves room for a key's id beside it in 80 columns."""


def _period_option(default: str) -> Callable[[Command], Command]:
    return click.option(
        "--period", type=click.Choice(list(PERIODS)), default=default, show_default=True, help="How far back."
    )


@click.group()
def usage() -> None:
    """Look at usage, which is stored in Postgres about a second after each request, and send its events again."""


@usage.command("stats")
@click.argument("key_id", metavar="KEY")
@_period_option("7d")
@config_option
@json_option
def stats(key_id: str, period: str, config_file: Path, *, as_json: bool) -> None:
    """Show the usage of the key with this id, KEY. A deleted key still has it."""
    config, now = load_or_exit(config_file), time.time()
    chosen = PERIODS[period]

    async def work() -> KeyUsage:
        async with checked_connection(config) as connection:
            if await key_account(connection, key_id) is None:
                raise click.ClickException(f"there is no key {key_id}; see `gateway keys list`")
            return await key_usage(connection, key_id, chosen.start(now), chosen.step)

    shown = shown_statistics(asyncio.run(work()), chosen, now, frozenset({"statuses", "denials"}))
    if as_json:
        print_json(shown)
        return
    for line in _key_lines(shown):
        click.echo(plain(line))


@usage.command("top")
@click.option(
    "--by", type=click.Choice(["key", "endpoint", "account"]), default="key", show_default=True, help="What to add up."
)
@_period_option("1h")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many, busiest first.")
@click.option("--watch", is_flag=True, help="Go on every second until q is pressed; at a terminal only.")
@config_option
@json_option
def top(by: GroupBy, period: str, limit: int, config_file: Path, *, watch: bool, as_json: bool) -> None:
    """Show the busiest keys, endpoints or accounts. Requests without a known key are not among them."""
    config = load_or_exit(config_file)
    chosen = PERIODS[period]

    async def work() -> None:
        async with checked_connection(config) as connection:
            if watch and not as_json and sys.stdout.isatty():
                await _watch(connection, by, chosen, limit)
                return
            usages = (await _read(connection, by, chosen))[:limit]
        if as_json:
            print_json([{by: usage.name, **shown_sums(usage.sums)} for usage in usages])
            return
        for line in _group_lines(by, usages):
            click.echo(plain(line))

    asyncio.run(work())


usage.add_command(tail)
usage.add_command(replay)


async def _read(connection: Connection, by: GroupBy, period: Period) -> list[GroupUsage]:
    return await account_usage(connection, None, period.start(time.time()), period.step, by)


async def _watch(connection: Connection, by: GroupBy, period: Period, limit: int) -> None:
    with LiveView() as view:
        while True:
            usages = await _read(connection, by, period)
            total = sum(usage.sums.requests for usage in usages)
            title = f"{total:,} requests in {period.name} by {by}, {time.strftime('%H:%M:%S')}; q ends"
            view.show([title, "", *_group_lines(by, usages[:limit])])
            if await view.over(REDRAW_S):
                return


def _group_lines(by: str, usages: list[GroupUsage]) -> list[str]:
    lines = [f"{_HEAD}  {by.upper()}"]
    for usage in usages:
        shown = shown_sums(usage.sums)
        times = (shown["averageResponseTime"], shown["p95ResponseTime"], shown["p99ResponseTime"])
        figures = " ".join(f"{_number(value):>8}" for value in times)
        lines.append(f"{usage.sums.requests:>10,} {usage.sums.errors:>8,} {figures}  {usage.name}")
    return lines


def _key_lines(shown: dict[str, Any]) -> list[str]:
    """Write the statistics of a key for people."""
    times = ", ".join(f"p{share} {_number(shown[f'p{share}ResponseTime'])} ms" for share in (50, 95, 99))
    total, good, bad = (shown[name] for name in ("totalRequests", "successfulRequests", "errorRequests"))
    unknown = shown["unknownRequests"]
    lines = [
        f"{total:,} requests in {shown['period']}: {good:,} successful, {bad:,} errors",
        *([f"{unknown:,} of the successful ended unknown: no proxy reported them"] if unknown else []),
        f"average {_number(shown['averageResponseTime'])} ms, {times}",
        "",
        *(f"{day['requests']:>12,}  {day['date']}" for day in shown["dailyUsage"]),
    ]
    sections = {
        "endpoints": [(entry["count"], f"{entry['method']} {entry['endpoint']}") for entry in shown["topEndpoints"]],
        "statuses": [(entry["count"], entry["status"] or "unknown") for entry in shown["statuses"]],
        "refused because": [(entry["count"], entry["reason"]) for entry in shown["denials"]],
    }
    for title, entries in sections.items():
        if entries:
            lines += ["", title, *(f"{count:>12,}  {what}" for count, what in entries)]
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
