"""`gateway check` as a process: what it prints and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SET = {
    "DATABASE_URL": "postgresql://gateway:hunter2@db/gateway",
    "GATEWAY_SECRET_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
}


def _check(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", "check", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=9,
        check=False,
    )


def test_right_file_is_summed_up_in_one_line() -> None:
    result = _check(**SET)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "gateway.yaml is right: 16 routes, 3 upstreams, 7 scopes\n"


def test_single_things_are_counted_in_the_singular() -> None:
    result = _check("-c", "config/minimal.yaml", **SET)
    assert result.stdout == "config/minimal.yaml is right: 1 route, 1 upstream, 1 scope\n"


def test_problems_are_on_standard_error_one_a_line_and_the_exit_code_is_1() -> None:
    result = _check()
    assert (result.returncode, result.stdout) == (1, "")
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("gateway.yaml:24:8: the environment variable DATABASE_URL is not set; set it, or")
    assert lines[1].startswith("gateway.yaml:31:8: the environment variable GATEWAY_SECRET_KEY is not set; set it, or")


def test_file_that_is_not_there_ends_with_2() -> None:
    result = _check("--config", "nowhere.yaml")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(
        "nowhere.yaml: cannot be read (No such file or directory); expected a readable file"
    )


def test_unknown_option_ends_with_2() -> None:
    assert _check("--configuration", "gateway.yaml").returncode == 2
