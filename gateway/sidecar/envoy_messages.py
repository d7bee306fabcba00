"""Envoy's messages, as far as they are read or written here: a subset of its API v3, with its numbers.

Readers pass over what they do not know, which is how protobuf lets an API grow, so a subset is as good as the whole.
The packages that bring all of it take 120 MB, and bring modules such as `opentelemetry` and `validate` that are those
of others. Needs the extra `grpc`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}
_PACKAGE: Final = "gateway.envoy"
_MESSAGES: Final[dict[str, dict[str, tuple[int, str]]]] = {
    # envoy.config.core.v3; a map is a list of entries with key and value.
    "HeaderValue": {"key": (1, "string"), "value": (2, "string"), "raw_value": (3, "bytes")},
    "HeaderMap": {"headers": (1, "HeaderValue*")},
    "HeaderValueOption": {"header": (1, "HeaderValue"), "append_action": (3, "int32")},
    "Text": {"text": (3, "string")},
    "Pair": {"key": (1, "string"), "value": (2, "string")},
    "Member": {"key": (1, "string"), "value": (2, "Text")},
    "Members": {"fields": (1, "Member*")},
    # envoy.service.auth.v3
    "HttpRequest": {
        "method": (2, "string"),
        "headers": (3, "Pair*"),
        "path": (4, "string"),
        "header_map": (13, "HeaderMap"),
    },
    "Request": {"http": (2, "HttpRequest")},
    "AttributeContext": {"request": (4, "Request")},
    "CheckRequest": {"attributes": (1, "AttributeContext")},
    "Code": {"code": (1, "int32")},
    "DeniedHttpResponse": {"status": (1, "Code"), "headers": (2, "HeaderValueOption*"), "body": (3, "string")},
    "OkHttpResponse": {
        "headers": (2, "HeaderValueOption*"),
        "headers_to_remove": (5, "string*"),
        "response_headers_to_add": (6, "HeaderValueOption*"),
    },
    "CheckResponse": {
        "status": (1, "Code"),
        "denied_response": (2, "DeniedHttpResponse"),
        "ok_response": (3, "OkHttpResponse"),
        "dynamic_metadata": (4, "Members"),
    },
    # envoy.data.accesslog.v3 and envoy.service.accesslog.v3
    "Duration": {"seconds": (1, "int64"), "nanos": (2, "int32")},
    "AccessLogCommon": {
        "time_to_first_upstream_tx_byte": (7, "Duration"),
        "time_to_first_upstream_rx_byte": (9, "Duration"),
        "time_to_last_downstream_tx_byte": (12, "Duration"),
        "custom_tags": (22, "Pair*"),
        "duration": (23, "Duration"),
    },
    "HTTPRequestProperties": {"request_body_bytes": (12, "uint64")},
    "Whole": {"value": (1, "uint32")},
    "HTTPResponseProperties": {"response_code": (1, "Whole"), "response_body_bytes": (3, "uint64")},
    "HTTPAccessLogEntry": {
        "common_properties": (1, "AccessLogCommon"),
        "request": (3, "HTTPRequestProperties"),
        "response": (4, "HTTPResponseProperties"),
    },
    "HTTPAccessLogEntries": {"log_entry": (1, "HTTPAccessLogEntry*")},
    "StreamAccessLogsMessage": {"http_logs": (2, "HTTPAccessLogEntries")},
    "StreamAccessLogsResponse": {},
}
"""By message and field: its number and type, with a star where it is repeated."""


def _described() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="gateway/envoy.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            plain = kind.removesuffix("*")
            label = _Field.LABEL_OPTIONAL if plain == kind else _Field.LABEL_REPEATED
            described = message.field.add(name=field, number=number, label=label)
            described.type = _SCALARS.get(plain, _Field.TYPE_MESSAGE)
            if plain not in _SCALARS:
                described.type_name = f".{_PACKAGE}.{plain}"
    return file


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()  # Of our own: another one may have Envoy's whole API.
    pool.Add(_described())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


def reader(kind: Any) -> Callable[[bytes], Any | None]:
    """Give what reads a message of a *kind*: None where the bytes are none, which gRPC itself would take for a bug."""

    def read(data: bytes) -> Any | None:
        try:
            return kind.FromString(data)
        except DecodeError:
            return None

    return read


_made: Final = _classes()
CheckRequest: Final = _made["CheckRequest"]
CheckResponse: Final = _made["CheckResponse"]
StreamAccessLogsMessage: Final = _made["StreamAccessLogsMessage"]
StreamAccessLogsResponse: Final = _made["StreamAccessLogsResponse"]
