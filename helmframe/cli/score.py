"""`helmframe score`: the answers of a finished run under other metrics; asks no model."""

import argparse
import sys

from helmframe.cli.output import Commands
from helmframe.results import Results


def add_score(commands: Commands) -> None:
    """Add the command to those of `helmframe`."""
    parser = commands.add_parser("score", help="score the answers of a run by other metrics; asks no model")
    parser.add_argument("results", metavar="FOLDER", help="the folder of a run's results; may be s3://…")
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=[],
        metavar="NAME",
        help="which; default those of the run (helmframe list metrics)",
    )
    parser.add_argument("-o", "--output-path", metavar="FOLDER", help="also write the results to FOLDER")
    parser.add_argument("--verbose", action="store_true", help="log, and tracebacks of errors")
    parser.set_defaults(run=_score)


def _score(arguments: argparse.Namespace) -> None:
    results = Results.load(arguments.results).rescore(*arguments.metrics)
    print(results)
    if arguments.output_path:
        print(f"helmframe: written: {results.to_parquet(arguments.output_path)}", file=sys.stderr, flush=True)
