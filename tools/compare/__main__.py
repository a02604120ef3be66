"""Measure tools side by side, and write the page of the measurements.

python -m tools.compare measure --data FOLDER    # all cases: half an hour per repeat
python -m tools.compare measure --only mmlu --repeats 3
python -m tools.compare page                     # docs/benchmarks.md from the measurements
python -m tools.compare agree OTHER.parquet      # whether a second sitting is within the spread
"""

import argparse
import sys
from pathlib import Path

from tools.compare.environments import ROOT, parse_pythons

MEASUREMENTS = ROOT / "docs" / "benchmarks" / "measurements.parquet"


def main(arguments: list[str]) -> int:
    """Run a command."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure", help="run the cases and write the measurements")
    measure.add_argument("--data", type=Path, help="folder with MMLU and HellaSwag in the Hub's layout")
    measure.add_argument("--only", nargs="+", default=[], metavar="CASE", help="names of cases, or starts of names")
    measure.add_argument("--repeats", type=int, default=5, help="how often each case runs (default: 5)")
    measure.add_argument("--quick", action="store_true", help="a few rows per case")
    measure.add_argument("--output", type=Path, default=MEASUREMENTS, help="Parquet file (default: that of the page)")
    measure.add_argument(
        "--python", action="append", default=[], metavar="TOOL=PATH", help="an existing environment of a tool"
    )
    commands.add_parser("page", help="write docs/benchmarks.md and its charts")
    agree = commands.add_parser("agree", help="compare a second sitting with the spread of the first")
    agree.add_argument("other", type=Path)
    options = parser.parse_args(arguments)
    if options.command == "measure":
        from tools.compare.measuring import measure as run

        run(
            options.output,
            data=options.data,
            pythons=parse_pythons(options.python),
            only=options.only,
            repeats=options.repeats,
            quick=options.quick,
        )
        return 0
    from tools.compare.page import agreement, write_page

    if options.command == "page":
        write_page(MEASUREMENTS, ROOT / "docs")
        return 0
    print(agreement(MEASUREMENTS, options.other))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
