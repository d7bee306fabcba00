"""The services behind the gateway in `gateway.yaml`: their targets, how to reach them, what to do when they fail."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # pydantic reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from gateway.core.upstreams import Balance
from gateway.settings.client_tls import client_context
from gateway.settings.fields import CheckPath, Number, Section, ServerName, Switch, TargetUrl, Whole, split_target

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema

STATUS_MIN, STATUS_MAX = 100, 599


class UpstreamTimeouts(Section):
    """How long an upstream may take."""

    connect_s: Number = Field(default=1.0, gt=0, le=60)
    """Seconds to connect to a target, with TLS if it speaks that. After that the client gets 502."""
    first_byte_s: Number = Field(default=10.0, gt=0, le=3600)
    """Seconds from the end of the request to the first byte of the answer. After that the client gets 504."""
    idle_s: Number = Field(default=30.0, gt=0, le=3600)
    """Seconds without a byte while an answer is on its way. After that the answer is cut off."""
    total_s: Number | None = Field(default=60.0, gt=0, le=86400)
    """Seconds for the whole exchange, from the first byte to the upstream to the last one from it; null for answers
    that may go on for ever, for which idle_s holds all the same."""

    @model_validator(mode="after")
    def _can_hold(self) -> Self:
        first = self.first_byte_s if "first_byte_s" in self.model_fields_set else 0.0
        if self.total_s is not None and self.total_s < first:
            message = "timeouts.total_s is less than first_byte_s, which could never hold; expected at least as much"
            raise ValueError(message)
        return self


class RouteTimeouts(Section):
    """What a route changes about the timeouts of its upstream; what is not named stays as it is there."""

    connect_s: Number | None = Field(default=None, gt=0, le=60)
    """Seconds to connect to a target."""
    first_byte_s: Number | None = Field(default=None, gt=0, le=3600)
    """Seconds from the end of the request to the first byte of the answer."""
    idle_s: Number | None = Field(default=None, gt=0, le=3600)
    """Seconds without a byte while an answer is on its way."""
    total_s: Number | None = Field(default=None, gt=0, le=86400)
    """Seconds for the whole exchange; null for answers that may go on for ever."""


class Target(Section):
    """One place of a service; a text is a target with the weight 1."""

    url: TargetUrl
    """Its address: http://host:port, https://host:port, or unix:/path for a Unix socket. A name is looked up every
    resolve_s, and each of its addresses counts as a target."""
    weight: Whole = Field(default=1, ge=1, le=100)
    """Its share of the requests, relative to the other targets."""


def _as_target(value: object) -> object:
    """Read a target that is only a URL; raises ValueError about the URL itself."""
    if isinstance(value, str):
        split_target(value)
        return {"url": value}
    return value


class _OrText:
    """Tells the JSON Schema that a text is a target too."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


class UpstreamTls(Section):
    """TLS to https:// targets. Files are read again when they change."""

    ca: Path | None = None
    """PEM file with the certificates of the authorities that are trusted. By default those of the system."""
    certificate: Path | None = None
    """PEM file with the certificate, and its chain, that the gateway shows to the service."""
    key: Path | None = None
    """PEM file with the private key of the certificate, unless that file has it. It is not encrypted."""
    server_name: ServerName | None = None
    """The name that the service's certificate must be for. By default the host of the target."""
    verify: Switch = True
    """Whether the service's certificate is checked. Off, anybody on the way can pass for the service."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.key is not None and self.certificate is None:
            message = "tls.key is given without tls.certificate; expected both, or neither"
            raise ValueError(message)
        if self.model_fields_set:
            ca, certificate, key = (
                None if file is None else str(file) for file in (self.ca, self.certificate, self.key)
            )
            client_context(ca, certificate, key, verify=self.verify)
        return self


class UpstreamRetries(Section):
    """How many requests may be sent a second time.

    Those of which nothing was sent, and, without a body, GET, HEAD and OPTIONS on a connection that had gone stale.
    None is sent a third time.
    """

    ratio: Number = Field(default=0.2, ge=0, le=1)
    """The share of the requests of the last ten seconds that may be sent again."""
    floor_per_s: Number = Field(default=3.0, ge=0, le=1000)
    """Requests that may be sent again each second in addition, so that a service with few requests has some."""


class UpstreamEjection(Section):
    """When an address of the service is passed over for a while, because it does not answer as it should."""

    consecutive_failures: Whole = Field(default=5, ge=1, le=1000)
    """Failures in a row after which an address is passed over: no connection, no answer in time, no valid answer."""
    server_errors: Switch = False
    """Whether an answer of 500 or above counts as a failure too."""
    first_s: Number = Field(default=5.0, gt=0, le=3600)
    """Seconds that an address is passed over for the first time; each further time doubles them."""
    longest_s: Number = Field(default=60.0, gt=0, le=3600)
    """Seconds that an address is passed over at most. After them one request is tried on it."""
    max_percent: Whole = Field(default=50, ge=0, le=100)
    """Per cent of the addresses that may be passed over at once; the last one never is."""
    circuit_breaker: Switch = False
    """Whether requests get 503 at once while all addresses fail, but for one each probe_s that is tried, one at a time.
    Otherwise they go on being tried, on all addresses, and get 502 or 504."""
    probe_s: Number = Field(default=0.5, gt=0, le=60)
    """Seconds between two requests that an open circuit breaker lets through."""

    @model_validator(mode="after")
    def _growing(self) -> Self:
        if self.longest_s < self.first_s:
            message = "ejection.longest_s is less than first_s; expected at least as much"
            raise ValueError(message)
        return self


class UpstreamHealth(Section):
    """Active health checks. Each worker checks each address: N workers ask N times as often."""

    path: CheckPath
    """The path that is asked for, with GET."""
    interval_s: Number = Field(default=10.0, ge=0.1, le=3600)
    """Seconds between two checks of an address by one worker."""
    timeout_s: Number = Field(default=2.0, gt=0, le=60)
    """Seconds that a check may take."""
    healthy_after: Whole = Field(default=2, ge=1, le=100)
    """Checks in a row that must go well before an unhealthy address gets requests again."""
    unhealthy_after: Whole = Field(default=3, ge=1, le=100)
    """Checks in a row that must fail before an address gets no requests any more."""
    expected_status: Annotated[tuple[Whole, ...], Field(min_length=1)] = (200,)
    """The statuses of the answer that are well."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        wrong = [status for status in self.expected_status if not STATUS_MIN <= status <= STATUS_MAX]
        if wrong:
            message = f"health.expected_status has {wrong[0]}; expected statuses from {STATUS_MIN} to {STATUS_MAX}"
            raise ValueError(message)
        if self.timeout_s > self.interval_s:
            message = "health.timeout_s is more than interval_s; expected at most as much"
            raise ValueError(message)
        return self


