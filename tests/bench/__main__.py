"""`make bench`: the upstream direct, a bare pass-through, the whole gateway and its decisions, side by side in one run.

The figure is the CPU time of the measured process for one request (its own time as the kernel counts it), because it
survives a busy machine; requests per second of a core is its inverse. Measured processes have core 0, everything else
has the last core. Rounds are interleaved; printed are medians, of ratios those within each round.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from gateway.embedded.listening import free_port
from tests.bench import load
from tests.bench.fronts import measured_fronts
from tests.bench.stack import started_gateway

PATH = "/api/public/budgets/"
DECISIONS = "/_gateway/authz/envoy"
SETTLE_S = 1.2
"""What the requests leave to do, such as shipping their usage events, is over by then, and is theirs."""


@dataclass
class Subject:
    """Something that is measured: where it listens, which process is timed, and what came out of each round."""

    name: str
    port: int
    pid: int
    path: str = PATH
    cpu_us: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    utilization: list[float] = field(default_factory=list)

    def forget(self) -> None:
        for figures in (self.cpu_us, self.rate, self.utilization):
            figures.clear()


def cpu_ns(pid: int) -> int:
    """Give the time that all threads of *pid* have had on a core, in nanoseconds. Linux only."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def measure(subject: Subject, key: str, seconds: float) -> None:
    before, began = cpu_ns(subject.pid), time.perf_counter()
    command = load.command(subject.port, subject.path, key, seconds)
    output = subprocess.run(["taskset", "-c", last_core(), *command], capture_output=True, text=True, check=True).stdout
    took = time.perf_counter() - began
    time.sleep(SETTLE_S)  # noqa: TID251  # a benchmark serves nobody
    used = cpu_ns(subject.pid) - before
    requests, measured_s = load.parse(output)
    subject.cpu_us.append(used / requests / 1000)
    subject.rate.append(requests / measured_s)
    subject.utilization.append(used / 1e9 / took)


def last_core() -> str:
    return str(max(os.sched_getaffinity(0)))


def spawn(stack: ExitStack, core: str, *arguments: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(["taskset", "-c", core, sys.executable, "-m", *arguments])
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def wait_for(port: int) -> None:
    async def connect() -> None:
        for _ in range(200):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return
        raise TimeoutError(port)

    asyncio.run(connect())


def report(subjects: list[Subject]) -> None:
    bare = next(subject for subject in subjects if subject.name.startswith("bare"))
    print(f"\n{'':34}{'CPU µs/request':>15}{'requests/s of a core':>22}{'seen/s':>9}{'busy':>6}{'x bare':>8}")
    for subject in subjects:
        cost = statistics.median(subject.cpu_us)
        rate, busy = statistics.median(subject.rate), statistics.median(subject.utilization)
        ratio = statistics.median(base / own for base, own in zip(bare.cpu_us, subject.cpu_us, strict=True))
        print(f"{subject.name:34}{cost:15.1f}{1e6 / cost:22,.0f}{rate:9,.0f}{busy:6.0%}{ratio:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    upstream_port, bare_port = free_port(), free_port()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
        upstream = spawn(stack, last_core(), "tests.bench.upstream", str(upstream_port))
        bare = spawn(stack, "0", "tests.bench.pass_through", str(bare_port), f"http://127.0.0.1:{upstream_port}")
        gateway = stack.enter_context(started_gateway(directory, f"http://127.0.0.1:{upstream_port}", last_core()))
        wait_for(upstream_port)
        wait_for(bare_port)
        subjects = [
            Subject("upstream, direct", upstream_port, upstream.pid),
            Subject("bare aiohttp pass-through", bare_port, bare.pid),
            Subject("gateway, every check on", gateway.port, gateway.worker),
            Subject("gateway, decisions for proxies", gateway.admin_port, gateway.worker, DECISIONS + PATH),
        ]
        for number in range(options.rounds + 1):
            for subject in subjects:
                measure(subject, gateway.key, options.seconds if number else 1.0)
                if number == 0:  # The first round warms up.
                    subject.forget()
        report(subjects)
        print(
            f"\n{'one request, µs':34}{'p50 alone':>9}{'asking':>10}{'added':>10}{'p99 alone':>12}{'asking':>10}{'added':>10}"
        )
        for line in measured_fronts(gateway, directory, stack, last_core()):
            print(line)
        print(
            f"\nload: {load.command(0, PATH, '', 0)[0]}, {load.CONNECTIONS} connections, {options.rounds} rounds of "
            f"{options.seconds:.0f} s, answers of 1 KiB; load, upstream and Valkey share the last core"
        )


if __name__ == "__main__":
    main()
