"""The command line: each module registers its commands."""

from helmframe.cli.app import main

__all__ = ["main"]
