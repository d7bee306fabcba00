"""The pure part is covered by the examples of its own tests: what only a property reached once might not be again."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.house.tree import TOP

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_S = 150
TESTS = ("tests/unit/core", "tests/unit/settings")


def coverage(data: Path, *words: str) -> str:
    """Run `coverage` with its *data* beside the test; gives what it says, and fails where it does."""
    command, *arguments = words
    ran = subprocess.run(
        [sys.executable, "-m", "coverage", command, f"--data-file={data}", *arguments],
        check=False,
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S + 10)
def test_the_core_is_covered_completely_and_settings_nearly(tmp_path: Path) -> None:
    data = tmp_path / "covered"
    # Whatever is imported or collected under trace takes twice as long: nothing but what is needed.
    alone = ("-n", "0", "-p", "no:cacheprovider", "-p", "no:randomly", "--confcutdir=tests/unit")
    coverage(data, "run", "-m", "pytest", "-q", *TESTS, *alone, "-m", "not hypothesis")
    coverage(data, "report", "--include=gateway/core/*", "--fail-under=100")
    coverage(data, "report", "--fail-under=99")
