"""Scripts that build files of this repository: `python -m tools.NAME`."""
