"""The three clients that the API Keys page shows: curl, fetch of Node.js, and requests of Python."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import requests

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_TIMEOUT_S = 10.0
_CURL = 'curl -sS -i --noproxy "*" --max-time 10 '
_NODE = """
import { createInterface } from "node:readline";
for await (const line of createInterface({ input: process.stdin })) {
  const { url, ...options } = JSON.parse(line);
  const response = await fetch(url, options);
  const body = await response.text();
  console.log(JSON.stringify({ status: response.status, headers: Object.fromEntries(response.headers), body }));
}
"""


def tool(name: str, package: str) -> str:
    """The path of a program that these tests run."""
    path = shutil.which(name)
    assert path, f"{name} is not installed, and the examples of the page need it: apt install {package}"
    return path


@dataclass(frozen=True)
class Request:
    """What an example sends."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None

    @classmethod
    def of(cls, command: str) -> Self:
        """Read a curl command in the page's style."""
        method, url = re.findall(r'curl -X ([A-Z]+) "([^"]*)"', command)[0]
        headers = dict(text.split(": ", 1) for text in re.findall(r'-H "([^"]*)"', command))
        return cls(method, url, headers, next(iter(re.findall(r"-d '([^']*)'", command)), None))

    @property
    def command(self) -> str:
        """This as a curl command in the page's style."""
        lines = [f'curl -X {self.method} "{self.url}"']
        lines += [f'-H "{name}: {value}"' for name, value in self.headers.items()]
        lines += [] if self.body is None else [f"-d '{self.body}'"]
        return " \\\n".join(lines)


@dataclass(frozen=True)
class Answered:
    """What a client makes of an answer; names of fields are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document


class Curl:
    """Runs the commands in a shell, as they are pasted."""

    def __enter__(self) -> Self:
        tool("curl", "curl")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing runs between two commands."""

    def send(self, request: Request) -> Answered:
        return self.run(request.command)

    def run(self, command: str) -> Answered:
        """Run *command*, which is told to show the head too."""
        assert command.startswith("curl ")
        done = subprocess.run(
            ["bash", "-c", _CURL + command.removeprefix("curl ")], capture_output=True, timeout=_TIMEOUT_S, check=False
        )
        assert done.returncode == 0, done.stderr
        head, _, body = done.stdout.decode().partition("\r\n\r\n")
        status, *fields = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in fields)}
        return Answered(int(status.split(" ")[1]), headers, body)


class Fetch:
    """Has one Node.js process ask with its `fetch`."""

    def __enter__(self) -> Self:
        command = [tool("node", "nodejs"), "--input-type=module", "-e", _NODE]
        self._node = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._node.kill()
        self._node.communicate(timeout=_TIMEOUT_S)

    def send(self, request: Request) -> Answered:
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        self._node.stdin.write(json.dumps(request.__dict__) + "\n")
        self._node.stdin.flush()
        return Answered(**json.loads(self._node.stdout.readline()))


class Requests:
    """Asks with the Python library that the page names."""

    def __enter__(self) -> Self:
        self._session = requests.Session()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def send(self, request: Request) -> Answered:
        answer = self._session.request(
            request.method, request.url, headers=request.headers, data=request.body, timeout=_TIMEOUT_S
        )
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Answered(answer.status_code, headers, answer.text)
