"""`gateway webhooks listen`: developers see what their receivers would get, and why something cannot be verified."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from standardwebhooks import Webhook

from gateway.adapters.webhooks.sender import WebhookSender
from gateway.cli.main import main
from gateway.cli.webhook_listen import complaint
from gateway.core.webhooks import WebhookMessage
from gateway.embedded.listening import free_port
from tests.integration.receiving import MESSAGE, OLD_SECRET, SECRET, WRONG_SECRET, now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def lines(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    while line := await asyncio.wait_for(reader.readline(), 10):
        yield line.decode().rstrip("\n")


async def until(reader: asyncio.StreamReader, mark: str) -> str:
    async for line in lines(reader):
        if mark in line:
            return line
    raise AssertionError(mark)


@pytest.fixture
async def listener() -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`gateway webhooks listen` as a process, and its address."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "webhooks", "listen", "--port", str(port), "--secret", SECRET),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        await until(process.stderr, f"listening on http://127.0.0.1:{port}/")
        yield process, f"http://127.0.0.1:{port}/any/path"
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_it_prints_what_it_verifies_and_why_it_refuses_and_ends_with_ctrl_c(
    listener: tuple[asyncio.subprocess.Process, str],
) -> None:
    process, url = listener
    printed = process.stdout
    assert printed is not None
    sender = WebhookSender(allow_private=True)
    assert (await sender.send(url, [OLD_SECRET, SECRET], MESSAGE, now())).status == 204
    assert await until(printed, "delivery_1 ") == "delivery_1 verified"
    assert "budget.created" in await until(printed, "event")
    await sender.send(url, [SECRET], MESSAGE, now())
    assert await until(printed, "delivery_1 ") == "delivery_1 verified, seen before"
    assert (await sender.send(url, [WRONG_SECRET], MESSAGE, now())).status == 401
    assert "not of this secret" in await until(printed, "REFUSED")
    assert (await sender.send(url, [SECRET], MESSAGE, now() - 600)).status == 401
    assert "within 5 minutes" in await until(printed, "REFUSED")
    moves_the_cursor = WebhookMessage("delivery_2", "x", b'"\xc2\x9b2J"')
    assert (await sender.send(url, [SECRET], moves_the_cursor, now())).status == 204
    assert "\\u009b" in await until(printed, "2J")
    await sender.close()
    process.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    assert b"Traceback" not in errors


def test_a_signature_that_is_no_signature_is_told_like_a_wrong_one() -> None:
    secrets = (Webhook(WRONG_SECRET), Webhook(SECRET))
    fields = {"webhook-id": "a", "webhook-timestamp": str(int(now()))}
    for signature in ("", "v1", "v1,!", "v1,a,b", "v1a,YQ==", "v2,YQ=="):
        why = complaint(secrets, b"{}", {**fields, "webhook-signature": signature})
        assert why is not None, signature
    assert complaint(secrets, b"\xff", {**fields, "webhook-signature": "v1,YQ=="}) is not None
    assert (
        complaint(secrets, b"{}", {})
        == "webhook-id, webhook-timestamp or webhook-signature is missing: nobody signed it"
    )


def test_a_secret_that_is_none_is_refused_without_being_repeated() -> None:
    result = CliRunner().invoke(main, ["webhooks", "listen", "--secret", "whsec_not base64"])
    assert result.exit_code == 2
    assert "must be whsec_ and base64" in result.output
    assert "not base64" not in result.output.replace("must be whsec_ and base64", "")
