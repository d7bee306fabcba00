"""The proxies of deploy/proxies, started with the files as they ship but for addresses and the places of files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.embedded.listening import free_port
from tests.certificates import Authority
from tests.demos import ROOT, wait_until
from tests.wire import Wire

if TYPE_CHECKING:
    from tests.gateways import Gateway

PROXIES = ROOT / "deploy" / "proxies"
NAME = "api.example.com"
_START_S = 20


class Front:
    """A proxy in front of *gateway*; *kind* is nginx, caddy or envoy."""

    def __init__(self, kind: str, directory: Path, gateway: Gateway) -> None:
        self.port = free_port()
        self.authority = Authority(directory)
        self._directory = directory
        certificate, key = self.authority.issue("api", NAME)
        replaced = {"gateway:8080": f"127.0.0.1:{gateway.port}"}
        if kind == "envoy":
            replaced = {"address: gateway, port_value: 8080": f'address: "127.0.0.1", port_value: {gateway.port}'}
        start = {"nginx": self._nginx, "caddy": self._caddy, "envoy": self._envoy}[kind]
        places = {f"/etc/{kind}/tls/api.pem": str(certificate), f"/etc/{kind}/tls/api.key": str(key)}
        with (directory / "output").open("wb") as output:
            self._process = subprocess.Popen(
                start(replaced | places),
                cwd=directory,
                env=os.environ | {"HOME": str(directory), "XDG_DATA_HOME": str(directory)},
                stdout=output,
                stderr=output,
            )
        assert wait_until(self._serves, _START_S), (directory / "output").read_text()

    def curl(self, path: str, *options: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Ask with curl in HTTP/2, and give what it printed; *stdin* is for options that read it."""
        return subprocess.run(self.command(path, *options), input=stdin, capture_output=True, timeout=60, check=True)

    def command(self, path: str, *options: str) -> list[str]:
        """What curl is called with."""
        fixed = ["curl", "-sS", "--http2", "--cacert", str(self.authority.file), "--max-time", "50"]
        where = ["--resolve", f"{NAME}:{self.port}:127.0.0.1", f"https://{NAME}:{self.port}{path}"]
        return [*fixed, *options, *where]

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def _nginx(self, replaced: dict[str, str]) -> list[str | Path]:
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "nginx is missing: apt install nginx-light"
        text = _filled("nginx.conf", replaced | {"listen 443": f"listen 127.0.0.1:{self.port}"})
        # Where a process that is not root may write.
        kept = "".join(
            f"{kind}_temp_path temporary-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        text = text.replace("http {\n", f"http {{ access_log off; {kept}\n", 1)
        configuration = self._directory / "nginx.conf"
        configuration.write_text(f"daemon off; pid pid; error_log stderr;\n{text}")
        return [program, "-e", "stderr", "-p", self._directory, "-c", configuration]

    def _caddy(self, replaced: dict[str, str]) -> list[str | Path]:
        program = Path(sys.executable).parent / "caddy"
        listen = f"https://{NAME}:{self.port}"
        text = _filled("Caddyfile", replaced | {f"https://{NAME}": listen})
        text = text.replace("{\n", "{\n\tadmin off\n\tauto_https disable_redirects\n\tdefault_bind 127.0.0.1\n", 1)
        configuration = self._directory / "Caddyfile"
        configuration.write_text(text)
        return [program, "run", "--adapter", "caddyfile", "--config", configuration]

    def _envoy(self, replaced: dict[str, str]) -> list[str | Path]:
        listen = {'address: "0.0.0.0", port_value: 443': f'address: "127.0.0.1", port_value: {self.port}'}
        configuration = self._directory / "envoy.yaml"
        configuration.write_text(_filled("envoy.yaml", replaced | listen))
        program = Path(sys.executable).parent / "envoy"
        return [program, "-c", configuration, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]

    def _serves(self) -> bool:
        try:
            Wire(self.port, tls=(self.authority.client(), NAME)).close()
        except OSError:
            return self._process.poll() is not None
        return True


def _filled(file: str, replaced: dict[str, str]) -> str:
    text = (PROXIES / file).read_text(encoding="utf-8")
    for old, new in replaced.items():
        assert old in text, old
        text = text.replace(old, new)
    return text
