"""`gateway reload`: what changes at once, what has to wait, and that a wrong file changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gateway.embedded.listening import free_port
from tests.backends import plain
from tests.demos import ROOT, wait_until
from tests.gateways import run
from tests.servers import make_database
from tests.serving import serving
from tests.wire import request_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.embedded.postgres import EmbeddedPostgres
    from gateway.embedded.valkey import EmbeddedValkey
    from tests.backends import Backend, Connection, Received
    from tests.gateways import Gateway

pytestmark = pytest.mark.timeout(90)

BUDGETS = "/api/public/budgets"
NEW = "/api/public/new"


@pytest.fixture(scope="module")
def changed_server(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: EmbeddedPostgres, valkey_server: EmbeddedValkey
) -> Iterator[Gateway]:
    """A gateway whose settings the tests of this module change."""
    dsn = run(make_database(postgres_server, "of_the_changed"))
    with serving(tmp_path_factory.mktemp("changed"), dsn, valkey_server.url) as gateway:
        yield gateway


@pytest.fixture
def changed(changed_server: Gateway) -> Iterator[Gateway]:
    """That gateway, with the settings that it began with, before the test and after it."""
    gateway = changed_server
    text = gateway.config.read_text()
    gateway.backend.forget()
    yield gateway
    gateway.document = yaml.safe_load(text)
    gateway.write(text)
    assert gateway.order("reload").problems == []


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def metric(gateway: Gateway, name: str) -> float:
    lines = [line for line in gateway.metrics().splitlines() if line.startswith(f"{name} ")]
    return float(lines[0].split()[-1])


def add_route(document: dict[str, Any], **more: Any) -> None:
    route = {"name": "new", "methods": ["GET"], "path": NEW, "scope": "READ_BUDGETS", "upstream": "budgets"}
    document["routes"].append(route | more)


def test_a_route_is_there_when_the_command_has_ended(changed: Gateway) -> None:
    before = metric(changed, "gateway_config_version")
    changed.configure(add_route)
    assert changed.ask("GET", NEW, changed.everything).status == 404
    done = command("reload", "-c", changed.config, "--state", changed.state)
    assert (done.returncode, done.stderr) == (0, "")
    version = done.stdout.removeprefix("the settings are in force (version ").removesuffix(")\n")
    assert changed.ask("GET", NEW, changed.everything).status == 200
    assert metric(changed, "gateway_config_version") == int(version, 16) != before
    assert time.time() - metric(changed, "gateway_config_timestamp_seconds") < 30


def test_a_hang_up_signal_does_the_same(changed: Gateway) -> None:
    changed.configure(add_route)
    changed.process.send_signal(signal.SIGHUP)
    assert wait_until(lambda: changed.ask("GET", NEW, changed.everything).status == 200, 5)


BAD = {
    "broken YAML": ("routes: [\n", "gateway.yaml:"),
    "an unknown member": ("colour: red\n", "colour"),
    "a bad network": ("trusted_proxies: [10.0.0.0/99]\n", "10.0.0.0/99"),
    "a missing file": ('strip_prefixes: ["${file:/nowhere/at/all}"]\n', "/nowhere/at/all"),
    "a Python object": ("headers: !!python/object/apply:os.system [true]\n", "a tag (!)"),
    "a route that can never match": (None, "can never match"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_file_changes_nothing_and_is_told_with_its_place(changed: Gateway, name: str) -> None:
    more, told = BAD[name]
    failed = 'gateway_config_reload_total{action="reload",result="failed"}'
    before, logged = metric(changed, failed), len(changed.output)
    if more is None:
        changed.configure(lambda document: (add_route(document), add_route(document, name="shadowed")))
    else:
        document = yaml.safe_load(changed.config.read_text())
        document.pop(more.partition(":")[0], None)
        changed.write(yaml.safe_dump(document) + more)
    outcome = changed.order("reload")
    assert any(told in problem for problem in outcome.problems), outcome.problems
    assert all(problem.startswith(f"{changed.config}:") for problem in outcome.problems)
    assert changed.ask("GET", BUDGETS, changed.everything).status == 200
    assert changed.ask("GET", NEW, changed.everything).status == 404
    assert metric(changed, failed) == before + 1
    assert metric(changed, "gateway_config_last_reload_successful") == 0
    (line,) = [line for line in changed.output[logged:].splitlines() if "settings refused" in line]
    assert f"{changed.config}:" in line


def test_the_command_tells_what_is_wrong_and_ends_with_1(changed: Gateway) -> None:
    changed.write(changed.config.read_text() + "colour: red\n")
    done = command("reload", "-c", changed.config, "--state", changed.state)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{changed.config}:")
    assert "nothing was changed" in done.stderr


def test_without_a_gateway_the_command_says_so(tmp_path: Path) -> None:
    done = command("restart", "-c", "config/minimal.yaml", "--state", tmp_path)
    assert done.returncode == 1
    assert f"no gateway runs with the state directory {tmp_path}" in done.stderr


def test_what_has_to_wait_is_named_with_what_it_waits_for_and_all_else_is_in_force(changed: Gateway) -> None:
    def change(document: dict[str, Any]) -> None:
        add_route(document)
        document["postgres"]["pool_max"] = 7
        document["listen"]["internal"]["port"] = 1
        document["workers"] = {"count": 3}

    changed.configure(change)
    done = command("reload", "-c", changed.config, "--state", changed.state)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "not in force yet: listen.internal.port: a change needs a stop and a start",
        "not in force yet: postgres.pool_max: a change needs gateway restart",
        "not in force yet: workers.count: a change needs a stop and a start",
    ]
    assert changed.ask("GET", NEW, changed.everything).status == 200


def test_values_from_files_are_read_again(changed: Gateway, tmp_path: Path) -> None:
    secret = tmp_path / "target"
    secret.write_text(f"{changed.backend.url}\n")
    changed.configure(lambda document: document["upstreams"]["budgets"].update(targets=[f"${{file:{secret}}}"]))
    assert changed.order("reload").problems == []
    assert changed.ask("GET", BUDGETS, changed.everything).status == 200
    secret.write_text(changed.document["upstreams"]["gone"]["targets"][0])
    assert changed.order("reload").problems == []
    assert changed.ask("GET", BUDGETS, changed.everything).status == 502


def test_an_upstream_that_stays_as_it_is_keeps_its_connections(changed: Gateway) -> None:
    with changed.connect() as wire:
        assert wire.ask("GET", BUDGETS, changed.everything).status == 200
        before = len(changed.backend.connections)
        changed.configure(add_route)
        changed.order("reload")
        assert wire.ask("GET", NEW, changed.everything).status == 200
        assert len(changed.backend.connections) == before


def of_other_patience(document: dict[str, Any]) -> None:
    document["upstreams"]["budgets"]["timeouts"]["idle_s"] = 2.5


@pytest.mark.parametrize("change", [add_route, of_other_patience], ids=["as it was", "changed"])
def test_what_is_known_of_an_address_that_stays_is_kept_as_are_connections_and_counts(
    changed: Gateway, change: Callable[[dict[str, Any]], None]
) -> None:
    dead = f"127.0.0.1:{free_port()}"
    targets = [changed.backend.url, f"http://{dead}"]
    ejection = {"consecutive_failures": 1}
    changed.configure(lambda document: document["upstreams"]["budgets"].update(targets=targets, ejection=ejection))
    changed.order("reload")
    name = f'target="{dead}",upstream="budgets"'
    with changed.connect() as wire:
        for _ in range(3):
            assert wire.ask("GET", BUDGETS, changed.everything).status == 200
        connections = len(changed.backend.connections)
        changed.configure(change)
        assert changed.order("reload").problems == []
        assert changed.metric(f"gateway_upstream_ejections_total{{{name}}}") == 1
        for _ in range(6):
            assert wire.ask("GET", BUDGETS, changed.everything).status == 200
        assert changed.metric(f'gateway_upstream_connect_failures_total{{kind="refused",{name}}}') == 1
        assert len(changed.backend.connections) == connections


def test_an_upstream_that_is_gone_finishes_what_it_began_and_keeps_no_connection(
    changed: Gateway, backend: Backend
) -> None:
    begun, finish = threading.Event(), threading.Event()

    def slow(request: Received, connection: Connection) -> None:
        begun.set()
        finish.wait(10)
        plain(b'{"by":"old"}')(request, connection)

    changed.backend.answer = slow
    with changed.connect() as wire, changed.connect() as other:
        wire.send(request_bytes("GET", BUDGETS, changed.everything))
        assert begun.wait(5)
        changed.configure(lambda document: document["upstreams"]["budgets"].update(targets=[backend.url]))
        changed.order("reload")
        assert other.ask("GET", BUDGETS, changed.everything).status == 200
        assert len(backend.requests) == 1
        open_before = changed.backend.open_connections
        finish.set()
        assert wire.answer().json == {"by": "old"}
        assert wait_until(lambda: changed.backend.open_connections < open_before, 5)


def test_limits_of_requests_hold_for_new_connections(changed: Gateway) -> None:
    long = f"{BUDGETS}?{'x' * 4000}"
    assert changed.ask("GET", long, changed.everything).status == 200
    changed.configure(lambda document: document["requests"].update(target_max_bytes=1000))
    changed.order("reload")
    assert changed.ask("GET", long, changed.everything).code == "414 uri_too_long"
    changed.configure(lambda document: document["requests"].update(target_max_bytes=20_000))
    changed.order("reload")
    assert changed.ask("GET", f"{BUDGETS}?{'x' * 12_000}", changed.everything).status == 200


def test_a_worker_that_is_started_again_has_the_settings_in_force_whatever_the_file_says(
    changed: Gateway,
) -> None:
    changed.configure(add_route)
    changed.order("reload")
    changed.write("broken: [")
    (worker,) = changed.workers
    os.kill(worker, signal.SIGKILL)
    assert wait_until(lambda: changed.workers not in ([worker], []), 5)
    # The parent holds the socket: who comes meanwhile waits for the new worker.
    with changed.connect(timeout_s=30) as wire:
        assert wire.ask("GET", NEW, changed.everything).status == 200


def resources(pids: list[int]) -> tuple[int, int]:
    """How many file descriptors the processes have, and how many bytes of memory."""
    descriptors = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return descriptors, pages * os.sysconf("SC_PAGE_SIZE")


def test_many_reloads_leave_nothing_behind(changed: Gateway, backend: Backend) -> None:
    urls = [changed.backend.url, backend.url]
    pids = [changed.process.pid, *changed.workers]
    key = changed.everything

    def cycle(number: int) -> None:
        targets = [urls[number % 2]]
        changed.configure(lambda document: document["upstreams"]["budgets"].update(targets=targets))
        assert changed.order("reload").problems == []
        assert changed.ask("GET", BUDGETS, key).status == 200

    for number in range(6):
        cycle(number)
    descriptors, memory = resources(pids)
    for number in range(20):
        cycle(number)
    assert wait_until(lambda: resources(pids)[0] <= descriptors + 2, 5)
    assert resources(pids)[1] - memory < 10_000_000
