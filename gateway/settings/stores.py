"""What the gateway keeps and where: Postgres, Redis, usage events and the key that protects secrets."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # pydantic reads the annotations
from typing import Literal, Self

from pydantic import Field, model_validator

from gateway.settings.fields import (
    EventSource,
    Number,
    PostgresDsn,
    RedisUrl,
    SecretKey,
    SecretKeys,
    Section,
    Switch,
    Whole,
)


class Postgres(Section):
    """The database with accounts, keys and usage."""

    dsn: PostgresDsn
    """The connection string, postgresql://user:password@host:5432/database. It is never shown."""
    pool_min: Whole = Field(default=1, ge=0, le=1000)
    """Connections that each worker keeps open."""
    pool_max: Whole = Field(default=10, ge=1, le=1000)
    """Connections that each worker opens at most."""
    connect_timeout_s: Number = Field(default=1.0, gt=0, le=60)
    """Seconds to connect; after that Postgres counts as away."""
    query_timeout_s: Number = Field(default=1.0, gt=0, le=60)
    """Seconds that a request waits for a query, connecting included. After that an unknown key gets 503."""
    migrate: Switch = False
    """Whether `gateway run` applies missing migrations itself. By default it refuses an older schema."""

    @model_validator(mode="after")
    def _pool_bounds(self) -> Self:
        if self.pool_min > self.pool_max:
            message = f"postgres.pool_min is {self.pool_min}; expected at most postgres.pool_max, {self.pool_max}"
            raise ValueError(message)
        return self


class Redis(Section):
    """The store of the rate limits, shared by all instances."""

    url: RedisUrl = Field(default="redis://127.0.0.1:6379/0", validate_default=True)
    """Where it is, redis://user:password@host:6379/0. It is never shown. By default this machine's."""
    timeout_ms: Whole = Field(default=50, ge=1, le=10_000)
    """Milliseconds that a request waits for its limits; after that limits.on_error holds."""


class Journal(Section):
    """The files that usage events are written to before they go to the sinks."""

    directory: Path | None = None
    """The directory of the files, on a local disk. By default `journal` in the state_directory."""
    fsync: Literal["never", "interval", "always"] = "interval"
    """When the disk is asked to keep what was written; a crash of the gateway alone loses nothing with any of them.
    A power cut loses what the system had not written yet, one interval, or nothing."""
    fsync_interval_ms: Whole = Field(default=500, ge=10, le=60_000)
    """Milliseconds between two requests to the disk, with fsync: interval."""
    segment_max_bytes: Whole = Field(default=67_108_864, ge=65_536, le=1 << 30)
    """Bytes after which a new file is begun. By default 64 MiB."""
    max_bytes: Whole = Field(default=4_294_967_296, ge=131_072)
    """Bytes that the files of all workers may take while a sink is away. By default 4 GiB, 9 million requests."""
    on_full: Literal["drop_oldest", "refuse"] = "drop_oldest"
    """What happens when the files reach max_bytes or the disk is full: the oldest events that are not in every sink yet
    are dropped and counted, or requests for upstreams are refused with 503 until there is room."""

    @model_validator(mode="after")
    def _room_for_segments(self) -> Self:
        if self.max_bytes < 2 * self.segment_max_bytes:
            message = (
                f"usage.journal.max_bytes is {self.max_bytes}; expected at least twice segment_max_bytes, "
                f"{2 * self.segment_max_bytes}"
            )
            raise ValueError(message)
        return self


class RedisStream(Section):
    """A stream of usage events in Redis or Valkey."""

    url: RedisUrl | None = None
    """Where it is, redis://user:password@host:6379/0. It is never shown. By default the Redis of the rate limits."""
    stream: str = Field(default="gateway:usage", min_length=1, max_length=200)
    """The key of the stream."""
    max_length: Whole = Field(default=100_000, ge=1_000, le=1_000_000_000)
    """Events that the stream keeps, about 1 KiB each, and a few more; older ones go, whether or not they were read."""


class JsonLines(Section):
    """Usage events as lines of JSON."""

    path: str = Field(default="-", min_length=1, max_length=4096)
    """The file that lines are appended to, or - for standard output. It may be renamed at any time; the next lines go
    to a new one."""


class Sinks(Section):
    """Where usage events go. Each place has a delivery of its own: one that is away delays only itself."""

    postgres: Switch = True
    """Whether events go to Postgres, each exactly once. Without it there are no statistics, and no lastUsedAt."""
    redis_stream: RedisStream | None = None
    """A stream in Redis or Valkey, with each event at least once, as a CloudEvent. By default there is none."""
    json_lines: JsonLines | None = None
    """A file or standard output, with each event at least once, as a CloudEvent. By default there is none."""
    source: EventSource = "/gateway"
    """What CloudEvents name as their source, a URI or a path; one for each installation."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if not self.postgres and self.redis_stream is None and self.json_lines is None:
            message = "usage.sinks has none; expected at least one of postgres, redis_stream and json_lines"
            raise ValueError(message)
        return self


class Usage(Section):
    """Usage events: one for each request."""

    journal: Journal = Journal()
    """The files that events are written to first."""
    sinks: Sinks = Sinks()
    """Where events go from there. By default to Postgres alone."""
    ship_interval_ms: Whole = Field(default=500, ge=10, le=60_000)
    """Milliseconds between two deliveries of events to a sink."""
    retention_days: Whole = Field(default=90, ge=1, le=3650)
    """Days that events are kept in Postgres; statistics reach back as far."""


class Secrets(Section):
    """What protects secrets at rest."""

    key: SecretKey
    """base64 of 32 random bytes, the key that webhook and signing secrets are encrypted with. It is never shown."""
    previous: SecretKeys = ()
    """Further keys that secrets can be read with, in the same form, while the key is being replaced: what `gateway
    secrets rotate` replaces, and what instances that have the new settings already encrypt with. Empty ones are
    passed over."""
