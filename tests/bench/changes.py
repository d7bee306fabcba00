"""How soon a change is in force: PUT a key's status through one gateway, and ask another until it refuses the key."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import urlopen

from gateway.embedded.listening import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
EMAIL = "bench@example.com"
PASSWORD = "a password for the bench"
PATH = "/api/public/budgets/5"
DEADLINE_S = 5.0


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int, bearer: str = "") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
        self._headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}

    def ask(self, method: str, path: str, value: Any = None) -> tuple[int, Any]:
        body = None if value is None else json.dumps(value)
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text.startswith(b"{") else None


@contextmanager
def gateway(directory: Path, environ: dict[str, str]) -> Iterator[int]:
    """Run an instance of its own state, and give its port."""
    port, admin_port = free_port(), free_port()
    state = directory / f"state-{port}"
    more = {"GATEWAY_STATE": str(state), "GATEWAY_PORT": str(port), "GATEWAY_ADMIN_PORT": str(admin_port)}
    command = [sys.executable, "-m", "gateway", "run", "-c", str(ROOT / "gateway.yaml")]
    process = subprocess.Popen(command, env={**environ, **more})
    try:
        due = time.monotonic() + 30
        while not _ready(admin_port):
            if time.monotonic() > due:
                raise TimeoutError("the gateway did not become ready")
            time.sleep(0.05)  # noqa: TID251  # a benchmark serves nobody
        yield port
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(state, ignore_errors=True)


def _ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
            return True
    except (URLError, OSError):
        return False


def measure_changes(directory: Path, environ: dict[str, str], times: int) -> None:
    """Print how long *times* changes took, from the PUT's first byte to the other instance's first changed answer."""
    command = [sys.executable, "-m", "gateway"]
    config = ["-c", str(ROOT / "gateway.yaml"), "--json"]

    def run(*words: str, stdin: str = "") -> dict[str, Any]:
        output = subprocess.run(
            [*command, *words, *config], env=environ, check=True, capture_output=True, text=True, input=stdin
        )
        answer: dict[str, Any] = json.loads(output.stdout)
        return answer

    upstream_port = free_port()
    environ = {**environ, "BUDGETS_URL": f"http://127.0.0.1:{upstream_port}"}
    account = run("accounts", "create", "Changes")["id"]
    run("users", "create", EMAIL, "--account", account, stdin=f"{PASSWORD}\n")
    with ExitStack() as stack:
        upstream = subprocess.Popen([sys.executable, "-m", "tests.bench.upstream", str(upstream_port)], cwd=ROOT)
        stack.callback(upstream.wait)
        stack.callback(upstream.terminate)
        first = stack.enter_context(gateway(directory, environ))
        second = stack.enter_context(gateway(directory, environ))
        _, login = Client(first).ask("POST", "/auth/login", {"email": EMAIL, "password": PASSWORD})
        owner = Client(first, login["token"])
        new = {"name": "changes", "scopes": ["READ_BUDGETS"], "rateLimitPerHour": 1_000_000_000}
        _, key = owner.ask("POST", "/api-keys", new)
        caller = Client(second, key["key"])
        from_put, from_answer = [], []
        for number in range(times):
            status, expected = ("SUSPENDED", 403) if number % 2 == 0 else ("ACTIVE", 200)
            began, answered, seen = change(owner, caller, key["id"], status, expected)
            from_put.append((seen - began) * 1000)
            from_answer.append((seen - answered) * 1000)
    print(f"\n{times} changes through one gateway, until another is seen to hold to them, in milliseconds:")
    for name, figures in (("since the PUT was sent", from_put), ("since it was answered", from_answer)):
        figures.sort()
        p50, p99 = figures[len(figures) // 2], figures[min(len(figures) - 1, int(len(figures) * 0.99))]
        print(f"{name:28}p50 {p50:7.1f}   p99 {p99:7.1f}   max {figures[-1]:7.1f}")


def change(owner: Client, caller: Client, key_id: str, status: str, expected: int) -> tuple[float, float, float]:
    """PUT *status* while asking all the time; gives when that was sent, when answered, and when *expected* was seen."""
    answered: list[float] = []

    def put() -> None:
        code, body = owner.ask("PUT", f"/api-keys/{key_id}", {"status": status})
        assert code == 200, body
        answered.append(time.perf_counter())

    thread = threading.Thread(target=put)
    began = time.perf_counter()
    thread.start()
    while True:
        code, _ = caller.ask("GET", PATH)
        now = time.perf_counter()
        if code == expected:
            break
        if now - began > DEADLINE_S:
            raise TimeoutError(f"{status} is not in force after {DEADLINE_S} s: {code}")
    thread.join()
    return began, answered[0], now
