"""An API gateway and auth sidecar: API keys in front of services that already exist."""

from __future__ import annotations

VERSION = "0.1.0"
