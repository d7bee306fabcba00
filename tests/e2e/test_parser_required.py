"""Supply: a worker whose aiohttp has lost its compiled parser does not start, and says why."""

from __future__ import annotations

import os
import subprocess
import sys

from gateway.workers.process import CANNOT_START


def test_a_worker_serves_with_the_compiled_parser_only() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "gateway", "worker", "--channel", "0", "--public", "0", "--internal", "0", "0"],
        env={"PATH": os.environ["PATH"], "AIOHTTP_NO_EXTENSIONS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == CANNOT_START
    assert ended.stderr.startswith("aiohttp has no compiled HTTP parser here: unset AIOHTTP_NO_EXTENSIONS")
