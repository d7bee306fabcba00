"""Deliveries to receivers that verify them, and to those that are slow, huge, broken or hostile."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

import pytest
from standardwebhooks import WebhookVerificationError

from gateway.adapters.webhooks.sender import WebhookSender
from gateway.core.webhooks import Failure
from gateway.embedded.listening import free_port
from tests.backends import Backend, plain, raw
from tests.certificates import Authority
from tests.integration.receiving import (
    MESSAGE,
    OLD_SECRET,
    SECRET,
    WRONG_SECRET,
    Names,
    descriptors,
    endless,
    fields_of,
    now,
    server_context,
    stalling,
    verify,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from ipaddress import IPv4Address, IPv6Address
    from pathlib import Path

    from gateway.core.webhooks import Attempt
    from tests.backends import Answer

NAME = "receiver.example"
OUTSIDE, INSIDE = "127.0.0.1", "127.0.0.2"


def outside(address: IPv4Address | IPv6Address) -> bool:
    """In these tests one address of this machine stands for all that are public."""
    return str(address) == OUTSIDE


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def shared_receiver(authority: Authority) -> Iterator[Backend]:
    receiver = Backend(tls=server_context(authority.issue("receiver", NAME)))
    yield receiver
    receiver.close()
    assert not receiver.failures


@pytest.fixture
def receiver(shared_receiver: Backend) -> Backend:
    shared_receiver.forget()
    shared_receiver.connections.clear()
    return shared_receiver


@pytest.fixture
async def sender(authority: Authority) -> AsyncIterator[WebhookSender]:
    sender = WebhookSender(
        allow_private=False, allowed=outside, look_up=Names([OUTSIDE]), tls=authority.client(), timeout_s=5
    )
    yield sender
    await sender.close()
    await settled()


async def settled() -> None:
    """Let the loop see the end of what was shut down."""
    for _ in range(10):
        await asyncio.sleep(0)


async def send(sender: WebhookSender, port: int, *secrets: str, at: float | None = None) -> Attempt:
    url = f"https://{NAME}:{port}/hook?for=us"
    return await sender.send(url, secrets or (SECRET,), MESSAGE, now() if at is None else at)


async def test_a_receiver_verifies_what_it_gets(sender: WebhookSender, receiver: Backend) -> None:
    receiver.answer = plain(b"", "204 No Content")
    attempt = await send(sender, receiver.port)
    assert (attempt.status, attempt.failure, attempt.delivered) == (204, None, True)
    assert 0 <= attempt.duration_ms < 5000
    request = receiver.last
    assert verify(request) == {
        "event": "budget.created",
        "timestamp": "2027-01-15T08:00:00.000Z",
        "data": {"name": "Bücher"},
        "metadata": {"source": "api", "version": "1.4.0", "delivery_id": "delivery_1"},
    }
    assert request.line == "POST /hook?for=us HTTP/1.1"
    assert request.body == MESSAGE.body
    fields = fields_of(request)
    assert fields["Host"] == f"{NAME}:{receiver.port}"
    assert fields["Content-Type"] == "application/json"
    assert fields["webhook-id"] == MESSAGE.id


async def test_during_the_grace_the_new_and_the_old_secret_both_verify(
    sender: WebhookSender, receiver: Backend
) -> None:
    await send(sender, receiver.port, SECRET, OLD_SECRET)
    verify(receiver.last, SECRET)
    verify(receiver.last, OLD_SECRET)
    assert len(fields_of(receiver.last)["webhook-signature"].split(" ")) == 2


async def test_a_changed_byte_an_old_time_and_a_wrong_secret_do_not_verify(
    sender: WebhookSender, receiver: Backend
) -> None:
    await send(sender, receiver.port)
    request = receiver.last
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        verify(request, WRONG_SECRET)
    for changed in (b" " + request.body, request.body.replace(b"created", b"Created"), request.body[:-1]):
        request.body, kept = changed, request.body
        with pytest.raises(WebhookVerificationError, match="No matching signature"):
            verify(request)
        request.body = kept
    await send(sender, receiver.port, at=now() - 301)
    with pytest.raises(WebhookVerificationError, match="too old"):
        verify(receiver.last)


HEAD = b"HTTP/1.1 200 OK\r\n"
REACTIONS: dict[str, tuple[Answer, int | None, Failure | None]] = {
    "created": (plain(b"", "201 Created"), 201, None),
    "not found": (plain(b"", "404 Not Found"), 404, Failure.STATUS),
    "gone": (plain(b"", "410 Gone"), 410, Failure.STATUS),
    "error": (plain(b"", "503 Service Unavailable"), 503, Failure.STATUS),
    "interim answers": (raw(b"HTTP/1.1 103 Early Hints\r\n\r\n" + HEAD + b"Content-Length: 0\r\n\r\n"), 200, None),
    "interim answers without end": (
        endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000),
        None,
        Failure.ANSWER_INVALID,
    ),
    "another protocol": (raw(b"HTTP/1.1 101 Switching Protocols\r\n\r\n\0\0"), 101, Failure.STATUS),
    "garbage": (raw(b"\x16\x03\x01 this is no HTTP\r\n\r\n", close=True), None, Failure.ANSWER_INVALID),
    "impossible status": (raw(b"HTTP/1.1 2x0 OK\r\n\r\n", close=True), None, Failure.ANSWER_INVALID),
    "two lengths": (
        raw(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", close=True),
        None,
        Failure.ANSWER_INVALID,
    ),
    "huge field": (endless(HEAD + b"X: ", b"x" * 4096), None, Failure.ANSWER_INVALID),
    "fields without end": (endless(HEAD, b"X: x\r\n" * 100), None, Failure.ANSWER_INVALID),
    "body without end": (
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n"),
        200,
        None,
    ),
    "body that is never sent": (stalling(HEAD + b"Content-Length: 1000\r\n\r\n"), 200, None),
    "body that breaks off": (raw(HEAD + b"Content-Length: 1000\r\n\r\nx", close=True), 200, None),
    "compressed bomb": (plain(b"\x1f\x8b" + b"\0" * 100, fields=b"Content-Encoding: gzip\r\n"), 200, None),
    "closed": (lambda _request, connection: connection.close(), None, Failure.CONNECTION_CLOSED),
    "reset": (lambda _request, connection: connection.reset(), None, Failure.CONNECTION_CLOSED),
    "closed in the head": (raw(HEAD + b"X-Half: ", close=True), None, Failure.CONNECTION_CLOSED),
}


@pytest.mark.parametrize("reaction", REACTIONS)
async def test_whatever_a_receiver_does_is_an_attempt(sender: WebhookSender, receiver: Backend, reaction: str) -> None:
    receiver.answer, status, failure = REACTIONS[reaction]
    attempt = await send(sender, receiver.port)
    assert (attempt.status, attempt.failure) == (status, failure)
    assert attempt.gone is (status == 410)


@pytest.mark.parametrize("data", [b"", HEAD + b"X-Half: "])
async def test_a_receiver_that_stalls_is_given_up_in_time(authority: Authority, receiver: Backend, data: bytes) -> None:
    receiver.answer = stalling(data)
    sender = WebhookSender(
        allow_private=False, allowed=outside, look_up=Names([OUTSIDE]), tls=authority.client(), timeout_s=0.2
    )
    begun = time.monotonic()
    attempt = await send(sender, receiver.port)
    assert (attempt.status, attempt.failure) == (None, Failure.TIMEOUT)
    assert time.monotonic() - begun < 2
    await sender.close()


async def test_tls_and_names_that_never_come_are_given_up_in_time(authority: Authority) -> None:
    async def nobody_knows(_name: str) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    opened = descriptors()
    with socket.create_server((OUTSIDE, 0)) as mute:
        for look_up in (Names([OUTSIDE]), nobody_knows):
            sender = WebhookSender(
                allow_private=False, allowed=outside, look_up=look_up, tls=authority.client(), timeout_s=0.2
            )
            attempt = await send(sender, mute.getsockname()[1])
            assert (attempt.status, attempt.failure) == (None, Failure.TIMEOUT)
            await sender.close()
    await settled()
    assert descriptors() <= opened


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_not_followed(sender: WebhookSender, receiver: Backend, status: str) -> None:
    to = f"Location: https://{NAME}:{receiver.port}/elsewhere\r\n".encode()
    receiver.answer = plain(b"", status, to)
    attempt = await send(sender, receiver.port)
    assert (attempt.status, attempt.failure) == (int(status[:3]), Failure.REDIRECT)
    assert [request.target for request in receiver.requests] == ["/hook?for=us"]


async def test_a_name_that_leads_inside_after_all_reaches_nobody(authority: Authority, receiver: Backend) -> None:
    """Of two look-ups the first leads to the receiver; the second, inside, to a trap on the same port."""
    trap = Backend(socket.create_server((INSIDE, receiver.port)))
    names = Names([OUTSIDE], [INSIDE], [OUTSIDE, INSIDE])
    sender = WebhookSender(allow_private=False, allowed=outside, look_up=names, tls=authority.client())
    attempts = [await send(sender, receiver.port) for _ in range(3)]
    assert [attempt.failure for attempt in attempts] == [None, *[Failure.ADDRESS_NOT_ALLOWED] * 2]
    assert len(receiver.connections) == 1
    await sender.close()
    trap.close()
    assert trap.connections == []


@pytest.mark.parametrize("wrong", ["name", "authority", "expired"])
async def test_a_certificate_that_cannot_be_believed_gets_nothing(
    authority: Authority, sender: WebhookSender, tmp_path: Path, wrong: str
) -> None:
    files = {
        "name": lambda: authority.issue("other", "other.example"),
        "authority": lambda: Authority(tmp_path).issue("stranger", NAME),
        "expired": lambda: authority.issue("expired", NAME, days=0),
    }[wrong]()
    stranger = Backend(tls=server_context(files))
    attempt = await send(sender, stranger.port)
    stranger.close()
    assert (attempt.status, attempt.failure) == (None, Failure.TLS)
    assert stranger.requests == []


async def test_a_receiver_that_speaks_no_tls_gets_nothing(sender: WebhookSender) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        heard.append(await reader.read())
        writer.close()

    heard: list[bytes] = []
    async with await asyncio.start_server(answer, OUTSIDE) as server:
        attempt = await send(sender, server.sockets[0].getsockname()[1])
    assert (attempt.status, attempt.failure) == (None, Failure.TLS)
    assert b"budget" not in b"".join(heard)


async def test_nobody_there_is_told(sender: WebhookSender, authority: Authority) -> None:
    assert (await send(sender, free_port())).failure is Failure.CONNECTION_REFUSED
    lost = WebhookSender(allow_private=False, look_up=Names([]), tls=authority.client())
    assert (await send(lost, 443)).failure is Failure.DNS
    await lost.close()


async def test_a_url_with_a_user_is_not_called(sender: WebhookSender, receiver: Backend) -> None:
    url = f"https://user:password@{NAME}:{receiver.port}/"
    attempt = await sender.send(url, [SECRET], MESSAGE, now())
    assert attempt.failure is Failure.URL_NOT_ALLOWED
    assert "password" not in repr(attempt)
    assert receiver.connections == []


async def test_nothing_is_kept_of_a_receiver(sender: WebhookSender, receiver: Backend) -> None:
    receiver.answer = plain(fields=b"Set-Cookie: a=b; Path=/; Domain=receiver.example\r\n")
    assert [(await send(sender, receiver.port)).status for _ in range(2)] == [200, 200]
    assert b"cookie" not in receiver.last.head.lower()
    assert [request.connection for request in receiver.requests] == [0, 1]


async def test_a_proxy_of_the_environment_is_not_asked(
    sender: WebhookSender, receiver: Backend, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, backend.url)
    assert (await send(sender, receiver.port)).delivered
    assert backend.connections == []


async def test_for_development_a_private_address_is_called_without_tls(backend: Backend) -> None:
    sender = WebhookSender(allow_private=True)
    for host in ("127.0.0.1", "localhost"):
        attempt = await sender.send(f"http://{host}:{backend.port}/", [SECRET], MESSAGE, now())
        assert attempt.delivered, attempt
        verify(backend.last)
    await sender.close()
