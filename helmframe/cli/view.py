"""`helmframe view`: the explorer of a run's results in a browser of this machine."""

import argparse
from functools import partial

from helmframe.cli.output import Commands
from helmframe.cli.serve import serve
from helmframe.results import Results
from helmframe.views.explore import Explorer
from helmframe.views.servers import ExplorerServer


def add_view(commands: Commands) -> None:
    """Add the command to those of `helmframe`."""
    parser = commands.add_parser("view", help="look through a run's results in a browser, instance by instance")
    parser.add_argument("results", metavar="FOLDER", help="the folder of a run's results; may be s3://…")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="default one that is free")
    parser.add_argument("--verbose", action="store_true", help="log, and tracebacks of errors")
    parser.set_defaults(run=_view)


def _view(arguments: argparse.Namespace) -> None:
    explorer = Explorer(Results.load(arguments.results))
    serve(partial(ExplorerServer, explorer), arguments.port)
