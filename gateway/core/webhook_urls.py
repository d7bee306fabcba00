"""What webhooks may call: URLs by scheme, syntax, literal addresses in all spellings and `localhost`; and addresses.

URLs are judged when they are set and again when they are called. Names are not looked up here: the addresses that they
lead to are judged at each connection, by the same `is_public` (contract section 7).
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final
from urllib.parse import SplitResult, urlsplit

URL_MAX_CHARACTERS: Final = 2048

_PORT_HTTPS: Final = 443
_PORT_UNPRIVILEGED: Final = 1024
_AUTHORITY: Final = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(:[0-9]*)?")
"""A host and a port (RFC 3986 section 3.2); older versions of Python take text before and behind brackets."""
_CHARACTERS: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_NAME: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*)(\.[A-Za-z0-9_]([A-Za-z0-9_-]*))*")
_NUMERIC: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
"""NAT64 (RFC 6052). Where the IPv4 address stands in 64:ff9b:1::/48 (RFC 8215) only its network knows: not public."""
_UNICAST: Final = IPv6Network("2000::/3")
"""All that has been given out of IPv6 (RFC 4291 section 2.4); Python takes some of the rest for public."""
_NOT_PUBLIC: Final = (
    IPv4Network("168.63.129.16/32"),  # What Azure tells its machines, at an address like any other.
    IPv4Network("192.0.0.0/24"),  # Not all of it is private to older versions of Python.
    IPv4Network("192.88.99.0/24"),  # Relays of 6to4 (RFC 7526).
    IPv6Network("2001::/23"),  # For protocols (RFC 2928), such as Teredo, and PCP in the network that one is in.
    IPv6Network("3fff::/20"),  # For documentation (RFC 9637), unknown to older versions of Python.
)


class WebhookUrlError(ValueError):
    """A URL that will not be called; the message says why."""


def check_webhook_url(url: str, *, allow_private: bool) -> None:
    """Check *url*; raises WebhookUrlError. *allow_private* admits plain http and private addresses, for development."""
    parts, port = _split(url)
    schemes = {"https", "http"} if allow_private else {"https"}
    if parts.scheme not in schemes:
        message = "must be an https URL"
        raise WebhookUrlError(message)
    if parts.username is not None or parts.password is not None:
        message = "must not contain a user or password"
        raise WebhookUrlError(message)
    if "#" in url:
        message = "must not contain a fragment"
        raise WebhookUrlError(message)
    if _AUTHORITY.fullmatch(parts.netloc) is None:
        message = "must name a host"
        raise WebhookUrlError(message)
    if port == 0 or not (allow_private or port is None or port == _PORT_HTTPS or port >= _PORT_UNPRIVILEGED):
        # The other ones belong to services such as mail, which nobody shall be able to probe from here.
        message = "must name port 443, or one from 1024 on"
        raise WebhookUrlError(message)
    _check_host(parts.hostname or "", bracketed="[" in parts.netloc, allow_private=allow_private)


def _split(url: str) -> tuple[SplitResult, int | None]:
    # urlsplit drops tabs and line ends in silence, so the characters come first.
    if len(url) > URL_MAX_CHARACTERS:
        message = f"must have at most {URL_MAX_CHARACTERS} characters"
        raise WebhookUrlError(message)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        message = "must be an https URL"
        raise WebhookUrlError(message) from None
    if _CHARACTERS.fullmatch(url) is None:
        message = "must be a URL in ASCII (write other characters percent-encoded, and names in punycode)"
        raise WebhookUrlError(message)
    return parts, port


def _check_host(host: str, *, bracketed: bool, allow_private: bool) -> None:
    address = _six(host) if bracketed else _four(host)
    if address is None and _NAME.fullmatch(host.removesuffix(".")) is None:
        message = "must name a host"
        raise WebhookUrlError(message)
    if allow_private:
        return
    name = host.removesuffix(".").lower()
    if name == "localhost" or name.endswith(".localhost") or (address is not None and not is_public(address)):
        message = "must not lead to a private address"
        raise WebhookUrlError(message)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Say whether *address* is one of the public Internet; an IPv4 address inside an IPv6 one is judged itself."""
    if isinstance(address, IPv6Address):
        inner = _inner(address)
        if inner is not None:
            return is_public(inner)
        if address not in _UNICAST:
            return False
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    return not any(address in network for network in _NOT_PUBLIC)


def _inner(address: IPv6Address) -> IPv4Address | None:
    """Find the IPv4 address that an IPv6 one leads to: mapped, 6to4, NAT64."""
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _TRANSLATED:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return inner


def _six(host: str) -> IPv6Address:
    try:
        address = IPv6Address(host)
    except ValueError:
        address = None
    if address is None or address.scope_id is not None:
        message = "must name a host"
        raise WebhookUrlError(message)
    return address


def _four(host: str) -> IPv4Address | None:
    """Read an IPv4 address in any spelling that clients know: parts in decimal, octal or hex, and fewer than four.

    None when *host* is a name (WHATWG URL, "ends in a number" and the IPv4 parser).
    """
    parts = host.removesuffix(".").split(".")
    if _NUMERIC.fullmatch(parts[-1]) is None:
        return None
    numbers = [_number(part) for part in parts]
    *heads, last = numbers
    if len(numbers) > 4 or any(head > 255 for head in heads) or last >= 256 ** (5 - len(numbers)):
        message = "must not be an address that does not exist"
        raise WebhookUrlError(message)
    return IPv4Address(sum(head << (24 - 8 * index) for index, head in enumerate(heads)) + last)


def _number(part: str) -> int:
    if len(part) > 64 or _NUMERIC.fullmatch(part) is None:
        message = "must not be an address that does not exist"
        raise WebhookUrlError(message)
    if part[:2].lower() == "0x":
        return int(part[2:] or "0", 16)
    octal = len(part) > 1 and part[0] == "0"
    try:
        return int(part, 8 if octal else 10)
    except ValueError:
        message = "must not be an address that does not exist"
        raise WebhookUrlError(message) from None
