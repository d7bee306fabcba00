"""What every renderer has in common: a command, the same exit statuses, the same text each time, and nothing unsaid."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from gateway.cli.main import main
from gateway.cli.render import front
from gateway.core.headers import ALWAYS_REMOVED, HOP_BY_HOP
from gateway.render.caddy import caddy_configuration
from gateway.render.haproxy import haproxy_configuration
from gateway.render.haproxy_lua import haproxy_script
from gateway.render.traefik import traefik_configuration
from tests.unit.settings.conftest import ENVIRON, STORES, TRAFFIC, loaded

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from tests.unit.settings.conftest import Load

__all__ = ["loaded"]

RIGHT = STORES + TRAFFIC
RENDERERS = (["nginx"], ["caddy"], ["haproxy"], ["haproxy", "--lua"], ["traefik"], ["k8s"])
SPOOFS = ("x-user-id", "X-Gateway-Key-Id", "x_gateway_key_id", "X-Gateway-Anything", "x.user.id", "x-consumer-x", "TE")
PASSING = ("x-mine", "cookie", "accept", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-gatewayed")


def rendered(directory: Path, text: str, arguments: list[str]) -> Result:
    file = directory / "gateway.yaml"
    file.write_text(text)
    return CliRunner().invoke(main, ["render", *arguments, "-c", str(file)], env=ENVIRON)


@pytest.mark.parametrize("arguments", RENDERERS, ids=" ".join)
def test_the_same_settings_give_the_same_text(tmp_path: Path, arguments: list[str]) -> None:
    first, second = rendered(tmp_path, RIGHT, arguments), rendered(tmp_path, RIGHT, arguments)
    assert first.exit_code == 0, first.output
    assert first.output == second.output
    assert first.output.endswith("\n")
    assert "`gateway render " in first.output.partition("\n")[0]


@pytest.mark.parametrize("arguments", RENDERERS, ids=" ".join)
def test_what_cannot_be_rendered_is_said_and_nothing_written(tmp_path: Path, arguments: list[str]) -> None:
    if "--lua" not in arguments:
        refused = rendered(tmp_path, RIGHT.replace("http://things:8000", "https://things:8000"), arguments)
        assert refused.exit_code == 1
        assert refused.output == "Error: upstream things has a target that speaks TLS, which cannot be rendered yet\n"
    assert rendered(tmp_path, "nonsense: 1\n", arguments).exit_code == 1


@pytest.mark.parametrize("arguments", [["caddy"], ["haproxy"], ["traefik"], ["k8s"]], ids=" ".join)
def test_what_is_not_carried_is_said(tmp_path: Path, arguments: list[str]) -> None:
    more = "  - {name: live, methods: [GET], path: /live, scope: READ, upstream: things, websocket: true}\n"
    output = rendered(tmp_path, RIGHT + more + "cors: {origins: [https://a.example]}\n", arguments).output
    assert "# NOT CARRIED: WebSocket, which these routes have: live." in output
    assert "# NOT CARRIED: CORS, which these routes have: things.read, live." in output


def test_caddy_takes_away_what_a_proxied_request_loses(loaded: Load) -> None:
    text = caddy_configuration(front(loaded(RIGHT), ":80"))
    removed = re.findall(r"^\t+request_header -(\S+)$", text, re.MULTILINE)
    expressions = [re.compile(re.escape(name).replace(r"\*", ".*"), re.IGNORECASE) for name in removed]
    assert [name for name in SPOOFS if not any(one.fullmatch(name) for one in expressions)] == []
    written = {"host", "authorization", "content-length", "transfer-encoding", "traceparent", "x-forwarded-for"}
    lost = HOP_BY_HOP | ALWAYS_REMOVED
    assert [name for name in lost - written if not any(one.fullmatch(name) for one in expressions)] == []
    assert not any(one.fullmatch("x-mine") or one.fullmatch("cookie") for one in expressions)


def test_haproxy_takes_away_what_a_proxied_request_loses(loaded: Load) -> None:
    text = haproxy_configuration(front(loaded(RIGHT), ":80"), "/gateway.lua")
    expressions = [re.compile(one) for one in re.findall(r"del-header '(\S+)' -m reg", text)]
    assert len(expressions) == 2
    assert [name for name in SPOOFS if not any(one.search(name.lower()) for one in expressions)] == []
    assert [name for name in ("x-mine", "cookie") if any(one.search(name) for one in expressions)] == []


def test_traefik_takes_away_what_a_proxied_request_loses(loaded: Load) -> None:
    document = yaml.safe_load(traefik_configuration(front(loaded(RIGHT), "web", on_socket=False)))
    decision = document["http"]["middlewares"]["gateway-decision"]["forwardAuth"]
    expression = re.compile(decision["authResponseHeadersRegex"])
    assert [name for name in (*SPOOFS, "x-forwarded-user", "X-Forwarded-Foo") if not expression.search(name)] == []
    assert [name for name in PASSING if expression.search(name)] == []
    assert decision["trustForwardHeader"] is False


def test_traefiks_routers_name_what_exists_and_come_in_the_order_of_the_routes(loaded: Load) -> None:
    more = "  - {name: things.open, methods: [GET], path: '/things/open/{id:token}', public: true, upstream: things}\n"
    text = RIGHT.replace("routes:\n", "routes:\n" + more)
    http = yaml.safe_load(traefik_configuration(front(loaded(text), "web", on_socket=False)))["http"]
    routers = http["routers"]
    for router in routers.values():
        assert set(router["middlewares"]) <= http["middlewares"].keys()
        assert router["service"] in {*http["services"], "noop@internal"}
        assert "gateway-decision" in router["middlewares"] or router["service"] == "gateway-itself"
        for expression in re.findall(r"PathRegexp\(`(.*?)`\)", router["rule"]):
            re.compile(expression)
    priorities = [
        routers[name]["priority"] for name in ("things-open-with-key", "things-open", "things-read", "refused")
    ]
    assert priorities == sorted(priorities, reverse=True)
    assert len(set(priorities)) == len(priorities)
    for name, service in http["services"].items():
        transport = service["loadBalancer"].get("serversTransport")
        assert transport in http["serversTransports"] or name == "gateway-itself"


def test_haproxys_script_and_configuration_go_together(loaded: Load) -> None:
    told = front(loaded(RIGHT + "sidecar: {socket: /run/decisions.sock}\n"), ":80")
    configuration, script = haproxy_configuration(told, "/etc/x.lua"), haproxy_script(told)
    assert "lua-load-per-thread /etc/x.lua" in configuration
    assert "server target0 things:8000 weight 1 pool-max-conn 128 resolvers system" in configuration
    assert 'dst = "unix@/run/decisions.sock"' in script
    assert "@" not in re.sub(r'"unix@[^"]*"', "", script)
    used = set(re.findall(r"var\((txn\.gateway_[a-z_]+)\)", configuration))
    given = set(re.findall(r'"(txn\.gateway_[a-z_]+)"', script))
    assert used - given <= {"txn.gateway_asked_host", "txn.gateway_answered"}


def test_kubernetes_would_take_the_manifests(tmp_path: Path) -> None:
    for more in ("", "sidecar: {socket: /run/gateway/decisions.sock, socket_trusted: true}\n"):
        output = rendered(tmp_path, RIGHT + more, ["k8s", "--image", "example/gateway:1", "--port", "8001"]).output
        documents = list(yaml.safe_load_all(output))
        assert [document["kind"] for document in documents] == ["ConfigMap", "StatefulSet", "Service", "Ingress"]
        for document in documents:
            kubernetes_validate.validate(document, "1.37", strict=True)
        files, pods = documents[0]["data"], documents[1]["spec"]["template"]["spec"]
        assert files["gateway.yaml"].rstrip() == (RIGHT + more).rstrip()
        assert "listen 8001;" in files["nginx.conf"]
        mounted = [mount["name"] for container in pods["containers"] for mount in container["volumeMounts"]]
        assert set(mounted) == {"state", *(volume["name"] for volume in pods["volumes"])}
        assert mounted.count("sockets") == (2 if more else 0)
        assert pods["containers"][0]["image"] == "example/gateway:1"


def test_kubernetes_would_not_take_just_anything() -> None:
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": "eighty"}]}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)
