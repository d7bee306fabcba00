"""The upstream of the benchmark: answers every request with 1 KiB of JSON, as fast as Python can."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import httptools

BODY = b'{"data":"' + b"x" * 1013 + b'"}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Tue, 24 Nov 2026 16:00:00 GMT\r\nContent-Type: application/json\r\n"
    b'ETag: "abc"\r\nCache-Control: private\r\nContent-Length: %d\r\n\r\n' % len(BODY)
) + BODY


class Answering(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(ANSWER)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(int(sys.argv[1])))
