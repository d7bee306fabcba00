"""JSON lines: whole lines in files, pipes and standard output, whatever becomes of them."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from typing import TYPE_CHECKING

import pytest

from gateway.adapters import json_lines
from gateway.adapters.json_lines import STANDARD_OUTPUT, JsonLinesPublisher
from gateway.ports import SinkDown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """A pipe in the place of standard output: its two ends."""
    reading, writing = os.pipe()
    monkeypatch.setattr(json_lines, "_STDOUT", writing)
    yield reading, writing
    for end in (reading, writing):
        try:
            os.close(end)
        except OSError:
            continue  # The test closed it.


async def test_a_file_that_was_renamed_is_followed_by_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    publisher = JsonLinesPublisher(str(path))
    await publisher.publish([b"1", b"2"])
    path.rename(tmp_path / "usage.jsonl.1")
    await publisher.publish([b"3"])
    assert (tmp_path / "usage.jsonl.1").read_bytes() == b"1\n2\n"
    assert path.read_bytes() == b"3\n"


async def test_a_full_disk_leaves_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    publisher = JsonLinesPublisher(str(path))
    await publisher.publish([b"x" * 99])
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, most))
    try:
        with pytest.raises(SinkDown, match="File too large"):
            await publisher.publish([b"y" * 99] * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert path.read_bytes() == b"x" * 99 + b"\n"
    await publisher.publish([b"z"])
    assert path.read_bytes().endswith(b"x\nz\n")


async def test_standard_output_without_a_reader_is_a_sink_down(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    with pytest.raises(SinkDown, match="nobody reads standard output any more"):
        await JsonLinesPublisher(STANDARD_OUTPUT).publish([b"{}"])


async def test_a_reader_that_stops_costs_no_more_than_the_timeout(pipe: tuple[int, int]) -> None:
    publisher = JsonLinesPublisher(STANDARD_OUTPUT, timeout_s=0.1)
    lines = [b"%04d" % number * 5 for number in range(20_000)]
    with pytest.raises(SinkDown, match="takes no more lines"):
        await publisher.publish(lines)
    read = os.read(pipe[0], 1 << 20)
    assert read == b"".join(line + b"\n" for line in lines)[: len(read)]
    assert read.endswith(b"\n")


async def test_after_a_torn_line_the_next_one_begins_a_line(pipe: tuple[int, int]) -> None:
    publisher = JsonLinesPublisher(STANDARD_OUTPUT, timeout_s=0.1)
    with pytest.raises(SinkDown):
        await publisher.publish([b"a" * 1_000_000])
    torn = os.read(pipe[0], 1 << 20)
    await publisher.publish([b"b"])
    assert set(torn) == set(b"a")
    assert os.read(pipe[0], 100) == b"\nb\n"


async def test_two_writers_of_one_pipe_never_mix_their_lines(pipe: tuple[int, int]) -> None:
    expected = [b"%d" % writer * (100 + number % 3000) for writer in (1, 2) for number in range(300)]
    read: list[bytes] = []

    def reader() -> None:
        with os.fdopen(os.dup(pipe[0]), "rb") as file:
            read.extend(file.readline().rstrip(b"\n") for _ in expected)

    thread = threading.Thread(target=reader)
    thread.start()
    await asyncio.gather(
        JsonLinesPublisher(STANDARD_OUTPUT).publish(expected[:300]),
        JsonLinesPublisher(STANDARD_OUTPUT).publish(expected[300:]),
    )
    await asyncio.to_thread(thread.join)
    assert sorted(read) == sorted(expected)


async def test_a_named_pipe_without_a_reader_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(SinkDown, match="cannot write to"):
        await JsonLinesPublisher(str(tmp_path / "fifo")).publish([b"{}"])
