"""Hostile requests and answers, as raw bytes."""

import pytest

TIERS = pytest.mark.parametrize("tier", ["fast", "complete"])
"""For tests of both tiers: the one that serves plain requests, and the one that serves all."""
