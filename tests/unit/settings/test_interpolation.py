"""References to the environment and to files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings.interpolation import FILE_MAX_BYTES, Interpolated, InterpolationError, Sources

SOURCES = Sources({"A": "a", "EMPTY": "", "DOLLAR": "${A} $$", "YAML": "]\nversion: 2"}, Path("/nowhere"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "a"),
        ("x${A}y${A}z", "xayaz"),
        ("${B:-b}", "b"),
        ("${B:-}", ""),
        ("${A:-b}", "a"),
        ("${EMPTY}", ""),
        ("${EMPTY:-b}", "b"),
        ("${B:-http://h:80/:-x}", "http://h:80/:-x"),
        ("$${A}", "${A}"),
        ("$$$${A}", "$${A}"),
        ("$$${A}", "$a"),
        ("pa$word$", "pa$word$"),
        ("$A", "$A"),
        ("${DOLLAR}", "${A} $$"),
        ("${YAML}", "]\nversion: 2"),
    ],
)
def test_references_are_replaced_once(text: str, expected: str) -> None:
    assert SOURCES.interpolate(text) == expected


def test_only_what_came_from_outside_is_marked_so() -> None:
    value = SOURCES.interpolate("${A}!")
    assert isinstance(value, Interpolated)
    assert value.written == "${A}!"
    assert not isinstance(SOURCES.interpolate("$$"), Interpolated)


@pytest.mark.parametrize("text", ["${", "${A", "${}", "${A-b}", "${1A}", "${A B}", "${A:b}", "${Ä}"])
def test_what_is_no_reference_is_refused_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(InterpolationError, match=r"expected \$\{VAR\}, \$\{VAR:-default\} or \$\{file:/path\}"):
        SOURCES.interpolate(text)


def test_every_unset_variable_of_a_value_is_reported() -> None:
    with pytest.raises(InterpolationError) as caught:
        SOURCES.interpolate("${B}:${A}:${C}")
    assert [reason.split(";")[0] for reason in caught.value.reasons] == [
        "the environment variable B is not set",
        "the environment variable C is not set",
    ]


def test_file_is_read_relative_to_the_settings_and_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s${A}\r\n")
    sources = Sources({}, tmp_path)
    assert sources.interpolate("<${file:secret}>") == "<s${A}>"
    assert sources.interpolate(f"${{file:{tmp_path}/secret}}") == "s${A}"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("absent", None, r"cannot be read \(No such file or directory\)"),
        ("large", b"x" * (FILE_MAX_BYTES + 1), "has more than 65536 bytes"),
        ("binary", b"\xff", "expected its name and content to be UTF-8 text"),
    ],
)
def test_file_that_cannot_be_used_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes | None, expected: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InterpolationError, match=f"the file {name} .*{expected}"):
        Sources({}, tmp_path).interpolate(f"${{file:{name}}}")


def test_file_name_with_a_nul_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InterpolationError, match="cannot be used"):
        Sources({}, tmp_path).interpolate("${file:a\0b}")
