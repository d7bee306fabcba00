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


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoProcess]:
    """A demo that has just been started for the first time, for tests that leave it as it is."""
    demo = DemoProcess(tmp_path_factory.mktemp("running"))
    try:
        demo.start()
        yield demo
        assert demo.end() == 0
        demo.leave_nothing()
    finally:
        placement.forget(demo.state / "postgres")


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
    pids = ready["pids"]
    assert pids.keys() == {"gateway", "workers", "postgres", "redis", "backends"}
    assert len(pids["workers"]) >= 1
    for pid in (pids["gateway"], *pids["workers"], pids["postgres"], pids["redis"], *pids["backends"].values()):
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
def test_signal_to_the_whole_group_twice_ends_everything_in_order(demo: DemoProcess, number: signal.Signals) -> None:
    demo.start()
    began = time.monotonic()
    os.killpg(demo.process.pid, number)
    os.killpg(demo.process.pid, number)
    assert demo.process.wait(10) == 0
    assert time.monotonic() - began < 5
    assert demo.left_behind() == []
    assert "ended" not in demo.output.partition("stopping")[2]


def test_signal_while_it_starts_ends_it_just_as_well(new_demo: DemoProcess) -> None:
    new_demo.begin()
    assert wait_until(lambda: "starting Postgres" in new_demo.output, 10)
    assert new_demo.end() == 0
    assert not new_demo.ready_file.exists()
    assert new_demo.left_behind() == []


def test_killed_demo_leaves_no_orphan_and_starts_again_at_once_with_the_same_keys(demo: DemoProcess) -> None:
    before = demo.start()
    demo.process.kill()
    demo.process.wait(5)
    after = demo.start()
    assert {name: after[name] for name in ("email", "password", "key", "readonlyKey", "postgres")}.items() >= {
        name: before[name] for name in ("email", "password", "key", "readonlyKey")
    }.items()
    assert call(after) == 200
    demo.process.kill()
    demo.process.wait(5)
    # Workers finish what they have begun, which includes a last try to bring their events to a Postgres that is gone.
    assert wait_until(lambda: demo.left_behind() == [], 10)


def test_restart_keeps_the_keys_and_the_data(demo: DemoProcess) -> None:
    before = demo.start()
    began = time.monotonic()
    assert demo.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 5
    assert not demo.ready_file.exists()
    assert demo.left_behind() == []
    after = demo.start()
    assert (after["key"], after["password"]) == (before["key"], before["password"])
    assert call(after) == 200


def test_taken_port_is_one_line_that_says_what_to_do(demo: DemoProcess) -> None:
    with socket.create_server((LOOPBACK, demo.port)):
        demo.begin()
        assert demo.process.wait(10) == 1
    errors = [line for line in demo.output.splitlines() if line.startswith("Error")]
    assert errors == [f"Error: port {demo.port} is taken: stop what uses it, or choose another with --port"]
    assert "Traceback" not in demo.output


def test_state_that_cannot_be_made_is_one_line_that_says_what_to_do(new_demo: DemoProcess, tmp_path: Path) -> None:
    new_demo.state = tmp_path / "file" / "state"
    (tmp_path / "file").touch()
    new_demo.begin()
    assert new_demo.process.wait(10) == 1
    assert new_demo.output.startswith(f"Error: Not a directory: {new_demo.state}")
    assert len(new_demo.output.splitlines()) == 1


def test_part_that_ends_is_reported_once_and_the_gateway_goes_on_without_it(demo: DemoProcess) -> None:
    ready = demo.start()
    os.kill(ready["pids"]["redis"], signal.SIGKILL)
    line = "valkey ended (signal 9); the gateway goes on without it; Ctrl-C and start again to bring it back"
    assert wait_until(lambda: line in demo.output, 5)
    assert call(ready) == 200
    assert demo.end() == 0
    assert demo.output.count("valkey ended") == 1


def test_end_of_the_gateway_ends_the_demo_and_shows_its_log(demo: DemoProcess) -> None:
    ready = demo.start()
    os.kill(ready["pids"]["gateway"], signal.SIGKILL)
    assert demo.process.wait(10) == 1
    assert f"Error: gateway ended (signal 9); see {demo.state}/logs/gateway.log" in demo.output
    assert wait_until(lambda: demo.left_behind() == [], 5)
