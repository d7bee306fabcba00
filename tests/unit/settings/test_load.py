"""What `gateway.yaml` may say, and what is said of what it may not."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from gateway.settings.load import FILE_MAX_BYTES, load
from gateway.settings.problems import Problem, SettingsError, SettingsUnreadableError
from tests.unit.settings.conftest import ENVIRON, SECRET_KEY, STORES, TRAFFIC

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.settings.conftest import Load, Problems

RIGHT = STORES + TRAFFIC


def test_least_file_has_the_documented_defaults(loaded: Load) -> None:
    config = loaded(RIGHT)
    assert (str(config.listen.public.address), config.listen.public.port) == ("0.0.0.0", 8080)
    assert (str(config.listen.internal.address), config.listen.internal.port) == ("127.0.0.1", 9090)
    assert config.redis.url.get_secret_value() == "redis://127.0.0.1:6379/0"
    assert config.trusted_proxies == ()
    assert config.strip_prefixes == ("/v1",)
    assert config.keys.prefixes == ("bk_live_", "bk_test_")
    assert str(config.journal_directory) == ".gateway/journal"


def test_journal_directory_of_its_own_wins_over_the_state_directory(loaded: Load) -> None:
    config = loaded(RIGHT + "usage: {journal: {directory: /var/journal}}\nstate_directory: /var/state\n")
    assert str(config.journal_directory) == "/var/journal"


def test_values_from_the_environment_become_what_the_setting_wants(loaded: Load) -> None:
    config = loaded(
        RIGHT
        + 'listen: {public: {port: "${PORT:-8080}"}}\n'
        + 'drain: {grace_s: "${GRACE}", timeout_s: 2}\n'
        + "webhooks:\n  allow_private: ${PRIVATE:-false}\n"
        + 'auth: {issuer: "${ISSUER}"}\n',
        PORT="81",
        GRACE="1.5",
        PRIVATE="True",
        ISSUER="123",
    )
    assert config.listen.public.port == 81
    assert config.drain.grace_s == 1.5
    assert config.webhooks.allow_private is True
    assert config.auth.issuer == "123"


@pytest.mark.parametrize("secret", ["hunter2", SECRET_KEY, "s3cret-redis"])
def test_secrets_are_in_no_repr(loaded: Load, secret: str) -> None:
    config = loaded(RIGHT + "redis: {url: 'redis://:s3cret-redis@limits/0'}\n")
    assert secret not in repr(config)
    assert secret not in str(config)
    assert secret not in config.model_dump_json()


@pytest.mark.parametrize(
    "wrong",
    [
        "postgres: {dsn: 'mysql://gateway:hunter2@db/gateway'}",
        "postgres: {dsn: 'postgresql://gateway:hunter2@db:hunter2/gateway'}",
        "postgres: {dsn: 'postgresql://gateway:hunter2${'}",
        "postgres: {dsn: 'postgresql://gateway:${hunter2 !}@db'}",
        "postgres: {dsn: !hunter2 x}",
        "postgres: {dsn: *hunter2}",
        "postgres: {dsn: [hunter2]}",
        "postgres: postgresql://gateway:hunter2@db/gateway",
        'postgres: "${DATABASE_URL}"',
        'trusted_proxies: ["${DATABASE_URL}"]',
        'strip_prefixes: ["${DATABASE_URL}"]',
        'log: {level: "${DATABASE_URL}"}',
        'drain: {grace_s: "${DATABASE_URL}"}',
        "secrets: {key: hunter2}",
        "redis: {url: 'http://:hunter2@limits'}",
        "redis: {url: 'redis://:hunter2@limits:port'}",
        "upstreams: {things: {targets: ['http://me:hunter2@things']}}",
        "upstreams: {things: {targets: ['http://[hunter2']}}",
    ],
)
def test_secrets_are_in_no_problem(problems: Problems, wrong: str) -> None:
    found = problems(TRAFFIC + "version: 1\n" + wrong, SECRET="hunter2")
    assert "hunter2" not in "\n".join(found)


def test_long_value_from_outside_is_shown_as_it_was_written(problems: Problems) -> None:
    found = problems(RIGHT.replace("/things/**", '"${PATTERN}"'), PATTERN="hunter2" * 20)
    assert found == ['gateway.yaml:8:47: routes[0].path: pattern "${PATTERN}" must begin with /']


def test_short_value_from_outside_stays_in_the_words_of_a_problem(problems: Problems) -> None:
    (found,) = problems(RIGHT, DATABASE_URL="x")
    assert found.endswith("it may hold a password); expected postgresql://user:password@host:5432/database")


@pytest.mark.parametrize("value", ["must", "things", "a", "7 chars"])
def test_short_value_from_outside_is_shown_as_it_was_written(problems: Problems, value: str) -> None:
    (found,) = problems(RIGHT.replace("/things/**", '"${PATTERN}"'), PATTERN=value)
    assert found.startswith('gateway.yaml:8:47: routes[0].path: pattern "${PATTERN}" ')


WRONG = [
    ("strip_prefix: [/v1]", "1: strip_prefix is not a known setting; did you mean strip_prefixes?"),
    ("zzz: 1", "1: zzz is not a known setting; expected one of version, state_directory, listen"),
    ("listen: {public: {address: x, port: 1}}", '28: listen.public.address: "x" is not an address; expected one of'),
    ("listen: {public: {port: 65536}}", "25: listen.public.port is 65536; expected at most 65535"),
    ("listen: {public: {port: '80'}}", "25: listen.public.port is a text; expected a whole number"),
    ("listen: {public: {port: 80.5}}", "25: listen.public.port is a number; expected a whole number"),
    ("listen: {public: {port: true}}", "25: listen.public.port is true or false; expected a whole number"),
    ("listen: {public: {}}", "18: listen.public.port is missing; expected the TCP port to listen on"),
    ("listen: {public: {address: 127.0.0.1, port: 9090}}", "9: listen.public and listen.internal are the same"),
    ("redis: {timeout_ms: 0}", "21: redis.timeout_ms is 0; expected at least 1"),
    ("redis: ", "7: redis is empty; expected a mapping"),
    ("redis: {url: 'http://limits'}", "14: redis.url: this is not such a URL"),
    ("drain: {grace_s: .inf}", "18: drain.grace_s is a text; expected a number"),
    ("drain: {timeout_s: 1e999}", "20: drain.timeout_s is a text; expected a number"),
    ("drain: {timeout_s: 1.0e999}", "20: drain.timeout_s is a number; expected a finite number"),
    ("keys: {absent_ttl_s: 6}", "22: keys.absent_ttl_s is 6; expected at most 5"),
    ("keys: {cache_ttl_s: 0}", "21: keys.cache_ttl_s is 0; expected more than 0"),
    ("keys: {legacy: yes}", "16: keys.legacy is a text; expected true or false"),
    ("keys: {prefixes: []}", "18: keys.prefixes is empty; expected at least one entry"),
    ("keys: {prefixes: [bk]}", '19: keys.prefixes[0]: "bk" cannot be used; expected letters and digits that end in _'),
    ("trusted_proxies: [10.0.0.1/8]", '19: trusted_proxies[0]: "10.0.0.1/8" has host bits under its mask; did you'),
    ("trusted_proxies: 10.0.0.0/8", "18: trusted_proxies is a text; expected a list"),
    ("strip_prefixes: [/v1/]", '18: strip_prefixes[0]: "/v1/" cannot be used; expected a path such as /v1'),
    ("headers: {removed: [X Y]}", '21: headers.removed[0]: "X Y" cannot be used; expected the name of a header field'),
    ("limits: {on_error: opened}", '20: limits.on_error "opened" is not known; did you mean open?; expected local'),
    ("limits: {algorithm: bucket}", '21: limits.algorithm "bucket" is not known; did you mean token_bucket?'),
    (
        "limits: {failed_authentications: {capacity: 1, refill_per_s: 11}}",
        "34: limits.failed_authentications refills 11 a second into a capacity of 1; expected",
    ),
    ("auth: {issuer: ''}", "16: auth.issuer is empty; expected at least one character"),
    (f"auth: {{issuer: {'x' * 201}}}", "16: auth.issuer cannot be used; string should have at most 200 characters"),
    ('log: {level: "${LEVEL:-loud}"}', '14: log.level "${LEVEL:-loud}" is'),
    ('workers: {count: "${N:-x}"}', "18: workers.count is what ${N:-x} stands for; expected a whole number"),
    ('usage: {retention_days: "${NOT_SET}"}', "25: the environment variable NOT_SET is not set; set it, or give a"),
    ("scopes: {B: b}", '1: the key "scopes" is there twice (first in line 4); expected it once'),
    ("state_directory: 1", "18: state_directory is a number; expected a path"),
]


@pytest.mark.parametrize(("line", "expected"), WRONG, ids=[line for line, _ in WRONG])
def test_a_wrong_setting_is_reported_once_with_its_place(problems: Problems, line: str, expected: str) -> None:
    found = problems(RIGHT + line + "\n")
    assert len(found) == 1
    assert found[0].startswith(f"gateway.yaml:9:{expected}")


def test_missing_sections_are_said_to_be_missing(problems: Problems) -> None:
    assert problems("version: 1\n") == [
        "gateway.yaml:1:1: postgres is missing; expected the database with accounts, keys and usage",
        (
            "gateway.yaml:1:1: routes is missing; expected which requests are served; the first route that fits is "
            "taken, and what none fits is 404"
        ),
        (
            "gateway.yaml:1:1: scopes is missing; expected what keys can be allowed to do: the name of each scope, "
            "and a sentence about it for people"
        ),
        "gateway.yaml:1:1: secrets is missing; expected what protects secrets at rest",
        "gateway.yaml:1:1: upstreams is missing; expected the services behind the gateway, by name",
    ]


def test_pool_that_is_larger_at_least_than_at_most_is_refused(problems: Problems) -> None:
    text = RIGHT.replace('{dsn: "${DATABASE_URL}"}', '{dsn: "${DATABASE_URL}", pool_min: 3, pool_max: 2}')
    assert problems(text) == [
        "gateway.yaml:2:11: postgres.pool_min is 3; expected at most postgres.pool_max, 2",
    ]


WRONG_TARGETS = [
    ("ftp://things", "this is not the URL of a target; expected http://host:port, https://host:port or unix:/path"),
    ("unix:run/things.sock", "this is not the path of a socket; expected e.g. unix:/run/app.sock"),
    ("unix:/run/" + 110 * "x", "this is not the path of a socket; expected e.g. unix:/run/app.sock, at most 107 bytes"),
    ("http+unix://", "this is not the path of a socket"),
    ("http://me@things", "a target may not contain a user or password"),
    ("things:8000", "this is not the URL of a target"),
    ("http://", "this is not the URL of a target"),
    ("http://a b", "this is not the URL of a target"),
    ("http://things:0", "this is not the URL of a target"),
    ("http://things:65536", "this is not a URL"),
    ("http://things/v1", "a target has no path or query"),
    ("http://things?x", "a target has no path or query"),
    ("http://things#x", "a target has no path or query"),
]


@pytest.mark.parametrize(("target", "expected"), WRONG_TARGETS)
def test_target_that_cannot_be_called_is_refused(problems: Problems, target: str, expected: str) -> None:
    found = problems(RIGHT.replace("[http://things:8000]", f'["{target}"]'))
    assert len(found) == 1
    assert found[0].startswith(f"gateway.yaml:6:22: upstreams.things.targets[0]: {expected}")


def test_name_of_an_upstream_that_cannot_be_a_label_is_refused_at_its_key(problems: Problems) -> None:
    text = RIGHT.replace("  things: {targets", "  Things 1: {targets").replace("upstream: things", "upstream: Things 1")
    assert problems(text)[0].startswith(
        'gateway.yaml:6:3: upstreams.Things 1: "Things 1" cannot be used; expected 1-64 of'
    )


def test_file_that_does_not_exist_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(SettingsUnreadableError) as caught:
        load(tmp_path / "nowhere.yaml", {})
    assert str(caught.value).startswith(
        f"{tmp_path}/nowhere.yaml: cannot be read (No such file or directory); expected"
    )


def test_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_bytes(b"#" * (FILE_MAX_BYTES + 1))
    with pytest.raises(SettingsError, match="1:1: the file is too large; expected at most 1048576 bytes"):
        load(path, {})


def test_file_that_is_not_utf8_is_refused_at_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_bytes(b"version: 1\nx: \xff\n")
    with pytest.raises(SettingsError, match=r":2:4: not UTF-8"):
        load(path, {})


def test_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + RIGHT.encode())
    assert load(path, ENVIRON).version == 1


def test_file_is_not_changed_by_loading(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(RIGHT)
    path.chmod(stat.S_IRUSR)
    load(path, ENVIRON)
    assert path.read_text() == RIGHT


def test_problems_come_in_the_order_of_the_file_and_once() -> None:
    late, early = Problem("f", 10, 1, "late"), Problem("f", 9, 12, "early")
    error = SettingsError([late, early, late])
    assert error.problems == (early, late)
    assert str(error) == "f:9:12: early\nf:10:1: late"
