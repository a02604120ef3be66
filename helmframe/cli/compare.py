"""`helmframe compare`: two results, or the models, settings or perturbations of one, as text, Markdown or JSON."""

import argparse
import json
from typing import Any

import polars as pl

from helmframe.cli.command import add_output, command, write_output
from helmframe.errors import ArgumentError
from helmframe.results import Results, compare_results, load_results
from helmframe.views.comparison import comparison_markdown, comparison_text


def comparison_json(table: pl.DataFrame) -> str:
    """Return every number of a comparison as JSON: `rows`, with the columns of `helmframe.stats.compare`."""
    return json.dumps({"rows": table.to_dicts()}, ensure_ascii=False, indent=2, allow_nan=False)


_FORMATS = {"text": comparison_text, "markdown": comparison_markdown, "json": comparison_json}


@command("compare", help="paired differences of two results, with interval and test", order=80)
def add_compare(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `compare`."""
    parser.add_argument("results", nargs="+", metavar="FOLDER", help="A and B: gives A − B. " + _FOLDERS)
    parser.add_argument("--axis", nargs="+", default=[], metavar="WHAT", help=_AXIS)
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="which; default the main one")
    parser.add_argument("--worst", metavar="all|K", help="compare worst cases, over all variants or K draws")
    add_output(parser, _FORMATS)
    parser.set_defaults(run=_compare)


def _compare(arguments: argparse.Namespace) -> None:
    write_output(arguments, lambda: _table(arguments), _FORMATS)


def _table(arguments: argparse.Namespace) -> pl.DataFrame:
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
            results = load_results(folder)
            assert isinstance(results, Results)  # as every reader gives them
            return results.compare(arguments.axis[0], **options)
    raise ArgumentError(
        "compare takes two folders, or one and what in it is compared: helmframe compare FOLDER --axis model."
    )


_FOLDERS = "A run's results (may be s3://…), or HELM's, lm-eval's or Inspect's; one alone with --axis."
_AXIS = (
    "what may differ, where more than one thing does: model, prompt, decoding; of one folder: model, setting or "
    "perturbation"
)
