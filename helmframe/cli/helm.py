"""`helmframe mirror`, `helmframe export` and `helmframe list helm-entries`."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from helmframe.cli.command import add_results, add_verbose, command, print_status
from helmframe.errors import ArgumentError, HelmframeError
from helmframe.interop.helm import entry_states, read_conf
from helmframe.results import Results
from helmframe.scenarios.mirror import Outcome, mirror

_MIRROR = """\
examples:
  helmframe mirror mmlu boolq --to s3://bucket/evals
  helmframe mirror mmlu --from ./data.tar --layout "data/{split}/{subject}_{split}.csv" \\
    --select "SELECT column0 AS question, [column1, column2, column3, column4] AS choices, … FROM rows" --to ./evals

Set HELMFRAME_DATA=s3://bucket/evals afterwards. Rerun the command to resume; files that exist are skipped.
ROOT/manifests records the source and licence of the rows and a SHA-256 of each file. A file with another
checksum is an error."""


@command("mirror", help="Copy the rows of scenarios into a folder or bucket", order=50)
def add_mirror(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mirror`."""
    parser.epilog = _MIRROR
    parser.add_argument("scenarios", nargs="+", metavar="SCENARIO", help="names of scenarios, or spec files")
    parser.add_argument(
        "--to", required=True, metavar="ROOT", help="folder or s3://bucket/prefix to write to (required)"
    )
    group = parser.add_argument_group("source")
    group.add_argument(
        "--from",
        dest="source",
        default="hub",
        metavar="SOURCE",
        help="hub, another root, or a folder, archive, file or URL with Parquet, CSV or JSON Lines",
    )
    group.add_argument(
        "--layout", metavar="PATTERN", help="pattern of the paths in the source, such as data/{split}/{subject}.csv"
    )
    group.add_argument(
        "--select", metavar="SQL", help="query that makes the columns of the spec from the source's table `rows`"
    )
    add_verbose(parser)
    parser.set_defaults(run=_mirror)


_EXPORT = """\
example:
  helmframe export runs/today --to benchmark_output/runs/v1
  helm-summarize --suite v1"""


@command("export", help="Export results as HELM run directories, for helm-summarize", order=60)
def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `export`."""
    parser.epilog = _EXPORT
    add_results(parser)
    parser.add_argument(
        "--to",
        required=True,
        metavar="SUITE",
        help="folder of the suite, such as benchmark_output/runs/v1 (required; may be s3://…)",
    )
    add_verbose(parser)
    parser.set_defaults(run=_export)


def list_helm_entries(paths: Sequence[str]) -> None:
    """Print each distinct run entry of HELM's .conf files with its state, then the number of entries per state.

    Args:
        paths: The files, or folders with such files.

    Raises:
        ArgumentError: `paths` has no file.
    """
    files = [file for path in paths for file in (sorted(Path(path).rglob("*.conf")) if Path(path).is_dir() else [path])]
    if not files:
        raise ArgumentError(
            "list helm-entries: no .conf file found. Write: helmframe list helm-entries --conf-paths run_specs.conf"
        )
    counts: Counter[str] = Counter()
    # the state doesn't depend on priority and groups
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
        files = f"{outcome.written:,} files written, {outcome.unchanged:,} unchanged"
        print(f"{outcome.scenario}: {outcome.rows:,} rows, {files}")
    if failed:
        raise HelmframeError(f"{len(failed)} of {len(arguments.scenarios)} scenarios failed: {', '.join(failed)}.")


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
