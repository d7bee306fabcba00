"""A WebSocket between a client and a server that people use, aiohttp's both, through the gateway."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from aiohttp import ClientSession, WSMsgType, web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.backends import Connection, Received
    from tests.gateways import Gateway


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Send every message back, and its length after it."""
    answer = web.WebSocketResponse(protocols=("chat",), max_msg_size=0)
    await answer.prepare(request)
    async for message in answer:
        if message.type is WSMsgType.TEXT:
            await answer.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await answer.send_bytes(message.data)
        await answer.send_str(str(len(message.data)))
        if message.data == "enough":
            await answer.close(code=4321, message=b"as you wish")
    return answer


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    application = web.Application()
    application.router.add_get("/{path:.*}", echo)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def through_to(port: int, request: Received, connection: Connection) -> None:
    """Have the server at *port* answer a request of the recording backend's."""
    with socket.create_connection(("127.0.0.1", port)) as server:
        server.sendall(request.head)

        def down() -> None:
            with suppress(OSError):
                while data := server.recv(1 << 16):
                    connection.send(data)
            connection.close()

        thread = threading.Thread(target=down)
        thread.start()
        for piece in connection.reader.rest():
            server.sendall(piece)
        server.shutdown(socket.SHUT_WR)
        thread.join()


async def test_messages_of_all_kinds_and_sizes_pass_and_so_does_the_farewell(gateway: Gateway) -> None:
    loop = asyncio.get_running_loop()
    headers = {"Authorization": f"Bearer {await loop.run_in_executor(None, lambda: gateway.readonly)}"}
    url = f"{gateway.url}/api/public/sockets/1"
    async with serving() as port, ClientSession(headers=headers) as session, asyncio.timeout(20):
        gateway.backend.answer = lambda request, connection: through_to(port, request, connection)
        for compress in (0, 15):
            options = {"protocols": ("other", "chat"), "compress": compress, "max_msg_size": 0}
            async with session.ws_connect(url, **options) as client:
                assert (client.protocol, client.compress) == ("chat", compress)
                await client.send_str("Grüße")
                assert [await client.receive_str() for _ in range(2)] == ["Grüße", "5"]
                for size in (0, 125, 126, 65536, 5_000_000):
                    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
                    await client.send_bytes(data)
                    assert await client.receive_bytes() == data
                    assert await client.receive_str() == str(size)
                await client.ping()
                await client.send_str("enough")
                assert [await client.receive_str() for _ in range(2)] == ["enough", "6"]
                assert (await client.receive()).data == 4321
                assert client.close_code == 4321
