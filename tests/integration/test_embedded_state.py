"""The demo's state directory: one demo at a time, private, and honest about how the one before ended."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gateway.embedded.errors import EmbeddedError
from gateway.embedded.kept import kept_secret
from gateway.embedded.state import locked

if TYPE_CHECKING:
    from pathlib import Path


def test_second_demo_on_one_directory_is_refused_and_the_first_is_named(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "state"),
        pytest.raises(EmbeddedError, match=rf"another demo \(pid {os.getpid()}\) uses"),
        locked(tmp_path / "state"),
    ):
        pass


def test_directory_is_private(tmp_path: Path) -> None:
    with locked(tmp_path / "state") as state:
        assert state.path.stat().st_mode & 0o777 == 0o700


def test_run_that_ended_in_order_is_told_from_one_that_was_killed(tmp_path: Path) -> None:
    with locked(tmp_path) as state:
        assert not state.killed
    with locked(tmp_path) as state:
        assert not state.killed
    (tmp_path / "lock").write_text("4711")
    with locked(tmp_path) as state:
        assert state.killed


def test_secret_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    secrets = iter(["first", "second"])
    file = tmp_path / "secret"
    assert [kept_secret(file, lambda: next(secrets)) for _ in range(2)] == ["first", "first"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
