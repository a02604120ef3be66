"""What commands share: what they are added to; of those that judge results whose failures count, how sure, and where
what is printed is written too.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias, TypeVar

from helmframe.errors import ArgumentError

# argparse has no public name for it
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001
T = TypeVar("T")
_OF_FILES = {".md": "markdown", ".json": "json"}


def add_output(parser: argparse.ArgumentParser, formats: Mapping[str, Callable[[T], str]]) -> None:
    """Add the arguments; the first format is the default."""
    default = next(iter(formats))
    parser.add_argument("--errors", default="refuse", help="where more than 1 %% failed: refuse, drop or worst")
    parser.add_argument("--ci", type=float, default=0.95, help="level of the intervals, such as 0.95")
    parser.add_argument("--format", default=default, choices=list(formats), help=f"what is printed; default {default}")
    parser.add_argument("-o", "--output-path", metavar="FILE", help="also write it: to FILE.md, .json or another")
    parser.add_argument("--verbose", action="store_true", help="log, and tracebacks of errors")


def put_out(arguments: argparse.Namespace, made: Callable[[], T], formats: Mapping[str, Callable[[T], str]]) -> T:
    """What is made, once it is printed and written where the arguments say.

    Raises:
        ArgumentError: there is no such folder; nothing is made then.
    """
    path = Path(arguments.output_path) if arguments.output_path else None
    if path is not None and not path.parent.is_dir():
        raise ArgumentError(f"there is no folder {path.parent} to write {path.name} to.")
    found = made()
    print(formats[arguments.format](found))
    if path is not None:
        how = _OF_FILES.get(path.suffix, arguments.format)
        path.write_text(formats[how](found) + "\n", encoding="utf-8")
        print(f"helmframe: written: {path}", file=sys.stderr, flush=True)
    return found
