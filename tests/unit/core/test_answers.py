"""Answers of our own: compact JSON, and the envelope of errors (contract section 5)."""

from __future__ import annotations

import json

from gateway.core import decision as d
from gateway.core.answers import error_answer, json_answer
from gateway.core.denials import refuse

NOW = 1_798_761_600.5


def test_an_error_has_its_envelope() -> None:
    answer = error_answer(refuse(d.KeyRevoked("bk_live_1234")), "req_0123456789abcdef", NOW)
    assert (answer.status, answer.outcome, answer.close) == (401, "api_key_revoked", False)
    assert json.loads(answer.body) == {
        "error": "api_key_revoked",
        "message": "API key has been revoked",
        "details": {"keyPrefix": "bk_live_1234"},
        "timestamp": "2027-01-01T00:00:00.500Z",
        "requestId": "req_0123456789abcdef",
    }
    assert answer.headers[0] == ("Content-Type", "application/json; charset=utf-8")
    assert "WWW-Authenticate" in dict(answer.headers)


def test_an_error_without_details_has_no_such_member() -> None:
    answer = error_answer(refuse(d.BadRequest("Two readings")), "req_1", NOW)
    assert set(json.loads(answer.body)) == {"error", "message", "timestamp", "requestId"}
    assert answer.close


def test_json_is_compact_and_utf_8() -> None:
    answer = json_answer(201, {"name": "Zoë", "tags": [1, None]}, (("Location", "/x"),))
    assert answer.body == '{"name":"Zoë","tags":[1,null]}'.encode()
    assert answer.headers == (("Content-Type", "application/json; charset=utf-8"), ("Location", "/x"))
    assert (answer.status, answer.outcome) == (201, "admitted")
