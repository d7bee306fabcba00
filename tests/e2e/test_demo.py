"""`gateway demo`: what a newcomer meets first. It serves, it says how to use it, and it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from gateway.embedded import placement
from gateway.embedded.listening import LOOPBACK
from tests.demos import DemoProcess, wait_until
from tests.servers import gone
from tests.webhook_receivers import WHSEC, Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

_BUDGETS = "/v1/api/public/budgets"
_CUSTOMER = {"firstName": "Ada", "lastName": "L"}
_PRODUCT = {"productCode": "P1", "description": "A thing", "price": 2}
_CONTROL_CODES = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


def call(ready: dict[str, Any], path: str = _BUDGETS, key: str = "key", method: str = "GET") -> int:
    """The status of a request to the gateway with one of the ready file's keys."""
    headers = {"Authorization": f"Bearer {ready[key]}", "Content-Type": "application/json"}
    return requests.request(method, ready["url"] + path, headers=headers, data=b"{}", timeout=5).status_code


def pids(ready: dict[str, Any]) -> list[int]:
    """All that the ready file names."""
    named = ready["pids"]
    return [named["gateway"], *named["workers"], named["postgres"], named["redis"], *named["backends"].values()]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoProcess]:
    """A demo that one test after the other has; a test wants `running` instead."""
    demo = DemoProcess(tmp_path_factory.mktemp("running"))
    try:
        demo.start()
        yield demo
        if demo.running:
            assert demo.end() == 0
        demo.leave_nothing()
    finally:
        placement.forget(demo.state / "postgres")


@pytest.fixture
def running(kept: DemoProcess) -> DemoProcess:
    """A demo that serves; a test may end it, since it starts again."""
    if not kept.running:
        kept.start()
    return kept


def start_again(demo: DemoProcess, before: dict[str, Any]) -> None:
    """Start it, and find the keys that there were *before*."""
    after = demo.start()
    kept = ("email", "password", "key", "readonlyKey")
    assert [after[name] for name in kept] == [before[name] for name in kept]
    assert call(after) == 200


def test_demo_serves_all_that_its_ready_file_names(running: DemoProcess) -> None:
    ready = running.ready
    assert ready.keys() == {
        *("url", "adminUrl", "email", "password", "key", "readonlyKey", "postgres", "redis", "backends", "pids"),
    }
    assert ready["url"] == f"http://127.0.0.1:{running.port}"
    assert ready["adminUrl"] == f"http://127.0.0.1:{running.admin_port}"
    assert stat.S_IMODE(running.ready_file.stat().st_mode) == 0o600
    assert {name: call(ready, f"/api/public/{name}") for name in ready["backends"]} == {
        "budgets": 200,
        "customers": 200,
        "products": 200,
    }
    assert call(ready, key="readonlyKey") == 200
    assert call(ready, key="readonlyKey", method="POST") == 403
    assert call(ready, "/api/public/customers", key="readonlyKey") == 403
    login = {"email": ready["email"], "password": ready["password"]}
    assert requests.post(f"{ready['url']}/auth/login", json=login, timeout=5).status_code == 200
    assert requests.get(f"{ready['adminUrl']}/metrics", timeout=5).status_code == 200
    assert ready["pids"].keys() == {"gateway", "workers", "postgres", "redis", "backends"}
    assert len(ready["pids"]["workers"]) >= 1
    for pid in pids(ready):
        os.kill(pid, 0)


def test_writes_to_the_backends_are_announced_to_webhooks(running: DemoProcess) -> None:
    ready, receiver = running.ready, Receiver()
    login = {"email": ready["email"], "password": ready["password"]}
    token = requests.post(f"{ready['url']}/auth/login", json=login, timeout=5).json()["token"]
    wanted = {"name": "Told", "scopes": ["WEBHOOKS"], "webhookUrl": receiver.url, "webhookSecret": WHSEC}
    made = requests.post(
        f"{ready['url']}/api-keys", json=wanted, headers={"Authorization": f"Bearer {token}"}, timeout=5
    ).json()
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {ready['key']}"
    expected = []
    for things, thing in (("budgets", {"customerId": 1, "total": 5}), ("customers", _CUSTOMER), ("products", _PRODUCT)):
        path = f"{ready['url']}/v1/api/public/{things}"
        answer = session.post(path, json=thing, timeout=5)
        assert answer.status_code == 201, answer.text
        made_thing = answer.json()["data"]
        changed = session.put(f"{path}/{made_thing['id']}", json=thing, timeout=5).json()["data"]
        assert session.delete(f"{path}/{made_thing['id']}", timeout=5).status_code == 204
        gone = {"id": str(made_thing["id"]), "path": f"/api/public/{things}/{made_thing['id']}"}
        for what, data in (("created", made_thing), ("updated", changed), ("deleted", gone)):
            expected.append((f"{things[:-1]}.{what}", data))
    try:
        assert wait_until(lambda: len(receiver.messages) == len(expected), 10)
        told = [(message["event"], message["data"]) for message in receiver.messages]
        assert sorted(told, key=repr) == sorted(expected, key=repr)
    finally:
        receiver.close()
        url = f"{ready['url']}/api-keys/{made['id']}"
        assert requests.delete(url, headers={"Authorization": f"Bearer {token}"}, timeout=5).status_code == 204


