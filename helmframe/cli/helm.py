"""`helmframe mirror`, `helmframe export` and `helmframe list helm-entries`: rows, results and run entries of HELM."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from helmframe.cli.command import command, print_status
from helmframe.errors import ArgumentError, HelmframeError
from helmframe.interop.helm import entry_states, read_conf
from helmframe.results import Results
from helmframe.scenarios.mirror import Outcome, mirror

_MIRROR = """\
examples:
  helmframe mirror mmlu boolq --to s3://bucket/evals
  helmframe mirror mmlu --from ./data.tar --layout "data/{split}/{subject}_{split}.csv" \\
    --select "SELECT column0 AS question, [column1, column2, column3, column4] AS choices, … FROM rows" --to ./evals

Then HELMFRAME_DATA=s3://bucket/evals. Interrupted, the same command goes on; run twice, it changes nothing.
TO/manifests says where rows are from, under which licence, and a sha256 of each file: another is an error."""


@command("mirror", help="fill a folder or bucket with scenarios' rows", order=50)
def add_mirror(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mirror`."""
    parser.epilog, parser.formatter_class = _MIRROR, argparse.RawDescriptionHelpFormatter
    parser.add_argument("scenarios", nargs="+", metavar="SCENARIO", help="names, or spec files")
    parser.add_argument("--to", required=True, metavar="ROOT", help="a folder or s3://bucket/prefix")
    parser.add_argument(
        "--from",
        dest="source",
        default="hub",
        metavar="SOURCE",
        help="hub (default); another root; a folder, archive, file or URL of Parquet, CSV or JSON Lines",
    )
    parser.add_argument("--layout", metavar="PATTERN", help="paths in the source: data/{split}/{subject}.csv")
    parser.add_argument("--select", metavar="SQL", help="makes the spec's columns of the table rows")
    parser.add_argument("--verbose", action="store_true", help="log, and tracebacks of errors")
    parser.set_defaults(run=_mirror)


@command("export", help="a run's results as HELM's run directories, for helm-summarize", order=60)
def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `export`."""
    parser.add_argument("results", metavar="FOLDER", help="the folder of a run's results; may be s3://…")
    parser.add_argument("--to", required=True, metavar="SUITE", help="benchmark_output/runs/NAME; may be s3://…")
    parser.add_argument("--verbose", action="store_true", help="log, and tracebacks of errors")
    parser.set_defaults(run=_export)


def list_helm_entries(paths: Sequence[str]) -> None:
    """Print each distinct run entry of HELM's .conf files with its state, then the number of entries per state.

    Args:
        paths: The files, or folders that hold some.

    Raises:
        ArgumentError: There is no file.
    """
    files = [file for path in paths for file in (sorted(Path(path).rglob("*.conf")) if Path(path).is_dir() else [path])]
    if not files:
        raise ArgumentError(
            "list helm-entries: no .conf file. Write: helmframe list helm-entries --conf-paths run_specs.conf"
        )
    counts: Counter[str] = Counter()
    # priority and groups don't change the state
    entries = [replace(entry, priority=1, groups=()) for file in files for entry in read_conf(file)]
    for entry, state, reason in entry_states(entries):
        counts[state] += 1
        why = f": {reason.splitlines()[0]}" if reason else ""
        print(f"{state:<18} {entry}{why}")
    print(f"\n{counts.total():,} entries: {', '.join(f'{n:,} {state}' for state, n in counts.most_common())}")


def _mirror(arguments: argparse.Namespace) -> None:
    failed: list[str] = []
    for name in arguments.scenarios:
        try:
            outcome = _mirror_scenario(name, arguments)
        except HelmframeError as error:
            # the other scenarios are mirrored; the error at the end lists the failed ones
            if arguments.verbose or len(arguments.scenarios) == 1:
                raise
            failed.append(name)
            print_status(str(error))
            continue
        files = f"{outcome.written:,} files written, {outcome.unchanged:,} there already"
        print(f"{outcome.scenario}: {outcome.rows:,} rows, {files}")
    if failed:
        raise HelmframeError(f"not mirrored: {', '.join(failed)}; of {len(arguments.scenarios)} scenarios.")


def _mirror_scenario(name: str, arguments: argparse.Namespace) -> Outcome:
    from tqdm import tqdm

    # None: shown only on a terminal
    with tqdm(desc=name, unit="file", disable=None, file=sys.stderr) as bar:

        def report(path: str, done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.set_postfix_str(path, refresh=False)
            bar.refresh()

        return mirror(
            name,
            arguments.to,
            source=arguments.source,
            layout=arguments.layout,
            select=arguments.select,
            report=report,
        )


def _export(arguments: argparse.Namespace) -> None:
    print(Results.load(arguments.results).to_helm(arguments.to))
