"""nginx in front of a recording backend: the control that says whether an expectation of the gateway is fair."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from gateway.embedded.listening import free_port
from tests.backends import Backend
from tests.demos import wait_until
from tests.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CONFIGURATION = """
daemon off;
pid {directory}/pid;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/bodies;
    proxy_temp_path {directory}/proxied;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream backend {{ server 127.0.0.1:{backend}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 404; }}
        location /api/public/customers {{ return 403; }}
        location /api/public/budgets {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
        }}
    }}
}}
"""


class Nginx:
    """nginx as a process; budgets are forwarded, customers refused, and all else unknown."""

    def __init__(self, directory: Path) -> None:
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "nginx is the control of the hazard table: apt install nginx-light"
        self.backend = Backend()
        self.port = free_port()
        configuration = directory / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(directory=directory, port=self.port, backend=self.backend.port), encoding="utf-8"
        )
        command = [program, "-e", directory / "errors", "-p", directory, "-c", configuration]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def connect(self) -> Wire:
        """Open a connection to it."""
        return Wire(self.port)

    def serves(self) -> bool:
        """Say whether it takes connections."""
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def end(self) -> None:
        """End it and its backend."""
        self._process.terminate()
        self._process.wait(10)
        self.backend.close()


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """The nginx of this pytest process."""
    nginx = Nginx(tmp_path_factory.mktemp("nginx"))
    try:
        assert wait_until(nginx.serves, 10)
        yield nginx
    finally:
        nginx.end()
