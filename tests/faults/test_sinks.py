"""Sinks that fail beside others that do not: no request notices, and in the end each has every event."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from redis import Redis

from tests.demos import wait_until
from tests.faults.loads import Load
from tests.gateways import ROOT, run
from tests.unit.telemetry.pages import parsed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.embedded.valkey import EmbeddedValkey
    from tests.gateways import Gateway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

BUDGETS = "/api/public/budgets"
STREAM = "usage"
SCHEMA = json.loads((ROOT / "config" / "usage-event.v1.schema.json").read_text())
ENVELOPE = jsonschema.Draft202012Validator({"$ref": f"{SCHEMA['$id']}#/$defs/envelope", "$defs": {"published": SCHEMA}})


def envelopes(lines: list[bytes]) -> list[dict[str, Any]]:
    """The CloudEvents of *lines*, each as the published schema says."""
    found = [json.loads(line) for line in lines]
    for envelope in found:
        ENVELOPE.validate(envelope)
    return found


def in_the_stream(valkey: EmbeddedValkey) -> list[bytes]:
    with Redis.from_url(valkey.url, socket_timeout=10) as client:
        return [fields[b"event"] for _, fields in client.xrange(STREAM)]


def ids(lines: list[bytes]) -> set[str]:
    return {json.loads(line)["id"] for line in lines}


def waiting(gateway: Gateway, sink: str) -> float:
    return parsed(gateway.metrics())["gateway_usage_sink_lag_seconds", sink]


def test_every_sink_gets_every_event_though_a_worker_and_the_stream_die(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    path = tmp_path / "usage.jsonl"

    def change(document: dict[str, Any]) -> None:
        document["usage"]["sinks"] = {
            "redis_stream": {"url": valkey.url, "stream": STREAM},
            "json_lines": {"path": str(path)},
        }
        document["usage"]["journal"] = {"segment_max_bytes": 65_536}
        document["workers"] = {"count": 2}

    gateway = start_gateway(postgres_dsn, redis_url, change)

    def stored() -> set[str]:
        return {str(row["id"]) for row in gateway.fetch("SELECT id FROM usage_events")}

    # Before the first event: a Valkey that is killed forgets what it had.
    valkey.child.kill()
    run(valkey.child.ended(5))
    with Load(gateway, BUDGETS, gateway.everything) as load:
        assert wait_until(lambda: waiting(gateway, "redis_stream") > 1, 10)
        assert waiting(gateway, "postgres") < 1 > waiting(gateway, "json_lines")
        os.kill(gateway.workers[0], signal.SIGKILL)
        asked = len(load.asked)
        assert wait_until(lambda: len(load.asked) > asked + 200, 15)
        run(valkey.start())
    assert set(load.codes) - {"200"} <= {"lost"}, "nothing but what the killed worker had in hand"
    answered = sum(1 for request in load.asked if request.code == "200")
    assert wait_until(lambda: len(stored()) >= answered, 10)
    assert wait_until(lambda: ids(in_the_stream(valkey)) == stored(), 20)
    assert wait_until(lambda: ids(path.read_bytes().splitlines()) == stored(), 10)
    assert len(envelopes(in_the_stream(valkey))) >= answered
    doubled = [
        id_ for id_, count in Counter(e["id"] for e in envelopes(path.read_bytes().splitlines())).items() if count > 1
    ]
    print(f"{len(stored())} events, {len(doubled)} of them twice in the file")
    # One segment for each of the workers: what everybody has is deleted.
    journal = gateway.state / "journal"
    assert wait_until(lambda: len(list(journal.glob("*.journal"))) == 2, 10)


def test_a_closed_standard_output_only_delays_its_own_sink(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    """The file is a named pipe, whose reader comes and goes."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def change(document: dict[str, Any]) -> None:
        document["usage"]["sinks"] = {"json_lines": {"path": str(fifo)}}

    gateway = start_gateway(postgres_dsn, redis_url, change)
    assert gateway.ask("GET", BUDGETS, gateway.everything).code == "200"
    assert wait_until(lambda: len(gateway.fetch("SELECT 1 FROM usage_events")) == 1, 10)
    assert wait_until(lambda: waiting(gateway, "json_lines") > 0.5, 10)
    assert waiting(gateway, "postgres") < 1
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        read = b""

        def arrived() -> bool:
            nonlocal read
            try:
                read += os.read(reading, 65_536)
            except BlockingIOError:
                return False
            return read.endswith(b"\n")

        assert wait_until(arrived, 15)
    finally:
        os.close(reading)
    (envelope,) = envelopes(read.splitlines())
    assert envelope["data"]["endpoint"] == BUDGETS


def test_lines_of_all_workers_come_out_whole_on_standard_output(
    start_gateway: Callable[..., Gateway], postgres_dsn: str, redis_url: str
) -> None:
    def change(document: dict[str, Any]) -> None:
        document["usage"]["sinks"] = {"json_lines": {"path": "-"}, "postgres": False}
        document["workers"] = {"count": 2}
        for route in document["routes"]:
            route.pop("emits", None)

    gateway = start_gateway(postgres_dsn, redis_url, change)
    key = gateway.everything
    answers = [gateway.ask("GET", BUDGETS, key) for _ in range(30)]

    def lines() -> list[bytes]:
        return [line.encode() for line in gateway.output.splitlines() if "specversion" in line]

    assert wait_until(lambda: len(lines()) == 30, 10)
    assert {found["data"]["requestId"] for found in envelopes(lines())} == {
        answer.one("x-request-id") for answer in answers
    }
    assert not gateway.fetch("SELECT 1 FROM usage_events"), "Postgres was switched off as a sink"
