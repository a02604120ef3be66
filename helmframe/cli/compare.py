"""`helmframe compare`: compare two results, or the models, settings or perturbations of one."""

import argparse
import json
from typing import Any

import polars as pl

from helmframe.cli.command import add_output, command, write_output
from helmframe.errors import ArgumentError
from helmframe.results import Results, compare_results, load_results
from helmframe.views.comparison import comparison_markdown, comparison_text


def comparison_json(table: pl.DataFrame) -> str:
    """Return all numbers of a comparison as JSON: `rows`, with the columns of `helmframe.stats.compare`."""
    return json.dumps({"rows": table.to_dicts()}, ensure_ascii=False, indent=2, allow_nan=False)


_FORMATS = {"text": comparison_text, "markdown": comparison_markdown, "json": comparison_json}


_EPILOG = """\
example:
  helmframe compare runs/today runs/yesterday --format markdown
  helmframe compare runs/today --axis model"""


@command("compare", help="Compare two results, paired by instance, with interval and test", order=80)
def add_compare(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `compare`."""
    parser.epilog = _EPILOG
    parser.add_argument("results", nargs="+", metavar="FOLDER", help=_FOLDERS)
    parser.add_argument("--axis", nargs="+", default=[], metavar="AXIS", help=_AXIS)
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="metrics to compare (default: the main metric)")
    parser.add_argument(
        "--worst",
        metavar="all|K",
        help="compare worst cases: over all variants (all), or over K sampled variants",
    )
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
