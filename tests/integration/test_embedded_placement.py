"""Where the servers' files live: reachable for their account, nobody's directories changed, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import tempfile
from typing import TYPE_CHECKING

import pytest

from gateway.embedded import placement
from gateway.embedded.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What this account cannot reach lives elsewhere, whoever runs the test; as another user than root it is our own, so
# that giving it a directory is allowed.
_ACCOUNT = placement.server_account() or placement.Account(os.getuid(), os.getgid())


@pytest.fixture
def hidden(tmp_path: Path) -> Iterator[Path]:
    """A path for a server's directory, inside a directory that only we can enter."""
    tmp_path.chmod(0o700)
    yield tmp_path / "postgres"
    placement.forget(tmp_path / "postgres")


def test_directory_that_the_account_cannot_reach_becomes_a_link_to_one_that_it_can(hidden: Path) -> None:
    home = placement.place(hidden, _ACCOUNT)
    assert hidden.is_symlink()
    assert hidden.resolve() == home
    assert placement.reachable(home.parent)
    assert (home.stat().st_uid, home.stat().st_mode & 0o777) == (_ACCOUNT.uid, 0o700)
    assert hidden.parent.stat().st_mode & 0o777 == 0o700


def test_files_are_found_again_by_the_next_start(hidden: Path) -> None:
    (placement.place(hidden, _ACCOUNT) / "kept").touch()
    assert (placement.place(hidden, _ACCOUNT) / "kept").exists()


def test_deleting_the_link_forgets_what_it_led_to(hidden: Path) -> None:
    (placement.place(hidden, _ACCOUNT) / "kept").touch()
    hidden.unlink()
    assert list(placement.place(hidden, _ACCOUNT).iterdir()) == []


def test_link_whose_directory_was_swept_away_gets_a_new_one(hidden: Path) -> None:
    placement.place(hidden, _ACCOUNT).rmdir()
    assert placement.place(hidden, _ACCOUNT).is_dir()


def test_forgetting_removes_both_sides_of_the_link(hidden: Path) -> None:
    home = placement.place(hidden, _ACCOUNT)
    placement.forget(hidden)
    assert not home.exists()
    assert not hidden.is_symlink()


def test_directory_of_somebody_else_is_refused_and_not_removed(hidden: Path) -> None:
    home = placement.place(hidden, _ACCOUNT)
    stranger = placement.Account(_ACCOUNT.uid + 1, _ACCOUNT.gid)
    for link_is_there in (True, False):
        if not link_is_there:
            hidden.unlink()
        with pytest.raises(EmbeddedError, match="belongs to somebody else"):
            placement.place(hidden, stranger)
        assert home.exists()
    hidden.symlink_to(home)  # For the fixture, which removes both.


def test_directory_without_a_special_account_stays_where_it_is(hidden: Path) -> None:
    assert placement.place(hidden, None) == hidden
    assert not hidden.is_symlink()


@pytest.mark.parametrize("named", [True, False])
def test_scratch_of_a_dead_process_is_swept_and_of_a_living_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, named: bool
) -> None:
    if not named:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / f"gateway-scratch-{dead.pid}-x").mkdir()
    (tmp_path / f"gateway-scratch-{os.getppid()}-x").mkdir()
    made = placement.scratch_directory(None, parent=tmp_path if named else None)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"gateway-scratch-{os.getppid()}-x", made.name])
