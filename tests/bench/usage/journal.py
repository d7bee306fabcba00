"""What the journal costs a request in its worker: writing the event, and shipping it."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path

from gateway.adapters.journal import Journal, read_batch
from tests.bench.usage.measuring import event, print_row

TURN = 8
"""Events written together: what one turn of the loop finishes under load."""


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
        journal = Journal(Path(directory), "bench", segment_max_bytes=2**40)
        stub, on = await _append(Stub(), records), await _append(journal, records)
        size, path = journal.size / events, journal.segment
        journal.close()
        shipping = _ship(path, events)
    print_row("an event in the journal", f"{size:.0f} bytes")
    print_row(f"journal, {TURN} events a turn", f"{on - stub:.2f} µs/event")
    print_row("shipping: read, check, join (in a thread)", f"{shipping:.2f} µs/event")


async def _append(journal: Journal | Stub, records: list[bytes]) -> float:
    began = time.process_time()
    for start in range(0, len(records), TURN):
        for record in records[start : start + TURN]:
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
