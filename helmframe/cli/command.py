"""The registry of commands, and what several commands share: options, results as text and files, messages.

A command is a function that adds its arguments to a parser and sets `run`, the function that executes it:

    @command("hello", help="print a greeting")
    def add_hello(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("name")
        parser.set_defaults(run=lambda arguments: print(f"Hello {arguments.name}"))

A file in this folder with such a function is all that a new command needs. Other packages register theirs by entry
points of the group `helmframe.commands`.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from helmframe._core.registry import Registry
from helmframe.errors import ArgumentError

T = TypeVar("T")
AddArguments: TypeAlias = Callable[[argparse.ArgumentParser], None]

_SUFFIX_FORMATS = {".md": "markdown", ".json": "json"}


@dataclass(frozen=True)
class Command:
    """A command of `helmframe`: the function that adds its arguments, its line in `--help`, and its position there."""

    function: AddArguments
    help: str
    order: int


COMMANDS: Registry[Command] = Registry("command", packages=("helmframe.cli",), decorator="command")


def command(name: str, *, help: str, order: int = 1000) -> Callable[[AddArguments], AddArguments]:
    """Register a function that adds the arguments of a command to a parser.

    Args:
        name: What users type after `helmframe`.
        help: The line in `helmframe --help`.
        order: The position in `helmframe --help`: smaller numbers first, then by name.
    """

    def register(function: AddArguments) -> AddArguments:
        COMMANDS.add(name, Command(function, help, order))
        return function

    return register


def print_status(message: str) -> None:
    """Print a message to stderr; stdout is for results."""
    print(f"helmframe: {message}", file=sys.stderr, flush=True)


def add_output(parser: argparse.ArgumentParser, formats: Mapping[str, Callable[[T], str]]) -> None:
    """Add the options of commands that judge results: errors, level, format and file; the first format is default."""
    default = next(iter(formats))
    parser.add_argument("--errors", default="refuse", help="where more than 1 %% failed: refuse, drop or worst")
    parser.add_argument("--ci", type=float, default=0.95, help="level of the intervals, such as 0.95")
    parser.add_argument("--format", default=default, choices=list(formats), help=f"what is printed; default {default}")
    parser.add_argument("-o", "--output-path", metavar="FILE", help="also write it: to FILE.md, .json or another")
    parser.add_argument("--verbose", action="store_true", help="log, and tracebacks of errors")


def write_output(
    arguments: argparse.Namespace, compute: Callable[[], T], formats: Mapping[str, Callable[[T], str]]
) -> T:
    """Compute a result, print it, write it to `--output-path`, and return it.

    Raises:
        ArgumentError: The folder of `--output-path` does not exist; nothing is computed.
    """
    path = Path(arguments.output_path) if arguments.output_path else None
    if path is not None and not path.parent.is_dir():
        raise ArgumentError(f"there is no folder {path.parent} to write {path.name} to.")
    result = compute()
    print(formats[arguments.format](result))
    if path is not None:
        format_name = _SUFFIX_FORMATS.get(path.suffix, arguments.format)
        path.write_text(formats[format_name](result) + "\n", encoding="utf-8")
        print_status(f"written: {path}")
    return result
