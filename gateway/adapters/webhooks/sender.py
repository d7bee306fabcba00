"""Sends one webhook message, signed by Standard Webhooks (standardwebhooks.com), and says what came of it.

Receivers are whatever customers write into a field. So only URLs and addresses that `core/webhook_urls.py` allows are
called, each time on a new connection to addresses that are judged anew; nothing is followed, no proxy of the
environment is asked, no cookie is kept, and of an answer nothing is read but its head.

No client of a library does the talking: aiohttp's takes interim answers (1xx) without end and without letting anybody
else on the loop run, and its TLS can be kept from ending. One request and one status need neither pool nor redirects.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import contextmanager
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection
from standardwebhooks import Webhook

from gateway.adapters.webhooks.addresses import AddressNotAllowed, AllowedAddresses, SystemNames
from gateway.adapters.webhooks.answer import PIECE_BYTES, AnswerInvalid, read_status
from gateway.core.webhook_urls import WebhookUrlError, check_webhook_url, is_public
from gateway.core.webhooks import Attempt, Failure, failure_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from urllib.parse import SplitResult

    from gateway.adapters.webhooks.addresses import Allowed, Resolve
    from gateway.core.webhooks import WebhookMessage

TIMEOUT_S: Final = 10.0
HAPPY_EYEBALLS_DELAY_S: Final = 0.25
"""How long an address is waited for before the next is tried beside it (RFC 8305 section 5)."""


class _Failed(Exception):
    """The attempt is over."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


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
        self._addresses = AllowedAddresses(look_up or self._names, (lambda _: True) if allow_private else allowed)
        self._tls = tls

    async def send(self, url: str, secrets: Sequence[str], message: WebhookMessage, now: float) -> Attempt:
        """Send *message* to *url*, signed with each of the *secrets* (`whsec_...`) at *now* (Unix seconds).

        It takes at most the timeout, and raises nothing for what a receiver does.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        status: int | None = None
        try:
            check_webhook_url(url, allow_private=self._allow_private)
            request = _request(urlsplit(url), _signed(secrets, message, now)) + message.body
            async with asyncio.timeout(self._timeout_s):
                status = await self._post(urlsplit(url), request)
            failure = failure_of(status)
        except WebhookUrlError:
            failure = Failure.URL_NOT_ALLOWED
        except _Failed as failed:
            failure = failed.failure
        except TimeoutError:
            failure = Failure.TIMEOUT
        return Attempt(status, round((loop.time() - begun) * 1000), failure)

    async def close(self) -> None:
        """Give threads back."""
        self._names.close()

    async def _trusting(self) -> ssl.SSLContext:
        # To read the certificates that a system trusts takes 50 ms, which no request waits for, and no start either.
        if self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        return self._tls

    async def _post(self, url: SplitResult, request: bytes) -> int:
        # A delivery has a connection of its own: an old one may have been closed by the receiver just now, and its name
        # lead elsewhere by now.
        host = url.hostname or ""
        # Before there is a connection that an end in between would leave open.
        tls = await self._trusting() if url.scheme == "https" else None
        with _failing(Failure.DNS):
            addresses = await self._addresses.of(host, url.port or _PORTS[url.scheme])
        with _failing(Failure.CONNECTION_FAILED):
            connected = await start_connection(addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY_S, interleave=1)
        name = host.removesuffix(".") if tls else None
        with _failing(Failure.CONNECTION_CLOSED):
            reader, writer = await asyncio.open_connection(
                sock=connected, ssl=tls, server_hostname=name, limit=PIECE_BYTES
            )
            try:
                writer.write(request)
                return await read_status(reader)
            finally:
                # Without the end of TLS that is usual: a receiver could draw that out for long.
                writer.transport.abort()


@contextmanager
def _failing(otherwise: Failure) -> Iterator[None]:
    """Say what an error of the system, or of an answer, means to the owner of the webhook."""
    try:
        yield
    except OSError as error:
        meanings = (failure for kind, failure in _MEANINGS.items() if isinstance(error, kind))
        raise _Failed(next(meanings, otherwise)) from error


_MEANINGS: Final[Mapping[type[OSError], Failure]] = MappingProxyType(
    {
        AddressNotAllowed: Failure.ADDRESS_NOT_ALLOWED,
        AnswerInvalid: Failure.ANSWER_INVALID,
        ssl.SSLError: Failure.TLS,
        TimeoutError: Failure.TIMEOUT,
        ConnectionRefusedError: Failure.CONNECTION_REFUSED,
    }
)
_PORTS: Final = {"https": 443, "http": 80}


def _request(url: SplitResult, fields: dict[str, str]) -> bytes:
    """Write the head of a request to *url*, whose characters are judged: none of them ends a line."""
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    lines = [f"POST {target} HTTP/1.1", f"Host: {url.netloc}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _signed(secrets: Sequence[str], message: WebhookMessage, now: float) -> dict[str, str]:
    """Give the fields that say what the message is and who sent it, with a signature for each of *secrets*."""
    moment, body = datetime.fromtimestamp(int(now), UTC), message.body.decode()
    return {
        "Content-Type": "application/json",
        "User-Agent": "webhooks",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "Content-Length": str(len(message.body)),
        "webhook-id": message.id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(Webhook(secret).sign(message.id, moment, body) for secret in secrets),
    }
