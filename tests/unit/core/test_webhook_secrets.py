"""Webhook secrets: the two forms in which owners give them."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.webhook_secrets import WebhookSecretError, read_secret, show_secret


@given(st.binary(min_size=16, max_size=128))
def test_secret_survives_being_shown_and_given_again(secret: bytes) -> None:
    assert read_secret(show_secret(secret)) == secret


def test_what_is_base64_is_read_and_shown_again() -> None:
    shown = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert show_secret(read_secret(shown)) == shown


def test_text_is_used_as_its_bytes() -> None:
    assert read_secret("a secret with é in it") == "a secret with é in it".encode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 15,
        "a" * 129,
        "whsec_",
        "whsec_not base64!",
        "whsec_" + base64.b64encode(b"a" * 15).decode(),
        "whsec_" + base64.b64encode(b"a" * 129).decode(),
        "whsec_éééééééééééééééé",
    ],
)
def test_too_short_too_long_or_broken_is_refused(text: str) -> None:
    with pytest.raises(WebhookSecretError):
        read_secret(text)
