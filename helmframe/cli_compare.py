"""`helmframe compare`: two results, or the models, settings or perturbations of one, as text, Markdown or JSON."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import polars as pl

from helmframe.errors import ArgumentError
from helmframe.sides import compare_results, loaded
from helmframe.views.comparison import comparison_markdown, comparison_text

_FORMATS = {"text": comparison_text, "markdown": comparison_markdown}


def comparison_json(table: pl.DataFrame) -> str:
    """Every number of a comparison: `rows`, with the columns of `helmframe.stats.compare`."""
    return json.dumps({"rows": table.to_dicts()}, ensure_ascii=False, indent=2, allow_nan=False)


def add_compare(commands: Any) -> None:
    """Add the command to those of `helmframe`."""
    parser = commands.add_parser("compare", help="paired differences of two results, with interval and test")
    parser.add_argument("results", nargs="+", metavar="FOLDER", help="A and B: gives A − B. " + _FOLDERS)
    parser.add_argument("--axis", nargs="+", default=[], metavar="WHAT", help=_AXIS)
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="which; default the main one")
    parser.add_argument("--worst", metavar="all|K", help="compare worst cases, over all variants or K draws")
    parser.add_argument("--errors", default="refuse", help="of a side with more than 1 %% failed: refuse, drop or zero")
    parser.add_argument("--ci", type=float, default=0.95, help="level of the intervals, such as 0.95")
    parser.add_argument("--format", default="text", choices=[*_FORMATS, "json"], help="what is printed; default text")
    parser.add_argument("-o", "--output-path", metavar="FILE", help="also write it: to FILE.md, .json or another")
    parser.add_argument("--verbose", action="store_true", help="log, and tracebacks of errors")
    parser.set_defaults(run=_compare)


def _compare(arguments: argparse.Namespace) -> None:
    path = Path(arguments.output_path) if arguments.output_path else None
    if path is not None and not path.parent.is_dir():
        raise ArgumentError(f"there is no folder {path.parent} to write {path.name} to.")
    table = _table(arguments)
    print(_written(table, arguments.format))
    if path is not None:
        formats = {".md": "markdown", ".json": "json"}
        path.write_text(_written(table, formats.get(path.suffix, arguments.format)) + "\n", encoding="utf-8")
        print(f"helmframe: written: {path}", file=sys.stderr, flush=True)


def _table(arguments: argparse.Namespace) -> pl.DataFrame:
    worst = int(arguments.worst) if str(arguments.worst).isdecimal() else arguments.worst
    how: dict[str, Any] = {"metrics": arguments.metrics, "worst": worst, "errors": arguments.errors, "ci": arguments.ci}
    match arguments.results:
        case [a, b]:
            return compare_results(a, b, axis=arguments.axis, **how)
        case [one] if len(arguments.axis) == 1:
            return loaded(one).compare(arguments.axis[0], **how)
    raise ArgumentError(
        "compare takes two folders, or one and what in it is compared: helmframe compare FOLDER --axis model."
    )


def _written(table: pl.DataFrame, how: str) -> str:
    return comparison_json(table) if how == "json" else _FORMATS[how](table)


_FOLDERS = "A run's results (may be s3://…), or HELM's, lm-eval's or Inspect's; one alone with --axis."
_AXIS = (
    "what may differ, where more than one thing does: model, prompt, decoding; of one folder: model, setting or "
    "perturbation"
)
