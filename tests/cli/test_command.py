"""The registry of commands: a command is one file."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import helmframe
from helmframe.cli.app import main
from helmframe.cli.command import COMMANDS, command
from helmframe.errors import ArgumentError

HELLO = """
import argparse

from helmframe.cli.command import command


@command("hello", help="Print a greeting")
def add_hello(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.set_defaults(run=_hello)


def _hello(arguments: argparse.Namespace) -> int:
    print(f"Hello {arguments.name}")
    return 3
"""


def test_a_new_command_is_one_new_file(tmp_path: Path) -> None:
    package = Path(helmframe.__file__).parent
    shutil.copytree(package, tmp_path / "helmframe")
    (tmp_path / "helmframe" / "cli" / "hello.py").write_text(HELLO)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        line = [sys.executable, "-m", "helmframe", *arguments]
        return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    done = run("hello", "world")
    assert (done.returncode, done.stdout, done.stderr) == (3, "Hello world\n", "")
    assert "Print a greeting" in run("--help").stdout


def test_help_lists_commands_by_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out.partition("commands:")[2]
    positions = [text.index(f"\n    {name}") for name in sorted(COMMANDS, key=lambda name: COMMANDS[name].order)]
    assert positions == sorted(positions)
    orders = [COMMANDS[name].order for name in COMMANDS]
    assert len(orders) == len(set(orders))


def test_the_name_of_a_command_is_not_taken_twice() -> None:
    with pytest.raises(ArgumentError, match="The command 'gate' is already registered"):
        command("gate", help="another")(lambda parser: None)


def test_a_command_from_elsewhere_needs_no_option_for_its_errors(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: argparse.Namespace) -> None:
        raise ArgumentError("too many greetings")

    command("greet", help="print greetings")(lambda parser: parser.set_defaults(run=fail))
    try:
        assert main(["greet"]) == 2
        assert capsys.readouterr().err == "helmframe: too many greetings\n"
    finally:
        COMMANDS.remove("greet")
