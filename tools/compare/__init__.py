"""Side-by-side measurements of helmframe, HELM, lm-eval and Inspect: `python -m tools.compare --help`."""
