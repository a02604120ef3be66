"""`helmframe gate`: pass or fail results in scripts. Exit codes: 0 pass, 1 fail, 2 error, 3 undecided."""

import argparse
import json

from helmframe.cli.command import add_output, command, option_names, write_output
from helmframe.results import Results, load_results
from helmframe.stats.gate import Gate
from helmframe.views.comparison import gate_markdown, gate_text


def gate_json(gate: Gate) -> str:
    """Return verdict, criterion and all numbers as JSON: `rows`, with the columns of `helmframe.stats.gate`."""
    value = {"verdict": gate.verdict, "criterion": gate.criterion, "rows": gate.table.to_dicts()}
    return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)


_FORMATS = {"text": gate_text, "markdown": gate_markdown, "json": gate_json}


# The options that errors of `Results.gate` may name.
_OPTIONS = ("at_least", "at_most", "margin", "against", "errors", "ci")


_EPILOG = """\
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
    parser.epilog = _EPILOG
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
    add_output(parser, _FORMATS)
    # an error prevents a verdict, so its exit code differs from that of a failed gate
    parser.set_defaults(run=_gate, error_status=2)


def _gate(arguments: argparse.Namespace) -> int:
    return write_output(arguments, lambda: _verdict(arguments), _FORMATS).exit_code


def _verdict(arguments: argparse.Namespace) -> Gate:
    results = load_results(arguments.results)
    assert isinstance(results, Results)  # as every reader returns
    with option_names("gate", _OPTIONS):
        return results.gate(
            at_least=arguments.at_least,
            at_most=arguments.at_most,
            against=arguments.against,
            margin=arguments.margin,
            columns=arguments.columns,
            axis=arguments.axis,
            errors=arguments.errors,
            strict=arguments.strict,
            ci=arguments.ci,
        )
