"""`helmframe score`: score the cached completions of a run with other metrics. No request is sent."""

import argparse

from helmframe.cli.command import add_results, add_verbose, command, print_status
from helmframe.results import Results

_EPILOG = """\
example:
  helmframe score runs/today --metrics f1_score rouge_l -o runs/today-f1"""


@command("score", help="Score the completions of a run with other metrics, without requests", order=70)
def add_score(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `score`."""
    parser.epilog = _EPILOG
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
    results = Results.load(arguments.results).rescore(*arguments.metrics)
    print(results)
    if arguments.output_path:
        print_status(f"wrote {results.to_parquet(arguments.output_path)}")
