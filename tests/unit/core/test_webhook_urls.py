"""Webhook URLs: what is not https to a public place is refused, however the address is spelled."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.webhook_urls import WebhookUrlError, check_webhook_url, is_public

PRIVATE = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7F.0x0.0x0.0x1",
    "0177.0.0.1",
    "127.0.0.1.",
    "0",
    "10.0.0.5",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "0xa9fea9fe",
    "100.64.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "localhost",
    "LocalHost.",
    "a.localhost",
    "[::]",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[fe80::1]",
    "[fc00::1]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[fec0::1]",
    "[5f00::1]",
    "168.63.129.16",
    "192.0.0.192",
    "192.88.99.1",
    "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
    "[2001:1::1]",
    "[64:ff9b:1:a00:0:100:5db8:d822]",
]


@pytest.mark.parametrize("host", PRIVATE)
def test_private_address_is_refused_in_every_spelling(host: str) -> None:
    with pytest.raises(WebhookUrlError, match="private"):
        check_webhook_url(f"https://{host}/hook", allow_private=False)


@pytest.mark.parametrize("host", PRIVATE)
def test_private_address_is_accepted_for_development(host: str) -> None:
    check_webhook_url(f"http://{host}:8080/hook", allow_private=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://myapp.com/webhooks/billoget",
        "HTTPS://myapp.com",
        "https://my_app.example:8443/a?b=c&d=%20",
        "https://93.184.216.34/",
        "https://[2606:2800:220:1::1]/x",
        "https://xn--bcher-kva.example/",
        "https://intranet/",
        "https://1.2.3.4.example/",
        "https://myapp.com:443/",
        "https://myapp.com:1024/",
        "https://[2606:2800:220:1::1]:8443/",
    ],
)
def test_public_https_url_is_accepted(url: str) -> None:
    check_webhook_url(url, allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "myapp.com/hook",
        "//myapp.com/hook",
        "http://myapp.com/hook",
        "ftp://myapp.com/",
        "javascript:alert(1)",
        "https:///hook",
        "https://",
        "https:myapp.com",
        "https://user:password@myapp.com/",
        "https://user@myapp.com/",
        "https://myapp.com/#part",
        "https://myapp.com:0/",
        "https://myapp.com:25/",
        "https://myapp.com:1023/",
        "https://1[2606:2800:220:1::1]/",
        "https://[2606:2800:220:1::1]1/",
        "https://[2606:2800:220:1::1]:443:80/",
        "https://myapp.com:65536/",
        "https://myapp.com:x/",
        "https://my app.com/",
        "https://myapp.com/\r\nX: y",
        "https://my\tapp.com/",
        "https://myapp.com\\@127.0.0.1/",
        "https://%31%32%37.0.0.1/",
        "https://bücher.example/",
        "https://①②⑦.0.0.1/",
        "https://a..b/",
        "https://-a.example/",
        "https://256.1.1.1/",
        "https://1.2.3.4.5/",
        "https://08.1.1.1/",
        "https://[::1%25eth0]/",
        "https://[nonsense]/",
        "https://[::1/",
        "https://[v1.a]/",
        "https://0x7g.1.1.1/",
        "https://x.1/",
        "https://myapp.com/" + "a" * 2048,
    ],
)
def test_what_is_not_such_a_url_is_refused(url: str) -> None:
    with pytest.raises(WebhookUrlError):
        check_webhook_url(url, allow_private=False)


@given(st.integers(min_value=0, max_value=2**32 - 1))
def test_every_spelling_of_an_address_gets_the_same_answer(number: int) -> None:
    address = IPv4Address(number)
    first, rest = number >> 24, number & 0xFFFFFF
    spellings = [str(address), str(number), hex(number), f"0{number:o}", f"0x{first:X}.{rest}", f"{address}."]
    for host in [*spellings, f"[::ffff:{address}]", f"[64:ff9b::{address}]"]:
        try:
            check_webhook_url(f"https://{host}/", allow_private=False)
        except WebhookUrlError:
            accepted = False
        else:
            accepted = True
        assert accepted is is_public(address), host


@given(st.text(max_size=60))
def test_any_text_is_accepted_or_refused(text: str) -> None:
    for url in (text, f"https://{text}"):
        with contextlib.suppress(WebhookUrlError):
            check_webhook_url(url, allow_private=False)
