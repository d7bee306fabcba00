"""What the parent leaves in the state directory, so that others find it and its workers."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class WorkersFile:
    """Says which processes run: `workers.json` in the state directory, renamed into place at every change."""

    def __init__(self, directory: Path) -> None:
        """Write nothing yet."""
        self._path = directory / "workers.json"

    def write(self, workers: Sequence[int]) -> None:
        """Replace the file."""
        draft = self._path.with_suffix(".json.new")
        draft.write_text(json.dumps({"parent": os.getpid(), "workers": list(workers)}))
        draft.rename(self._path)

    def remove(self) -> None:
        """Say that nothing runs any more."""
        self._path.unlink(missing_ok=True)
