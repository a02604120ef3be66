"""Side-by-side measurements of helmframe and other tools: `python -m tools.compare --help`."""
