"""The registry of commands, the parser of their help pages, and the options and output that several commands share.

A command is a function that adds its arguments to a parser and sets `run`, the function that executes it:

    @command("hello", help="Print a greeting")
    def add_hello(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("name")
        parser.set_defaults(run=lambda arguments: print(f"Hello {arguments.name}"))

A new command needs one file in this folder with such a function. Other packages register commands by entry points of
the group `helmframe.commands`.
"""

import argparse
import itertools
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from helmframe._core.registry import Registry
from helmframe._core.safe_text import show_invisible
from helmframe.config import redacted
from helmframe.errors import ArgumentError, NotComparableError, near

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
        name: The name of the command.
        help: The summary in `helmframe --help` and on the command's own help page: verb first, without a full stop.
        order: The position in `helmframe --help`: smaller numbers first, then by name.

    >>> @command("hello", help="Print a greeting")
    ... def add_hello(parser: argparse.ArgumentParser) -> None:
    ...     parser.set_defaults(run=lambda arguments: print("Hello"))
    >>> COMMANDS["hello"].help
    'Print a greeting'
    >>> COMMANDS.remove("hello")
    """

    def register(function: AddArguments) -> AddArguments:
        COMMANDS.add(name, Command(function, help, order))
        return function

    return register


# An option of lm-eval, Inspect or lighteval → what to write for it in `helmframe run`.
_OTHER_TOOLS_OPTIONS = {
    "--apply-chat-template": "A model's chat template is applied by default. Remove the option.",
    "--batch-size": "helmframe chooses the sizes of batches. Remove the option.",
    "--fewshot-as-multiturn": "Write it in a plan (.yaml): adapt: {shots_as: turns, chat_template: true}.",
    "--gen-kwargs": "Write decoding parameters in the entry: NAME:temperature=0.7.",
    "--include-path": "Write the path of the task file: helmframe run path/to/task.yaml.",
    "--limit": "Write -m N (--max-eval-instances).",
    "--log-samples": "Every completion is stored. Remove the option.",
    "--max-samples": "Write -m N (--max-eval-instances).",
    "--model-args": "Write the checkpoint as --model org/name, and its options as --dtype, --device, --adapter.",
    "--num-fewshot": "Write it in the entry: NAME:max_train_instances=N.",
    "--system-instruction": "Write it in a plan (.yaml): adapt: {system: TEXT}.",
    "--task": "Write names without an option: helmframe run NAME …",
    "--tasks": "Write names without an option: helmframe run NAME …",
}


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """A formatter of help pages: at most 100 columns wide, options in one column, and the default of each option."""

    def __init__(self, prog: str, **options: Any) -> None:
        width = min(shutil.get_terminal_size().columns - 2, 100)
        super().__init__(prog, **{"max_help_position": 30, "width": width, **options})

    def add_argument(self, action: argparse.Action) -> None:
        """Add an argument to the page; names of subcommands have a deeper indent than options."""
        super().add_argument(action)
        if action.nargs == argparse.PARSER and action.choices:
            width = max(map(len, action.choices)) + self._current_indent + self._indent_increment
            self._action_max_length = max(self._action_max_length, width)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        if text is None or action.nargs == 0 or action.default in (None, [], argparse.SUPPRESS) or "default" in text:
            return text
        return f"{text} (default: %(default)s)"


class CommandParser(argparse.ArgumentParser):
    """A parser whose help page is printed by `HelpFormatter`, and that suggests options for unknown ones."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": HelpFormatter, **options})
        self._positionals.title = "arguments"

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments; print the usage of this command, and exit with 2, if one is unknown."""
        args = list(sys.argv[1:] if args is None else args)
        own = args if self._subparsers is None else itertools.takewhile(lambda arg: arg.startswith("-"), args)
        # before argparse reports that the option with the right name is missing
        self._check_options(list(own))
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self._check_options(unknown)
            self.error(f"unexpected argument {unknown[0]!r}.")
        return parsed, unknown

    def _check_options(self, args: Sequence[str]) -> None:
        """Exit with an error if an option is unknown; a unique start of a long option is known."""
        options = list(self._option_string_actions)
        for arg in args:
            name = arg.partition("=")[0]
            if arg == "--":
                return
            if arg.startswith("--") and not any(option.startswith(name) for option in options):
                close = near(name, options, n=1)
                advice = f"Did you mean {close[0]}?" if close else f"`{self.prog} --help` lists all."
                advice = (
                    _OTHER_TOOLS_OPTIONS.get(name.replace("_", "-"), advice) if self.prog.endswith(" run") else advice
                )
                self.error(f"unknown option {name}. {advice}")


def print_status(message: str) -> None:
    """Print a message to stderr, without credentials; stdout is for results."""
    print(show_invisible(f"helmframe: {redacted(message)}"), file=sys.stderr, flush=True)


def print_text(text: object) -> None:
    """Print a text to stdout, which may contain texts of models and data: a terminal must not obey them."""
    print(show_invisible(str(text)), flush=True)


def _escape_invisible(text: str) -> str:
    r"""Return a JSON text with its invisible characters escaped.

    >>> _escape_invisible('["\u009b31m"]')
    '["\\u009b31m"]'
    """
    return "".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text)


def add_output(parser: argparse.ArgumentParser, formats: Mapping[str, Callable[[T], str]]) -> None:
    """Add the options of commands that compare scores: errors, level, format, file. The first format is the default."""
    parser.add_argument(
        "--errors",
        default="refuse",
        metavar="RULE",
        help="if more than 1 %% of requests failed: refuse, drop these instances, or score them worst",
    )
    parser.add_argument("--ci", type=float, default=0.95, metavar="LEVEL", help="level of the intervals")
    group = parser.add_argument_group("output")
    group.add_argument("--format", default=next(iter(formats)), choices=list(formats), help="format of the output")
    group.add_argument(
        "-o", "--output-path", metavar="FILE", help="also write FILE: .md as Markdown, .json as JSON, else as --format"
    )
    add_verbose(parser)


def add_results(parser: argparse.ArgumentParser, help: str = "folder with the results of a run; may be s3://…") -> None:
    """Add the argument FOLDER, parsed as `results`."""
    parser.add_argument("results", metavar="FOLDER", help=help)


def add_allow_substitution(parser: argparse._ActionsContainer) -> None:
    """Add the option --allow-substitution."""
    parser.add_argument(
        "--allow-substitution",
        action="store_true",
        help="let .conf files include other files and read environment variables; only for files that you trust",
    )


def add_verbose(parser: argparse.ArgumentParser, help: str = "print the log, and the traceback of an error") -> None:
    """Add the option --verbose."""
    parser.add_argument("--verbose", action="store_true", help=help)


@contextmanager
def option_names(function: str, names: Sequence[str]) -> Iterator[None]:
    """Replace arguments of a Python function in messages of errors by the options of the command.

    >>> with option_names("gate", ["at_least"]):
    ...     raise ArgumentError("gate(at_least=80.0): at_least must be between 0 and 1.")
    Traceback (most recent call last):
    helmframe.errors.ArgumentError: --at-least 80: --at-least must be between 0 and 1.
    """
    known = "|".join(names)
    # a word such as `errors` is an argument only before a value or "must"
    distinct = "|".join(name for name in names if "_" in name) or "(?!)"
    value = r"=(?P<value>'[^']*'|[^\s,:]+)"

    def option(match: re.Match[str]) -> str:
        value = (match["value"] or "").strip("'").removesuffix(".0")
        return f"--{match['name'].replace('_', '-')} {value}".rstrip()

    try:
        yield
    except (ArgumentError, NotComparableError) as error:
        text = re.sub(rf"\b{function}\(((?:{known})=[^()]*)\)", r"\1", str(error))
        argument = rf"(?P<name>(?:{known})(?=\b(?:=| must\b))|(?:{distinct})\b(?!['-]))(?:{value})?"
        text = re.sub(rf"(?<![\w'-]){argument}", option, text)
        raise type(error)(text) from error


def write_output(
    arguments: argparse.Namespace, compute: Callable[[], T], formats: Mapping[str, Callable[[T], str]]
) -> T:
    """Compute a result, print it, write it to `--output-path`, and return it.

    Raises:
        ArgumentError: The folder of `--output-path` does not exist; nothing is computed.
    """
    path = Path(arguments.output_path) if arguments.output_path else None
    if path is not None and not path.parent.is_dir():
        raise ArgumentError(f"--output-path {path}: the folder {path.parent} doesn't exist. Create it first.")
    result = compute()
    text = formats[arguments.format](result)
    if arguments.format == "json":
        print(_escape_invisible(text))
    else:
        print_text(text)
    if path is not None:
        format_name = _SUFFIX_FORMATS.get(path.suffix, arguments.format)
        path.write_text(formats[format_name](result) + "\n", encoding="utf-8")
        print_status(f"wrote {path}")
    return result
