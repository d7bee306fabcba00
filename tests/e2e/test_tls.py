"""TLS on the public listener: who gets which certificate, how a new one comes in, and what is refused."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.backends import plain
from tests.certificates import Authority
from tests.demos import wait_until
from tests.gateways import run
from tests.servers import make_database
from tests.serving import serving
from tests.wire import CutShort, Wire, fresh_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey
    from tests.gateways import Gateway

pytestmark = pytest.mark.timeout(90)

BUDGETS = "/api/public/budgets"
API, OTHER = "api.example.com", "other.example.org"
HANDSHAKE_S, HEAD_S, IDLE_S, REQUESTS_MAX = 1.0, 1.2, 1.5, 5
LATE_S = 4
BALANCER = "127.88.0.3"
CUT = 'gateway_connections_ended_total{reason="%s"}'


class Secure:
    """A gateway that speaks TLS, and the authority that its certificates are from."""

    def __init__(self, gateway: Gateway, authority: Authority) -> None:
        self.gateway = gateway
        self.authority = authority

    def connect(
        self, name: str = API, context: ssl.SSLContext | None = None, source: str | None = None, before: bytes = b""
    ) -> Wire:
        tls = (context or self.authority.client(), name)
        return Wire(self.gateway.port, source or fresh_address(), 20, tls=tls, before=before)

    def serial(self, name: str = API) -> str:
        """Which certificate a new connection gets."""
        with self.connect(name) as wire:
            return str((wire.tls.getpeercert() or {})["serialNumber"])


def tls_settings(authority: Authority, **more: Any) -> dict[str, Any]:
    certificate, key = authority.issue("api", API, "*.wild.example.com")
    return {"certificate": str(certificate), "key": str(key), **more}


@pytest.fixture(scope="module")
def secure(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> Iterator[Secure]:
    directory = tmp_path_factory.mktemp("secure")
    authority = Authority(directory)
    other, other_key = authority.issue("other", OTHER)
    further = [{"certificate": str(other), "key": str(other_key)}]
    listen = {
        "public": {
            "address": "${GATEWAY_ADDRESS}",
            "port": "${GATEWAY_PORT}",
            "tls": tls_settings(authority, further=further),
            "proxy_protocol": True,
        },
        "internal": {"port": "${GATEWAY_ADMIN_PORT}"},
    }
    dsn = run(make_database(postgres_server, "of_the_secure"))
    bounds = {"handshake_s": HANDSHAKE_S, "head_s": HEAD_S, "idle_s": IDLE_S, "requests_max": REQUESTS_MAX}
    more = {"listen": listen, "connections": bounds, "trusted_proxies": [f"{BALANCER}/32"]}
    with serving(directory, dsn, valkey_server.url, **more) as gateway:
        yield Secure(gateway, authority)


def test_requests_of_both_tiers_come_through_and_upstreams_are_told_of_https(secure: Secure) -> None:
    key = secure.gateway.everything
    with secure.connect() as wire:
        for method, body in (("GET", None), ("GET", None), ("POST", b"x" * 300_000), ("GET", None)):
            answer = wire.ask(method, BUDGETS, key, ["X-Forwarded-Proto: http"], body)
            assert answer.status == 200
            assert secure.gateway.backend.last.all("x-forwarded-proto") == ["https"]
    assert secure.gateway.backend.last.size == 0


def test_a_large_answer_comes_whole(secure: Secure) -> None:
    body = bytes(range(256)) * 20_000
    secure.gateway.backend.answer = plain(body)
    with secure.connect() as wire:
        assert wire.ask("GET", BUDGETS, secure.gateway.everything).body == body
    secure.gateway.backend.forget()


def test_a_client_gets_the_certificate_of_the_name_that_it_asks_for(secure: Secure) -> None:
    for name, subject in ((API, "api"), ("a.wild.example.com", "api"), (OTHER, "other"), (OTHER.upper(), "other")):
        with secure.connect(name) as wire:
            (((_, shown),),) = (wire.tls.getpeercert() or {})["subject"]
            assert shown == subject
    strange = secure.authority.client()
    strange.check_hostname = False
    with secure.connect("unknown.example.net", strange) as wire:
        (((_, shown),),) = (wire.tls.getpeercert() or {})["subject"]
        assert shown == "api"


def test_http_1_1_is_what_is_agreed_on_and_old_versions_of_tls_are_not(secure: Secure) -> None:
    context = secure.authority.client()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with secure.connect(context=context) as wire:
        assert wire.tls.selected_alpn_protocol() == "http/1.1"
        assert wire.tls.version() == "TLSv1.3"
    old = secure.authority.client()
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    with secure.connect(context=old) as wire:
        assert wire.tls.version() == "TLSv1.2"
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secure.connect(context=old)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 100, b"SSH-2.0-x\r\n"])
def test_what_is_not_tls_is_closed_without_an_answer_in_plain_text(secure: Secure, data: bytes) -> None:
    logged = len(secure.gateway.output)
    with socket.create_connection(("127.0.0.1", secure.gateway.port), 20) as plain_socket:
        plain_socket.sendall(data)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while more := plain_socket.recv(1024):
                answer += more
    assert b"HTTP" not in answer
    secure.gateway.check_log(since=logged)


def test_a_new_certificate_is_used_for_new_connections_and_old_ones_live_on(secure: Secure) -> None:
    key, before = secure.gateway.everything, secure.serial()
    with secure.connect() as old:
        assert old.ask("GET", BUDGETS, key).status == 200
        secure.authority.issue("api", API, "*.wild.example.com", days=30)
        assert wait_until(lambda: secure.serial() != before, 20)
        assert old.ask("GET", BUDGETS, key).status == 200
        with secure.connect() as new:
            assert new.ask("GET", BUDGETS, key).status == 200
            ends = ssl.cert_time_to_seconds(str((new.tls.getpeercert() or {})["notAfter"]))
    expiry = f'gateway_certificate_expiry_timestamp_seconds{{certificate="{secure.authority.file.parent}/api.pem"}} '
    (line,) = [line for line in secure.gateway.metrics().splitlines() if line.startswith(expiry)]
    assert float(line.split()[-1]) == ends


@pytest.mark.parametrize("spoil", ["text", "other key", "missing"])
def test_a_certificate_that_cannot_be_used_changes_nothing_but_a_metric(secure: Secure, spoil: str) -> None:
    directory = secure.authority.file.parent
    good, logged, before = directory / "api.key", len(secure.gateway.output), secure.serial()
    kept = good.read_bytes()
    if spoil == "missing":
        good.unlink()
    elif spoil == "text":
        good.write_text("nothing")
    else:
        shutil.copy(directory / "other.key", good)
    state = 'gateway_certificates_last_read_successful{listener="public"} '
    assert wait_until(lambda: f"{state}0.0" in secure.gateway.metrics(), 20)
    assert secure.serial() == before
    (line,) = [line for line in secure.gateway.output[logged:].splitlines() if "certificate refused" in line]
    assert str(good) in line
    assert "BEGIN" not in line
    good.write_bytes(kept)
    assert wait_until(lambda: f"{state}1.0" in secure.gateway.metrics(), 20)


def test_a_wrong_certificate_is_refused_by_a_reload_at_its_place(secure: Secure) -> None:
    text = secure.gateway.config.read_text()
    secure.gateway.write(text.replace("other.key", "api.key"))
    (problem,) = secure.gateway.order("reload").problems
    assert problem.startswith(f"{secure.gateway.config}:")
    assert "other.pem" in problem
    assert "expected a certificate with its chain and the private key that belongs to it" in problem
    secure.gateway.write(text)
    assert secure.gateway.order("reload").problems == []


def test_only_clients_with_a_certificate_come_in_where_that_is_wanted(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    authority, strangers = Authority(tmp_path), tmp_path / "strangers"
    strangers.mkdir()

    def change(document: dict[str, Any]) -> None:
        document["listen"]["public"]["tls"] = tls_settings(authority, client_ca=str(authority.file))

    secure = Secure(start_gateway(postgres_dsn, redis_url, change), authority)
    known, unknown, none = authority.client(), authority.client(), authority.client()
    known.load_cert_chain(*authority.issue("friend"))
    unknown.load_cert_chain(*Authority(strangers).issue("stranger"))
    with secure.connect(context=known) as wire:
        assert wire.ask("GET", BUDGETS, secure.gateway.everything).status == 200
        assert wire.ask("GET", BUDGETS).status == 401
    for context in (unknown, none):
        with pytest.raises((ssl.SSLError, ConnectionError, CutShort)):  # noqa: SIM117  # the handshake may fail late
            with secure.connect(context=context) as wire:
                wire.ask("GET", BUDGETS, secure.gateway.everything)


def client_hello(secure: Secure) -> bytes:
    """What a client says first."""
    sent = ssl.MemoryBIO()
    client = secure.authority.client().wrap_bio(ssl.MemoryBIO(), sent, server_hostname=API)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


def test_a_handshake_that_does_not_go_on_is_ended_in_time_and_counted(secure: Secure) -> None:
    hello, before, logged = client_hello(secure), secure.gateway.metric(CUT % "handshake"), len(secure.gateway.output)
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        sent = (b"", hello[:1], hello[: len(hello) // 2], hello)
        wires = [stack.enter_context(Wire(secure.gateway.port, fresh_address(), 20, before=data)) for data in sent]
        with secure.connect() as wire:
            assert wire.ask("GET", BUDGETS, secure.gateway.everything).status == 200
        for wire in wires[:3]:
            assert wire.ended()
        with contextlib.suppress(CutShort):  # It has been answered, and was waited for all the same.
            while wires[3].read_some():
                pass
    assert HANDSHAKE_S - 0.1 <= time.monotonic() - began < HANDSHAKE_S + LATE_S
    assert secure.gateway.metric(CUT % "handshake") == before + len(sent)
    secure.gateway.check_log(since=logged)


def test_connections_with_tls_have_the_bounds_of_all_others(secure: Secure) -> None:
    key = secure.gateway.everything
    with secure.connect() as wire:
        answers = [wire.ask(("GET", "POST")[number == 1], BUDGETS, key, body=b"") for number in range(REQUESTS_MAX)]
        assert [answer.status for answer in answers] == [200] * REQUESTS_MAX
        assert [answer.all("connection") for answer in answers] == [[]] * (REQUESTS_MAX - 1) + [["close"]]
        assert wire.ended()
    with contextlib.ExitStack() as stack:
        began = time.monotonic()
        silent, late, idle = (stack.enter_context(secure.connect()) for _ in range(3))
        late.send(b"GET /api")
        assert idle.ask("GET", BUDGETS, key).status == 200
        assert late.answer().code == "408 request_timeout"
        assert silent.ended()
        assert HEAD_S <= time.monotonic() - began < HEAD_S + LATE_S
        assert idle.ended()
        assert IDLE_S <= time.monotonic() - began < IDLE_S + LATE_S


def test_a_balancer_names_the_client_before_the_handshake(secure: Secure) -> None:
    address, key = fresh_address(), secure.gateway.everything
    header = f"PROXY TCP4 {address} 127.0.0.1 1000 443\r\n".encode()
    with secure.connect(source=BALANCER, before=header) as wire:
        for body in (None, b"a"):
            assert wire.ask("POST" if body else "GET", BUDGETS, key, body=body).status == 200
            assert secure.gateway.backend.last.all("x-forwarded-for") == [address]
            assert secure.gateway.backend.last.all("x-forwarded-proto") == ["https"]
    before = secure.gateway.metric(CUT % "proxy_header")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secure.connect(source=BALANCER)
    assert secure.gateway.metric(CUT % "proxy_header") == before + 1
