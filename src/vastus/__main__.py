"""``python -m vastus``."""

from vastus.cli.main import run

run()
