"""The parent with workers that are told how to behave: what it does when one cannot start, change, answer or stay."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from gateway.embedded.listening import free_port
from gateway.settings.load import load
from gateway.telemetry import metrics
from gateway.workers import place, process
from gateway.workers.listeners import AddressTaken, Listeners
from gateway.workers.parent import Crew, Parent
from gateway.workers.place import BackOff
from tests.servers import gone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gateway.workers.control import Outcome
    from gateway.workers.process import WorkerProcess

SETTINGS = """
version: 1
state_directory: {state}
listen: {{public: {{address: 127.0.0.1, port: {public}}}, internal: {{port: {internal}}}}}
postgres: {{dsn: "postgresql://nobody@127.0.0.1:1/none"}}
secrets: {{key: "{key}"}}
drain: {{timeout_s: 1}}
scopes: {{READ: Read things}}
upstreams: {{things: {{targets: ["http://127.0.0.1:9"]}}}}
routes: [{{name: things.read, methods: [GET], path: /things/**, scope: READ, upstream: things}}]
"""

WORKER = """
import json, os, signal, socket, sys, time
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
lines = socket.socket(fileno=int(arguments["--channel"])).makefile("rw")
config = json.loads(lines.readline())["settings"]["config"]
def note(what):
    with open({log!r}, "a") as log:
        log.write(json.dumps([os.getpid(), sys.argv[-1], what]) + "\\n")
def behaviour():
    return json.load(open({behaviour!r}))
note("started")
if "exit" in behaviour():
    sys.exit(behaviour()["exit"])
if not behaviour().get("unready"):
    print(json.dumps({{"ready": "1"}}), file=lines, flush=True)
while line := lines.readline():
    order = json.loads(line)["order"]
    note(order)
    if order in behaviour().get("mute", ()):
        continue
    if order in behaviour().get("slow", ()) and sys.argv[-1] == "0":
        time.sleep(0.7)
    problem = "no" if order in behaviour().get("refuse", ()) and sys.argv[-1] == "1" else None
    print(json.dumps({{"order": order, "problem": problem}}), file=lines, flush=True)
    if order == "retire":
        break
"""


class Site:
    """A parent of scripted workers; *behave* says what those do from now on."""

    def __init__(self, directory: Path, count: int = 2, *, watch: bool = False, **behaviour: Any) -> None:
        self._behaviour = directory / "behaviour.json"
        self._log = directory / "log"
        self.settings = directory / "gateway.yaml"
        ports = {"public": free_port(), "internal": free_port()}
        key = base64.b64encode(bytes(32)).decode()
        self.settings.write_text(SETTINGS.format(state=directory / "state", key=key, **ports))
        self.behave(**behaviour)
        program = directory / "worker.py"
        program.write_text(WORKER.format(log=str(self._log), behaviour=str(self._behaviour)))
        config = load(self.settings, {})
        command = [sys.executable, "-I", "-S", str(program)]
        self.parent = Parent(Crew(count, command, os.environ, self.settings, config, watch))
        self.running = asyncio.get_running_loop().create_task(self.parent.run())

    def behave(self, **behaviour: Any) -> None:
        self._behaviour.write_text(json.dumps(behaviour))

    def notes(self, what: str) -> list[tuple[int, str]]:
        """Process id and seat of each worker that noted *what*."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []
        return [(pid, seat) for pid, seat, noted in lines if noted == what]

    @property
    def workers(self) -> list[WorkerProcess]:
        return [worker for place in self.parent._places for worker in place.workers]

    async def started(self, count: int) -> None:
        await eventually(lambda: len(self.notes("started")) >= count)

    async def stop(self) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return await asyncio.wait_for(self.running, 20)


async def eventually(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path)
    # What a worker is told to do at its start is not meant for these two, and one that never served may end it all.
    await eventually(lambda: len(site.workers) == 2 and all(worker.served for worker in site.workers))
    yield site
    if not site.running.done():
        site.behave()
        await site.stop()
    assert all(gone(pid) for pid, _ in site.notes("started"))


async def test_all_workers_prepare_before_any_goes_over(site: Site) -> None:
    outcome = await site.parent.reload()
    assert outcome.problems == []
    assert len(site.notes("prepare")) == len(site.notes("commit")) == 2


async def test_none_goes_over_when_one_cannot(site: Site) -> None:
    site.behave(refuse=["prepare"])
    outcome = await site.parent.reload()
    assert outcome.problems == ["no"]
    assert site.notes("commit") == []
    assert len(site.notes("abandon")) == 2


async def test_none_goes_over_when_one_does_not_answer(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "ANSWER_S", 0.2)
    site.behave(mute=["prepare", "abandon"])
    outcome = await site.parent.reload()
    assert all("has not answered" in problem for problem in outcome.problems)
    assert site.notes("commit") == []


async def test_a_worker_that_does_not_go_over_is_replaced_by_one_that_has(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {pid for pid, _ in site.notes("started")}
    monkeypatch.setattr(process, "ANSWER_S", 0.5)
    site.behave(mute=["commit"])
    assert (await site.parent.reload()).problems == []
    await site.started(4)
    assert all(gone(pid) for pid in before)


async def test_a_worker_that_begins_while_others_prepare_goes_over_too(site: Site) -> None:
    site.behave(slow=["prepare"])
    reloading = asyncio.ensure_future(site.parent.reload())
    await eventually(lambda: len(site.notes("prepare")) == 2)
    os.kill(next(pid for pid, seat in site.notes("started") if seat == "1"), signal.SIGKILL)
    assert (await reloading).problems == []
    await eventually(lambda: {pid for pid, _ in site.notes("started")[2:]} <= {pid for pid, _ in site.notes("commit")})
    assert len(site.notes("started")) == 3


async def test_workers_are_replaced_one_after_the_other_in_other_seats(site: Site) -> None:
    assert (await site.parent.restart()).problems == []
    assert [seat for _, seat in site.notes("started")[2:]] == ["2", "3"]
    assert [seat for _, seat in sorted(site.notes("retire"), key=lambda note: note[1])] == ["0", "1"]
    assert (await site.parent.restart()).problems == []
    assert [seat for _, seat in site.notes("started")[4:]] == ["0", "1"]


@pytest.mark.parametrize(
    ("behaviour", "told"), [({"exit": 78}, "ended"), ({"unready": True}, "was not ready within 0 s")]
)
async def test_old_workers_go_on_when_a_new_one_does_not_become_ready(
    site: Site, behaviour: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "READY_S", 0.3 if "unready" in behaviour else 20)
    site.behave(**behaviour)
    outcome = await site.parent.restart()
    assert outcome.problems == [f"the new worker {told}, see the log; the old one goes on"]
    assert site.notes("retire") == []
    assert [gone(pid) for pid, _ in site.notes("started")] == [False, False, True]


async def test_orders_wait_for_one_another(site: Site) -> None:
    outcomes: list[Outcome] = await asyncio.gather(site.parent.restart(), site.parent.reload(), site.parent.restart())
    assert [outcome.problems for outcome in outcomes] == [[], [], []]
    assert len(site.notes("started")) == 6


async def test_it_ends_in_order_while_a_worker_is_replaced(site: Site) -> None:
    site.behave(unready=True)
    replacing = asyncio.ensure_future(site.parent.restart())
    await site.started(3)
    assert await site.stop() == 0
    assert (await replacing).problems == ["the gateway was told to stop"]


async def test_a_worker_that_ends_has_a_successor_in_its_seat(site: Site) -> None:
    pid, seat = site.notes("started")[0]
    os.kill(pid, signal.SIGKILL)
    await site.started(3)
    assert site.notes("started")[2][1] == seat


async def test_a_file_that_is_watched_is_taken_up_when_it_has_changed_and_only_then(tmp_path: Path) -> None:
    site = Site(tmp_path, watch=True)
    await site.started(2)
    text = site.settings.read_text()
    site.settings.write_text(text.replace("Read things", "Look at things"))
    await eventually(lambda: len(site.notes("commit")) == 2)
    site.settings.write_text("broken: [")
    refused = site.parent._telemetry.counter(metrics.CONFIG_CHANGES, "reload", "failed")
    await eventually(lambda: refused[0] == 1)
    site.settings.write_text(text)
    await eventually(lambda: len(site.notes("commit")) == 4)
    assert len(site.notes("prepare")) == 4
    assert await site.stop() == 0


async def test_it_ends_with_1_when_workers_cannot_start(tmp_path: Path) -> None:
    site = Site(tmp_path, exit=78)
    assert await asyncio.wait_for(site.running, 20) == 1
    assert not (tmp_path / "state" / "workers.json").exists()


async def test_a_worker_that_cannot_start_again_is_tried_again_while_the_gateway_serves(site: Site) -> None:
    site.behave(exit=78)
    os.kill(site.notes("started")[0][0], signal.SIGKILL)
    await site.started(4)
    assert not site.running.done()


def test_the_wait_doubles_up_to_five_seconds_and_is_forgotten_once_a_worker_lives() -> None:
    back_off = BackOff()
    assert [back_off.next(lived_s=1) for _ in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert back_off.next(lived_s=6) == 0.1


def test_a_taken_address_is_one_sentence_that_says_what_to_do(tmp_path: Path) -> None:
    key = base64.b64encode(bytes(32)).decode()
    settings = tmp_path / "gateway.yaml"
    settings.write_text(SETTINGS.format(state=tmp_path, key=key, public=free_port(), internal=free_port()))
    listen = load(settings, {}).listen
    first = Listeners(listen)
    first.public(0).listen()
    with pytest.raises(AddressTaken, match=r"cannot listen on 127.0.0.1:\d+: Address already in use; stop what uses"):
        Listeners(listen)
    first.close()
    Listeners(listen).close()