def test_output_that_is_no_terminal_has_no_control_codes_and_shows_lines_to_paste(running: DemoProcess) -> None:
    ready = running.ready
    assert not _CONTROL_CODES.search(running.output)
    for shown in (ready["key"], ready["readonlyKey"], ready["email"], ready["password"], ready["adminUrl"]):
        assert shown in running.output
    assert f"curl -i '{ready['url']}/v1/api/public/budgets?limit=3'" in running.output


def test_second_demo_in_one_directory_is_refused_and_the_first_goes_on(running: DemoProcess, tmp_path: Path) -> None:
    second = DemoProcess(tmp_path, running.state)
    second.begin()
    assert second.process.wait(10) == 1
    assert f"another demo (pid {running.process.pid}) uses {running.state}" in second.output
    assert call(running.ready) == 200


def test_ready_file_follows_a_worker_that_was_replaced(running: DemoProcess) -> None:
    (worker,) = running.ready["pids"]["workers"]
    os.kill(worker, signal.SIGKILL)
    assert wait_until(lambda: running.ready["pids"]["workers"] not in ([worker], []), 10)

    def serves() -> bool:
        try:
            return call(running.ready) == 200
        except requests.RequestException:
            return False  # It waits for the new worker, perhaps longer than we do.

    assert wait_until(serves, 20)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_to_the_whole_group_twice_ends_everything_in_order_and_a_start_finds_the_same_keys(
    running: DemoProcess, number: signal.Signals
) -> None:
    before = running.ready
    began = time.monotonic()
    os.killpg(running.process.pid, number)
    os.killpg(running.process.pid, number)
    assert running.process.wait(10) == 0
    assert time.monotonic() - began < 5
    assert not running.ready_file.exists()
    assert running.left_behind() == []
    assert "ended" not in running.output.partition("stopping")[2]
    start_again(running, before)


def test_signal_while_it_starts_ends_it_just_as_well(new_demo: DemoProcess) -> None:
    new_demo.begin()
    assert wait_until(lambda: "starting Postgres" in new_demo.output, 10)
    assert new_demo.end() == 0
    assert not new_demo.ready_file.exists()
    assert new_demo.left_behind() == []


def test_killed_demo_leaves_no_orphan_and_starts_again_at_once_with_the_same_keys(running: DemoProcess) -> None:
    before = running.ready
    others = {*running.others(), *pids(before)}
    running.process.kill()
    running.process.wait(5)
    start_again(running, before)
    # Workers finish what they have begun, which includes a last try to bring their events to a Postgres that is gone.
    assert wait_until(lambda: all(gone(pid) for pid in others), 10)


def test_taken_port_is_one_line_that_says_what_to_do(new_demo: DemoProcess) -> None:
    with socket.create_server((LOOPBACK, new_demo.port)):
        new_demo.begin()
        assert new_demo.process.wait(10) == 1
    errors = [line for line in new_demo.output.splitlines() if line.startswith("Error")]
    assert errors == [f"Error: port {new_demo.port} is taken: stop what uses it, or choose another with --port"]
    assert "Traceback" not in new_demo.output


def test_state_that_cannot_be_made_is_one_line_that_says_what_to_do(new_demo: DemoProcess, tmp_path: Path) -> None:
    new_demo.state = tmp_path / "file" / "state"
    (tmp_path / "file").touch()
    new_demo.begin()
    assert new_demo.process.wait(10) == 1
    assert new_demo.output.startswith(f"Error: Not a directory: {new_demo.state}")
    assert len(new_demo.output.splitlines()) == 1


def test_a_part_that_ends_is_reported_once_and_only_the_end_of_the_gateway_is_the_end_of_the_demo(
    running: DemoProcess,
) -> None:
    ready = running.ready
    os.kill(ready["pids"]["redis"], signal.SIGKILL)
    line = "valkey ended (signal 9); the gateway goes on without it; Ctrl-C and start again to bring it back"
    assert wait_until(lambda: line in running.output, 5)
    assert call(ready) == 200
    os.kill(ready["pids"]["gateway"], signal.SIGKILL)
    assert running.process.wait(10) == 1
    assert f"Error: gateway ended (signal 9); see {running.state}/logs/gateway.log" in running.output
    assert running.output.count("valkey ended") == 1
    assert wait_until(lambda: running.left_behind() == [], 5)
