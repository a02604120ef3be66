"""A sandbox for programs that models wrote."""

from pathlib import Path

CHILD = Path(__file__).parent / "child"
