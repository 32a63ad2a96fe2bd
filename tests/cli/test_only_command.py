"""The program makes only the command that is called: it must be the same command."""

import sys

import pytest
from typer.testing import CliRunner

from vastus.cli import main


def test_the_help_of_a_command_is_the_same_when_it_is_made_alone():
    texts = [
        CliRunner().invoke(program, ["evaluate", "--help"]).output
        for program in (main.app, main._with_only("evaluate"))
    ]
    assert texts[0] == texts[1] and "--tolerance-mm" in texts[0]


@pytest.mark.parametrize("name", ["", "--help", "--version", "dataset", "no-such-command"])
def test_whatever_else_is_asked_has_all_commands(name):
    assert main._with_only(name) is main.app


def test_all_commands_are_there_afterwards():
    before = [command.name for command in main.app.registered_commands]
    assert [command.name for command in main._with_only("classes").registered_commands] == ["classes"]
    assert [command.name for command in main.app.registered_commands] == before


def test_the_program_runs_a_command_made_alone(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["vastus", "classes"])
    with pytest.raises(SystemExit) as stop:
        main.run()
    assert not stop.value.code and "sartorius" in capsys.readouterr().out.lower()
