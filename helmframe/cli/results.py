"""`helmframe score`, `helmframe compare` and `helmframe gate`: commands on results. No request is sent.

Exit codes of gate: 0 pass, 1 fail, 2 error, 3 undecided.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe._core.registry import render
from helmframe._run import load_results
from helmframe.cli.command import (
    add_output,
    add_results,
    add_verbose,
    command,
    option_names,
    print_status,
    print_text,
    write_output,
)
from helmframe.errors import ArgumentError

if TYPE_CHECKING:
    from helmframe.stats.gate import Gate

_FORMATS: dict[str, Callable[[Any], str]] = {name: partial(render, name=name) for name in ("text", "markdown")}

_SCORE = """\
example:
  helmframe score runs/today --metrics f1_score rouge_l -o runs/today-f1"""


@command("score", help="Score the completions of a run with other metrics, without requests", order=70)
def add_score(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `score`."""
    parser.epilog = _SCORE
    add_results(parser)
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=[],
        metavar="NAME",
        help="metrics to compute (default: those of the run); `helmframe list metrics` lists all",
    )
    parser.add_argument("-o", "--output-path", metavar="FOLDER", help="also write the new results to FOLDER")
    add_verbose(parser)
    parser.set_defaults(run=_score)


def _score(arguments: argparse.Namespace) -> None:
    results = load_results(arguments.results).rescore(*arguments.metrics)
    print_text(results)
    if arguments.output_path:
        print_status(f"wrote {results.to_parquet(arguments.output_path)}")


def comparison_json(table: pl.DataFrame) -> str:
    """Return all numbers of a comparison as JSON: `rows`, with the columns of `helmframe.stats.compare`."""
    return json.dumps({"rows": table.to_dicts()}, ensure_ascii=False, indent=2, allow_nan=False)


_COMPARE_FORMATS = {**_FORMATS, "json": comparison_json}


_COMPARE = """\
example:
  helmframe compare runs/today runs/yesterday --format markdown
  helmframe compare runs/today --axis model"""


@command("compare", help="Compare two results, paired by instance, with interval and test", order=80)
def add_compare(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `compare`."""
    parser.epilog = _COMPARE
    parser.add_argument("results", nargs="+", metavar="FOLDER", help=_FOLDERS)
    parser.add_argument("--axis", nargs="+", default=[], metavar="AXIS", help=_AXIS)
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="metrics to compare (default: the main metric)")
    parser.add_argument(
        "--worst",
        metavar="all|K",
        help="compare worst cases: over all variants (all), or over K sampled variants",
    )
    add_output(parser, _COMPARE_FORMATS)
    parser.set_defaults(run=_compare)


def _compare(arguments: argparse.Namespace) -> None:
    write_output(arguments, lambda: _table(arguments), _COMPARE_FORMATS)


def _table(arguments: argparse.Namespace) -> pl.DataFrame:
    from helmframe.results import Results, compare_results
    from helmframe.results import load_results as load_any_format

    worst = int(arguments.worst) if str(arguments.worst).isdecimal() else arguments.worst
    options: dict[str, Any] = {
        "metrics": arguments.metrics,
        "worst": worst,
        "errors": arguments.errors,
        "ci": arguments.ci,
    }
    match arguments.results:
        case [a, b]:
            return compare_results(a, b, axis=arguments.axis, **options)
        case [folder] if len(arguments.axis) == 1:
            results = load_any_format(folder)
            assert isinstance(results, Results)  # as every reader returns
            return results.compare(arguments.axis[0], **options)
    raise ArgumentError(
        "compare takes two folders, or one folder and an axis. Write: helmframe compare FOLDER --axis model"
    )


_FOLDERS = (
    "results A and B: prints A − B; or one folder with --axis. Results of helmframe (may be s3://…), HELM, lm-eval or "
    "Inspect"
)
_AXIS = (
    "two folders: differences to allow (model, prompt, parser, decoding); one folder: column to compare (model, "
    "setting or perturbation)"
)


def gate_json(gate: "Gate") -> str:
    """Return verdict, criterion and all numbers as JSON: `rows`, with the columns of `helmframe.stats.gate`."""
    value = {"verdict": gate.verdict, "criterion": gate.criterion, "rows": gate.table.to_dicts()}
    return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)


_GATE_FORMATS = {**_FORMATS, "json": gate_json}


# The options that errors of `Results.gate` may name.
_GATE_OPTIONS = ("at_least", "at_most", "margin", "equivalent", "against", "errors", "ci")


_GATE = """\
example:
  helmframe gate runs/today --against runs/yesterday --margin 0.02
  helmframe gate runs/today --at-least 0.6 --columns mmlu

exit codes:
  0  pass: the interval is on the passing side of the criterion, for every column
  1  fail: the interval of a column is on the failing side; with --strict also undecided
  2  error: an invalid option, unreadable results, or too many failed requests; there is no verdict
  3  undecided: the interval of a column includes the criterion"""


@command("gate", help="Pass or fail results against a threshold or a baseline, by exit code", order=90)
def add_gate(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `gate`."""
    parser.epilog = _GATE
    parser.add_argument(
        "results",
        metavar="FOLDER",
        help="results to check: of helmframe (may be s3://…), HELM, lm-eval or Inspect",
    )
    criteria = parser.add_argument_group("criterion (exactly one)").add_mutually_exclusive_group(required=True)
    criteria.add_argument("--at-least", type=float, metavar="X", help="lowest value that passes")
    criteria.add_argument("--at-most", type=float, metavar="X", help="highest value that passes, if lower is better")
    criteria.add_argument("--against", metavar="FOLDER", help="results of a baseline")
    parser.add_argument(
        "--margin",
        type=float,
        default=0.02,
        metavar="X",
        help="with --against: largest change for the worse that passes",
    )
    parser.add_argument(
        "--equivalent",
        type=float,
        metavar="X",
        help="with --against: largest change to either side that passes, in place of --margin",
    )
    parser.add_argument(
        "--columns", nargs="+", metavar="NAME", help="scenarios or metrics to check (default: all scenarios)"
    )
    parser.add_argument(
        "--axis",
        nargs="+",
        default=[],
        metavar="AXIS",
        help="with --against: the differences to allow (model, prompt, parser, decoding)",
    )
    parser.add_argument("--strict", action="store_true", help="fail if undecided")
    parser.add_argument(
        "--population",
        choices=["population", "benchmark"],
        default="population",
        help="what the verdict is about: the population that the instances are sampled from (default), or this "
        "benchmark's own instances alone",
    )
    add_output(parser, _GATE_FORMATS)
    # an error prevents a verdict, so its exit code differs from that of a failed gate
    parser.set_defaults(run=_gate, error_status=2)


def _gate(arguments: argparse.Namespace) -> int:
    return write_output(arguments, lambda: _verdict(arguments), _GATE_FORMATS).exit_code


def _verdict(arguments: argparse.Namespace) -> "Gate":
    from helmframe.results import Results, load_results

    results = load_results(arguments.results)
    assert isinstance(results, Results)  # as every reader returns
    with option_names("gate", _GATE_OPTIONS):
        return results.gate(
            at_least=arguments.at_least,
            at_most=arguments.at_most,
            against=arguments.against,
            margin=arguments.margin,
            equivalent=arguments.equivalent,
            columns=arguments.columns,
            axis=arguments.axis,
            errors=arguments.errors,
            strict=arguments.strict,
            ci=arguments.ci,
            population=arguments.population,
        )
