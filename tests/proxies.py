"""Other proxies in front of a gateway, with the configuration that it renders for them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from gateway.embedded.listening import free_port
from tests.demos import wait_until
from tests.gateways import ROOT
from tests.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.gateways import Gateway

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Proxy:
    """A proxy that listens on *port* of this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self, source: str) -> Wire:
        """Open a connection as the client at *source*."""
        return Wire(self.port, source)


def rendered(gateway: Gateway, name: str, *arguments: str) -> str:
    """What `gateway render` writes for the proxy called *name*."""
    command = [sys.executable, "-m", "gateway", "render", name, "-c", str(gateway.config), *arguments]
    return subprocess.run(
        command, env=gateway.environ, cwd=ROOT, check=True, capture_output=True, text=True, timeout=30
    ).stdout


@contextlib.contextmanager
def nginx(gateway: Gateway, directory: Path) -> Iterator[Proxy]:
    """Run nginx as the gateway's configuration says, with its files in *directory*."""
    program = shutil.which("nginx")
    assert program, "nginx is needed: apt install nginx-light"
    port = free_port()
    text = rendered(gateway, "nginx", "--listen", f"127.0.0.1:{port}")
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
