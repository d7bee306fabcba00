"""Other proxies in front of a gateway, with the configuration that it renders for them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from gateway.cli.render import for_nginx
from gateway.embedded.listening import free_port
from gateway.settings.load import load
from tests.demos import wait_until
from tests.gateways import Gateway, run
from tests.servers import make_database
from tests.serving import serving
from tests.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey

SYSLOG = "unix:${GATEWAY_STATE}/reports.sock"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Proxy:
    """A proxy that listens on *port* of this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self, source: str) -> Wire:
        """Open a connection as the client at *source*."""
        return Wire(self.port, source)


@contextlib.contextmanager
def nginx(gateway: Gateway, directory: Path) -> Iterator[Proxy]:
    """Run nginx as the gateway's configuration says, with its files in *directory*."""
    program = shutil.which("nginx")
    assert program, "nginx is needed: apt install nginx-light"
    port = free_port()
    text = for_nginx(load(gateway.config, gateway.environ), f"127.0.0.1:{port}")
    places = "\n".join(f"    {name}_temp_path {directory}/{name};" for name in _TEMPORARY)
    file = directory / "nginx.conf"
    file.write_text(text.replace("http {", f"http {{\n{places}", 1))
    user = "user root; " if os.geteuid() == 0 else ""
    main = f"{user}pid {directory}/pid; error_log {directory}/error.log;"
    command = [program, "-p", str(directory), "-c", str(file), "-g"]
    checked = subprocess.run([*command, main, "-t"], check=False, capture_output=True, text=True, timeout=10)
    assert checked.returncode == 0, checked.stderr
    process = subprocess.Popen([*command, f"{main} daemon off;"])
    try:
        assert wait_until(lambda: _listens(port), 5), (directory / "error.log").read_text()
        yield Proxy(port)
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Modes(NamedTuple):
    """The two ways to one backend."""

    gateway: Gateway
    nginx: Proxy


def _options(document: dict[str, Any]) -> None:
    """Everything on that the two have to agree on."""
    document["trusted_proxies"] = ["127.0.0.1"]
    document["sidecar"] = {"socket": "${GATEWAY_STATE}/decisions.sock", "socket_trusted": True, "syslog": SYSLOG}
    document["keys"]["x_api_key"] = document["limits"]["ratelimit_fields"] = True
    document["upstreams"]["budgets"]["signed_identity"] = True
    document["limits"]["failed_authentications"] = {"capacity": 100_000, "refill_per_s": 1000}
    for route in document["routes"]:
        if route["name"] == "products.read":
            route["limits"] = [{"requests": 3, "per": "minute"}]


@pytest.fixture(scope="session")
def modes(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> Iterator[Modes]:
    """A gateway, and nginx in front of the same backend that asks it; for the whole pytest process."""
    dsn = run(make_database(postgres_server, "of_two_modes"))
    directory = tmp_path_factory.mktemp("modes")
    with serving(directory, dsn, valkey_server.url, change=_options) as gateway:
        nginx_directory = directory / "nginx"
        nginx_directory.mkdir()
        with nginx(gateway, nginx_directory) as proxy:
            yield Modes(gateway, proxy)
        assert "[alert]" not in (nginx_directory / "error.log").read_text()
