"""What clients may do: bounds on connections and requests in `gateway.yaml`."""

from __future__ import annotations

from pydantic import Field

from gateway.settings.fields import Number, Section, Whole
from gateway.settings.traffic import BODY_MAX_BYTES


class Connections(Section):
    """Bounds on client connections; each worker counts those that it has."""

    head_s: Number = Field(default=10.0, gt=0, le=600)
    """Seconds in which the head of a request must be complete once it has begun; after that 408. A new connection on
    which nothing comes for as long is closed."""
    handshake_s: Number = Field(default=10.0, gt=0, le=600)
    """Seconds in which what comes before requests must be complete: a TLS handshake, and before it the header of
    listen.public.proxy_protocol. After that the connection is closed."""
    idle_s: Number = Field(default=75.0, gt=0, le=3600)
    """Seconds that a connection is kept open for the next request."""
    unread_s: Number = Field(default=30.0, gt=0, le=3600)
    """Seconds in which a client takes nothing of an answer that waits for it; after that the connection is cut."""
    requests_max: Whole = Field(default=0, ge=0, le=1_000_000_000)
    """Requests on one connection, the last of which closes it; 0 is no limit."""
    per_address_max: Whole = Field(default=1024, ge=1, le=1_000_000)
    """Connections that one client address (IPv6: one /64) may have; further ones are closed as they come. Trusted
    proxies may have any number."""


class Requests(Section):
    """Bounds on a request; what is larger is refused before anything is forwarded."""

    target_max_bytes: Whole = Field(default=8192, ge=256, le=65536)
    """Bytes that path and query may have together; more is 414."""
    field_max_bytes: Whole = Field(default=8192, ge=256, le=65536)
    """Bytes that one header field may have; more is 431."""
    head_max_bytes: Whole = Field(default=32768, ge=1024, le=1_048_576)
    """Bytes that the whole head of a request may have; more is 431."""
    fields_max: Whole = Field(default=100, ge=10, le=1000)
    """Header fields that a request may have; more is 431."""
    body_max_bytes: Whole = Field(default=10_485_760, ge=0, le=BODY_MAX_BYTES)
    """Bytes that a body may have where the route says nothing else; more is 413. By default 10 MiB."""
    body_idle_s: Number = Field(default=30.0, gt=0, le=3600)
    """Seconds without a byte while a body is on its way; after that 408."""
    in_flight_max: Whole = Field(default=4096, ge=1, le=1_000_000)
    """Requests that a worker serves at the same time, open streams and WebSockets among them; more is 503."""
