"""Reading a page of metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.exposition import exposition

if TYPE_CHECKING:
    from pathlib import Path


def samples(directory: Path) -> dict[tuple[str, ...], float]:
    """Give all samples of the page that shows *directory*; see `parsed`."""
    return parsed(exposition(directory).decode())


def parsed(page: str) -> dict[tuple[str, ...], float]:
    """Give all samples of *page* by name and label values, these in the order of their labels' names."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            values = [value for _, value in sorted(sample.labels.items())]
            found[sample.name, *values] = sample.value
    return found
