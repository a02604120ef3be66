"""`helmframe gate`: judge results in scripts. Exit status: 0 pass, 1 fail, 2 usage error, 3 undecided."""

import argparse
import json

from helmframe.cli.command import add_output, command, write_output
from helmframe.results import Results, load_results
from helmframe.stats.gate import Gate
from helmframe.views.comparison import gate_markdown, gate_text


def gate_json(gate: Gate) -> str:
    """Return verdict, criterion and every number as JSON: `rows`, with the columns of `helmframe.stats.gate`."""
    value = {"verdict": gate.verdict, "criterion": gate.criterion, "rows": gate.table.to_dicts()}
    return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)


_FORMATS = {"text": gate_text, "markdown": gate_markdown, "json": gate_json}


@command("gate", help="judge results: exit 0 pass, 1 fail, 2 usage error, 3 undecided", order=90)
def add_gate(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `gate`."""
    parser.add_argument("results", metavar="FOLDER", help="a run's results (may be s3://…), or another tool's")
    line = parser.add_mutually_exclusive_group(required=True)
    line.add_argument("--at-least", type=float, metavar="X", help="the least value that passes")
    line.add_argument("--at-most", type=float, metavar="X", help="the greatest that does, where lower is better")
    line.add_argument("--against", metavar="FOLDER", help="the baseline: the results of a run, or another tool's")
    parser.add_argument("--margin", type=float, default=0.02, metavar="X", help="how much worse is not too bad; .02")
    parser.add_argument("--columns", nargs="+", metavar="NAME", help="scenarios or metrics; default all scenarios")
    parser.add_argument("--axis", nargs="+", default=[], metavar="WHAT", help="may differ: model, prompt, decoding")
    parser.add_argument("--strict", action="store_true", help="undecided counts as failed")
    add_output(parser, _FORMATS)
    # any error means that there is no verdict, so its status differs from that of a failed gate
    parser.set_defaults(run=_gate, error_status=2)


def _gate(arguments: argparse.Namespace) -> int:
    return write_output(arguments, lambda: _verdict(arguments), _FORMATS).exit_code


def _verdict(arguments: argparse.Namespace) -> Gate:
    results = load_results(arguments.results)
    assert isinstance(results, Results)  # as every reader gives them
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
