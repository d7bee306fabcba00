"""schemathesis over the API's own description: whatever is sent, no 5xx, and nothing that the description does not say.

Each run has a gateway of its own whose limits are wide open: behind them nearly every answer would be 429.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.owners import Owner

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateways import Gateway

SEED = "20261124"
KEPT = Path(__file__).parent.parent.parent / ".hypothesis"
"""Where hypothesis keeps its tables of characters: to make them takes half as long as a whole run."""
TIMEOUT_S = 240
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "use_after_free",
    "ensure_resource_availability",
    "ignored_auth",
)
"""What an answer is judged by. Data that fit the schema need not be accepted: a time may have passed, a key be gone."""
SETTINGS = """\
[auth.openapi.login]
bearer = "${{SECRET}}"
[auth.openapi.apiKey]
bearer = "${{SECRET}}"
[generation]
max-examples = 6
database = "none"
no-shrink = true
[[operations]]
include-tag = {others}
phases.coverage.enabled = false
generation.max-examples = 3
"""
ADMITTED = "admitted"
_SERVED = re.compile(r'^gateway_requests_total\{(?=.*route="([^"]+)")(?=.*outcome="([^"]+)")', re.MULTILINE)


def unlimited(document: dict[str, Any]) -> None:
    """Let the same address and key do as much as they like."""
    document["limits"]["failed_authentications"] = {"capacity": 1_000_000, "refill_per_s": 1_000_000}
    document["auth"] = {
        "login_throttle": {"pair_failures_max": 1000, "address_failures_max": 1000},
        "password_hash": {"time_cost": 1, "memory_kib": 64, "parallelism": 1},
    }
    for route in document["routes"]:
        if route["name"] == "webhooks.test":
            route["limits"] = []


def explore(gateway: Gateway, directory: Path, secret: str, others: list[str], *more: str) -> set[tuple[str, str]]:
    """Run schemathesis with *secret* as the credential; it must find nothing. Give which routes had which outcomes.

    The operations with the tags *others* are looked at briefly: they are not for this credential.
    """
    (directory / "schemathesis.toml").write_text(SETTINGS.format(others=others))
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{gateway.url}/openapi.json", *more]
    command += ["--checks", ",".join(CHECKS), "--seed", SEED, "--no-color", "--continue-on-failure"]
    environ = os.environ | {"SECRET": secret, "HYPOTHESIS_STORAGE_DIRECTORY": str(KEPT)}
    ran = subprocess.run(
        command, cwd=directory, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert ran.returncode == 0, (ran.stdout + ran.stderr).replace(secret, "SECRET")
    return set(_SERVED.findall(gateway.metrics()))


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S + 30)
def test_with_a_login_token_every_answer_is_as_described(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    gateway = start_gateway(postgres_dsn, redis_url, unlimited)
    seen = explore(gateway, tmp_path, Owner(gateway).token, ["Webhooks", "Documents"])
    assert seen >= {
        ("keys.create", ADMITTED),
        ("keys.list", ADMITTED),
        ("keys.get", ADMITTED),
        ("keys.update", ADMITTED),
        ("keys.rotate", ADMITTED),
        ("keys.audit", ADMITTED),
        ("keys.delete", ADMITTED),
        ("webhooks.test", "invalid_api_key"),
    }


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S + 30)
def test_with_an_api_key_every_answer_is_as_described(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    gateway = start_gateway(postgres_dsn, redis_url, unlimited)
    key = gateway.make_key(rate_limit_per_hour=1_000_000_000)
    phases = ("--phases", "examples,coverage,fuzzing")  # Nothing follows from an answer to a key.
    seen = explore(gateway, tmp_path, key, ["Login", "API keys"], "--url", f"{gateway.url}/v1", *phases)
    assert seen >= {("webhooks.test", ADMITTED), ("webhooks.test", "validation_error"), ("keys.list", "unauthorized")}
