"""YAML that is hostile, broken or merely surprising."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings.document import UNREADABLE, read_document
from gateway.settings.interpolation import Sources

if TYPE_CHECKING:
    from gateway.settings.document import Document


def _read(text: str, **environ: str) -> tuple[Document, list[str]]:
    document, problems = read_document(text, "f", Sources(environ, Path("/nowhere")))
    return document, [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1", 1),
        ("a: -1", -1),
        ("a: 1.5", 1.5),
        ("a: 1.5e3", 1500.0),
        ("a: true", True),
        ("a: FALSE", False),
        ("a: ~", None),
        ("a:", None),
        ("a: 'true'", "true"),
        ("a: on", "on"),
        ("a: No", "No"),
        ("a: 012", "012"),
        ("a: 0x1f", "0x1f"),
        ("a: 1_000", "1_000"),
        ("a: 12:30:45", "12:30:45"),
        ("a: 2026-01-01", "2026-01-01"),
        ("a: 99999999999999999999", "99999999999999999999"),
        ("a: =", "="),
        ("a: !!str 1", "1"),
        ("a: [x, {y: 1}]", ["x", {"y": 1}]),
        ("x: &x [1]\na: *x", [1]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, expected: Any) -> None:
    document, problems = _read(text)
    assert problems == []
    assert document.value["a"] == expected
    assert type(document.value["a"]) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "f:1:1: the file is empty; expected a mapping"),
        ("# nothing\n", "f:1:1: the file is empty; expected a mapping"),
        ("a: [", "f:1:5: not YAML: "),
        ("a: b: c", "f:1:5: not YAML: mapping values are not allowed here; expected well-formed YAML"),
        ("a:\n\t- b", "f:2:1: not YAML: "),
        ("a: 1\n---\nb: 2", "f:2:1: not YAML: but found another document"),
        ("a: *b", "f:1:4: not YAML: an alias (*) without its anchor (&)"),
        ("x: 1\na: \x01", "f:2:4: not YAML: a control character"),
        ('a: "\\UFFFFFFFF"', "f:1:1: not YAML: an escape in a quoted text names no character"),
        ('a: "\\ud800"', "f:1:4: not a value of the type str"),
        ("a: !!int x", "f:1:4: not a value of the type int"),
        ("a: !!bool x", "f:1:4: not a value of the type bool"),
        ("[" * 700, "f:1:1: not YAML that can be read: nested too deeply"),
        ("[" * 60 + "]" * 60, "f:1:52: nested too deeply; expected at most 50 levels"),
        ("a: &a [*a]", "f:1:4: nested too deeply"),
        ("a: !!python/object/apply:os.system [ls]", "f:1:4: a tag (!) that is not accepted"),
        ("a: !!python/name:os.system", "f:1:4: a tag (!) that is not accepted"),
        ("a: !mine {b: c}", "f:1:4: a tag (!) that is not accepted"),
        ("a: !!set {b}", "f:1:4: a tag (!) that is not accepted"),
        ("a: !!binary aGk=", "f:1:4: a tag (!) that is not accepted"),
        ("a: {b: 1, c: 2, b: 3}", 'f:1:17: the key "b" is there twice (first in line 1); expected it once'),
        ("x: &x {b: 1}\na:\n  <<: *x", "f:3:3: merge keys (<<) are not accepted"),
        ("? [a]\n: b", "f:1:3: a key is a list or a mapping; expected a name"),
        ("a: ${B}", "f:1:4: the environment variable B is not set"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text: str, expected: str) -> None:
    _, problems = _read(text)
    assert len(problems) == 1
    assert problems[0].startswith(expected)


def test_billion_laughs_are_cut_short() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]
    document, problems = _read("\n".join(lines))
    assert document.value is UNREADABLE
    assert len(problems) == 1
    assert "aliases make too much of this; expected at most 100000 values in all" in problems[0]


def test_reference_never_changes_the_structure() -> None:
    document, problems = _read('a: "${B}"\nc: ${B}', B="]\n- {x: *y}\n# !!python/name:os.system")
    assert problems == []
    assert document.value == dict.fromkeys(["a", "c"], "]\n- {x: *y}\n# !!python/name:os.system")


def test_references_in_keys_are_left_alone() -> None:
    assert _read("${A}: b", A="x")[0].value == {"${A}": "b"}


def test_quoted_merge_key_is_an_ordinary_key() -> None:
    assert _read('"<<": b')[0].value == {"<<": "b"}


def test_places_are_those_of_keys_and_values_and_of_what_encloses_the_absent() -> None:
    document, _ = _read("a:\n  b: [x, y]\n")
    assert document.place(("a", "b", 1)) == (2, 10)
    assert document.place(("a", "b", 7)) == (2, 6)
    assert document.place(("z",)) == (1, 1)
    assert document.place_of_key(("a", "b")) == (2, 3)
    assert document.place_of_key(("a", "z")) == (2, 3)
    assert repr(UNREADABLE) == "UNREADABLE"


@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@`#,?\\ \n\t${}<~\x00é\ud800", max_size=40))
def test_any_text_gives_a_value_or_problems_but_never_an_error(text: str) -> None:
    document, problems = _read(text)
    assert problems or document.value is not UNREADABLE
