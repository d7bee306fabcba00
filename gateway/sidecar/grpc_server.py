"""Envoy's own services, on a listener of their own: decisions, and reports of how requests ended.

Imported only where `sidecar.grpc` is set, as it needs the extra `grpc`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import grpc

from gateway.sidecar.access_log import AccessLog
from gateway.sidecar.ext_authz import Checks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.settings.schema import GrpcListener
    from gateway.sidecar.endpoints import Sidecar

UNDER_WAY_MAX: Final = 4096
"""Calls of one worker at the same time; further ones are refused, which Envoy answers with 503."""
OPTIONS: Final = (("grpc.so_reuseport", 1), ("grpc.max_receive_message_length", 1024 * 1024))


@asynccontextmanager
async def answering(sidecar: Sidecar, listener: GrpcListener, patience_s: float) -> AsyncIterator[None]:
    """Answer on *listener* while the block runs, then let what is under way finish for *patience_s*.

    Every worker listens there by itself; the system spreads connections over them. Raises OSError when it cannot.
    """
    server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=UNDER_WAY_MAX)
    checks, access_log = Checks(sidecar.decisions, sidecar.journal), AccessLog(sidecar.outcomes)
    server.add_generic_rpc_handlers((checks.handlers(), access_log.handlers()))
    host = f"[{listener.address}]" if ":" in listener.address else listener.address
    try:
        server.add_insecure_port(f"{host}:{listener.port}")
    except RuntimeError as error:
        raise OSError(f"sidecar.grpc: cannot listen on {host}:{listener.port}") from error
    await server.start()
    try:
        yield
    finally:
        await server.stop(patience_s)
