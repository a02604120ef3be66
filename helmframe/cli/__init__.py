"""The command line: one module per command."""

from helmframe.cli.app import main

__all__ = ["main"]