class Upstream(Section):
    """A service behind the gateway."""

    targets: Annotated[tuple[Annotated[Target, BeforeValidator(_as_target), _OrText()], ...], Field(min_length=1)]
    """Where the service is: http://host:port, https://host:port or unix:/path, or {url, weight}. Requests are spread
    over all of them."""
    balance: Balance = Balance.ROUND_ROBIN
    """round_robin takes the addresses in turn; least_connections the less busy one of two drawn at random."""
    resolve_s: Number = Field(default=30.0, ge=1, le=86400)
    """Seconds after which names are looked up again. The system's resolver does not tell how long they are valid."""
    timeouts: UpstreamTimeouts = UpstreamTimeouts()
    """How long the service may take, in seconds."""
    tls: UpstreamTls = UpstreamTls()
    """TLS to https:// targets."""
    preserve_host: Switch = False
    """Whether the service sees the client's Host field. By default it sees the target's host and port."""
    signed_identity: Switch = False
    """Whether the service gets X-Gateway-Identity: who asks, as a JWT that it can verify with the keys at
    /.well-known/jwks.json. Its audience (`aud`) is the name of the upstream. While nothing can be signed, requests with
    a key are refused with 503."""
    idle_connections_max: Whole = Field(default=128, ge=0, le=10_000)
    """How many unused connections to each address a worker keeps open for the next requests."""
    concurrent_max: Whole | None = Field(default=1024, ge=1, le=1_000_000)
    """How many requests each worker may have under way at the service, streams included; null for any number."""
    queue_max: Whole = Field(default=128, ge=0, le=100_000)
    """How many requests of each worker may wait when there are that many. Others get 503 at once."""
    queue_s: Number = Field(default=0.5, gt=0, le=60)
    """Seconds that a request may wait so. After that it gets 503."""
    retries: UpstreamRetries = UpstreamRetries()
    """How many requests may be sent a second time."""
    ejection: UpstreamEjection = UpstreamEjection()
    """When an address is passed over for a while. Each worker judges by what it sees itself."""
    health: UpstreamHealth | None = None
    """Active health checks. With them what was passed over is tried with a request only after a check has found it
    well again. By default there are none, and addresses are judged by their answers alone."""
    required: Switch = False
    """Whether /readyz says 503 while no address of the service can be used. By default a service that is away does not
    take the gateway away from the others."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        parts = [split_target(target.url) for target in self.targets]
        places = [(part.host, part.port, part.path) for part in parts]
        message = None
        if len(set(places)) < len(places):
            message = "targets has the same place twice; expected it once, with a weight"
        elif self.tls.model_fields_set and not any(part.tls for part in parts):
            message = "tls is set, but no target speaks it; expected one with https://"
        elif "queue_max" in self.model_fields_set and self.queue_max and self.concurrent_max is None:
            message = "queue_max is set, but without concurrent_max nobody ever waits; expected both, or neither"
        if message is not None:
            raise ValueError(message)
        return self
