"""Where the gateway listens: for clients, and for operators."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from gateway.settings.changes import Needs
from gateway.settings.fields import BindAddress, Section, Switch, Whole
from gateway.settings.tls import Tls  # noqa: TC001  # pydantic reads the annotations


class Listener(Section):
    """An address and a port to listen on."""

    address: Annotated[BindAddress, Needs.START] = "127.0.0.1"
    """The address of this machine to listen on; 0.0.0.0 is all of them, "::" all with IPv6. A change needs a stop and
    a start."""
    port: Annotated[Whole, Needs.START] = Field(ge=1, le=65535)
    """The TCP port to listen on. A change needs a stop and a start."""
    tls: Annotated[Tls | None, Needs.RESTART] = None
    """TLS with these certificates, instead of plain HTTP. A change needs a restart; new certificates in the same files
    do not."""


class PublicListener(Listener):
    """Where clients come, perhaps through a balancer that passes connections on."""

    proxy_protocol: Annotated[Switch, Needs.RESTART] = False
    """Whether connections from trusted_proxies begin with a header of the PROXY protocol, version 1 or 2, that names
    the client; with TLS it comes before the handshake. From others none is expected. A change needs a restart."""


class Listen(Section):
    """Where the gateway listens."""

    public: PublicListener = PublicListener(address="0.0.0.0", port=8080)  # noqa: S104  # clients come from everywhere
    """Where clients come: proxied requests, login and key management. By default 0.0.0.0:8080."""
    fast_path: Annotated[Switch, Needs.RESTART] = True
    """Whether plain requests take the short way through the server. Off, all take the complete one, at the same result
    and a higher price; for finding out whether a fault lies there. A change needs a restart."""
    internal: Listener = Listener(port=9090)
    """Where operators come: metrics, health, decisions for sidecars. Not for clients. By default 127.0.0.1:9090."""

    @model_validator(mode="after")
    def _two_places(self) -> Self:
        public, internal = self.public, self.internal
        if (public.address, public.port) == (internal.address, internal.port):
            message = "listen.public and listen.internal are the same; expected two addresses or two ports"
            raise ValueError(message)
        return self
