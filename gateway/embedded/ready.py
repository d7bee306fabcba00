"""What a running demo consists of, and the file that tells other programs so."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.embedded.kept import write_private

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.embedded.seed import Seed


@dataclass(frozen=True)
class Running:
    """Addresses, credentials and process ids of a demo that serves. *backends* are addresses by name."""

    url: str
    admin_url: str
    seed: Seed
    postgres: str
    redis: str
    backends: Mapping[str, str]
    pids: Mapping[str, int | list[int] | dict[str, int]]
    logs: Path


def announce(running: Running, file: Path) -> None:
    """Put *running* at *file* as JSON, renamed into place, readable by us only: it holds credentials."""
    document = {
        "url": running.url,
        "adminUrl": running.admin_url,
        "email": running.seed.email,
        "password": running.seed.password,
        "key": running.seed.key,
        "readonlyKey": running.seed.readonly_key,
        "postgres": running.postgres,
        "redis": running.redis,
        "backends": running.backends,
        "pids": running.pids,
    }
    write_private(file, json.dumps(document, indent=2) + "\n")
