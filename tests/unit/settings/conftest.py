"""A settings file that is right, and ways to load variations of it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Protocol

import pytest

from gateway.settings.load import load
from gateway.settings.problems import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.schema import Config

SECRET_KEY = base64.b64encode(bytes(range(32))).decode()
ENVIRON = {"DATABASE_URL": "postgresql://gateway:hunter2@db/gateway", "GATEWAY_SECRET_KEY": SECRET_KEY}

STORES = """\
version: 1
postgres: {dsn: "${DATABASE_URL}"}
secrets: {key: "${GATEWAY_SECRET_KEY}"}
"""
TRAFFIC = """\
scopes: {READ: Read things}
upstreams:
  things: {targets: [http://things:8000]}
routes:
  - {name: things.read, methods: [GET], path: /things/**, scope: READ, upstream: things}
"""


class Load(Protocol):
    """Loads a text as gateway.yaml, with the environment of a working gateway and more."""

    def __call__(self, text: str, **environ: str) -> Config:
        """Load *text*."""
        ...


class Problems(Protocol):
    """Loads a text that is wrong, and gives its problems without the directory."""

    def __call__(self, text: str, **environ: str) -> list[str]:
        """Load *text*."""
        ...


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """Load a text as gateway.yaml."""

    def loading(text: str, **environ: str) -> Config:
        path = tmp_path / "gateway.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path, ENVIRON | environ)

    return loading


@pytest.fixture
def problems(loaded: Load, tmp_path: Path) -> Problems:
    """Load a text that is wrong."""

    def wrong(text: str, **environ: str) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            loaded(text, **environ)
        return [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]

    return wrong
