"""Child processes: they do not outlive us, do not hear our terminal, and end when told to."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gateway.embedded.polling import until
from gateway.embedded.processes import Command, spawn
from tests.demos import wait_until
from tests.servers import gone

if TYPE_CHECKING:
    from pathlib import Path

_STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
)
_STARTER = """
import sys, time
from pathlib import Path
from gateway.embedded.processes import Command, spawn
print(spawn(Command("child", ["sleep", "60"], Path(sys.argv[1]))).pid, flush=True)
time.sleep(60)
"""


def test_child_dies_when_its_parent_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _STARTER, tmp_path / "log"], stdout=subprocess.PIPE) as starter:
        assert starter.stdout
        pid = int(starter.stdout.readline())
        assert not gone(pid)
        starter.kill()
    assert wait_until(lambda: gone(pid), 5)


async def test_child_leads_a_session_of_its_own(tmp_path: Path) -> None:
    child = spawn(Command("child", ["sleep", "60"], tmp_path / "log"))
    assert os.getsid(child.pid) == child.pid
    await child.stop()


async def test_child_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    child = spawn(Command("child", [sys.executable, "-c", _STUBBORN], tmp_path / "log"))

    async def up() -> bool:
        return child.last_lines() == ["up"]

    assert await until(up, 5)
    await child.stop(timeout_s=0.1)
    assert child.ending == "signal 9"


async def test_paused_child_still_ends_when_asked(tmp_path: Path) -> None:
    child = spawn(Command("child", ["sleep", "60"], tmp_path / "log"))
    child.send(signal.SIGSTOP)
    await child.stop(timeout_s=5)
    assert child.ending == "signal 15"


async def test_obituary_shows_how_it_ended_and_its_last_words(tmp_path: Path) -> None:
    child = spawn(Command("child", ["sh", "-c", "echo first; echo last >&2; exit 3"], tmp_path / "log"))
    assert await child.ended(5)
    assert child.obituary("ended") == f"child ended (exit code 3); see {tmp_path}/log\nfirst\nlast"


async def test_child_from_another_thread_is_refused_because_it_would_die_with_that_thread(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="main thread"):
        await asyncio.to_thread(spawn, Command("child", ["sleep", "60"], tmp_path / "log"))
