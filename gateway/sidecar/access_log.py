"""Reports by Envoy's access log service, `envoy.service.accesslog.v3`: how requests ended, over gRPC.

Envoy collects for up to a second and does not ask for an answer; what it cannot send is lost, and its events stay as
they are. Needs the extra `grpc`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc

from gateway.sidecar.envoy_messages import StreamAccessLogsMessage, StreamAccessLogsResponse, reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.accounting.outcomes import Outcomes

SERVICE: Final = "envoy.service.accesslog.v3.AccessLogService"
EVENT_TAG: Final = "gateway_event_id"
"""The custom tag that names the usage event, in the rendered configuration."""
CLIENT_GONE: Final = 499
"""The status of a request that nobody waited for, as nginx has it; Envoy says 0."""


class AccessLog:
    """Takes the streams of any number of Envoys."""

    def __init__(self, outcomes: Outcomes) -> None:
        """Report to *outcomes*."""
        self._outcomes = outcomes

    def handlers(self) -> Any:
        """Give them as gRPC takes them."""
        take = grpc.stream_unary_rpc_method_handler(
            self.take,
            request_deserializer=reader(StreamAccessLogsMessage),
            response_serializer=StreamAccessLogsResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"StreamAccessLogs": take})

    async def take(self, messages: AsyncIterator[Any], context: Any) -> Any:
        """Report what one stream brings, as long as it lasts."""
        async for message in messages:
            if message is None:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "this is no StreamAccessLogsMessage")
            for entry in message.http_logs.log_entry:
                self._report(entry)
        return StreamAccessLogsResponse()

    def _report(self, entry: Any) -> None:
        common = entry.common_properties
        event_id = next((tag.value for tag in common.custom_tags if tag.key == EVENT_TAG), "")
        sent, answered = common.time_to_first_upstream_tx_byte, common.time_to_first_upstream_rx_byte
        upstream_us = microseconds(answered) - microseconds(sent)
        self._outcomes.report(
            event_id,
            entry.response.response_code.value or CLIENT_GONE,
            microseconds(common.duration),
            entry.request.request_body_bytes,
            entry.response.response_body_bytes,
            upstream_us if upstream_us > 0 else None,
        )


def microseconds(duration: Any) -> int:
    """Give a `google.protobuf.Duration` in microseconds."""
    return int(duration.seconds * 1_000_000 + duration.nanos // 1000)
