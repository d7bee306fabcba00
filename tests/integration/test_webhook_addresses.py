"""Where webhooks can never be made to go: a table of URLs and of DNS answers, and names that change their mind.

All run on a loop that dials nobody and notes who would have been dialled, so that nothing leaves the machine.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from gateway.adapters.webhooks.sender import WebhookSender
from gateway.core.webhooks import Failure
from tests.integration.receiving import MESSAGE, SECRET, Names, now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.webhooks import Attempt

PUBLIC, PUBLIC_SIX = "93.184.216.34", "2606:2800:220:1::1"
TLS = ssl.create_default_context()
NAMED = "https://receiver.example/hook"

URLS = [
    "http://receiver.example/",
    "ftp://receiver.example/",
    "file:///etc/passwd",
    "https://user:password@receiver.example/",
    "https://receiver.example@127.0.0.1/",
    "https://127.0.0.1\\@receiver.example/",
    "https://receiver.example\t/",
    "https://receiver.example/\r\nX-Injected: 1",
    *(f"https://{host}/" for host in ("localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.1", "127.0.0.1.")),
    *(f"https://{host}/" for host in ("2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "0")),
    *(f"https://{host}/" for host in ("10.0.0.5", "172.16.0.1", "192.168.1.1", "100.64.0.1", "198.18.0.1")),
    *(f"https://{host}/" for host in ("169.254.169.254", "0xa9fea9fe", "168.63.129.16", "100.100.100.200")),
    *(f"https://{host}/" for host in ("192.0.0.192", "192.0.2.1", "203.0.113.9", "224.0.0.1", "240.0.0.1")),
    *(f"https://{host}/" for host in ("255.255.255.255", "%31%32%37.0.0.1", "①②⑦.⓪.⓪.①", "127。0。0。1")),
    *(f"https://[{host}]/" for host in ("::", "::1", "::ffff:127.0.0.1", "::ffff:a00:5", "::127.0.0.1")),
    *(f"https://[{host}]/" for host in ("64:ff9b::7f00:1", "64:ff9b::10.0.0.5", "64:ff9b:1::7f00:1")),
    *(f"https://[{host}]/" for host in ("2002:7f00:1::", "2002:a9fe:a9fe::", "2001:0:7f00:1::", "fe80::1")),
    *(f"https://[{host}]/" for host in ("fe80::1%25lo", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1")),
    *(f"https://[{host}]/" for host in ("2001:db8::1", "3fff::1", "100::1", "5f00::1")),
    *(f"https://[{host}]/" for host in ("64:ff9b:1:a00:0:100:5db8:d822", "2001:1::1", "2001:20::1", "::5db8:d822")),
    *(f"https://receiver.example:{port}/" for port in (0, 22, 25, 80, 444, 1023, 65536)),
    *(f"https://{host}/" for host in ("127.0.0.1[2606:2800:220:1::1]", "[2606:2800:220:1::1]127.0.0.1", "[::1")),
]
ANSWERS = [
    *([address] for address in ("127.0.0.1", "127.8.9.10", "0.0.0.0", "10.1.2.3", "172.31.255.255", "192.168.0.1")),
    *([address] for address in ("169.254.169.254", "168.63.129.16", "100.64.0.1", "192.0.0.1", "192.88.99.1")),
    *([address] for address in ("198.19.255.255", "198.51.100.1", "224.0.0.251", "250.0.0.1", "255.255.255.255")),
    *([address] for address in ("::", "::1", "::ffff:192.168.0.1", "::10.0.0.1", "64:ff9b::a9fe:a9fe")),
    *([address] for address in ("64:ff9b:1::1", "2002:c0a8:1::1", "2001::1", "fe80::1%lo", "fe80::1", "fec0::1")),
    *([address] for address in ("fd12:3456::1", "ff05::2", "2001:db8::2", "2001:10::1", "100::1", "5f00::1")),
    *([address] for address in ("64:ff9b:1:a00:0:100:5db8:d822", "2001:1::1", "2001:4:112::1", "::ffff:0:5db8:d822")),
    [PUBLIC, "127.0.0.1"],
    ["127.0.0.1", PUBLIC],
    [PUBLIC_SIX, "10.0.0.1"],
    [PUBLIC, PUBLIC_SIX, "::ffff:10.0.0.1"],
]


class Undialled(asyncio.SelectorEventLoop):
    """Refuses every connection, and notes whom it would have been made to."""

    def __init__(self) -> None:
        super().__init__()
        self.dialled: list[str] = []

    async def sock_connect(self, sock: Any, address: Any) -> None:
        self.dialled.append(address[0])
        raise OSError(errno.ECONNREFUSED, "nobody is dialled")


def sent(url: str, names: Names, times: int = 1) -> tuple[Sequence[Attempt], list[str]]:
    """Send to *url* so many *times* with one sender, and give the attempts, and who would have been dialled."""

    async def work() -> list[Attempt]:
        sender = WebhookSender(allow_private=False, look_up=names, tls=TLS)
        try:
            return [await sender.send(url, [SECRET], MESSAGE, now()) for _ in range(times)]
        finally:
            await sender.close()

    with asyncio.Runner(loop_factory=Undialled) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Undialled)
        return runner.run(work()), loop.dialled


def test_the_table_is_long_enough() -> None:
    assert len(URLS) >= 40
    assert len(ANSWERS) >= 30


@pytest.mark.parametrize("url", URLS)
def test_a_url_that_leads_inside_is_not_called(url: str) -> None:
    names = Names(["127.0.0.1"])
    attempts, dialled = sent(url, names)
    assert attempts[0].failure is Failure.URL_NOT_ALLOWED
    assert (attempts[0].status, dialled, names.asked) == (None, [], [])


@pytest.mark.parametrize("addresses", ANSWERS, ids=" ".join)
def test_a_name_that_leads_inside_is_not_called(addresses: list[str]) -> None:
    attempts, dialled = sent(NAMED, Names(addresses))
    assert attempts[0].failure is Failure.ADDRESS_NOT_ALLOWED
    assert (attempts[0].status, dialled) == (None, [])


@pytest.mark.parametrize(
    ("url", "addresses", "dialled"),
    [
        (NAMED, [PUBLIC], [PUBLIC]),
        (NAMED, [PUBLIC_SIX, PUBLIC], [PUBLIC_SIX, PUBLIC]),
        (NAMED, ["64:ff9b::5db8:d822"], ["64:ff9b::5db8:d822"]),
        (f"https://{PUBLIC}/", [], [PUBLIC]),
        (f"https://[{PUBLIC_SIX}]/", [], [PUBLIC_SIX]),
        ("https://intranet/", [PUBLIC], [PUBLIC]),
    ],
)
def test_what_is_public_is_called_at_just_these_addresses(url: str, addresses: list[str], dialled: list[str]) -> None:
    attempts, found = sent(url, Names(addresses))
    assert found == dialled
    assert attempts[0].failure is Failure.CONNECTION_REFUSED


def test_a_name_that_was_public_a_moment_ago_is_not_called_when_it_leads_inside() -> None:
    names = Names([PUBLIC], ["127.0.0.1"])
    attempts, dialled = sent(NAMED, names, times=3)
    assert [attempt.failure for attempt in attempts] == [
        Failure.CONNECTION_REFUSED,
        Failure.ADDRESS_NOT_ALLOWED,
        Failure.ADDRESS_NOT_ALLOWED,
    ]
    assert dialled == [PUBLIC]


def test_a_name_is_looked_up_once_for_a_connection() -> None:
    """What is judged and what is dialled are one answer: a second look-up would lead elsewhere."""
    names = Names([PUBLIC], ["127.0.0.1"])
    _, dialled = sent(NAMED, names)
    assert (names.asked, dialled) == (["receiver.example"], [PUBLIC])


def test_the_system_knows_localhost_and_no_nonsense() -> None:
    async def work() -> list[Failure | None]:
        sender = WebhookSender(allow_private=False, tls=TLS)
        urls = ("https://localhost.localdomain/", f"https://{'a' * 64}.example/", "https://nobody.invalid/")
        try:
            return [(await sender.send(url, [SECRET], MESSAGE, now())).failure for url in urls]
        finally:
            await sender.close()

    with asyncio.Runner(loop_factory=Undialled) as runner:
        first, *others = runner.run(work())
    assert first in {Failure.ADDRESS_NOT_ALLOWED, Failure.DNS}
    assert others == [Failure.DNS, Failure.DNS]
