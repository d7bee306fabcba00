"""The documents are short, and nothing that they name is missing."""

from __future__ import annotations

import re

import pytest

from tests.house.tree import TOP

LINES_MAX = {"README.md": 120, "ARCHITECTURE.md": 150, "CONTRIBUTING.md": 80, "deploy/SCALING.md": 150}
REQUIRED = ("CHANGELOG.md", "LICENSE", "SECURITY.md", "THIRD_PARTY.md", "deploy/README.md", "deploy/RUNBOOK.md")
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)]*)?\)")


@pytest.mark.parametrize("name", LINES_MAX)
def test_a_document_is_short_enough_to_be_read(name: str) -> None:
    assert len((TOP / name).read_text().splitlines()) <= LINES_MAX[name]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_document_is_there(name: str) -> None:
    assert (TOP / name).read_text().strip()


def broken_links(name: str, document: str) -> list[str]:
    """The relative links of *document* that lead nowhere."""
    place = (TOP / name).parent
    return [f"{name}: {target}" for target, _ in _LINK.findall(document) if not (place / target).exists()]


@pytest.mark.parametrize("name", [*LINES_MAX, *REQUIRED])
def test_links_between_documents_lead_somewhere(name: str) -> None:
    assert broken_links(name, (TOP / name).read_text()) == []


def test_a_link_to_nowhere_is_found() -> None:
    document = "[a](README.md) [b](nowhere.md#part) [c](https://example.com/x.md) [d](#here)"
    assert broken_links("README.md", document) == ["README.md: nowhere.md"]


@pytest.mark.parametrize("name", [*LINES_MAX, *REQUIRED])
def test_no_figure_is_left_to_be_filled_in(name: str) -> None:
    assert "FIGURE:" not in (TOP / name).read_text()
