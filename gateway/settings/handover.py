"""Handing over: checked settings as plain values, as the parent gives them to its workers, secrets included.

A worker never reads the file: it may have been edited since it was checked. Only what was set is handed over, so that
a worker of a newer version has its own defaults for the rest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from gateway.settings.schema import Config


def handed_over(config: Config) -> Any:
    """Give the values that were set, as JSON has them."""
    return json.loads(json.dumps(config.model_dump(exclude_unset=True), default=_plain))


def taken_over(values: Any) -> Config:
    """Make the settings of what was handed over; raises ValueError, which shows no value, when they do not fit."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        places = ", ".join(sorted({".".join(map(str, one["loc"])) for one in error.errors(include_input=False)}))
        raise ValueError(f"these settings do not fit the version of the worker: {places}") from None


def _plain(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    assert isinstance(value, Path)
    return str(value)
