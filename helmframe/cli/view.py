"""`helmframe view` and `helmframe report`: show runs in a browser, or results as one HTML file."""

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol

from helmframe._run import load_results
from helmframe.cli.command import add_results, add_verbose, command, print_status
from helmframe.errors import ArgumentError

_VIEW = """\
examples:
  helmframe view                      # the runs in the store
  helmframe view runs/today --port 8000
  helmframe view s3://bucket/runs"""
_REPORT = """\
example:
  helmframe report runs/today -o report.html --title "Release 1.2\""""


@command("view", help="Browse runs in a browser: scores, findings, and every instance", order=120)
def add_view(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `view`."""
    parser.epilog = _VIEW
    parser.add_argument(
        "results",
        nargs="?",
        metavar="FOLDER",
        help="folder of one run, or of several runs; may be s3://… (default: the runs in the store)",
    )
    _add_port(parser)
    add_verbose(parser)
    parser.set_defaults(run=_view)


@command("report", help="Write results as one self-contained HTML file", order=130)
def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `report`."""
    parser.epilog = _REPORT
    add_results(parser)
    parser.add_argument("-o", "--output-path", default="report.html", metavar="FILE", help="file to write")
    parser.add_argument("--title", metavar="TEXT", help="title of the report (default: the names of the scenarios)")
    add_verbose(parser)
    parser.set_defaults(run=_report)


def _add_port(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port to serve on (default: a free port)")


def _view(arguments: argparse.Namespace) -> None:
    from helmframe.views.transports import ViewerServer
    from helmframe.views.viewer import Viewer

    serve(partial(ViewerServer, Viewer.of(arguments.results)), arguments.port)


def _report(arguments: argparse.Namespace) -> None:
    print(load_results(arguments.results).report(arguments.output_path, title=arguments.title))


class Server(Protocol):
    """A server of HTML pages."""

    @property
    def address(self) -> str:
        """Return the address to open in a browser."""

    def serve_forever(self) -> None:
        """Serve until Ctrl-C."""


def serve(make: Callable[[int], "AbstractContextManager[Server]"], port: int) -> None:
    """Start a server on a port (0: a free port) and run it until Ctrl-C.

    Raises:
        ArgumentError: The port is not available.
    """
    try:
        context = make(port)
    except (OSError, OverflowError) as error:
        raise ArgumentError(
            f"--port {port} isn't available: {_reason(error)}. Omit --port to use a free port."
        ) from None
    with context as server:
        try:
            print(f"{server.address}\nhelmframe: serves this machine only; press Ctrl-C to stop", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            print_status("stopped")


def _reason(error: Exception) -> str:
    """Return the reason of the operating system, or of Python for a number that isn't a port."""
    return (error.strerror if isinstance(error, OSError) else None) or "a port is a number from 0 to 65535"
