"""Damaged journals: only the damaged records are lost, and they are counted (F40)."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.journal import BATCH_BYTES, read_batch
from tests.fakes.journal_writer import record

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 50


def line(text: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(text), text)


LINES = [line(record(number)) for number in range(COUNT)]
WHOLE = b"".join(LINES)


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    return tmp_path / "w-000001.journal"


def read(path: Path, *, end: int | None = None, limit: int = BATCH_BYTES) -> tuple[list[int], int, int]:
    """Read to the end as a shipper does; give the ids, the last position and how many records were corrupt."""
    ids, position, corrupt = [], 0, 0
    while (batch := read_batch(path, position, end, limit=limit)).end > position:
        ids += [json.loads(record)["id"] for record in batch.records]
        position, corrupt = batch.end, corrupt + batch.corrupt
    return ids, position, corrupt


@pytest.mark.parametrize("limit", [1, 9, 100, len(LINES[0]), len(WHOLE), BATCH_BYTES])
def test_reading_in_pieces_of_any_size_gives_each_record_once(segment: Path, limit: int) -> None:
    segment.write_bytes(WHOLE)
    assert read(segment, limit=limit) == (list(range(COUNT)), len(WHOLE), 0)


def test_nothing_is_read_past_the_end_that_was_asked_for(segment: Path) -> None:
    segment.write_bytes(WHOLE)
    end = sum(map(len, LINES[:10]))
    assert read(segment, end=end) == (list(range(10)), end, 0)
    assert read(segment, end=end, limit=7) == (list(range(10)), end, 0)


@pytest.mark.parametrize("kept", [1, 8, 9, 20, len(LINES[-1]) - 1])
def test_a_torn_last_record_is_corrupt_and_the_others_are_not(segment: Path, kept: int) -> None:
    torn = WHOLE[: len(WHOLE) - len(LINES[-1]) + kept]
    segment.write_bytes(torn)
    ids, position, corrupt = read(segment)
    # All but the end of the line was written: that record is whole.
    whole = kept == len(LINES[-1]) - 1
    assert (ids, position, corrupt) == (list(range(COUNT if whole else COUNT - 1)), len(torn), 0 if whole else 1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(WHOLE) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_one_record_or_two_neighbours(segment: Path, at: int, bit: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[at] ^= 1 << bit
    segment.write_bytes(damaged)
    ids, position, corrupt = read(segment)
    assert position == len(WHOLE)
    lost = sorted(set(range(COUNT)) - set(ids))
    assert ids == sorted(set(ids))
    # The end of a line that is gone joins two records; one that appears inside a record makes two of it.
    assert len(lost) <= 2
    assert lost == list(range(lost[0], lost[0] + len(lost))) if lost else corrupt == 0
    assert corrupt <= 2


@pytest.mark.parametrize("limit", [1000, BATCH_BYTES])
def test_a_megabyte_of_zeros_at_the_end_is_one_corrupt_record(segment: Path, limit: int) -> None:
    segment.write_bytes(WHOLE + bytes(1 << 20))
    assert read(segment, limit=limit) == (list(range(COUNT)), len(WHOLE) + (1 << 20), 1)


def test_zeros_in_the_middle_cost_the_record_that_they_run_into(segment: Path) -> None:
    segment.write_bytes(WHOLE + bytes(1 << 20) + WHOLE)
    ids, position, corrupt = read(segment)
    assert ids == [*range(COUNT), *range(1, COUNT)]
    assert (position, corrupt) == (2 * len(WHOLE) + (1 << 20), 1)


def test_a_sound_line_without_a_text_is_corrupt(segment: Path) -> None:
    segment.write_bytes(LINES[0] + line(b"") + LINES[1])
    assert read(segment) == ([0, 1], sum(map(len, LINES[:2])) + len(line(b"")), 1)


def test_an_empty_segment_holds_nothing(segment: Path) -> None:
    segment.touch()
    assert read(segment) == ([], 0, 0)


def test_a_position_past_the_end_finds_nothing(segment: Path) -> None:
    segment.write_bytes(WHOLE)
    assert read_batch(segment, 2 * len(WHOLE)).end == 2 * len(WHOLE)
