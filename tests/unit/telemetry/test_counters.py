"""Counter files: they outlive their worker, are summed by any, and never show half of a row."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gateway.telemetry.counters import FILE_BYTES, CounterFile, read_all

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counters" / "worker-0.counters"


def test_a_worker_that_is_started_again_goes_on_counting(path: Path) -> None:
    for turn in (1, 2, 3):
        file = CounterFile(path)
        file.row("requests", 1)[0] += 1
        file.row("é" * turn, 2)[1] = turn
        file.close()
    assert read_all(path.parent) == [{"requests": (3.0,), "é": (0.0, 1.0), "éé": (0.0, 2.0), "ééé": (0.0, 3.0)}]


def test_a_name_gives_the_same_row_each_time(path: Path) -> None:
    file = CounterFile(path)
    file.row("requests", 1)[0] += 1
    file.row("requests", 1)[0] += 1
    assert read_all(path.parent) == [{"requests": (2.0,)}]
    file.close()


def test_names_of_any_length_leave_the_numbers_aligned(path: Path) -> None:
    file = CounterFile(path)
    for length in range(1, 40):
        file.row("n" * length, 3)[2] = length
    [rows] = read_all(path.parent)
    assert {name: numbers[2] for name, numbers in rows.items()} == {"n" * n: float(n) for n in range(1, 40)}
    file.close()


def test_every_worker_is_read(path: Path) -> None:
    files = [CounterFile(path.with_name(f"worker-{slot}.counters")) for slot in range(3)]
    for slot, file in enumerate(files):
        file.row("requests", 1)[0] = slot
    assert read_all(path.parent) == [{"requests": (0.0,)}, {"requests": (1.0,)}, {"requests": (2.0,)}]
    for file in files:
        file.close()


@pytest.mark.parametrize("size", [0, 4, 8, 4096])
def test_a_file_that_is_only_being_made_holds_nothing(path: Path, size: int) -> None:
    path.parent.mkdir()
    path.write_bytes(bytes(size))
    assert read_all(path.parent) == [{}]


def test_a_row_whose_lengths_are_not_written_yet_is_not_seen(path: Path) -> None:
    file = CounterFile(path)
    file.row("first", 1)[0] = 1
    end = file._end
    file._map[end + 8 : end + 14] = b"second"
    assert read_all(path.parent) == [{"first": (1.0,)}]
    file.close()


def test_a_full_file_counts_what_it_has_and_says_so(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = CounterFile(path)
    file.row("first", 1)[0] += 1
    lost = file.row("large", FILE_BYTES // 8)
    lost[0] += 1
    file.row("first", 1)[0] += 1
    file.row("small", 1)[0] += 1
    assert read_all(path.parent) == [{"first": (2.0,), "small": (1.0,)}]
    assert "counters full" in capsys.readouterr().out
    file.close()


def test_only_the_owner_may_read_a_counter_file(path: Path) -> None:
    CounterFile(path).close()
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert path.stat().st_size == FILE_BYTES
