"""The scripts import each other as they do when they are run: from their own folder."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "data_scripts"))


@pytest.fixture
def call(capsys):
    """Run a script's main with arguments; exit status, output, errors."""
    from script import run

    def call(module, *arguments):
        status = run(module.main, module.options(), [str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def refused(call):
    """Run with arguments that must give status 2 and one line; that line."""

    def refused(module, *arguments):
        status, _, error = call(module, *arguments)
        assert status == 2
        assert error.count("\n") == 1
        return error

    return refused
