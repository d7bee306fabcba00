"""The page of metrics: workers add up, labels are bounded, and promtool has nothing to say."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from gateway.telemetry import metrics
from gateway.telemetry.exposition import exposition
from gateway.telemetry.telemetry import Telemetry
from tests.unit.telemetry.pages import samples
from tests.usage_events import usage_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.core.events import UsageEvent


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Telemetry]]:
    workers = [Telemetry(tmp_path / f"worker-{slot}.counters") for slot in range(2)]
    yield workers
    for worker in workers:
        worker.close()


def published(workers: list[Telemetry], directory: Path) -> dict[tuple[str, ...], float]:
    for worker in workers:
        worker.publish()
    return samples(directory)


def event(**members: Any) -> UsageEvent:
    fixed = {"upstream": "budgets", "duration_us": 1_400, "upstream_us": 1_000, "bytes_in": 10, "bytes_out": 20}
    return usage_event(**fixed | members)


def test_requests_of_all_workers_are_one_figure(workers: list[Telemetry], tmp_path: Path) -> None:
    for worker in workers:
        for _ in range(3):
            worker.request(event())
    workers[0].request(event(method="POST", status=201))
    page = published(workers, tmp_path)
    assert page["gateway_requests_total", "GET", "admitted", "budgets.read", "2xx"] == 6
    assert page["gateway_requests_total", "POST", "admitted", "budgets.read", "2xx"] == 1
    assert page["gateway_request_body_bytes_total", "budgets.read"] == 70
    assert page["gateway_response_body_bytes_total", "budgets.read"] == 140


def test_times_of_all_workers_are_one_histogram(workers: list[Telemetry], tmp_path: Path) -> None:
    for worker in workers:
        worker.request(event())
    page = published(workers, tmp_path)
    name = "gateway_request_overhead_seconds"
    # 400 us of overhead each: in no bucket below half a millisecond, in all from there on.
    assert page[f"{name}_bucket", "0.00025", "budgets.read"] == 0
    assert page[f"{name}_bucket", "0.0005", "budgets.read"] == 2
    assert page[f"{name}_bucket", "+Inf", "budgets.read"] == 2
    assert page[f"{name}_count", "budgets.read"] == 2
    assert page[f"{name}_sum", "budgets.read"] == pytest.approx(0.0008)
    assert page["gateway_upstream_seconds_sum", "budgets"] == pytest.approx(0.002)


def test_a_value_on_a_bound_belongs_to_its_bucket_and_one_above_all_to_none(
    workers: list[Telemetry], tmp_path: Path
) -> None:
    histogram = workers[0].histogram(metrics.LIMITER_SECONDS)
    for value in (0.001, 0.0010001, 1000.0):
        histogram.observe(value)
    page = published(workers, tmp_path)
    assert page["gateway_limiter_seconds_bucket", "0.001"] == 1
    assert page["gateway_limiter_seconds_bucket", "0.0025"] == 2
    assert page["gateway_limiter_seconds_bucket", "10.0"] == 2
    assert page["gateway_limiter_seconds_bucket", "+Inf"] == 3


def test_a_request_that_no_upstream_answered_has_no_times(workers: list[Telemetry], tmp_path: Path) -> None:
    workers[0].request(event(route="webhooks.test", upstream=None))
    workers[0].request(event(status=401, outcome="unauthorized", upstream_us=None))
    page = published(workers, tmp_path)
    assert page["gateway_requests_total", "GET", "unauthorized", "budgets.read", "4xx"] == 1
    assert page["gateway_request_overhead_seconds_count", "webhooks.test"] == 0
    assert page["gateway_upstream_seconds_count", "budgets"] == 0


def test_methods_that_clients_invent_are_one_label(workers: list[Telemetry], tmp_path: Path) -> None:
    for number in range(500):
        workers[0].request(
            event(
                route="none",
                upstream=None,
                status=404,
                method=f"INVENTED{number}",
                outcome="not_found",
                upstream_us=None,
            )
        )
    page = published(workers, tmp_path)
    requests = {labels: value for labels, value in page.items() if labels[0] == "gateway_requests_total"}
    assert requests == {("gateway_requests_total", "other", "not_found", "none", "4xx"): 500}
    assert len(workers[0]._meters) == 0


def test_what_a_request_counts_is_seen_once_it_is_published_and_what_is_rare_at_once(
    workers: list[Telemetry], tmp_path: Path
) -> None:
    workers[0].request(event())
    workers[0].add(metrics.DENIALS, 1, "throttled")
    assert samples(tmp_path)["gateway_request_body_bytes_total", "budgets.read"] == 0
    assert samples(tmp_path)["gateway_denials_total", "throttled"] == 1
    assert published(workers, tmp_path)["gateway_request_body_bytes_total", "budgets.read"] == 10


def test_counters_survive_a_worker_that_is_started_again(workers: list[Telemetry], tmp_path: Path) -> None:
    workers[0].request(event())
    workers[0].add(metrics.LIMITER_CALLS, 2, "taken")
    workers[0].close()
    workers[0] = Telemetry(tmp_path / "worker-0.counters")
    workers[0].request(event())
    workers[0].counter(metrics.LIMITER_CALLS, "taken")[0] += 1
    page = published(workers, tmp_path)
    assert page["gateway_requests_total", "GET", "admitted", "budgets.read", "2xx"] == 2
    assert page["gateway_request_overhead_seconds_count", "budgets.read"] == 2
    assert page["gateway_limiter_calls_total", "taken"] == 3


@pytest.mark.parametrize(
    ("metric", "both"),
    [(metrics.LIMITER_UP, 0.0), (metrics.CACHE_ENTRIES, 1.0), (metrics.READY, 0.0), (metrics.IN_FLIGHT, 1.0)],
)
def test_a_gauge_is_the_least_or_the_sum_of_the_workers(
    workers: list[Telemetry], tmp_path: Path, metric: metrics.Metric, both: float
) -> None:
    workers[0].set(metric, 0)
    workers[1].set(metric, 1)
    assert published(workers, tmp_path)[metric.name,] == both
    workers[0].set(metric, 1)
    assert published(workers, tmp_path)[metric.name,] == (1.0 if metric.merge == "min" else 2.0)


def test_what_runs_is_told_once_however_many_workers_run_it(workers: list[Telemetry], tmp_path: Path) -> None:
    for worker in workers:
        worker.set(metrics.BUILD, 1, "0.1.0")
    assert published(workers, tmp_path)["gateway_build_info", "0.1.0"] == 1


def test_before_anything_is_counted_figures_without_labels_are_zero(tmp_path: Path) -> None:
    page = samples(tmp_path)
    for metric in metrics.METRICS:
        if not metric.labels and metric.kind != "histogram":
            assert page[metric.name,] == 0


def test_every_metric_is_declared_on_the_page_even_before_it_is_counted(tmp_path: Path) -> None:
    page = exposition(tmp_path).decode()
    for metric in metrics.METRICS:
        assert f"# TYPE {metric.name} {metric.kind}\n" in page
        assert f"# HELP {metric.name} {metric.help}\n" in page


@pytest.mark.parametrize("counted", [False, True])
def test_promtool_finds_nothing_to_improve(workers: list[Telemetry], tmp_path: Path, counted: bool) -> None:
    program = shutil.which("promtool")
    assert program is not None, "promtool is missing: install Debian's package prometheus, as .ci/run does"
    if counted:
        for metric in metrics.METRICS:
            if metric.kind == "histogram":
                workers[0].histogram(metric, "label" if metric.labels else "").observe(0.1)
            else:
                workers[0].set(metric, 3, *('odd "label" \\ with\nall' for _ in metric.labels))
    verdict = subprocess.run(
        [program, "check", "metrics"], input=exposition(tmp_path), capture_output=True, check=False, timeout=20
    )
    assert (verdict.returncode, verdict.stdout, verdict.stderr) == (0, b"", b"")
