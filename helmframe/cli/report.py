"""`helmframe report`: one file of HTML about a run; `helmframe dashboard`: pages over exported results."""

import argparse
from functools import partial

from helmframe.cli.output import Commands
from helmframe.cli.serve import serve
from helmframe.results import Results
from helmframe.views.dashboard import Dashboard
from helmframe.views.servers import DashboardServer


def add_report(commands: Commands) -> None:
    """Add both commands to those of `helmframe`."""
    report = commands.add_parser("report", help="a run's results as one file of HTML, to open, send or keep")
    report.add_argument("results", metavar="FOLDER", help="the folder of a run's results; may be s3://…")
    report.add_argument("-o", "--output-path", default="report.html", metavar="FILE", help="default report.html")
    report.add_argument("--title", metavar="TEXT", help="default the scenarios' names")
    report.set_defaults(run=_report)

    dashboard = commands.add_parser("dashboard", help="scores, charts and answers of runs, in a browser")
    dashboard.add_argument("results", metavar="FOLDER", help="of a run's results, or of several runs; may be s3://…")
    dashboard.add_argument("--port", type=int, default=0, metavar="N", help="default one that is free")
    dashboard.set_defaults(run=_dashboard)
    for command in (report, dashboard):
        command.add_argument("--verbose", action="store_true", help="log, and tracebacks of errors")


def _report(arguments: argparse.Namespace) -> None:
    written = Results.load(arguments.results).report(arguments.output_path, title=arguments.title)
    print(written)


def _dashboard(arguments: argparse.Namespace) -> None:
    dashboard = Dashboard(arguments.results)
    serve(partial(DashboardServer, dashboard), arguments.port)
