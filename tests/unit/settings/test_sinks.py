"""usage.sinks: which places usage events go to, and what is said about mistakes in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.settings.conftest import STORES, TRAFFIC

if TYPE_CHECKING:
    from tests.unit.settings.conftest import Load, Problems


def with_sinks(sinks: str) -> str:
    return f"{STORES}{TRAFFIC}usage:\n  sinks: {sinks}\n"


def test_postgres_alone_is_the_default(loaded: Load) -> None:
    sinks = loaded(STORES + TRAFFIC).usage.sinks
    assert (sinks.postgres, sinks.redis_stream, sinks.json_lines, sinks.source) == (True, None, None, "/gateway")


def test_all_sinks_can_be_had_at_once(loaded: Load) -> None:
    text = (
        '{redis_stream: {url: "redis://x:6379/1", stream: s, max_length: 5000}, json_lines: {path: -}, source: urn:x}'
    )
    sinks = loaded(with_sinks(text)).usage.sinks
    assert sinks.postgres
    assert sinks.redis_stream is not None
    assert sinks.redis_stream.url is not None
    assert sinks.redis_stream.url.get_secret_value() == "redis://x:6379/1"
    assert (sinks.redis_stream.stream, sinks.redis_stream.max_length, sinks.source) == ("s", 5000, "urn:x")
    assert sinks.json_lines is not None
    assert sinks.json_lines.path == "-"


def test_a_section_without_settings_has_its_defaults(loaded: Load) -> None:
    sinks = loaded(with_sinks("{redis_stream: {}, postgres: false}")).usage.sinks
    assert not sinks.postgres
    assert sinks.redis_stream is not None
    assert (sinks.redis_stream.url, sinks.redis_stream.stream) == (None, "gateway:usage")


@pytest.mark.parametrize(
    ("sinks", "said"),
    [
        ("{postgres: false}", "usage.sinks has none; expected at least one of postgres, redis_stream and json_lines"),
        ("{redis_stream: {strea: x}}", "usage.sinks.redis_stream.strea is not a known setting; did you mean stream?"),
        ("{redis: {}}", "usage.sinks.redis is not a known setting"),
        ("{redis_stream: {max_length: 5}}", "usage.sinks.redis_stream.max_length is 5; expected at least 1000"),
        ("{json_lines: file}", "usage.sinks.json_lines is a text; expected a mapping"),
        ('{source: "a b"}', 'usage.sinks.source: "a b" cannot be used; expected a URI, or a path such as /gateway'),
    ],
)
def test_mistakes_are_told(problems: Problems, sinks: str, said: str) -> None:
    (problem,) = problems(with_sinks(sinks))
    assert said in problem


def test_a_url_is_never_shown(loaded: Load, problems: Problems) -> None:
    (problem,) = problems(with_sinks('{redis_stream: {url: "http://x:hunter2@y"}}'))
    assert "hunter2" not in problem
    config = loaded(with_sinks('{redis_stream: {url: "redis://:hunter2@y"}}'))
    assert "hunter2" not in repr(config)
