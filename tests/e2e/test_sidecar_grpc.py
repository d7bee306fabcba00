"""Envoy's own services, asked by a client that is not Envoy: nothing odd is ever an admission, and nonsense does no harm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from gateway.sidecar.access_log import EVENT_TAG
from gateway.sidecar.envoy_messages import (
    CheckRequest,
    CheckResponse,
    StreamAccessLogsMessage,
    StreamAccessLogsResponse,
)
from tests.demos import wait_until
from tests.sidecar_cases import BUDGETS, SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.proxies import Modes

CHECK = "/envoy.service.auth.v3.Authorization/Check"
LOG = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
OK, PERMISSION_DENIED = 0, 7


class Asking:
    """A channel to the gateway's listener."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._check = channel.unary_unary(CHECK, CheckRequest.SerializeToString, CheckResponse.FromString)
        self._raw = channel.unary_unary(CHECK)
        self._log = channel.stream_unary(
            LOG, StreamAccessLogsMessage.SerializeToString, StreamAccessLogsResponse.FromString
        )

    def check(self, path: str, *headers: tuple[str, str], method: str = "GET", joined: bool = False) -> Any:
        """Ask with *headers* as they came, or *joined* as texts."""
        pairs = [{"key": name, "value": value} for name, value in headers]
        raw = [{"key": name, "raw_value": value.encode()} for name, value in headers]
        told = {"headers": pairs} if joined else {"header_map": {"headers": raw}}
        http = {"method": method, "path": path, **told}
        return self._check(CheckRequest(attributes={"request": {"http": http}}), timeout=5)

    def send(self, data: bytes) -> Any:
        """Send exactly these bytes as a question."""
        return CheckResponse.FromString(self._raw(data, timeout=5))

    def report(self, *entries: dict[str, Any]) -> None:
        """Send entries of an access log."""
        self._log(iter([StreamAccessLogsMessage(http_logs={"log_entry": list(entries)})]), timeout=5)


@pytest.fixture(scope="module")
def asking(modes: Modes) -> Iterator[Asking]:
    port = modes.gateway.document["sidecar"]["grpc"]["port"]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Asking(channel)


def bearer(key: str) -> tuple[str, str]:
    return "authorization", f"Bearer {key}"


@pytest.mark.parametrize("joined", [False, True])
def test_an_admission_says_who_asks_and_what_to_remove(modes: Modes, asking: Asking, joined: bool) -> None:
    answer = asking.check(f"/v1{BUDGETS}?a=%2Fb", bearer(modes.gateway.readonly), joined=joined)
    assert answer.status.code == OK
    told = {one.header.key: one.header.value for one in answer.ok_response.headers}
    assert (told["X-Gateway-Upstream"], told["X-Gateway-Target"]) == ("budgets", f"{BUDGETS}?a=%2Fb")
    assert (told["X-Gateway-Route"], told["X-Gateway-Path"]) == ("budgets.read", BUDGETS)
    assert told["X-Gateway-Scopes"] == "READ_BUDGETS"
    assert list(answer.ok_response.headers_to_remove) == ["Authorization"]
    client = {one.header.key for one in answer.ok_response.response_headers_to_add}
    assert {"X-Request-Id", "X-RateLimit-Remaining", "RateLimit"} <= client
    assert not any(name.startswith("X-Gateway") for name in client)


def test_on_a_public_route_a_clients_own_identity_is_removed(asking: Asking) -> None:
    removed = asking.check(SHARED, ("authorization", "Basic YTpi")).ok_response.headers_to_remove
    assert list(removed) == ["X-Gateway-Key-Id", "X-Gateway-Account-Id", "X-Gateway-Scopes", "X-Gateway-Identity"]


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("", "GET"),
        (BUDGETS, ""),
        (BUDGETS, "get"),
        ("api", "GET"),
        ("ed/a", "GET"),
        (f"http://a{BUDGETS}", "GET"),
        (f"/{BUDGETS}", "GET"),
        (f"/a/..{BUDGETS}", "GET"),
        ("*", "OPTIONS"),
        ("/é", "GET"),
        ("/\x00", "GET"),
    ],
)
def test_what_is_not_clearly_told_is_never_admitted(modes: Modes, asking: Asking, path: str, method: str) -> None:
    answer = asking.check(path, bearer(modes.gateway.everything), method=method)
    assert (answer.status.code, answer.denied_response.status.code) == (PERMISSION_DENIED, 400)
    assert '"bad_request"' in answer.denied_response.body
    assert not answer.HasField("ok_response")


def test_a_key_twice_is_refused(modes: Modes, asking: Asking) -> None:
    key = bearer(modes.gateway.everything)
    assert asking.check(BUDGETS, key, key).denied_response.status.code == 400
    assert asking.check(BUDGETS, key, ("X-API-Key", modes.gateway.readonly)).denied_response.status.code == 400


def test_an_address_that_is_not_told_is_on_no_list(modes: Modes, asking: Asking) -> None:
    key = bearer(modes.gateway.make_key("READ_BUDGETS", allowed_ips=["127.0.0.0/8", "203.0.113.7"]))
    assert asking.check(BUDGETS, key).denied_response.status.code == 403
    assert asking.check(BUDGETS, key, ("x-forwarded-for", "203.0.113.7")).status.code == OK


def test_bytes_that_are_no_question_are_answered_with_no_admission(asking: Asking) -> None:
    assert asking.send(b"").denied_response.status.code == 400
    for nonsense in (b"\xff" * 100, b"\x0a\x05", CheckRequest(attributes={}).SerializeToString() + b"\x0f"):
        with pytest.raises(grpc.RpcError) as refused:
            asking.send(nonsense)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert asking.check(SHARED).status.code == OK


def test_a_log_that_names_no_event_changes_nothing(modes: Modes, asking: Asking) -> None:
    series = 'gateway_outcome_reports_total{result="malformed"}'
    before = modes.gateway.metric(series)
    tags = [{"key": EVENT_TAG, "value": "nobody"}]
    asking.report({}, {"common_properties": {"custom_tags": tags}, "response": {"response_code": {"value": 200}}})
    assert wait_until(lambda: modes.gateway.metric(series) == before + 2, 5)
