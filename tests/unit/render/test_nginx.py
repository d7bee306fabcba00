"""What is rendered for nginx says what the settings say; that it works is shown by running it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from gateway.cli.main import main
from gateway.cli.render import front
from gateway.core.headers import ALWAYS_REMOVED, HOP_BY_HOP
from gateway.core.routes import Pattern
from gateway.render.front import NotRenderable, Place, expression
from gateway.render.nginx import nginx_configuration
from gateway.render.nginx_refusals import quoted
from gateway.render.text import milliseconds
from tests.unit.settings.conftest import ENVIRON, STORES, TRAFFIC, loaded

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.settings.conftest import Load

__all__ = ["loaded"]

RIGHT = STORES + TRAFFIC


def test_the_command_writes_a_whole_configuration(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(RIGHT + "sidecar: {socket: /run/decisions.sock}\n")
    result = CliRunner().invoke(main, ["render", "nginx", "-c", str(file), "--listen", "8443"], env=ENVIRON)
    assert result.exit_code == 0, result.output
    assert "listen 8443;" in result.output
    assert "server unix:/run/decisions.sock max_fails=0;" in result.output
    assert result.output.count("{") == result.output.count("}")


def test_every_field_that_a_proxied_request_loses_is_overwritten(loaded: Load) -> None:
    text = nginx_configuration(front(loaded(RIGHT), "80"))
    written = {name.lower() for name in re.findall(r"^ +proxy_set_header (\S+) ", text, re.MULTILINE)}
    framing = {"content-length", "transfer-encoding", "traceparent"}
    assert (HOP_BY_HOP | ALWAYS_REMOVED) - framing <= written
    assert {"x-user-id", "forwarded", "x-gateway-identity", "x-consumer-username", "true-client-ip"} <= written


def test_trusted_proxies_timeouts_and_limits_are_taken_over(loaded: Load) -> None:
    more = "  slow: {targets: ['http://[::1]:81', http://b], timeouts: {first_byte_s: 90.5, total_s: 100}}\nroutes:"
    text = RIGHT.replace("routes:", more) + (
        "  - {name: slow, methods: [GET], path: '/slow/{id:token}/x', public: true, upstream: slow,"
        " body_max_bytes: 99999999}\ntrusted_proxies: [10.0.0.0/8, '2001:db8::/32']\n"
    )
    rendered = nginx_configuration(front(loaded(text), "80"))
    assert "10.0.0.0/8 1;" in rendered
    assert "2001:db8::/32 1;" in rendered
    assert "server [::1]:81 weight=1;" in rendered
    assert "server b:80 weight=1;" in rendered
    assert "proxy_read_timeout 90500ms;" in rendered
    assert "client_max_body_size 99999999;" in rendered
    assert 'location ~ "^(?:/v1)?/slow/[A-Za-z0-9_-]+/x$" {' in rendered


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("/a/**", ["/a", "/a/", "/a/b/c", "/v1/a"], ["/ab", "/v2/a", "/"]),
        ("/a/{id}", ["/a/b", "/v1/a/b"], ["/a", "/a/b/c"]),
        ("/a.b", ["/a.b"], ["/aXb"]),
        ("/**", ["/", "", "/a"], []),
    ],
)
def test_a_pattern_of_ours_is_a_regular_expression(text: str, good: list[str], bad: list[str]) -> None:
    found = re.compile(expression(Pattern.parse(text), ("/v1",)))
    assert [path for path in good if not found.match(path)] == []
    assert [path for path in bad if found.match(path)] == []


def test_texts_and_addresses_are_written_as_nginx_reads_them() -> None:
    assert quoted("it's \\ $here") == "'it\\'s \\\\ $here'"
    assert (Place("::1", 80).authority, Place("a", 8000).authority) == ("[::1]:80", "a:8000")
    assert (milliseconds(0.6), milliseconds(30)) == ("600ms", "30000ms")


def test_what_nginx_does_not_carry_is_said(loaded: Load) -> None:
    more = "  - {name: live, methods: [GET], path: /live, scope: READ, upstream: things, websocket: true}\n"
    rendered = nginx_configuration(front(loaded(RIGHT + more + "cors: {origins: [https://a.example]}\n"), "80"))
    assert "# NOT CARRIED: WebSocket, which these routes have: live." in rendered
    assert "# NOT CARRIED: CORS, which these routes have: things.read, live." in rendered
    assert "NOT CARRIED" not in nginx_configuration(front(loaded(RIGHT), "80"))


def test_a_target_that_speaks_tls_is_not_rendered_as_if_it_did_not(loaded: Load) -> None:
    with pytest.raises(NotRenderable, match="things"):
        nginx_configuration(front(loaded(RIGHT.replace("http://things:8000", "https://things:8000")), "80"))
