"""`gateway secrets rotate` beside a gateway that serves: nobody notices but the rows."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from gateway.adapters.secrets.encryption import Encryption, Sealed
from gateway.core.webhook_secrets import read_secret
from tests.commands import Commands, encoded
from tests.gateways import run
from tests.owners import Owner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gateways import Gateway

OLD, NEW = b"k" * 32, b"n" * 32
HOOK = "https://myapp.com/hook"
KEYS = 40

pytestmark = pytest.mark.timeout(60)


def test_a_gateway_under_load_does_not_notice_that_the_key_is_replaced(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    def reads_with_the_new_key_too(document: dict[str, Any]) -> None:
        document["secrets"] = {"key": "${GATEWAY_SECRET_KEY}", "previous": [encoded(NEW)]}

    gateway = start_gateway(postgres_dsn, redis_url, reads_with_the_new_key_too)
    owner = Owner(gateway)
    made = [owner.create(name=f"Key {number}", webhookUrl=HOOK) for number in range(KEYS)]
    environ = {"GATEWAY_SECRET_KEY": encoded(NEW), "GATEWAY_SECRET_KEY_PREVIOUS": encoded(OLD)}
    commands = Commands(tmp_path, postgres_dsn, environ)
    done, statuses, secrets = threading.Event(), set[int](), {key["id"]: key["webhookSecret"] for key in made}

    def call() -> None:
        while not done.is_set():
            statuses.update(gateway.ask("GET", "/api/public/budgets", key["key"]).status for key in made[:5])

    def manage() -> None:
        while not done.is_set():
            for key in made[::3]:
                changed = owner.change(key["id"], {"webhookSecret": f"a new secret of {key['id']}"})
                secrets[key["id"]] = changed["webhookSecret"]

    threads = [threading.Thread(target=call), threading.Thread(target=manage)]
    for thread in threads:
        thread.start()
    try:
        results = [run(commands.run("secrets", "rotate")) for _ in range(3)]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert all("Traceback" not in result.output for result in results)
    assert statuses == {200}
    last = run(commands.told("secrets", "rotate"))
    new = Encryption(NEW)
    assert last["webhookSecrets"]["byKey"] == {new.key_id: KEYS}
    assert last["signingKeys"]["byKey"] == {new.key_id: 1}
    for row in gateway.fetch("SELECT id, webhook_secret, webhook_secret_key_id FROM api_keys"):
        opened = new.open(Sealed(row["webhook_secret_key_id"], row["webhook_secret"]), f"webhook:{row['id']}")
        assert opened == read_secret(secrets[row["id"]])
    Owner(gateway)
