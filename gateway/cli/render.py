"""`gateway render`: configurations of other proxies, made from gateway.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.cli.run import config_option, load_or_exit
from gateway.render.nginx import NotRenderable, nginx_configuration
from gateway.settings.compile import compile_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.schema import Config, Listener

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # listened on, not connected to


@click.group("render")
def render() -> None:
    """Write the configuration of another proxy, which carries the requests and asks the gateway for decisions."""


@render.command("nginx")
@click.option("--listen", default="80", show_default=True, help="Where nginx listens, as its directive has it.")
@config_option
def nginx(config_file: Path, listen: str) -> None:
    """Write an nginx.conf to standard output.

    Decisions are asked for on sidecar.socket, if it is set, or on the internal listener; name nginx in trusted_proxies,
    or set sidecar.socket_trusted, or keys with an address list are refused.
    """
    try:
        text = for_nginx(load_or_exit(config_file), listen)
    except NotRenderable as error:
        raise click.ClickException(str(error)) from None
    click.echo(text, nl=False)


def for_nginx(config: Config, listen: str) -> str:
    """Give the nginx.conf that goes with *config*."""
    return nginx_configuration(
        compile_snapshot(config),
        listen=listen,
        decisions=_decisions(config),
        endpoint=config.sidecar.path,
        gateway=_address(config.listen.public),
        reports=config.sidecar.syslog,
    )


def _decisions(config: Config) -> str:
    socket = config.sidecar.socket
    return _address(config.listen.internal) if socket is None else f"unix:{socket.absolute()}"


def _address(listener: Listener) -> str:
    host = _EVERYWHERE.get(listener.address, listener.address)
    return f"[{host}]:{listener.port}" if ":" in host else f"{host}:{listener.port}"
