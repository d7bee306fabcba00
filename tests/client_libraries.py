"""Clients that people have: curl, requests, httpx, aiohttp, and Node's undici, all asked in the same words."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import aiohttp
import httpx
import requests

from tests.page.clients import tool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TIMEOUT_S = 15.0
# undici is Node's own `fetch`.
_NODE = """
import { createInterface } from "node:readline";
for await (const line of createInterface({ input: process.stdin })) {
  const { url, body, ...options } = JSON.parse(line);
  if (body !== null) options.body = Buffer.from(body, "base64");
  const response = await fetch(url, options);
  const read = Buffer.from(await response.arrayBuffer()).toString("base64");
  console.log(JSON.stringify({ status: response.status, headers: Object.fromEntries(response.headers), body: read }));
}
"""


@dataclass(frozen=True)
class Asking:
    """One request."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


@dataclass(frozen=True)
class Answered:
    """What a client makes of an answer, with its body decoded; names of fields are in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str], body: bytes) -> Self:
        return cls(status, {name.lower(): value for name, value in headers.items()}, body)


class Client(Protocol):
    """Asks one request after another, on *connections* at most as far as the server lets it."""

    connections: ClassVar[int]

    def send(self, asked: Sequence[Asking]) -> list[Answered]: ...


class Curl:
    """One command for all of them, with a transfer each."""

    connections = 1

    def send(self, asked: Sequence[Asking]) -> list[Answered]:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            command = [tool("curl", "curl"), "-sS", "--noproxy", "*", "--max-time", str(_TIMEOUT_S)]
            for number, asking in enumerate(asked):
                command += ["--next"] if number else []
                command += ["-X", asking.method, "--compressed", "-D", str(directory / f"{number}.head")]
                command += ["-o", str(directory / f"{number}.body"), asking.url]
                for field, value in asking.headers.items():
                    command += ["-H", f"{field}: {value}"]
                if asking.body is not None:
                    (directory / f"{number}.sent").write_bytes(asking.body)
                    command += ["--data-binary", f"@{directory / f'{number}.sent'}"]
            subprocess.run(command, check=True, timeout=_TIMEOUT_S)
            return [self._read(directory, number) for number in range(len(asked))]

    @staticmethod
    def _read(directory: Path, number: int) -> Answered:
        # A go-ahead comes before the answer's own head.
        head = (directory / f"{number}.head").read_bytes().decode("latin-1").strip().split("\r\n\r\n")[-1]
        status, *fields = head.split("\r\n")
        body = directory / f"{number}.body"
        headers = dict(line.split(": ", 1) for line in fields if ": " in line)
        return Answered.of(int(status.split(" ")[1]), headers, body.read_bytes() if body.exists() else b"")


class Requests:
    connections = 1

    def send(self, asked: Sequence[Asking]) -> list[Answered]:
        with requests.Session() as session:
            return [self._one(session, asking) for asking in asked]

    @staticmethod
    def _one(session: requests.Session, asking: Asking) -> Answered:
        answer = session.request(
            asking.method, asking.url, headers=dict(asking.headers), data=asking.body, timeout=_TIMEOUT_S
        )
        return Answered.of(answer.status_code, answer.headers, answer.content)


class Httpx:
    connections = 1

    def send(self, asked: Sequence[Asking]) -> list[Answered]:
        with httpx.Client(timeout=_TIMEOUT_S, trust_env=False) as client:
            answers = [
                client.request(asking.method, asking.url, headers=asking.headers, content=asking.body)
                for asking in asked
            ]
        return [Answered.of(answer.status_code, answer.headers, answer.content) for answer in answers]


class Aiohttp:
    connections = 1

    def send(self, asked: Sequence[Asking]) -> list[Answered]:
        return asyncio.run(self._all(asked))

    @staticmethod
    async def _all(asked: Sequence[Asking]) -> list[Answered]:
        answers = []
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for asking in asked:
                body = None if asking.body is None else io.BytesIO(asking.body)
                request = session.request(asking.method, asking.url, headers=asking.headers, data=body)
                async with request as answer:
                    answers.append(Answered.of(answer.status, answer.headers, await answer.read()))
        return answers


class Undici:
    # After its first request it opens another one, whoever answers.
    connections = 2

    def send(self, asked: Sequence[Asking]) -> list[Answered]:
        lines = "".join(json.dumps(self._line(asking)) + "\n" for asking in asked)
        command = [tool("node", "nodejs"), "--input-type=module", "-e", _NODE]
        done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        return [
            Answered.of(answer["status"], answer["headers"], base64.b64decode(answer["body"])) for answer in answers
        ]

    @staticmethod
    def _line(asking: Asking) -> dict[str, Any]:
        body = None if asking.body is None else base64.b64encode(asking.body).decode()
        return {"method": asking.method, "url": asking.url, "headers": dict(asking.headers), "body": body}


CLIENTS: dict[str, type[Client]] = {
    "curl": Curl,
    "requests": Requests,
    "httpx": Httpx,
    "aiohttp": Aiohttp,
    "undici": Undici,
}
