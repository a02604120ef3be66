"""`helmframe gate`: whether results may pass, for scripts: exit 0 pass, 2 failed, 3 too few instances to decide."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from helmframe.errors import ArgumentError
from helmframe.sides import loaded
from helmframe.stats.gate import Gate
from helmframe.views.gate import gate_markdown, gate_text


def gate_json(gate: Gate) -> str:
    """The verdict, what was asked, and every number: `rows`, with the columns of `helmframe.stats.gate`."""
    said = {"verdict": gate.verdict, "asked": gate.asked, "rows": gate.table.to_dicts()}
    return json.dumps(said, ensure_ascii=False, indent=2, allow_nan=False)


_FORMATS = {"text": gate_text, "markdown": gate_markdown, "json": gate_json}
_OF_FILES = {".md": "markdown", ".json": "json"}


def add_gate(commands: Any) -> None:
    """Add the command to those of `helmframe`."""
    parser = commands.add_parser("gate", help="whether results may pass: exit 0, 2 failed, 3 too few instances to say")
    parser.add_argument("results", metavar="FOLDER", help="a run's results (may be s3://…), or another tool's")
    line = parser.add_mutually_exclusive_group(required=True)
    line.add_argument("--at-least", type=float, metavar="X", help="the least value that passes")
    line.add_argument("--against", metavar="FOLDER", help="the baseline: the results of a run, or another tool's")
    parser.add_argument("--margin", type=float, default=0.02, metavar="X", help="how much worse is not too bad; .02")
    parser.add_argument("--columns", nargs="+", metavar="NAME", help="scenarios or metrics; default all scenarios")
    parser.add_argument("--axis", nargs="+", default=[], metavar="WHAT", help="may differ: model, prompt, decoding")
    parser.add_argument("--strict", action="store_true", help="what can't be decided has failed")
    parser.add_argument("--errors", default="refuse", help="where more than 1 %% failed: refuse, drop or zero")
    parser.add_argument("--ci", type=float, default=0.95, help="level of the intervals, such as 0.95")
    parser.add_argument("--format", default="text", choices=list(_FORMATS), help="what is printed; default text")
    parser.add_argument("-o", "--output-path", metavar="FILE", help="also write it: to FILE.md, .json or another")
    parser.add_argument("--verbose", action="store_true", help="log, and tracebacks of errors")
    parser.set_defaults(run=_gate)


def _gate(arguments: argparse.Namespace) -> int:
    path = Path(arguments.output_path) if arguments.output_path else None
    if path is not None and not path.parent.is_dir():
        raise ArgumentError(f"there is no folder {path.parent} to write {path.name} to.")
    gate = loaded(arguments.results).gate(
        at_least=arguments.at_least,
        against=arguments.against,
        margin=arguments.margin,
        columns=arguments.columns,
        axis=arguments.axis,
        errors=arguments.errors,
        strict=arguments.strict,
        ci=arguments.ci,
    )
    print(_FORMATS[arguments.format](gate))
    if path is not None:
        how = _OF_FILES.get(path.suffix, arguments.format)
        path.write_text(_FORMATS[how](gate) + "\n", encoding="utf-8")
        print(f"helmframe: written: {path}", file=sys.stderr, flush=True)
    return gate.exit_code
