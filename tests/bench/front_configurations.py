"""The proxies that are measured: with the configuration that is rendered for each, and with one that asks nobody."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bench.stack import Running


@dataclass(frozen=True)
class Front:
    """A proxy: its *program*, the name of its file, and for a port and a directory configurations and command."""

    program: str
    file: str
    asking: Callable[[Running, int, Path], str]
    alone: Callable[[Running, int, Path], str]
    command: Callable[[str, Path, Path], list[str]]


def _nginx_asking(running: Running, port: int, directory: Path) -> str:
    text = running.rendered("nginx", "--listen", f"127.0.0.1:{port}")
    places = "".join(
        f"    {name}_temp_path {directory}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    return user + text.replace("http {\n", "http {\n" + places, 1).replace("processes auto;", "processes 1;", 1)


def _nginx_alone(running: Running, port: int, directory: Path) -> str:
    text, questions = re.subn(r"\n *auth_request /.*;", "", _nginx_asking(running, port, directory))
    text, choices = re.subn(r"auth_request_set \$gateway_upstream .*;", "set $gateway_upstream budgets;", text)
    text, targets = re.subn(r"auth_request_set \$gateway_target .*;", "set $gateway_target $request_uri;", text)
    assert (questions, choices, targets) == (1, 1, 1), "the rendered nginx.conf asks otherwise now"
    return text


def _nginx_command(program: str, file: Path, directory: Path) -> list[str]:
    main = f"daemon off; pid {directory}/pid;"
    return [program, "-p", str(directory), "-e", str(directory / "errors"), "-c", str(file), "-g", main]


def _caddy_asking(running: Running, port: int, _: Path) -> str:
    text = running.rendered("caddy", "--listen", f"http://:{port}")
    return text.replace("{\n", "{\n\tadmin off\n\tdefault_bind 127.0.0.1\n\tpersist_config off\n", 1)


def _caddy_alone(running: Running, port: int, _: Path) -> str:
    main = "{\n\tadmin off\n\tdefault_bind 127.0.0.1\n\tpersist_config off\n}\n"
    return f"{main}http://:{port} {{\n\treverse_proxy {running.upstream}\n}}\n"


def _caddy_command(program: str, file: Path, _: Path) -> list[str]:
    return [program, "run", "--adapter", "caddyfile", "--config", str(file)]


def _haproxy_asking(running: Running, port: int, directory: Path) -> str:
    script, listen = directory / "gateway.lua", f"127.0.0.1:{port}"
    script.write_text(running.rendered("haproxy", "--listen", listen, "--lua"))
    return running.rendered("haproxy", "--listen", listen, "--script", str(script))


def _haproxy_alone(running: Running, port: int, _: Path) -> str:
    timeouts = "    timeout connect 1s\n    timeout client 30s\n    timeout server 30s\n"
    front = f"frontend clients\n    bind 127.0.0.1:{port}\n    default_backend budgets\n"
    return f"defaults\n    mode http\n{timeouts}{front}backend budgets\n    server one {running.upstream}\n"


def _haproxy_command(program: str, file: Path, _: Path) -> list[str]:
    return [program, "-db", "-f", str(file)]


_ENVOY: Final = """
static_resources:
  listeners:
    - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: clients
                route_config:
                  virtual_hosts: [{{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: budgets}}}}]}}]
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
    - name: budgets
      load_assignment:
        cluster_name: budgets
        endpoints:
          - lb_endpoints:
              - endpoint: {{address: {{socket_address: {{address: {host}, port_value: {upstream}}}}}}}
"""  # fmt: skip


def _envoy_asking(running: Running, port: int, _: Path) -> str:
    return running.rendered("envoy", "--listen", f"127.0.0.1:{port}")


def _envoy_alone(running: Running, port: int, _: Path) -> str:
    host, _, upstream = running.upstream.partition(":")
    return _ENVOY.format(port=port, host=host, upstream=upstream)


def _envoy_command(program: str, file: Path, _: Path) -> list[str]:
    return [program, "-c", str(file), "--log-level", "warning", "--concurrency", "1", "--disable-hot-restart"]


FRONTS: Final = {
    "nginx": Front("nginx", "nginx.conf", _nginx_asking, _nginx_alone, _nginx_command),
    "caddy": Front("caddy", "Caddyfile", _caddy_asking, _caddy_alone, _caddy_command),
    "haproxy": Front("haproxy", "haproxy.cfg", _haproxy_asking, _haproxy_alone, _haproxy_command),
    "envoy": Front("envoy", "envoy.yaml", _envoy_asking, _envoy_alone, _envoy_command),
}
"""By the names of `gateway render`. nginx alone has all of its configuration but the questions, the others the least."""
