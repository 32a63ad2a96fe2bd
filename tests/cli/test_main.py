from __future__ import annotations

import pytest
from typer.testing import CliRunner

from vastus.cli.main import app, program


def help_of(*arguments: str) -> str:
    return CliRunner().invoke(program(arguments), arguments, prog_name="vastus").output


@pytest.mark.parametrize("name", [command.name for command in app.registered_commands])
def test_a_command_alone_is_the_same_as_among_all(name: str) -> None:
    expected = CliRunner().invoke(app, [name, "--help"], prog_name="vastus").output
    assert help_of(name, "--help") == expected
    assert f"vastus {name}" in expected


@pytest.mark.parametrize("arguments", [(), ("--help",), ("dataset", "--help"), ("segmnt",)])
def test_where_no_command_is_named_all_are_there(arguments: tuple[str, ...]) -> None:
    assert program(arguments) is app


def test_the_program_itself_stays_whole() -> None:
    count = len(app.registered_commands)
    assert len(program(["segment"]).registered_commands) == 1
    assert len(app.registered_commands) == count and app.registered_groups
