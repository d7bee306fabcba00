"""`make bench-bodies`: large bodies through the gateway and through a bare pass-through, side by side in one run.

Rounds are interleaved; printed are the medians of the throughputs, of their ratio within each round, and how far the
memory of the gateway's worker grew above what it had before. Measured processes have core 0, all else the last core.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from gateway.embedded.listening import free_port
from tests.bench.__main__ import last_core, spawn, wait_for
from tests.bench.stack import ROOT, started_gateway

PIECE = bytes(1 << 20)
PATH = "/api/public/bodies"
SAMPLE_S = 0.02


def configured(directory: Path) -> Path:
    """The project's own settings with a route for large bodies."""
    document = yaml.safe_load((ROOT / "gateway.yaml").read_text(encoding="utf-8"))
    document["upstreams"]["budgets"]["timeouts"] = {"total_s": 3600}
    route = {"name": "bodies", "methods": ["GET", "POST"], "path": PATH, "scope": "READ_BUDGETS", "upstream": "budgets"}
    document["routes"].append(route | {"body_max_bytes": 1 << 40})
    path = directory / "gateway.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def read_head(sock: socket.socket) -> tuple[bytes, int]:
    """Read a head; gives it, and how many bytes of the body came along."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            raise ConnectionError("no head")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head.lower(), len(rest)


def read_all(sock: socket.socket, missing: int) -> None:
    buffer = bytearray(1 << 20)
    while missing > 0:
        count = sock.recv_into(buffer)
        if not count:
            raise ConnectionError(f"{missing} bytes are missing")
        missing -= count


def transfer(port: int, key: str, upload: int, download: int) -> float:
    """Send a body of *upload* bytes and get one of *download*; gives the seconds that it took."""
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        method = "POST" if upload else "GET"
        head = f"{method} {PATH} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nX-Size: {download}\r\n"
        sock.sendall(f"{head}Content-Length: {upload}\r\n\r\n".encode() if upload else f"{head}\r\n".encode())
        for _ in range(upload >> 20):
            sock.sendall(PIECE)
        answer, came = read_head(sock)
        if b" 200 " not in answer:
            raise ValueError(answer)
        read_all(sock, download - came)
    return time.perf_counter() - began


def serve(port: int) -> None:
    """The upstream: takes any body, and gives one of the size that was asked for."""

    def answer(sock: socket.socket) -> None:
        with sock:
            while True:
                try:
                    head, came = read_head(sock)
                except ConnectionError:
                    return
                if b"transfer-encoding" in head:
                    while not sock.recv(1 << 20).endswith(b"0\r\n\r\n"):
                        pass
                elif b"content-length: " in head:
                    read_all(sock, int(head.split(b"content-length: ")[1].split(b"\r\n")[0]) - came)
                size = int(head.split(b"x-size: ")[1].split(b"\r\n")[0])
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                for _ in range(size >> 20):
                    sock.sendall(PIECE)

    with socket.create_server(("127.0.0.1", port), backlog=64) as listener:
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


@dataclass
class Subject:
    """Who is measured: its process, and for each direction the throughputs (MB/s) and the growth of memory (MB)."""

    name: str
    port: int
    pid: int
    speeds: dict[str, list[float]] = field(default_factory=lambda: {"upload": [], "download": []})
    growth: dict[str, list[float]] = field(default_factory=lambda: {"upload": [], "download": []})


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096


def measure(subject: Subject, direction: str, key: str, size: int) -> None:
    sizes = [size, 0] if direction == "upload" else [0, size]
    arguments = [str(argument) for argument in (subject.port, key, *sizes)]
    command = ["taskset", "-c", last_core(), sys.executable, "-m", "tests.bench.bodies", "transfer", *arguments]
    before = highest = resident(subject.pid)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        highest = max(highest, resident(subject.pid))
        time.sleep(SAMPLE_S)  # noqa: TID251  # a benchmark serves nobody
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{subject.name}: the {direction} failed")
    subject.speeds[direction].append(size / float(output) / 1e6)
    subject.growth[direction].append((highest - before) / 1e6)


def report(bare: Subject, gateway: Subject, size: int) -> None:
    print(f"\n{size >> 20} MiB, medians{'':10}{'bare MB/s':>12}{'gateway MB/s':>14}{'ratio':>8}{'worker grew, MB':>17}")
    for direction in ("upload", "download"):
        slow, fast = bare.speeds[direction], gateway.speeds[direction]
        ratio = statistics.median(own / base for base, own in zip(slow, fast, strict=True))
        print(
            f"{direction:24}{statistics.median(slow):12.0f}{statistics.median(fast):14.0f}{ratio:8.2f}"
            f"{max(gateway.growth[direction]):17.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-bodies", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mebibytes", type=int, default=2048)
    options = parser.parse_args()
    size = options.mebibytes << 20
    upstream_port, bare_port = free_port(), free_port()
    upstream = f"http://127.0.0.1:{upstream_port}"
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
        spawn(stack, last_core(), "tests.bench.bodies", "serve", str(upstream_port))
        bare_process = spawn(stack, "0", "tests.bench.pass_through", str(bare_port), upstream)
        running = stack.enter_context(started_gateway(directory, upstream, last_core(), configured(directory)))
        wait_for(upstream_port)
        wait_for(bare_port)
        bare = Subject("bare", bare_port, bare_process.pid)
        gateway = Subject("gateway", running.port, running.worker)
        for subject in (bare, gateway):  # The first transfers warm up.
            measure(subject, "upload", running.key, 64 << 20)
            measure(subject, "download", running.key, 64 << 20)
            subject.speeds = {"upload": [], "download": []}
        for _ in range(options.rounds):
            for direction in ("upload", "download"):
                for subject in (bare, gateway):
                    measure(subject, direction, running.key, size)
        report(bare, gateway, size)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]))
    elif sys.argv[1:2] == ["transfer"]:
        print(transfer(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
    else:
        main()
