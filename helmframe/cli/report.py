"""`helmframe report`: the results of a run as one HTML file."""

import argparse

from helmframe.cli.command import command
from helmframe.results import Results


@command("report", help="a run's results as one file of HTML, to open, send or keep", order=130)
def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `report`."""
    parser.add_argument("results", metavar="FOLDER", help="the folder of a run's results; may be s3://…")
    parser.add_argument("-o", "--output-path", default="report.html", metavar="FILE", help="default report.html")
    parser.add_argument("--title", metavar="TEXT", help="default the scenarios' names")
    parser.add_argument("--verbose", action="store_true", help="log, and tracebacks of errors")
    parser.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> None:
    print(Results.load(arguments.results).report(arguments.output_path, title=arguments.title))
