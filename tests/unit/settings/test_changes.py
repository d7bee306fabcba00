"""What of new settings can be taken up when, and that settings survive being handed to a worker."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.settings.changes import Needs, adopted
from gateway.settings.handover import handed_over, taken_over
from gateway.settings.load import load, state_directory_of
from gateway.settings.schema import Config
from gateway.settings.sentences import sentences

ROOT = Path(__file__).parents[3]
ENVIRON = {
    "DATABASE_URL": "postgresql://gateway:hunter2@db/gateway",
    "GATEWAY_SECRET_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "GATEWAY_PORT": "8123",
}
RELOADED = {
    *("version", "trusted_proxies", "strip_prefixes", "limits", "connections", "requests", "management", "drain"),
    *("headers", "cors", "scopes", "upstreams", "routes"),
}
"""The sections that requests see through the snapshot, or that are looked up when they are needed."""
IN_PART = {"listen", "keys"}


@pytest.fixture(scope="module")
def config() -> Config:
    return load(ROOT / "gateway.yaml", ENVIRON)


def changed(config: Config, **sections: dict[str, Any]) -> Config:
    """The settings with some changed, by section and name."""
    values = copy.deepcopy(handed_over(config))
    for section, settings in sections.items():
        values[section] = values.get(section, {}) | settings
    return taken_over(values)


def test_every_section_is_either_marked_or_known_to_be_taken_up_by_a_reload() -> None:
    marked = {
        name for name, field in Config.model_fields.items() if any(isinstance(mark, Needs) for mark in field.metadata)
    }
    assert marked | RELOADED | IN_PART == set(Config.model_fields)
    assert not marked & (RELOADED | IN_PART)


def test_a_mark_is_told_in_the_text_of_the_setting_and_the_other_way_round() -> None:
    for name, field in Config.model_fields.items():
        needs = [mark for mark in field.metadata if isinstance(mark, Needs)]
        told = {"A change needs a restart.": Needs.RESTART, "A change needs a stop and a start.": Needs.START}
        text = " ".join(sentences(Config)[name].split())
        assert [mark for sentence, mark in told.items() if text.endswith(sentence)] == needs, name


def test_equal_settings_hold_nothing_back(config: Config) -> None:
    assert adopted(config, config, Needs.RELOAD) == (config, {})


def test_what_can_change_changes_and_what_cannot_is_named_and_stays(config: Config) -> None:
    wanted = changed(
        config,
        drain={"grace_s": 3.0},
        keys={"legacy": True, "cache_ttl_s": 3.0},
        postgres={"pool_max": 3},
        listen={"public": {"address": "127.0.0.1", "port": 1}},
        workers={"count": 4},
    )
    result, held = adopted(config, wanted, Needs.RELOAD)
    assert held == {
        "keys.cache_ttl_s": Needs.RESTART,
        "postgres.pool_max": Needs.RESTART,
        "listen.public.address": Needs.START,
        "listen.public.port": Needs.START,
        "workers.count": Needs.START,
    }
    assert (result.drain.grace_s, result.keys.legacy) == (3.0, True)
    assert result.keys.cache_ttl_s == config.keys.cache_ttl_s
    assert result.postgres == config.postgres
    assert result.listen == config.listen
    # And what was kept is handed on as it is.
    assert taken_over(handed_over(result)) == result


def test_a_restart_takes_up_all_but_what_the_parent_holds(config: Config) -> None:
    wanted = changed(config, keys={"cache_ttl_s": 3.0}, postgres={"pool_max": 3}, workers={"count": 4})
    result, held = adopted(config, wanted, Needs.RESTART)
    assert held == {"workers.count": Needs.START}
    assert (result.keys.cache_ttl_s, result.postgres.pool_max) == (3.0, 3)


def test_a_section_that_comes_or_goes_is_named_as_a_whole(config: Config) -> None:
    wanted = changed(config, usage={"sinks": {"json_lines": {"path": "-"}}})
    assert adopted(config, wanted, Needs.RELOAD)[1] == {"usage.sinks.json_lines": Needs.RESTART}


def test_settings_are_the_same_after_they_were_handed_over_secrets_included(config: Config) -> None:
    values = json.loads(json.dumps(handed_over(config)))
    assert taken_over(values) == config
    assert values["postgres"]["dsn"] == ENVIRON["DATABASE_URL"]
    assert values["listen"]["public"]["port"] == 8123
    assert "redis" not in values or "timeout_ms" in values["redis"]


def test_settings_of_another_version_are_refused_without_being_shown(config: Config) -> None:
    values = handed_over(config) | {"colour": "hunter2"}
    with pytest.raises(ValueError, match=r"do not fit the version of the worker: colour$"):
        taken_over(values)


@pytest.mark.parametrize(
    ("text", "directory"),
    [
        ("state_directory: /var/lib/gateway\nroutes: 7\n", "/var/lib/gateway"),
        ('state_directory: "${GATEWAY_STATE:-here}"\n', "here"),
        ("version: 1\n", ".gateway"),
        ("state_directory: [1]\n", ".gateway"),
        ("routes: [\n", ".gateway"),
        ("- a list\n", ".gateway"),
    ],
)
def test_the_state_directory_is_found_whatever_else_is_wrong(tmp_path: Path, text: str, directory: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    assert state_directory_of(file, {}) == Path(directory)


def test_the_state_directory_of_a_file_that_is_not_there_is_the_default(tmp_path: Path) -> None:
    assert state_directory_of(tmp_path / "nowhere.yaml", {}) == Path(".gateway")
