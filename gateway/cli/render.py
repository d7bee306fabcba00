"""`gateway render`: configurations of other proxies, made from gateway.yaml."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from gateway.cli.run import config_option, load_or_exit
from gateway.render.caddy import caddy_configuration
from gateway.render.envoy import envoy_configuration
from gateway.render.front import Front, NotRenderable, Place
from gateway.render.haproxy import haproxy_configuration
from gateway.render.haproxy_lua import haproxy_script
from gateway.render.kubernetes import kubernetes_manifests
from gateway.render.nginx import nginx_configuration
from gateway.render.traefik import traefik_configuration
from gateway.settings.compile import compile_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.settings.listeners import Listener
    from gateway.settings.schema import Config, GrpcListener

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # listened on, not connected to


@click.group("render")
def render() -> None:
    """Write the configuration of another proxy, which carries the requests and asks the gateway for decisions.

    Decisions are asked for on sidecar.socket, if it is set, or on the internal listener; name the proxy in
    trusted_proxies, or set sidecar.socket_trusted, or keys with an address list are refused.
    """


@render.command("nginx")
@click.option("--listen", default="80", show_default=True, help="Where nginx listens, as its directive has it.")
@config_option
def nginx(config_file: Path, listen: str) -> None:
    """Write an nginx.conf to standard output, for `nginx -c`."""
    _write(nginx_configuration, config_file, listen)


@render.command("caddy")
@click.option("--listen", default=":80", show_default=True, help="The address of the site; a name gets a certificate.")
@config_option
def caddy(config_file: Path, listen: str) -> None:
    """Write a Caddyfile to standard output, for `caddy run --config`."""
    _write(caddy_configuration, config_file, listen)


@render.command("envoy")
@click.option("--listen", default="0.0.0.0:10000", show_default=True, help="The address and port of the listener.")
@click.option("--grpc", is_flag=True, help="Ask by Envoy's own protocol, at sidecar.grpc, rather than by HTTP.")
@config_option
def envoy(config_file: Path, listen: str, *, grpc: bool) -> None:
    """Write a bootstrap to standard output, for `envoy -c`."""
    _write(partial(envoy_configuration, grpc=grpc), config_file, listen)


@render.command("haproxy")
@click.option("--listen", default=":80", show_default=True, help="Where HAProxy listens, as `bind` has it.")
@click.option("--lua", is_flag=True, help="Write the Lua script rather than the haproxy.cfg that loads it.")
@click.option(
    "--script", default="/etc/haproxy/gateway.lua", show_default=True, help="Where haproxy.cfg finds the script."
)
@config_option
def haproxy(config_file: Path, listen: str, script: str, *, lua: bool) -> None:
    """Write a haproxy.cfg to standard output, for `haproxy -f`, or with --lua the script that it loads.

    Write both at the same time.
    """
    _write(haproxy_script if lua else partial(haproxy_configuration, script=script), config_file, listen)


@render.command("traefik")
@click.option("--entry-point", default="web", show_default=True, help="The name of the entry point that serves.")
@config_option
def traefik(config_file: Path, entry_point: str) -> None:
    """Write a dynamic configuration to standard output, for Traefik's file provider; its head says what else is needed.

    Traefik reaches no socket: it asks on the internal listener, and has to be in trusted_proxies.
    """
    _write(traefik_configuration, config_file, entry_point, on_socket=False)


@render.command("k8s")
@click.option("--image", default="gateway:latest", show_default=True, help="The image of the gateway.")
@click.option(
    "--port", type=click.IntRange(1024, 65535), default=8000, show_default=True, help="Where nginx listens in the pod."
)
@config_option
def kubernetes(config_file: Path, image: str, port: int) -> None:
    """Write manifests to standard output, for `kubectl apply -f`.

    They are a StatefulSet with the gateway and the nginx that is rendered for it in each pod, a Service, an Ingress,
    and a ConfigMap with both files. Upstreams are as the environment of this command says, all else as the pods' says.
    """

    def manifests(told: Front) -> str:
        settings = config_file.read_text("utf-8")
        return kubernetes_manifests(told, settings=settings, image=image, port=port)

    _write(manifests, config_file, str(port))


def _write(configuration: Callable[[Front], str], config_file: Path, listen: str, *, on_socket: bool = True) -> None:
    try:
        text = configuration(front(load_or_exit(config_file), listen, on_socket=on_socket))
    except NotRenderable as error:
        raise click.ClickException(str(error)) from None
    click.echo(text, nl=False)


def front(config: Config, listen: str, *, on_socket: bool = True) -> Front:
    """Give what the configurations of proxies that listen on *listen* are made of.

    They ask on the socket if there is one and they can, *on_socket*.
    """
    grpc = config.sidecar.grpc
    socket = config.sidecar.socket if on_socket else None
    return Front(
        compile_snapshot(config),
        listen,
        _place(config.listen.internal) if socket is None else Place(path=str(socket.absolute())),
        _place(config.listen.public),
        config.sidecar.path,
        config.sidecar.syslog,
        None if grpc is None else _place(grpc),
    )


def _place(listener: Listener | GrpcListener) -> Place:
    return Place(_EVERYWHERE.get(listener.address, listener.address), listener.port)
