"""The command `helmframe check`: whether spec files hold what they promise."""

import argparse

from helmframe.cli.check import check_specs
from helmframe.cli.output import Commands
from helmframe.errors import HelmframeError


def add_check(commands: Commands) -> None:
    """Add the command `check`."""
    check = commands.add_parser("check", help="whether the scenario specs in a folder are valid, and fit their data")
    check.add_argument("path", metavar="FOLDER|FILE", help="where the YAML files are; with folders below")
    check.add_argument("--data", metavar="ROOT", help="where their rows are: a folder, s3://bucket/prefix")
    check.add_argument("--verbose", action="store_true", help="tracebacks of errors")
    check.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> None:
    table = check_specs(arguments.path, data=arguments.data)
    for file, problem, data, unread in table.iter_rows():
        word = "WRONG" if problem else "unread" if unread else "ok"
        print(f"{word:6}  {file}  {problem or unread or data}")
    wrong = table["problem"].is_not_null().sum()
    if wrong:
        raise HelmframeError(f"{wrong} of {table.height} files are wrong.")
