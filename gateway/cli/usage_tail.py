"""`gateway usage tail`: follows new events as they are stored, a line each."""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import click

from gateway.adapters.postgres.stored_events import Wanted, first_id, newer_events
from gateway.cli.database import checked_connection
from gateway.cli.live_view import plain
from gateway.cli.run import config_option, load_or_exit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.adapters.postgres.connection import Connection

LOOK_S: Final = 0.5
LATE_S: Final = 10.0
"""Events are found by their ids, so by the time of the request, but stored somewhat later, and not in that order."""
BATCH: Final = 1_000
_STATUS: Final = re.compile("([1-5])([0-9]{2}|xx)")


class _Statuses(click.ParamType[tuple[int, int]]):
    """A status such as 404, or a class of them such as 4xx."""

    name = "status"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Give the first and the last status that is meant."""
        found = _STATUS.fullmatch(value)
        if found is None:
            self.fail(f"{value!r} is no status; expected e.g. 404 or 4xx", param, ctx)
        first = int(found[1]) * 100
        return (first, first + 99) if found[2] == "xx" else (int(value), int(value))


@click.command("tail")
@click.option("--key", "key_id", metavar="ID", help="Only requests with the key with this id.")
@click.option("--status", type=_Statuses(), metavar="STATUS", help="Only answers with this status, e.g. 404 or 4xx.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
@config_option
def tail(config_file: Path, key_id: str | None, status: tuple[int, int] | None, *, as_json: bool) -> None:
    """Follow requests as their events are stored, about a second after each, until Ctrl-C.

    Events that reach Postgres more than ten seconds after their request are not shown; `gateway usage stats` has them.
    """
    config = load_or_exit(config_file)
    wanted = Wanted(key_id, *(status or (None, None)))

    async def work() -> None:
        async with checked_connection(config) as connection:
            async for event in _new_events(connection, wanted):
                click.echo(json.dumps(event) if as_json else plain(_line(event)))

    with suppress(KeyboardInterrupt):
        asyncio.run(work())


async def _new_events(connection: Connection, wanted: Wanted) -> AsyncIterator[dict[str, Any]]:
    """Give every event from now on, once."""
    after = _id_before(0)
    known: set[str] = set()
    while True:
        events = await newer_events(connection, after, wanted, BATCH)
        for event in events:
            if event["id"] not in known:
                known.add(event["id"])
                yield event
        if len(events) == BATCH:
            after = UUID(events[-1]["id"])  # More than can be looked at twice.
            continue
        after = max(after, _id_before(LATE_S))
        known = {id_ for id_ in known if UUID(id_) > after}
        await asyncio.sleep(LOOK_S)


def _id_before(seconds: float) -> UUID:
    return first_id(datetime.fromtimestamp(time.time() - seconds, UTC))


def _line(event: dict[str, Any]) -> str:
    outcome = "" if event["outcome"] == "admitted" else f" {event['outcome']}"
    return (
        f"{event['at']} {event['status'] or '-':>3} {event['durationUs'] / 1000:>9.1f} ms  {event['keyId'] or '-'}"
        f"  {event['clientIp']}  {event['method']} {event['path']}{outcome}  {event['requestId']}"
    )
