"""Sends one webhook message, signed by Standard Webhooks (standardwebhooks.com), and says what came of it.

Receivers are whatever customers write into a field. So only URLs and addresses that `core/webhook_urls.py` allows are
called, each time on a new connection to addresses that are judged anew; nothing is followed, no proxy of the
environment is asked, no cookie is kept, and of an answer nothing is read but its head.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import aiohttp
from standardwebhooks import Webhook
from yarl import URL

from gateway.adapters.webhooks.addresses import AddressNotAllowed, JudgedNames, SystemNames
from gateway.adapters.webhooks.sockets import Sockets
from gateway.core.webhook_urls import WebhookUrlError, check_webhook_url, is_public
from gateway.core.webhooks import Attempt, Failure, failure_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.adapters.webhooks.addresses import Allowed, Resolve
    from gateway.core.webhooks import WebhookMessage

TIMEOUT_S: Final = 10.0
FIELD_MAX_BYTES: Final = 4096
FIELDS_MAX: Final = 64
READ_AHEAD_BYTES: Final = 4096


class WebhookSender:
    """Sends messages. How many at once is up to the callers."""

    def __init__(
        self,
        *,
        allow_private: bool,
        allowed: Allowed = is_public,
        look_up: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Open nothing yet. *allow_private* is for development: plain http, and any address.

        Else addresses must be *allowed*; *look_up* knows the addresses of names, and *tls* whom to trust.
        """
        self._allow_private = allow_private
        self._timeout_s = timeout_s
        self._names = SystemNames()
        self._judged = JudgedNames(look_up or self._names, (lambda _: True) if allow_private else allowed)
        self._tls = tls or ssl.create_default_context()

    async def send(self, url: str, secrets: Sequence[str], message: WebhookMessage, now: float) -> Attempt:
        """Send *message* to *url*, signed with each of the *secrets* (`whsec_...`) at *now* (Unix seconds).

        It takes at most the timeout, and raises nothing for what a receiver does.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        status: int | None = None
        try:
            check_webhook_url(url, allow_private=self._allow_private)
            target = URL(url, encoded=True)
            async with asyncio.timeout(self._timeout_s):
                status = await self._post(target, message.body, _signed(secrets, message, now))
            failure = failure_of(status)
        except (WebhookUrlError, aiohttp.InvalidURL):
            failure = Failure.URL_NOT_ALLOWED
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            failure = _failure(error)
        return Attempt(status, round((loop.time() - begun) * 1000), failure)

    async def close(self) -> None:
        """Give threads back."""
        self._names.close()

    async def _post(self, target: URL, body: bytes, headers: dict[str, str]) -> int:
        # A delivery has a connection of its own, and nothing is left of it: an old one may have been closed by the
        # receiver just now, and its name lead elsewhere by now.
        sockets = Sockets()
        connector = aiohttp.TCPConnector(
            resolver=self._judged, use_dns_cache=False, ssl=self._tls, socket_factory=sockets.open
        )
        session = aiohttp.ClientSession(
            connector=connector,
            connector_owner=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_AHEAD_BYTES,
            max_line_size=FIELD_MAX_BYTES,
            max_field_size=FIELD_MAX_BYTES,
            max_headers=FIELDS_MAX,
        )
        try:
            response = await session.post(target, data=body, headers=headers, allow_redirects=False)
        finally:
            sockets.shut_down()
            await connector.close(abort_ssl=True)
            await session.close()
        response.close()
        return response.status


def _signed(secrets: Sequence[str], message: WebhookMessage, now: float) -> dict[str, str]:
    """Give the fields that say what the message is and who sent it, with a signature for each of *secrets*."""
    moment, body = datetime.fromtimestamp(int(now), UTC), message.body.decode()
    return {
        "Content-Type": "application/json",
        "User-Agent": "webhooks",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "webhook-id": message.id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(Webhook(secret).sign(message.id, moment, body) for secret in secrets),
    }


def _failure(error: Exception) -> Failure:
    """Say what *error*, of aiohttp or the system, means to the owner of the webhook."""
    if isinstance(error, TimeoutError):
        return Failure.TIMEOUT
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        return Failure.TLS
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        refused = isinstance(error.os_error, AddressNotAllowed)
        return Failure.ADDRESS_NOT_ALLOWED if refused else Failure.DNS
    if isinstance(error, aiohttp.ClientConnectorError):
        closed = isinstance(error.os_error, ConnectionResetError)
        refused = error.os_error.errno == errno.ECONNREFUSED
        if closed:
            return Failure.CONNECTION_CLOSED
        return Failure.CONNECTION_REFUSED if refused else Failure.CONNECTION_FAILED
    if isinstance(error, (aiohttp.ClientResponseError, aiohttp.ClientPayloadError)):
        return Failure.ANSWER_INVALID
    return Failure.CONNECTION_CLOSED
