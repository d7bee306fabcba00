"""Allowlists: which addresses may use a key, whichever way the address of the client comes to be known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.gateways import run
from tests.servers import make_database
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey
    from tests.gateways import Gateway

BUDGETS = "/api/public/budgets"
PROXY, FARTHER_PROXY, STRANGER = "127.77.0.1", "2001:db8:77::2", "127.78.0.1"
TRUSTED = ["127.77.0.0/16", "2001:db8:77::/48"]

V4, V6 = "any IPv4 address", "any IPv6 address"
EXAMPLES = {
    V4: ("203.0.113.7", "0.0.0.0", "255.255.255.255", "::ffff:203.0.113.7"),
    V6: ("2001:db8::7", "::2", "ffff::1", "64:ff9b::203.0.113.7"),
}
ALLOWLISTS: dict[str, tuple[list[str] | None, list[str], list[str]]] = {
    "null": (None, [V4, V6], []),
    "none": ([], [V4, V6], []),
    "one address": (
        ["203.0.113.7"],
        ["203.0.113.7", "203.0.113.7:4711", "::ffff:203.0.113.7", "::FFFF:cb00:7107", "[::ffff:203.0.113.7]:4711"],
        ["203.0.113.8", "203.0.113.70", "203.0.11.37", V6],
    ),
    "the two of the page": (
        ["192.168.1.100", "10.0.0.50"],
        ["192.168.1.100", "10.0.0.50", "::ffff:10.0.0.50"],
        ["192.168.1.101", "10.0.0.5", "10.0.0.51", V4, V6],
    ),
    "the page's with a network": (
        ["192.168.1.100", "10.0.0.50", "203.0.113.0/24"],
        ["192.168.1.100", "10.0.0.50", "203.0.113.0", "203.0.113.255", "::ffff:203.0.113.9"],
        ["203.0.112.255", "203.0.114.0", "::ffff:203.0.114.0", "10.0.0.51", V6],
    ),
    "two neighbours": (["203.0.113.6/31"], ["203.0.113.6", "203.0.113.7"], ["203.0.113.5", "203.0.113.8"]),
    "one as a network": (["203.0.113.7/32"], ["203.0.113.7"], ["203.0.113.6", "203.0.113.8", V6]),
    "one of IPv6": (
        ["2001:db8::7"],
        ["2001:db8::7", "2001:0DB8:0:0:0:0:0:7", "[2001:db8::7]", "[2001:db8::7]:4711"],
        ["2001:db8::8", "2001:db8::70", "2001:db8:0:1::7", V4],
    ),
    "a network of IPv6": (
        ["2001:db8:1::/48"],
        ["2001:db8:1::", "2001:db8:1:ffff:ffff:ffff:ffff:ffff"],
        ["2001:db8:2::", "2001:db8:0:ffff:ffff:ffff:ffff:ffff", V4],
    ),
    "a mapped address": (
        ["::ffff:203.0.113.7"],
        ["203.0.113.7", "::ffff:203.0.113.7"],
        ["203.0.113.8", "::203.0.113.7", V6],
    ),
    "a mapped network": (["::ffff:203.0.113.0/120"], ["203.0.113.0", "203.0.113.255"], ["203.0.114.0", V6]),
    "all of IPv4": (["0.0.0.0/0"], [V4], [V6]),
    "all of IPv6": (["::/0"], [V6], [V4]),
}

CLIENT, LIAR = "203.0.113.7", "198.51.100.1"
FOR, FORWARDED = "X-Forwarded-For", "Forwarded"
CHAINS: dict[str, tuple[str, list[str], str]] = {
    "the proxy alone": (PROXY, [], PROXY),
    "one hop": (PROXY, [f"{FOR}: {CLIENT}"], CLIENT),
    "a trusted hop between": (PROXY, [f"{FOR}: {CLIENT}, {FARTHER_PROXY}"], CLIENT),
    "a trusted hop between, on a line of its own": (PROXY, [f"{FOR}: {CLIENT}", f"{FOR}: {FARTHER_PROXY}"], CLIENT),
    "a lie to the left": (PROXY, [f"{FOR}: {CLIENT}, {LIAR}"], LIAR),
    "a lie on the line before": (PROXY, [f"{FOR}: {CLIENT}", f"{FOR}: {LIAR}"], LIAR),
    "a lie about a trusted hop": (PROXY, [f"{FOR}: {CLIENT}, {FARTHER_PROXY}, {LIAR}"], LIAR),
    "the truth to the right": (PROXY, [f"{FOR}: {LIAR}, {CLIENT}"], CLIENT),
    "a hop that is no address": (PROXY, [f"{FOR}: {CLIENT}, unknown"], PROXY),
    "a hop with a zone": (PROXY, [f"{FOR}: {CLIENT}, fe80::1%eth0"], PROXY),
    "leading zeros": (PROXY, [f"{FOR}: 203.0.113.007"], PROXY),
    "an empty hop": (PROXY, [f"{FOR}: {CLIENT},"], PROXY),
    "the standard's field": (PROXY, [f"{FORWARDED}: for={CLIENT};proto=https"], CLIENT),
    "the standard's field with a lie": (PROXY, [f"{FORWARDED}: for={CLIENT}, for={LIAR}"], LIAR),
    "both, which agree": (PROXY, [f'{FORWARDED}: for="{CLIENT}:80"', f"{FOR}: {LIAR}, {CLIENT}"], CLIENT),
    "a hop with a port": (PROXY, [f"{FOR}: {LIAR}, {CLIENT}:4711"], CLIENT),
    "a hop with what is no port": (PROXY, [f"{FOR}: {CLIENT}:evil"], PROXY),
    "a hop that hides": (PROXY, [f"{FOR}: {CLIENT}, _hidden"], PROXY),
    "the standard's hop that hides": (PROXY, [f"{FORWARDED}: for={CLIENT}, for=_hidden"], PROXY),
    "the standard's unknown hop": (PROXY, [f"{FORWARDED}: for={CLIENT}, for=unknown"], PROXY),
    "the standard's hop named twice": (PROXY, [f"{FORWARDED}: for={LIAR};for={CLIENT}"], PROXY),
    "a bracket that stays open": (PROXY, [f"{FOR}: [2001:db8:9::1"], PROXY),
    "many lines": (PROXY, [f"{FOR}: {LIAR}"] * 40 + [f"{FOR}: {CLIENT}"] + [f"{FOR}: {FARTHER_PROXY}"] * 40, CLIENT),
    "other spellings of the name": (PROXY, [f"X_Forwarded_For: {CLIENT}", f"X.Forwarded.For: {CLIENT}"], PROXY),
    "other fields": (PROXY, [f"X-Real-IP: {CLIENT}", f"True-Client-IP: {CLIENT}"], PROXY),
    "a stranger": (STRANGER, [], STRANGER),
    "a stranger who forwards": (STRANGER, [f"{FOR}: {CLIENT}"], STRANGER),
    "a stranger who names a proxy": (STRANGER, [f"{FOR}: {CLIENT}, {PROXY}"], STRANGER),
    "a stranger with the standard's field": (STRANGER, [f"{FORWARDED}: for={CLIENT}"], STRANGER),
    "a stranger with other fields": (STRANGER, [f"X-Real-IP: {CLIENT}", f"CF-Connecting-IP: {CLIENT}"], STRANGER),
}


@pytest.fixture(scope="module")
def proxied(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> Iterator[Gateway]:
    """A gateway that trusts some proxies."""
    dsn = run(make_database(postgres_server, "of_the_proxied"))
    directory = tmp_path_factory.mktemp("proxied")
    with serving(directory, dsn, valkey_server.url, trusted_proxies=TRUSTED) as gateway:
        yield gateway


@pytest.mark.parametrize("name", ALLOWLISTS)
def test_a_key_is_for_the_addresses_of_its_list(proxied: Gateway, name: str) -> None:
    allowed, inside, outside = ALLOWLISTS[name]
    key = proxied.make_key(allowed_ips=allowed)
    wanted = {
        address: code
        for texts, code in ((outside, "403 ip_not_allowed"), (inside, "200"))
        for text in texts
        for address in EXAMPLES.get(text, (text,))
    }
    with proxied.connect(PROXY) as wire:
        codes = {text: wire.ask("GET", BUDGETS, key, [f"X-Forwarded-For: {text}"]).code for text in wanted}
    assert codes == wanted


@pytest.mark.parametrize("name", CHAINS)
def test_forwarded_addresses_are_believed_as_far_as_the_proxies_are(proxied: Gateway, name: str) -> None:
    peer, fields, client = CHAINS[name]
    right, wrong = proxied.make_keys([{"allowed_ips": [client]}, {"allowed_ips": ["192.0.2.1"]}])
    with proxied.connect(peer) as wire:
        assert wire.ask("GET", BUDGETS, right.key, fields).status == 200
        refused = wire.ask("GET", BUDGETS, wrong.key, fields)
    assert refused.code == "403 ip_not_allowed"
    assert refused.json["details"] == {"clientIp": client}
    hops = ", ".join(proxied.backend.last.all("x-forwarded-for"))
    assert hops.endswith(peer)
    assert (CLIENT in hops) is (peer == PROXY and any(CLIENT in field for field in fields if field.startswith(FOR)))


@pytest.mark.parametrize(
    ("forwarded_for", "forwarded"),
    [(CLIENT, f"for={LIAR}"), (LIAR, f"for={CLIENT}"), (CLIENT, "for=unknown"), ("junk", f"for={CLIENT}")],
)
def test_two_fields_that_name_different_clients_are_refused(
    proxied: Gateway, forwarded_for: str, forwarded: str
) -> None:
    key = proxied.make_key(allowed_ips=[CLIENT])
    seen = len(proxied.backend.requests)
    fields = [f"{FOR}: {forwarded_for}", f"{FORWARDED}: {forwarded}"]
    with proxied.connect(PROXY) as wire:
        assert wire.ask("GET", BUDGETS, key, fields).code == "400 bad_request"
        assert wire.ended()
    assert len(proxied.backend.requests) == seen
    with proxied.connect(STRANGER) as wire:
        assert wire.ask("GET", BUDGETS, key, fields).json["details"] == {"clientIp": STRANGER}


def test_a_trusted_proxy_may_say_who_asks_but_not_in_our_name(proxied: Gateway) -> None:
    theirs = ["X-Remote-User: theirs", "X-User-Id: theirs", "X-Forwarded-Proto: https", "X-Forwarded-Host: a.example"]
    ours = ["X-Gateway-Key-Id: forged", "x_gateway_scopes: forged", "X-Api-Key: forged", "Connection: X-Gateway-Key-Id"]
    for peer, passed in ((PROXY, 2), (STRANGER, 0)):
        fields = [*theirs, *ours, "X-Request-Id: from-the-proxy"]
        with proxied.connect(peer) as wire:
            answer = wire.ask("GET", BUDGETS, proxied.readonly, fields)
        received = proxied.backend.last
        assert len(received.all("x-remote-user") + received.all("x-user-id")) == passed
        assert received.one("x-forwarded-proto") == ("https" if passed else "http")
        assert received.one("x-forwarded-host") == ("a.example" if passed else "api.example.com")
        assert (received.one("x-request-id") == answer.one("x-request-id") == "from-the-proxy") is bool(passed)
        assert b"forged" not in received.head
        assert received.one("x-gateway-scopes") == "READ_BUDGETS"


def test_a_client_of_ipv6_is_known_by_its_address(
    tmp_path_factory: pytest.TempPathFactory, postgres_dsn: str, redis_url: str
) -> None:
    allowlists = {("::1",): 200, ("::/0",): 200, ("::2", "::1/128"): 200, ("127.0.0.1", "0.0.0.0/0"): 403}
    with serving(tmp_path_factory.mktemp("of-ipv6"), postgres_dsn, redis_url, address="::1") as gateway:
        keys = gateway.make_keys([{"allowed_ips": allowed} for allowed in allowlists])
        answers = [gateway.ask("GET", BUDGETS, key.key) for key in keys]
    assert [answer.status for answer in answers] == list(allowlists.values())
    assert answers[-1].json["details"] == {"clientIp": "::1"}
