"""Targets behind TLS and Unix sockets: nobody is believed who cannot show who they are."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway.adapters.http.certificates import keep_current
from gateway.adapters.http.faults import UpstreamClosed, UpstreamUnreachable, UpstreamUntrusted
from gateway.core.upstreams import Tls, UpstreamTarget
from gateway.telemetry import metrics
from tests.backends import Backend
from tests.certificates import Authority
from tests.fakes.scripted_server import ScriptedServer
from tests.integration.upstreams import Asker, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextmanager
def secured(authority: Authority, *names: str, days: int = 90, wants_client: bool = False) -> Iterator[Backend]:
    """A backend whose certificate is for *names*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("backend", *names, days=days))
    if wants_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.file)
    backend = Backend(tls=context)
    yield backend
    backend.close()


def asking(backend: Backend, host: str = "localhost", **tls: Any) -> Asker:
    async def here(_name: str) -> list[str]:
        return ["127.0.0.1"]

    target = UpstreamTarget(host, backend.port, f"{host}:{backend.port}", tls=True)
    return Asker(target, resolve=here, tls=Tls(**tls))


async def test_a_certificate_of_the_trusted_authority_is_believed(authority: Authority) -> None:
    with secured(authority, "localhost") as backend:
        async with aclosing(asking(backend, ca=str(authority.file))) as asker:
            for _ in range(5):
                assert (await asker.ask("POST", body=b"abc")).body == b'{"ok":true}'
            assert len(backend.connections) == 1
            assert backend.last.one("host") == f"localhost:{backend.port}"


@pytest.mark.parametrize("wrong", ["authority", "name", "expired"])
async def test_whoever_cannot_prove_who_they_are_gets_nothing(authority: Authority, wrong: str) -> None:
    name = "elsewhere" if wrong == "name" else "localhost"
    with secured(authority, name, days=-1 if wrong == "expired" else 90) as backend:
        ca = None if wrong == "authority" else str(authority.file)
        async with aclosing(asking(backend, ca=ca)) as asker:
            with pytest.raises(UpstreamUntrusted) as raised:
                await asker.ask("POST", body=b"abc")
            assert "certificate" not in str(raised.value)
            name = f"localhost:{backend.port}"
            assert asker.upstream.counts[metrics.UPSTREAM_CONNECT_FAILURES, ("tested", name, "tls")] == 2
        assert not backend.requests


async def test_the_name_of_the_certificate_may_be_another_than_the_hosts(authority: Authority) -> None:
    with secured(authority, "things.internal") as backend:
        async with aclosing(asking(backend, ca=str(authority.file), server_name="things.internal")) as asker:
            assert (await asker.ask()).status == 200


async def test_nothing_is_verified_where_the_settings_say_so(authority: Authority) -> None:
    with secured(authority, "elsewhere") as backend:
        async with aclosing(asking(backend, verify=False)) as asker:
            assert (await asker.ask()).status == 200


async def test_the_gateway_shows_its_own_certificate(authority: Authority) -> None:
    with secured(authority, "localhost", wants_client=True) as backend:
        certificate, key = map(str, authority.issue("gateway", "gateway"))
        async with aclosing(asking(backend, ca=str(authority.file), certificate=certificate, key=key)) as asker:
            assert (await asker.ask()).status == 200
        async with aclosing(asking(backend, ca=str(authority.file))) as asker:
            with pytest.raises((UpstreamUntrusted, UpstreamClosed)):
                await asker.ask("POST", body=b"abc")


async def test_a_target_that_does_not_speak_tls_is_not_believed() -> None:
    server = ScriptedServer()
    server.greeting = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    await server.start()
    async with aclosing(Asker(UpstreamTarget("127.0.0.1", server.port, "x", tls=True))) as asker:
        with pytest.raises(UpstreamUntrusted):
            await asker.ask()
    await server.stop()


async def test_http_2_is_not_offered(authority: Authority) -> None:
    with secured(authority, "localhost") as backend:
        assert backend._tls is not None
        backend._tls.set_alpn_protocols(["h2", "http/1.1"])
        async with aclosing(asking(backend, ca=str(authority.file))) as asker:
            assert (await asker.ask()).status == 200


async def test_files_that_have_changed_are_read_again_and_bad_ones_change_nothing(authority: Authority) -> None:
    certificate, key = authority.issue("gateway", "gateway")
    tls = Tls(ca=str(authority.file), certificate=str(certificate), key=str(key))
    used: list[ssl.SSLContext] = []
    watching = asyncio.ensure_future(keep_current("tested", tls, used.append, 0.02))
    try:
        await asyncio.sleep(0.05)
        certificate.write_text("not a certificate")
        await asyncio.sleep(0.1)
        assert not used
        authority.issue("gateway", "gateway")
        assert await until(lambda: bool(used))
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


@pytest.mark.parametrize("tls", [Tls(ca="/nowhere.pem"), Tls(certificate="/nowhere.pem")])
async def test_an_upstream_with_files_that_cannot_be_used_is_not_made(backend: Backend, tls: Tls) -> None:
    with pytest.raises(ValueError, match=r"/nowhere\.pem cannot be used"):
        Asker(UpstreamTarget("localhost", 1, "localhost:1", tls=True), tls=tls)


async def test_a_unix_socket_is_a_target(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(16)
    backend = Backend(listener)
    target = UpstreamTarget("localhost", 0, "localhost", path=str(path))
    try:
        async with aclosing(Asker(target)) as asker:
            for _ in range(3):
                assert (await asker.ask()).status == 200
            assert len(backend.connections) == 1
            assert backend.last.one("host") == "localhost"
            assert target.name == f"unix:{path}"
    finally:
        backend.close()
    path.unlink()
    async with aclosing(Asker(target)) as asker:
        with pytest.raises(UpstreamUnreachable):
            await asker.ask()
