"""The command `helmframe`: the parser of all registered commands, and their exit codes.

Exit codes: 0 success, 1 failure, 2 usage error, 3 undecided (gate only), 130 interrupted by Ctrl-C. A usage error is
an invalid option, name, value, spec or plan. `gate` exits with 1 only if the gate fails, and with 2 if an error
prevents a verdict. Results go to stdout, messages to stderr. --verbose adds the traceback of an error.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

import helmframe
from helmframe._core.safe_text import error_text, readable_records, traceback_text
from helmframe.cli.command import COMMANDS, CommandParser, print_status
from helmframe.errors import (
    ArgumentError,
    CapabilityError,
    HelmframeError,
    NotAModelError,
    NotComparableError,
    PlanError,
    SpecError,
    UnknownNameError,
)

FAILED, USAGE = 1, 2
STOPPED = 130  # the exit code that shells use for Ctrl-C
USAGE_ERRORS = (
    ArgumentError,
    CapabilityError,
    NotAModelError,
    NotComparableError,
    PlanError,
    SpecError,
    UnknownNameError,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    >>> main(["list", "suites"])  # doctest: +ELLIPSIS
    suite ...
    0
    """
    words = sys.argv[1:] if argv is None else argv
    # the parsers of other commands would import their modules
    arguments = _parser(words[:1] if words and words[0] in COMMANDS else None).parse_args(argv)
    verbose = getattr(arguments, "verbose", False)
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
        for handler in logging.getLogger().handlers:
            handler.addFilter(readable_records)
    try:
        status: int | None = arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print_status("Interrupted. Finished work is stored; rerun the command to resume.")
        if argv is None:
            # a thread of a model may run native code, which a regular exit of the interpreter would abort
            os._exit(STOPPED)
        return STOPPED
    except BrokenPipeError:
        # the reader of the pipe, such as head, closed it; the exit must not flush to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _error_status(arguments)
    except HelmframeError as error:
        if verbose:
            _print_traceback(error)
        else:
            print_status(error.without_hint() if isinstance(error, UnknownNameError) else str(error))
        return USAGE if isinstance(error, USAGE_ERRORS) else _error_status(arguments)
    except Exception as error:  # noqa: BLE001 - no traceback on a user's terminal without --verbose
        if verbose:
            _print_traceback(error)
        else:
            print_status(f"{error_text(error)}\nUse --verbose to print the traceback.")
        return _error_status(arguments)
    return status or 0


def _print_traceback(error: BaseException) -> None:
    """Print a traceback without credentials."""
    print_status(traceback_text(error))


def _error_status(arguments: argparse.Namespace) -> int:
    """Return the exit code of an error that isn't a usage error; `gate` reserves 1 for its verdict."""
    return int(getattr(arguments, "error_status", FAILED))


def _parser(names: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Return the parser of these commands; by default of all."""
    parser = CommandParser(
        prog="helmframe",
        usage="helmframe [options] COMMAND ...",
        description="Evaluate language models on HELM's scenarios, or on your own.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"helmframe {helmframe.__version__}")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", prog="helmframe")
    commands = {name: COMMANDS[name] for name in names or COMMANDS}
    for name, command in sorted(commands.items(), key=lambda pair: (pair[1].order, pair[0])):
        command.function(subparsers.add_parser(name, help=command.help, description=f"{command.help}."))
    return parser


_EPILOG = """\
examples:
  helmframe run "sampler:subject=music,model=noisy(accuracy=0.6)"   # a mock model and packaged data
  helmframe run "mmlu:subject=philosophy,model=org/name" -m 100     # a HELM run entry
  helmframe run plan.yaml                                           # a plan written by plan.to_yaml
  helmframe gate runs/today --against runs/yesterday --margin 0.02

models:
  org/name                  a checkpoint folder (./org/name, ./name, or in $HELMFRAME_MODELS), or a name on the Hub
  http://host:port/v1#name  a model of an OpenAI-compatible server
  openai:gpt-4.1            a model of a provider

environment variables:
  HELMFRAME_DATA            the folder or bucket with the rows of the scenarios (default: the Hub)
  HELMFRAME_STORE           the folder or bucket with cached completions and runs
  HELMFRAME_MODELS          the folder with checkpoints
  HELMFRAME_PRICES          the YAML file with the prices of models
  OPENAI_API_KEY, …         the key of a provider; HELMFRAME_API_KEY for a server on this machine

exit codes:
  0    success; for gate: pass
  1    failure; for gate: fail
  2    usage error: an invalid option, name, value, spec or plan; for gate: any error
  3    undecided (gate only)
  130  interrupted by Ctrl-C

Use `helmframe COMMAND --help` for the options and an example of a command."""
