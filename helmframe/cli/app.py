"""The command `helmframe`: the parser over all registered commands, and their exit status.

Exit status: 0 done, 1 failed, 2 usage error, 3 undecided (gate only), 130 stopped by Ctrl-C. A usage error is a wrong
option, name, value, spec or plan. `gate` exits with 1 only if the gate fails, and with 2 if an error prevents a
verdict. Results go to stdout, messages to stderr. --verbose adds the traceback of an error.
"""

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Sequence

import helmframe
from helmframe._core.safe_text import error_text
from helmframe.cli.command import COMMANDS, print_status
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
STOPPED = 130  # what shells give for a Ctrl-C
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
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    verbose = getattr(arguments, "verbose", False)
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        status: int | None = arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print_status("stopped; what was answered is kept, the same command goes on from there")
        if argv is None:
            # a model's threads may be inside native code, which an orderly end of the interpreter would abort
            os._exit(STOPPED)
        return STOPPED
    except BrokenPipeError:
        # the reader of a pipe, such as head, has seen enough; nothing is left to flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _error_status(arguments)
    except HelmframeError as error:
        if verbose:
            traceback.print_exc()
        else:
            print_status(str(error))
        return USAGE if isinstance(error, USAGE_ERRORS) else _error_status(arguments)
    except Exception as error:  # noqa: BLE001 - the last line of defence before the user's terminal
        if verbose:
            traceback.print_exc()
        else:
            print_status(f"{error_text(error)}\nMore: --verbose")
        return _error_status(arguments)
    return status or 0


def _error_status(arguments: argparse.Namespace) -> int:
    """Return the exit status of an error that is not a usage error; `gate` keeps 1 for its verdict."""
    return int(getattr(arguments, "error_status", FAILED))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="helmframe",
        description="HELM on the go: evaluate anything that generates text.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"helmframe {helmframe.__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    commands = {name: COMMANDS[name] for name in COMMANDS}
    for name, command in sorted(commands.items(), key=lambda pair: (pair[1].order, pair[0])):
        command.function(subparsers.add_parser(name, help=command.help))
    return parser


_EXAMPLES = """\
examples:
  helmframe run "mmlu:subject=philosophy,model=org/name" -m 100
  helmframe run "sampler:subject=music,model=noisy(accuracy=0.6)"    a mock model; needs no data
  helmframe run --conf-paths run_specs.conf --suite v1 -m 10
  helmframe run plan.yaml
  helmframe run "mmlu:subject=philosophy" --model ./base --adapter ./lora --dtype bfloat16

org/name is a folder in transformers format: ./org/name, ./name, below $HELMFRAME_MODELS, or on the hub.
$HELMFRAME_DATA names the folder or bucket of the scenarios' rows, $HELMFRAME_STORE where answers are kept.

Exit status: 0 done or pass, 1 failed, 2 usage error, 3 undecided (gate), 130 stopped by Ctrl-C."""
