"""`helmframe view` and `helmframe dashboard`: results in a browser on this machine."""

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol

from helmframe.cli.command import command, print_status
from helmframe.errors import ArgumentError
from helmframe.results import Results
from helmframe.views.dashboard import Dashboard
from helmframe.views.explore import Explorer
from helmframe.views.servers import DashboardServer, ExplorerServer


@command("view", help="look through a run's results in a browser, instance by instance", order=120)
def add_view(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `view`."""
    parser.add_argument("results", metavar="FOLDER", help="the folder of a run's results; may be s3://…")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="default one that is free")
    parser.add_argument("--verbose", action="store_true", help="log, and tracebacks of errors")
    parser.set_defaults(run=_view)


@command("dashboard", help="scores, charts and answers of runs, in a browser", order=140)
def add_dashboard(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dashboard`."""
    parser.add_argument("results", metavar="FOLDER", help="of a run's results, or of several runs; may be s3://…")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="default one that is free")
    parser.add_argument("--verbose", action="store_true", help="log, and tracebacks of errors")
    parser.set_defaults(run=_dashboard)


def _view(arguments: argparse.Namespace) -> None:
    explorer = Explorer(Results.load(arguments.results))
    serve(partial(ExplorerServer, explorer), arguments.port)


def _dashboard(arguments: argparse.Namespace) -> None:
    dashboard = Dashboard(arguments.results)
    serve(partial(DashboardServer, dashboard), arguments.port)


class Server(Protocol):
    """A server of pages."""

    @property
    def address(self) -> str:
        """Return the address to open in a browser."""

    def serve_forever(self) -> None:
        """Serve until a Ctrl-C."""


def serve(make: Callable[[int], "AbstractContextManager[Server]"], port: int) -> None:
    """Make a server for a port, 0 for a free one, and run it until Ctrl-C.

    Raises:
        ArgumentError: The port is not available.
    """
    try:
        context = make(port)
    except (OSError, OverflowError) as error:
        raise ArgumentError(f"--port {port}: {error}. Leave it out, and a free one is taken.") from None
    with context as server:
        try:
            print(f"{server.address}\nhelmframe: for browsers of this machine only; Ctrl-C ends it", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            print_status("ended")
