"""`helmframe report`: write the results of a run as one HTML file."""

import argparse

from helmframe.cli.command import add_results, add_verbose, command
from helmframe.results import Results

_EPILOG = """\
example:
  helmframe report runs/today -o report.html --title "Release 1.2\""""


@command("report", help="Write results as one self-contained HTML file", order=130)
def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `report`."""
    parser.epilog = _EPILOG
    add_results(parser)
    parser.add_argument("-o", "--output-path", default="report.html", metavar="FILE", help="file to write")
    parser.add_argument("--title", metavar="TEXT", help="title of the report (default: the names of the scenarios)")
    add_verbose(parser)
    parser.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> None:
    print(Results.load(arguments.results).report(arguments.output_path, title=arguments.title))
