"""Every answer that a route can ask for exists."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from gateway.adapters.postgres.pool import Database
from gateway.adapters.webhooks.sender import WebhookSender
from gateway.management.answers import management_answers
from gateway.settings.compile import compile_snapshot
from gateway.settings.load import load

ROOT = Path(__file__).parents[3]
DSN = "postgresql://nobody@127.0.0.1:1/nothing"


async def test_what_the_shipped_routes_ask_for_is_answered() -> None:
    environ = {**os.environ, "DATABASE_URL": DSN, "GATEWAY_SECRET_KEY": base64.b64encode(bytes(32)).decode()}
    config = load(ROOT / "gateway.yaml", environ)
    asked_for = {route.answer for route in compile_snapshot(config).routes.routes if route.answer is not None}
    sender = WebhookSender(allow_private=False)
    answers = management_answers(config, Database(DSN), sender)
    await answers.close()
    await sender.close()
    assert {"login", "keys.create", "webhooks.test"} <= asked_for
    assert asked_for <= answers.functions.keys()
