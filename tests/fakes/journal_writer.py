"""A process that journals and answers, to be killed, or to find its disk full: `python -m tests.fakes.journal_writer`."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path
from typing import cast

from gateway.adapters.journal import Journal

SEGMENT_BYTES = 20_000
DISK_BYTES = 20_000
RECORDS_A_TURN = 7


def record(number: int) -> bytes:
    """Give a record of a length of its own."""
    return json.dumps({"id": number, "path": "x" * (number % 200)}).encode()


async def write_until_killed(directory: Path) -> None:
    """Journal records without end; each one's number leaves on standard output as its answer."""
    journal = Journal(directory, "writer", segment_max_bytes=SEGMENT_BYTES)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
    answers = cast("asyncio.Transport", transport)  # It has the two methods that the journal uses.
    number = 0
    while True:
        for _ in range(RECORDS_A_TURN):
            journal.answer(answers, b"%d\n" % number)
            journal.append(record(number))
            number += 1
        await asyncio.sleep(0)


async def write_to_a_full_disk(directory: Path) -> None:
    """Journal until far beyond what the disk takes, then more with room again; tell the figures as JSON."""
    journal = Journal(directory, "writer", segment_max_bytes=100 * DISK_BYTES)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    number = 0
    for limit, turns in ((DISK_BYTES, 60), (most, 20)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
        for _ in range(turns):
            for _ in range(RECORDS_A_TURN):
                journal.append(record(number))
                number += 1
            await asyncio.sleep(0)
    journal.close()
    figures = {"asked": number, "appended": journal.appended, "dropped": journal.dropped, "size": journal.size}
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    work = {"endless": write_until_killed, "full": write_to_a_full_disk}[sys.argv[1]]
    asyncio.run(work(Path(sys.argv[2])))
