"""What is rendered for Envoy says what the settings say; that it works is shown by running it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from gateway.cli.main import main
from gateway.cli.render import front
from gateway.render.envoy import envoy_configuration
from gateway.render.envoy_routes import BUFFERED_MAX
from gateway.render.front import NotRenderable
from gateway.render.yaml_text import Shared, document
from tests.certificates import Authority
from tests.proxies import program
from tests.unit.settings.conftest import ENVIRON, STORES, TRAFFIC, loaded

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.settings.conftest import Load

__all__ = ["loaded"]

RIGHT = STORES + TRAFFIC
MANY = """\
  tls: {targets: ["https://a.example:8443", "https://10.0.0.1"], tls: {ca: CA, certificate: CERTIFICATE, key: KEY}}
  checked: {targets: [{url: "http://a", weight: 3}, "http://b"], health: {path: /up}, balance: least_connections,
    concurrent_max: null, ejection: {server_errors: true, consecutive_failures: 7}}
  socket: {targets: ["unix:/run/app.sock"], preserve_host: true, timeouts: {total_s: null, first_byte_s: 3}}
routes:
  - {name: tls, methods: [GET], path: /tls, public: true, upstream: tls}
  - {name: checked, methods: [POST], path: /checked, public: true, upstream: checked, body_max_bytes: 99999999}
  - {name: socket, methods: [GET], path: /socket, public: true, upstream: socket, body_max_bytes: 0}
"""


def rendered(text: str, loaded: Load, *, grpc: bool = False) -> tuple[str, dict[str, Any]]:
    """The text, and what YAML makes of it."""
    written = envoy_configuration(front(loaded(text), "0.0.0.0:10000"), grpc=grpc)
    return written, yaml.safe_load(written)


def cluster(configuration: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [one for one in configuration["static_resources"]["clusters"] if one["name"] == name]
    return dict(found)


def test_the_command_writes_a_whole_bootstrap(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(RIGHT + "sidecar: {socket: /run/decisions.sock}\n")
    result = CliRunner().invoke(main, ["render", "envoy", "-c", str(file), "--listen", "[::1]:8443"], env=ENVIRON)
    assert result.exit_code == 0, result.output
    (listener,) = yaml.safe_load(result.output)["static_resources"]["listeners"]
    assert listener["address"] == {"socket_address": {"address": "::1", "port_value": 8443}}
    assert "{pipe: {path: /run/decisions.sock}}" in result.output
    wrong = CliRunner().invoke(main, ["render", "envoy", "-c", str(file), "--listen", "8443"], env=ENVIRON)
    assert (wrong.exit_code, "an address and a port" in wrong.output) == (1, True)


def test_every_kind_of_upstream_is_rendered_as_envoy_takes_it(loaded: Load, tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue("client", "client")
    text = RIGHT.replace("routes:\n", MANY).replace(" CERTIFICATE", f" {certificate}").replace(" KEY}", f" {key}}}")
    more = "trusted_proxies: [10.0.0.0/8, '2001:db8::/32', 192.0.2.1]\nsidecar: {grpc: {port: 9191}}\n"
    written, configuration = rendered(
        text.replace("ca: CA", f"ca: {tmp_path / 'authority.pem'}") + more, loaded, grpc=True
    )
    file = tmp_path / "envoy.yaml"
    file.write_text(written)
    command = [program("envoy", "make .venv/dev.stamp"), "--mode", "validate", "-c", str(file), "-l", "warning"]
    checked = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    assert (checked.returncode, checked.stderr) == (0, "")
    one = cluster(configuration, "gateway_to_checked")
    assert one["lb_policy"] == "LEAST_REQUEST"
    assert one["outlier_detection"]["consecutive_5xx"] == 7
    assert [end["load_balancing_weight"] for end in one["load_assignment"]["endpoints"][0]["lb_endpoints"]] == [3, 1]
    assert one["health_checks"][0]["http_health_check"]["path"] == "/up"
    matchers = cluster(configuration, "gateway_to_tls")["transport_socket"]["typed_config"]["common_tls_context"]
    names = matchers["validation_context"]["match_typed_subject_alt_names"]
    assert [name["matcher"]["exact"] for name in names] == ["a.example", "10.0.0.1"]
    assert "# NOT CARRIED: the limit of bodies without a declared length, of these routes: checked" in written


def test_routes_of_upstreams_are_told_apart_by_the_decision_alone(loaded: Load) -> None:
    _, configuration = rendered(RIGHT, loaded)
    (listener,) = configuration["static_resources"]["listeners"]
    manager = listener["filter_chains"][-1]["filters"][0]["typed_config"]
    assert (manager["normalize_path"], manager["merge_slashes"]) == (False, False)
    for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
        target = route.get("route", {}).get("cluster", "")
        if target.startswith("gateway_to_"):
            assert route["match"]["prefix"] == "/"
            assert route["match"]["headers"][0]["name"] == "x-gateway-route"
        else:
            assert target in {"gateway.itself", ""}


def test_without_a_listener_nothing_is_asked_by_grpc(loaded: Load) -> None:
    with pytest.raises(NotRenderable, match=r"sidecar\.grpc"):
        rendered(RIGHT, loaded, grpc=True)


@pytest.mark.parametrize(
    ("targets", "why"),
    [('["unix:/a.sock", "http://a"]', "cannot mix"), ('["https://a", "http://b"]', "with and without TLS")],
)
def test_what_envoy_cannot_be_told_is_not_rendered(loaded: Load, targets: str, why: str) -> None:
    with pytest.raises(NotRenderable, match=why):
        rendered(RIGHT.replace("[http://things:8000]", targets), loaded)


def test_a_body_is_held_back_only_where_its_limit_is_small(loaded: Load) -> None:
    text = RIGHT.replace("upstream: things}", f"upstream: things, body_max_bytes: {BUFFERED_MAX}}}")
    assert f"max_request_bytes: {BUFFERED_MAX}" in rendered(text, loaded)[0]
    assert "NOT CARRIED" not in rendered(text, loaded)[0]


def test_yaml_reads_back_what_was_written() -> None:
    shared = Shared("twice", {"list": [1, 2.5, True, None, "true", "a: b", "- c", "#d", "", "%REQ(a)%", "no"]})
    value = {"# A comment.": None, "first": shared, "second": shared, "empty": [{}, []], "@type": "x" * 200}
    text = document(value)
    assert yaml.safe_load(text) == {
        "first": shared.value,
        "second": shared.value,
        "empty": [{}, []],
        "@type": "x" * 200,
    }
    assert text.startswith("# A comment.\n")
    assert text.count("%REQ(a)%") == 1
