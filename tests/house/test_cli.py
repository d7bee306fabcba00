"""Every command, option and argument explains itself, and the README names every command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.cli.main import main
from tests.house.tree import TOP

if TYPE_CHECKING:
    from collections.abc import Iterator


def commands(group: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
    """Every command of *group* that is shown, with its full name."""
    context = click.Context(group)
    for short in group.list_commands(context):
        command = group.get_command(context, short)
        assert command is not None, f"{name} {short} is listed, but cannot be found"
        if command.hidden:
            continue
        yield f"{name} {short}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {short}")


def undocumented(group: click.Group, name: str) -> Iterator[str]:
    """What has no help text: commands by name, options with their command."""
    for command_name, command in commands(group, name):
        if not (command.help or "").strip():
            yield command_name
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden and not parameter.help:
                yield f"{command_name} {parameter.opts[0]}"


def test_every_command_and_option_has_a_help_text() -> None:
    assert list(undocumented(main, "gateway")) == []


def test_the_readme_names_every_command() -> None:
    readme = (TOP / "README.md").read_text()
    names = [name for name, command in commands(main, "gateway") if not isinstance(command, click.Group)]
    groups = [name for name, command in commands(main, "gateway") if isinstance(command, click.Group)]
    named = [name for name in names if any(name.startswith(f"{group} ") for group in groups) or f"`{name}" in readme]
    assert sorted(set(names) - set(named)) == []
    assert [group for group in groups if f"`{group}" not in readme] == []


def test_a_command_or_option_without_help_is_found() -> None:
    group = click.Group(
        commands=[
            click.Command("silent", params=[click.Option(["--mute"])]),
            click.Command("spoken", help="Says something.", params=[click.Option(["--loud"], help="How loud.")]),
        ]
    )
    assert list(undocumented(group, "x")) == ["x silent", "x silent --mute"]
