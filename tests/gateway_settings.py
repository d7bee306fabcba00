"""What the gateways of the tests are told: the project's own settings, with less patience and with more routes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from gateway.core.oddities import Oddity
from gateway.embedded.listening import free_port

ROOT = Path(__file__).parent.parent
BODY_MAX = 1_000_000
BODY_IDLE_S = 0.6
FIRST_BYTE_S = 0.8
FAILURES_MAX = 20
PATIENT = {"consecutive_failures": 1000}
"""What one test has the backend do is not held against it in the next."""
SOCKET_IDLE_S = 3.0
CHEAP_HASH = {"time_cost": 1, "memory_kib": 64, "parallelism": 1}
"""As the passwords of the tests' users are hashed; they would be hashed again at each login otherwise."""
ORIGIN = "https://app.example.com"


def settings(backend_url: str) -> dict[str, Any]:
    """The project's own gateway.yaml in front of *backend_url*, made quick to lose its patience."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "gateway.yaml").read_text(encoding="utf-8"))
    timeouts = {"connect_s": 0.5, "first_byte_s": FIRST_BYTE_S, "idle_s": 1.5, "total_s": 30}
    document["upstreams"] = {
        name: {"targets": [backend_url], "timeouts": timeouts, "ejection": PATIENT}
        for name in ("budgets", "customers", "products", "hosted")
    }
    document["upstreams"]["hosted"]["preserve_host"] = True
    document["upstreams"]["gone"] = {"targets": [f"http://127.0.0.1:{free_port()}"], "ejection": PATIENT}
    route = {"name": "gone", "methods": ["GET", "POST"], "path": "/api/public/gone", "scope": "READ_BUDGETS"}
    document["routes"].append(route | {"upstream": "gone"})
    document["routes"] += _further_routes()
    for route in document["routes"]:
        if route["name"] == "products.write":
            route["body_max_bytes"] = 200_000_000
    document["requests"] = {"body_max_bytes": BODY_MAX, "body_idle_s": BODY_IDLE_S}
    document["limits"]["failed_authentications"] = {"capacity": FAILURES_MAX, "refill_per_s": 1}
    document["usage"]["ship_interval_ms"] = 50
    document["drain"] = {"timeout_s": 5}
    document["auth"] = {"password_hash": CHEAP_HASH}
    return document


def _further_routes() -> list[dict[str, Any]]:
    """Routes with what the project's own have not: WebSockets, streams, pages of other origins, odd paths, own hosts."""
    usual = {"methods": ["GET", "POST"], "scope": "READ_BUDGETS", "upstream": "budgets"}
    return [
        usual | {"name": name.replace("/", "-"), "path": f"/api/public/{name}/**"} | more
        for name, more in {
            "sockets": {"websocket": True, "websocket_idle_s": SOCKET_IDLE_S},
            "streams": {"stream": True},
            "pages": {"cors": {"origins": [ORIGIN, "https://other.example.com:8443"], "credentials": True}},
            "open-pages": {"cors": {"origins": ["*"], "exposed": [], "max_age_s": 5}},
            "files/private": {"scope": "WRITE_BUDGETS"},
            "files": {"allow_in_path": [str(oddity) for oddity in Oddity]},
            "hosted": {"upstream": "hosted"},
        }.items()
    ]
