"""Upstreams in gateway.yaml: what is set reaches those who forward, and what makes no sense is refused with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.core.upstreams import (
    UNBOUNDED,
    Balance,
    Ejection,
    HealthCheck,
    Retries,
    Timeouts,
    Tls,
    UpstreamSettings,
    UpstreamTarget,
)
from gateway.settings.compile import compile_snapshot
from tests.certificates import Authority
from tests.unit.settings.conftest import STORES, TRAFFIC

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.core.routes import Route
    from tests.unit.settings.conftest import Load, Problems

RIGHT = STORES + TRAFFIC
TARGETS = "targets: [http://things:8000]"


def upstream(loaded: Load, settings: str) -> UpstreamSettings:
    return compile_snapshot(loaded(RIGHT.replace(TARGETS, settings))).upstreams["things"]


def route(loaded: Load, timeouts: str, general: str = "{idle_s: 7}") -> Route:
    text = RIGHT.replace("scope: READ,", f"scope: READ, timeouts: {timeouts},")
    text = text.replace(TARGETS, f"{TARGETS}, timeouts: {general}")
    return next(one for one in compile_snapshot(loaded(text)).routes.routes if one.name == "things.read")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://things", UpstreamTarget("things", 443, "things", tls=True)),
        ("https://[fd00::1]:8443", UpstreamTarget("fd00::1", 8443, "[fd00::1]:8443", tls=True)),
        ("unix:/run/app.sock", UpstreamTarget("localhost", 0, "localhost", path="/run/app.sock")),
        ("unix:///run/app.sock", UpstreamTarget("localhost", 0, "localhost", path="/run/app.sock")),
        ("http+unix://%2Frun%2Fapp.sock", UpstreamTarget("localhost", 0, "localhost", path="/run/app.sock")),
    ],
)
def test_targets_may_speak_tls_and_be_sockets(loaded: Load, url: str, expected: UpstreamTarget) -> None:
    assert upstream(loaded, f'targets: ["{url}"]').targets == (expected,)


def test_targets_may_have_weights_beside_those_without(loaded: Load) -> None:
    targets = upstream(loaded, "targets: [http://a, {url: http://b, weight: 3}]").targets
    assert [(target.name, target.weight) for target in targets] == [("a:80", 1), ("b:80", 3)]


def test_a_target_from_the_environment_is_one(loaded: Load) -> None:
    text = RIGHT.replace(TARGETS, 'targets: ["${A}", {url: "${B}", weight: "${W}"}]')
    targets = compile_snapshot(loaded(text, A="http://a", B="http://b", W="4")).upstreams["things"].targets
    assert [(target.name, target.weight) for target in targets] == [("a:80", 1), ("b:80", 4)]


def test_everything_that_is_set_reaches_those_who_forward(loaded: Load, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("gateway", "gateway")
    given = upstream(
        loaded,
        f"targets: [https://a], balance: least_connections, resolve_s: 5, concurrent_max: 7, queue_max: 3, "
        f"queue_s: 0.2, required: true, retries: {{ratio: 0.1, floor_per_s: 1}}, "
        f"ejection: {{consecutive_failures: 2, server_errors: true, first_s: 1, longest_s: 9, max_percent: 30, "
        f"circuit_breaker: true, probe_s: 2}}, health: {{path: /up, interval_s: 3, timeout_s: 1, healthy_after: 4, unhealthy_after: 5, "
        f"expected_status: [200, 204]}}, "
        f"tls: {{ca: {authority.file}, certificate: {certificate}, key: {key}, server_name: x.internal}}",
    )
    assert given == UpstreamSettings(
        name="things",
        targets=(UpstreamTarget("a", 443, "a", tls=True),),
        balance=Balance.LEAST_CONNECTIONS,
        resolve_s=5,
        tls=Tls(str(authority.file), str(certificate), str(key), "x.internal"),
        retries=Retries(0.1, 1),
        ejection=Ejection(2, server_errors=True, first_s=1, longest_s=9, max_percent=30, circuit_breaker=True),
        probe_s=2,
        health=HealthCheck("/up", 3, 1, 4, 5, frozenset({200, 204})),
        concurrent_max=7,
        queue_max=3,
        queue_s=0.2,
        required=True,
    )


def test_what_is_not_set_is_as_in_the_core(loaded: Load) -> None:
    assert upstream(loaded, "targets: [http://a]") == UpstreamSettings("things", (UpstreamTarget("a", 80, "a"),))


def test_null_is_no_bound(loaded: Load) -> None:
    given = upstream(loaded, f"{TARGETS}, concurrent_max: null, timeouts: {{total_s: null}}")
    assert (given.concurrent_max, given.timeouts.total_s) == (UNBOUNDED, UNBOUNDED)


def test_a_route_changes_only_the_timeouts_that_it_names(loaded: Load) -> None:
    assert route(loaded, "{first_byte_s: 50}").timeouts == Timeouts(1, 50, 7, 60)
    assert route(loaded, "{total_s: null, connect_s: null}").timeouts == Timeouts(1, 10, 7, UNBOUNDED)
    assert route(loaded, "{total_s: 5}", "{total_s: null}").timeouts == Timeouts(1, 10, 30, 5)
    assert route(loaded, "null").timeouts == Timeouts(1, 10, 7, 60)


def test_a_stream_has_no_time_in_all_unless_it_names_one(loaded: Load) -> None:
    assert route(loaded, "null, stream: true").timeouts == Timeouts(1, 10, 7, UNBOUNDED)
    assert route(loaded, "{total_s: 50}, stream: true").timeouts == Timeouts(1, 10, 7, 50)


WRONG = [
    ("targets: [http://a, {url: 'http://a/', weight: 2}]", "targets has the same place twice; expected it once"),
    ("targets: [{url: 'http://a', weight: 0}]", "upstreams.things.targets[0].weight is 0; expected at least 1"),
    ("targets: [{url: 'http://a', weights: 2}]", "upstreams.things.targets[0].weights is not a known setting; did you"),
    ("targets: [{weight: 2}]", "upstreams.things.targets[0].url is missing; expected its address: http://host:port"),
    ("targets: [3]", "upstreams.things.targets[0] is a number; expected a mapping"),
    (f"{TARGETS}, balance: random", 'upstreams.things.balance "random" is not known'),
    (f"{TARGETS}, tls: {{verify: false}}", "tls is set, but no target speaks it; expected one with https://"),
    ("targets: [https://a], tls: {key: /nowhere}", "tls.key is given without tls.certificate; expected both"),
    ("targets: [https://a], tls: {ca: /nowhere}", "/nowhere cannot be used (No such file or directory); expected"),
    ("targets: [https://a], tls: {certificate: /nowhere}", "/nowhere cannot be used (No such file or directory)"),
    (f"{TARGETS}, concurrent_max: null, queue_max: 3", "queue_max is set, but without concurrent_max nobody ever"),
    (f"{TARGETS}, timeouts: {{first_byte_s: 9, total_s: 3}}", "timeouts.total_s is less than first_byte_s, which"),
    (f"{TARGETS}, health: {{path: up}}", 'upstreams.things.health.path: "up" cannot be used; expected a path such as'),
    (f"{TARGETS}, health: {{path: /, expected_status: [2]}}", "health.expected_status has 2; expected statuses from"),
    (f"{TARGETS}, health: {{path: /, interval_s: 1, timeout_s: 2}}", "health.timeout_s is more than interval_s"),
    (f"{TARGETS}, ejection: {{first_s: 9, longest_s: 3}}", "ejection.longest_s is less than first_s; expected at"),
]


@pytest.mark.parametrize(("settings", "expected"), WRONG)
def test_what_makes_no_sense_is_refused_at_its_place(problems: Problems, settings: str, expected: str) -> None:
    found = problems(RIGHT.replace(TARGETS, settings))
    assert len(found) == 1
    place, _, what = found[0].partition(": ")
    assert place.startswith("gateway.yaml:6:")
    assert what.startswith(expected)


def test_a_certificate_without_its_key_is_refused(problems: Problems, tmp_path: Path) -> None:
    certificate, _ = Authority(tmp_path).issue("gateway", "gateway")
    (found,) = problems(RIGHT.replace(TARGETS, f"targets: [https://a], tls: {{certificate: {certificate}}}"))
    assert "cannot be used (not valid); expected a certificate with its chain and the private key" in found
