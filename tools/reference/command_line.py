"""The reference page of the command line: the help of every command."""

import argparse
import contextlib
import io
import os
from unittest import mock

from helmframe.cli.app import main
from helmframe.cli.command import COMMANDS
from tools.reference.markdown import block, bullets, page, prose

WIDTH = 100


def command_line() -> str:
    """Return the page."""
    commands = sorted(COMMANDS, key=lambda name: (COMMANDS[name].order, name))
    parts = []
    for name in commands:
        parts += [f"## helmframe {name}", block(help_of(name))]
        for action in _actions(name):
            parts += [f"### helmframe {name} {action}", block(help_of(name, action))]
    links = [f"[`helmframe {name}`](#helmframe-{name}): {prose(COMMANDS[name].help)}" for name in commands]
    return page("Command line", block(help_of()), bullets(links), *parts)


def help_of(*command: str) -> str:
    """Return the help of a command, in lines of `WIDTH` characters, the same on every version of Python."""
    settings = {"COLUMNS": str(WIDTH), "NO_COLOR": "1"}
    with (
        mock.patch.dict(os.environ, settings),
        mock.patch.object(argparse.HelpFormatter, "_format_action_invocation", _invocation),
        contextlib.redirect_stdout(io.StringIO()) as output,
        contextlib.suppress(SystemExit),
    ):
        main([*command, "--help"])
    return output.getvalue().rstrip()


def _actions(name: str) -> list[str]:
    """Return the actions of a command, such as `compact` of `helmframe store`."""
    parser = argparse.ArgumentParser()
    COMMANDS[name].function(parser)
    choices = (action.choices for action in parser._actions)  # noqa: SLF001 - there is no public way
    return [action for names in choices if isinstance(names, dict) for action in names]


def _invocation(self: argparse.HelpFormatter, action: argparse.Action) -> str:
    """Return `-o, --output FILE`, which Python before 3.13 writes as `-o FILE, --output FILE`."""
    if not action.option_strings:
        return " ".join(self._metavar_formatter(action, action.dest)(1))
    options = ", ".join(action.option_strings)
    if action.nargs == 0:
        return options
    return f"{options} {self._format_args(action, action.dest.upper())}"
