"""`helmframe score`: score the completions of a finished run by other metrics. No request is sent."""

import argparse

from helmframe.cli.command import command, print_status
from helmframe.results import Results


@command("score", help="score the answers of a run by other metrics; asks no model", order=70)
def add_score(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `score`."""
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
        print_status(f"written: {results.to_parquet(arguments.output_path)}")
