"""Whom a webhook sender believes that it was not told whom to trust: those whom the system trusts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.adapters.webhooks.sender import WebhookSender
from gateway.core.webhooks import Failure
from tests.backends import Backend
from tests.certificates import Authority
from tests.integration.receiving import MESSAGE, SECRET, Names, now, server_context

if TYPE_CHECKING:
    from pathlib import Path

NAME = "receiver.example"


@pytest.mark.parametrize("trusted", [True, False])
async def test_whom_the_system_trusts_is_believed_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    authority = Authority(tmp_path)
    receiver = Backend(tls=server_context(authority.issue("receiver", NAME)))
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    sender = WebhookSender(allow_private=False, allowed=lambda _: True, look_up=Names(["127.0.0.1"]))
    url = f"https://{NAME}:{receiver.port}/"
    # At once: whoever comes first reads the certificates, and nobody goes on without them.
    attempts = await asyncio.gather(*(sender.send(url, [SECRET], MESSAGE, now()) for _ in range(3)))
    await sender.close()
    receiver.close()
    assert {attempt.failure for attempt in attempts} == {None if trusted else Failure.TLS}
    assert len(receiver.requests) == (3 if trusted else 0)
