"""Bodies that two parsers could read differently, or that cannot be stored, are refused and never break anything."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.management.bodies import DEPTH_MAX, is_json, read_body
from gateway.management.login import LoginBody
from gateway.management.refusals import Refused
from tests.unit.management.asking import asked_with

if TYPE_CHECKING:
    from gateway.core.denials import Refusal

JSON = "application/json"


def refusal_for(body: bytes, content_type: str = JSON) -> Refusal:
    with pytest.raises(Refused) as refused:
        read_body(asked_with(body, {"Content-Type": content_type}), LoginBody)
    return refused.value.refusal


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xef\xbb\xbf{}",
        b"\x1f\x8b\x08\x00",
        b'{"email":"a","email":"b"}',
        b'{"email":NaN}',
        b'{"email":-Infinity}',
        b'{"email":1e999}',
        b'{"email":' + b"9" * 5000 + b"}",
        b"[" * 60_000,
        b"[" * 100 + b"]" * 100,
        b'{"email":"a","password":"b"} {}',
        b"{'email':'a'}",
    ],
)
def test_what_is_not_one_clear_json_text_is_400(body: bytes) -> None:
    refusal = refusal_for(body)
    assert (refusal.status, refusal.code) == (400, "bad_request")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"{}", {"email", "password"}),
        (b"[]", {""}),
        (b"null", {""}),
        (b'"text"', {""}),
        (b'{"email":1,"password":true}', {"email", "password"}),
        (b'{"email":"","password":""}', {"email", "password"}),
        (b'{"email":"a","password":"b","extra":1}', {"extra"}),
        (rb'{"email":"a\u0000","password":"b\ud800"}', {"email", "password"}),
        (rb'{"email":"a","password":"b","\u0000":1}', {""}),
        (rb'{"email":["\udfff"],"password":"b"}', {"email.0"}),
        (b'{"email":"' + b"a" * 255 + b'","password":"b"}', {"email"}),
        (b'{"email":"a","password":"' + "é".encode() * 513 + b'"}', {"password"}),
    ],
)
def test_every_broken_rule_is_named_with_its_field(body: bytes, fields: set[str]) -> None:
    refusal = refusal_for(body)
    assert (refusal.status, refusal.code) == (422, "validation_error")
    assert refusal.details is not None
    assert {error["field"] for error in refusal.details["errors"]} == fields


def test_a_refusal_never_repeats_what_was_sent() -> None:
    refusal = refusal_for(b'{"email":["hunter2"],"password":["hunter2"],"other":"hunter2"}')
    assert "hunter2" not in repr(refusal)


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/jsonp", "application/json; charset=latin-1", "multipart/form-data"]
)
def test_another_content_type_is_415(content_type: str) -> None:
    assert refusal_for(b'{"email":"a","password":"b"}', content_type).status == 415


@pytest.mark.parametrize(
    "content_type", [JSON, "Application/JSON", "application/json;charset=utf-8", 'application/json; charset="UTF-8"']
)
def test_json_in_utf_8_is_accepted(content_type: str) -> None:
    assert is_json(content_type)


def test_the_deepest_body_that_is_accepted_reaches_the_rules() -> None:
    inner = "[" * (DEPTH_MAX - 1) + "]" * (DEPTH_MAX - 1)
    assert refusal_for(f'{{"email":{inner},"password":"b"}}'.encode()).status == 422


texts = st.text(st.characters(exclude_categories=()))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
)


@given(values | st.fixed_dictionaries({"email": values, "password": values}))
def test_any_json_is_read_or_refused(value: object) -> None:
    asked = asked_with(json.dumps(value).encode(), {"Content-Type": JSON})
    with contextlib.suppress(Refused):
        assert isinstance(read_body(asked, LoginBody), LoginBody)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(body: bytes) -> None:
    assert refusal_for(body).status in {400, 422}
