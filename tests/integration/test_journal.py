"""The journal: a record is on disk before its answer leaves, whatever happens to the process and the disk (F31, F38)."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.journal import Journal, JournalError, _is_free, abandoned, read_batch
from tests.fakes.journal_writer import DISK_BYTES, SEGMENT_BYTES, record

LARGE = 1 << 30
NOBODY = Path("nobody")
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal"


def numbers(path: Path) -> list[int]:
    """Read the ids of a whole segment, which must be sound."""
    records: list[bytes] = []
    position = 0
    while (batch := read_batch(path, position)).end > position:
        assert batch.corrupt == 0
        records += batch.records
        position = batch.end
    return [json.loads(record)["id"] for record in records]


class Client(asyncio.Transport):
    """Notes what the journal holds at the moment when an answer is written to it."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal
        self.gone = False
        self.answers: list[tuple[bytes, list[int]]] = []

    def is_closing(self) -> bool:
        return self.gone

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.answers.append((bytes(data), numbers(self._journal.segment)))


async def test_an_answer_leaves_after_its_record_even_when_it_was_queued_before_it(directory: Path) -> None:
    journal = Journal(directory, "w", segment_max_bytes=LARGE)
    client = Client(journal)
    journal.answer(client, b"one")
    journal.append(record(1))
    journal.append(record(2))
    journal.answer(client, b"two")
    assert client.answers == []
    await asyncio.sleep(0)
    assert client.answers == [(b"one", [1, 2]), (b"two", [1, 2])]
    journal.close()


async def test_an_answer_without_a_record_leaves_too_and_one_to_nobody_does_no_harm(directory: Path) -> None:
    journal = Journal(directory, "w", segment_max_bytes=LARGE)
    gone, here = Client(journal), Client(journal)
    gone.gone = True
    journal.answer(gone, b"nobody")
    journal.answer(here, b"somebody")
    await asyncio.sleep(0)
    assert gone.answers == []
    assert here.answers == [(b"somebody", [])]
    journal.close()


async def test_what_was_queued_leaves_when_the_journal_closes(directory: Path) -> None:
    journal = Journal(directory, "w", segment_max_bytes=LARGE)
    client = Client(journal)
    journal.append(record(1))
    journal.answer(client, b"one")
    journal.close()
    assert client.answers == [(b"one", [1])]


async def test_records_of_one_turn_are_counted_and_kept_in_order(directory: Path) -> None:
    journal = Journal(directory, "w", segment_max_bytes=LARGE, fsync_always=True)
    for number in range(100):
        journal.append(record(number))
    await asyncio.sleep(0)
    assert numbers(journal.segment) == list(range(100))
    assert (journal.appended, journal.dropped, journal.size) == (100, 0, journal.segment.stat().st_size)
    journal.sync()
    journal.append(record(100))
    journal.close()
    assert numbers(journal.segment) == list(range(101))


async def test_only_its_owner_may_read_a_journal(directory: Path) -> None:
    journal = Journal(directory, "w", segment_max_bytes=LARGE)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert journal.segment.stat().st_mode & 0o777 == 0o600
    journal.close()


async def test_a_full_segment_is_followed_by_another(directory: Path) -> None:
    journal = Journal(directory, "w", segment_max_bytes=500)
    for number in range(50):
        journal.append(record(number))
        await asyncio.sleep(0)
    segments = abandoned(directory, journal.segment)
    assert len(segments) == 5
    assert journal.segment not in segments
    assert [number for path in [*segments, journal.segment] for number in numbers(path)] == list(range(50))
    assert all(500 <= path.stat().st_size < 800 for path in segments)
    journal.close()


async def test_a_segment_that_cannot_be_followed_goes_on_and_stays_locked(directory: Path) -> None:
    journal = Journal(directory, "w", segment_max_bytes=500)
    obstacle = directory / "w-000002.new"
    obstacle.mkdir()
    for number in range(40):
        journal.append(record(number))
        await asyncio.sleep(0)
    assert journal.segment.name == "w-000001.journal"
    assert abandoned(directory, NOBODY) == []
    assert (journal.appended, journal.dropped) == (40, 0)
    obstacle.rmdir()
    for number in range(40, 60):
        journal.append(record(number))
        await asyncio.sleep(0)
    assert numbers(directory / "w-000001.journal")[:40] == list(range(40))
    assert journal.segment.name > "w-000001.journal"
    journal.close()


async def test_a_segment_in_use_is_never_found_abandoned_not_even_at_its_birth(directory: Path) -> None:
    directory.mkdir(parents=True)
    names = [f"w{number}" for number in range(300)]
    all_born = threading.Event()

    def look_at_each_birth() -> list[Path]:
        found: list[Path] = []
        for name in names:
            path = directory / f"{name}-000001.journal"
            while not os.path.exists(path) and not all_born.is_set():
                pass
            found += [path] if _is_free(path) else []
        return found

    watching = asyncio.get_running_loop().run_in_executor(None, look_at_each_birth)
    try:
        journals = [Journal(directory, name, segment_max_bytes=LARGE) for name in names]
    finally:
        all_born.set()
    assert await watching == []
    for journal in journals:
        journal.close()
    assert len(abandoned(directory, journals[0].segment)) == 299


async def test_a_directory_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JournalError, match=r"check usage\.journal\.directory"):
        Journal(tmp_path / "file", "w", segment_max_bytes=LARGE)


async def test_two_journals_of_one_name_are_refused(directory: Path) -> None:
    (directory / "w-000001.new").mkdir(parents=True)
    with pytest.raises(JournalError, match="exists"):
        Journal(directory, "w", segment_max_bytes=LARGE)


async def start(mode: str, directory: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fakes.journal_writer", mode, directory),
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
    )


@pytest.mark.parametrize("answers_before", [1, 500, 3000])
async def test_a_killed_process_loses_no_record_whose_answer_left(directory: Path, answers_before: int) -> None:
    writer = await start("endless", directory)
    assert writer.stdout is not None
    answered = [int(await writer.stdout.readline()) for _ in range(answers_before)]
    assert abandoned(directory, NOBODY) or len(answered) * 60 < SEGMENT_BYTES
    writer.kill()
    rest = (await writer.stdout.read()).split(b"\n")
    await writer.wait()
    answered += [int(line) for line in rest[:-1]]
    segments = abandoned(directory, NOBODY)
    assert segments == sorted(directory.glob("*.journal"))
    kept = [number for path in segments for number in numbers(path)]
    assert kept == list(range(len(kept)))
    assert answered == list(range(len(answered)))
    assert len(kept) >= len(answered) >= answers_before


async def test_what_a_full_disk_did_not_take_is_counted_exactly_and_room_is_used_again(directory: Path) -> None:
    writer = await start("full", directory)
    output, _ = await writer.communicate()
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    [segment] = abandoned(directory, NOBODY)
    kept = numbers(segment)
    assert figures["dropped"] == figures["asked"] - len(kept) > 0
    assert figures["appended"] == len(kept)
    assert figures["size"] == segment.stat().st_size > DISK_BYTES
    assert kept[-140:] == list(range(figures["asked"] - 140, figures["asked"]))
    assert kept == sorted(set(kept))


def test_a_segment_that_vanished_meanwhile_is_nobodys(directory: Path) -> None:
    directory.mkdir(parents=True)
    os.symlink(directory / "gone", directory / "w-000001.journal")
    assert abandoned(directory, NOBODY) == []
