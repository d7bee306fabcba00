"""Who runs the servers that refuse root, and where their files may live so that this account can reach them.

As root, Postgres runs as `nobody`. No account is created and no existing directory changes its mode: what `nobody`
cannot reach where it is, lives below /var/tmp instead.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gateway.embedded.errors import EmbeddedError

_SHARED = Path("/var/tmp")  # noqa: S108  # survives a reboot, unlike /tmp; names in it are checked for their owner
_SCRATCH_PREFIX = "gateway-scratch-"


@dataclass(frozen=True)
class Account:
    """A user of the operating system."""

    uid: int
    gid: int


def server_account() -> Account | None:
    """The account for servers that refuse root; None when we are not root.

    Raises EmbeddedError when we are root and there is no `nobody`.
    """
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        message = (
            'Postgres refuses to run as root, and there is no user "nobody" to run it as: start this as another user'
        )
        raise EmbeddedError(message) from None
    return Account(nobody.pw_uid, nobody.pw_gid)


def reachable(path: Path) -> bool:
    """Say whether everybody may enter every directory above *path*, and *path* itself when it is a directory."""
    resolved = path.resolve()
    directories = [*resolved.parents, *([resolved] if resolved.is_dir() else [])]
    return all(directory.stat().st_mode & stat.S_IXOTH for directory in directories)


def place(directory: Path, account: Account | None) -> Path:
    """Make *directory* if it is not there, private to *account*, and return where it really is.

    When *account* cannot reach it, *directory* becomes a link to a directory below /var/tmp that is named after it. A
    link that is gone means that somebody deleted the state: what lies below /var/tmp is then forgotten too.

    Raises EmbeddedError when the directory below /var/tmp belongs to somebody else.
    """
    if account is None or (reachable(directory.parent) and not directory.is_symlink()):
        home = directory
    else:
        home = _shared_home(directory)
        _refuse_strangers(home, account)
        if not directory.is_symlink():
            _remove(home)
            directory.symlink_to(home)
    if not home.exists():
        home.mkdir(mode=0o700)
        give(home, account)
    _refuse_strangers(home, account)
    return home.resolve()


def give(path: Path, account: Account | None) -> None:
    """Make *account* the owner of *path*; nothing to do when that is ourselves."""
    if account:
        os.chown(path, account.uid, account.gid)


def forget(directory: Path) -> None:
    """Remove what `place` made of *directory*, on both sides of the link."""
    if directory.is_symlink():
        _remove(directory.readlink())
        directory.unlink()
    else:
        _remove(directory)


def scratch_directory(account: Account | None, mode: int = 0o700, parent: Path | None = None) -> Path:
    """A temporary directory for this process that *account* can reach; it belongs to us, and is the caller's to remove.

    It is in *parent*, by default where temporary files go. What killed processes left behind there is removed on the
    way: the name tells whose it was.
    """
    parent = parent or Path(tempfile.gettempdir())
    if account and not reachable(parent):
        parent = _SHARED
    for old in parent.glob(f"{_SCRATCH_PREFIX}*"):
        if old.lstat().st_uid == os.geteuid() and not _running(old.name):
            _remove(old)
    made = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH_PREFIX}{os.getpid()}-", dir=parent))
    made.chmod(mode)
    return made


def _shared_home(directory: Path) -> Path:
    place_of_link = directory.parent.resolve() / directory.name
    return _SHARED / f"gateway-{hashlib.sha256(bytes(place_of_link)).hexdigest()[:16]}"


def _refuse_strangers(home: Path, account: Account | None) -> None:
    if account and os.path.lexists(home) and home.lstat().st_uid != account.uid:
        message = f"{home} belongs to somebody else: remove it, or choose another directory with --data"
        raise EmbeddedError(message)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def _running(name: str) -> bool:
    pid = name.removeprefix(_SCRATCH_PREFIX).partition("-")[0]
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, PermissionError):
        return True
    return True
