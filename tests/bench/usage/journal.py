"""What the journal costs a request in its worker: writing the event, and shipping it."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path

from gateway.adapters.journal import Journal, read_batch
from tests.bench.usage.measuring import event, print_row

TURNS = (1, 8)
"""How many events are written together: what one turn of the loop finishes when idle and under load."""


class Stub:
    """A journal that keeps nothing."""

    def append(self, record: bytes) -> None:
        """Do nothing, at the cost of a call."""


def measure(events: int) -> None:
    """Print the CPU time of each step for an event, in microseconds, and an event's size."""
    asyncio.run(_measure(events))


async def _measure(events: int) -> None:
    records = [event(number, "api_key_0") for number in range(events)]
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as directory:
        for turn in TURNS:
            journal = Journal(Path(directory), f"turns-of-{turn}", segment_max_bytes=2**40)
            stub, on = await _append(Stub(), records, turn), await _append(journal, records, turn)
            size, path = journal.size / events, journal.segment
            journal.close()
            print_row(f"journal, {turn} a turn: CPU, size", f"{on - stub:.2f} µs/event", f"{size:.0f} B/event")
        print_row("shipping: read, check, join (in a thread)", f"{_ship(path, events):.2f} µs/event")


async def _append(journal: Journal | Stub, records: list[bytes], turn: int) -> float:
    began = time.process_time()
    for start in range(0, len(records), turn):
        for record in records[start : start + turn]:
            journal.append(record)
        await asyncio.sleep(0)
    return (time.process_time() - began) / len(records) * 1e6


def _ship(path: Path, events: int) -> float:
    """Measure what the shipper does with an event before it waits for Postgres."""
    began, position, size = time.process_time(), 0, 0
    while (batch := read_batch(path, position)).end > position:
        size += len(f"[{b','.join(batch.records).decode()}]")
        position = batch.end
    took = time.process_time() - began
    assert size > events
    assert json.loads(read_batch(path, 0, limit=1).records[0])
    return took / events * 1e6
