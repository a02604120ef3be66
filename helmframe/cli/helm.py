"""`helmframe mirror`, `helmframe export` and `helmframe list helm-entries`."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helmframe._core.yaml import read_yaml, specs_root
from helmframe._run import load_results
from helmframe._suite import suite_names
from helmframe.cli.command import add_results, add_verbose, command, print_status, print_text
from helmframe.cli.store import size_text
from helmframe.config import configure, from_home
from helmframe.errors import ArgumentError, HelmframeError, SpecError, UnknownNameError, UnknownScenarioError
from helmframe.interop.helm import entry_states, read_conf
from helmframe.interop.helm.scenario_lookup import find_scenario as find_entry_scenario
from helmframe.interop.helm.scenario_lookup import scenario_index
from helmframe.scenarios.catalogue import find_scenario, status

if TYPE_CHECKING:
    from helmframe.scenarios.downloads import Progress
    from helmframe.scenarios.mirror import Failure, Outcome

_LINE_SECONDS = 10.0  # between two lines of progress, if the output isn't a terminal
_MIRROR = """\
examples:
  helmframe mirror mmlu boolq --to s3://bucket/evals
  helmframe mirror --suite safety --to s3://bucket/evals
  helmframe mirror mmlu --from ./data.tar --layout "data/{split}/{subject}_{split}.csv" \\
    --select "SELECT column0 AS question, [column1, column2, column3, column4] AS choices, … FROM rows" --to ./evals

Set HELMFRAME_DATA=s3://bucket/evals afterwards. Rerun the command to resume; files that exist are skipped.
ROOT/manifests records the source and licence of the rows and a SHA-256 of each file. NAME.lock.json has the
checksums and commits of the first download. A file with another checksum is an error."""


@command("mirror", help="Copy the rows of scenarios into a folder or bucket", order=50)
def add_mirror(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mirror`."""
    parser.epilog = _MIRROR
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="names of scenarios, or spec files")
    parser.add_argument(
        "--suite",
        action="append",
        default=[],
        metavar="SUITE",
        help="mirror the scenarios of a suite, a YAML file of plans, or a .conf file of HELM; may be repeated",
    )
    parser.add_argument(
        "--to", required=True, metavar="ROOT", help="folder or s3://bucket/prefix to write to (required)"
    )
    group = parser.add_argument_group("source")
    group.add_argument(
        "--from",
        dest="source",
        metavar="SOURCE",
        help="hub, another root, or a folder, archive, file or URL with Parquet, CSV or JSON Lines "
        "(default: the source in the spec)",
    )
    group.add_argument(
        "--layout", metavar="PATTERN", help="pattern of the paths in the source, such as data/{split}/{subject}.csv"
    )
    group.add_argument(
        "--select", metavar="SQL", help="query that makes the columns of the spec from the source's table `rows`"
    )
    group.add_argument(
        "--base",
        metavar="URL",
        help="proxy for downloads: https://host/path is requested as URL/host/path (default: $HELMFRAME_DOWNLOAD_BASE)",
    )
    group.add_argument(
        "--update-lock", action="store_true", help="accept files that have changed since the first download"
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


def list_helm_entries(paths: Sequence[str], *, allow_substitution: bool = False) -> None:
    """Print each distinct run entry of HELM's .conf files with its state, then the number of entries per state.

    Args:
        paths: The files, or folders with such files.
        allow_substitution: As in `read_conf`.

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
    read = [entry for file in files for entry in read_conf(file, allow_substitution=allow_substitution, trusted=True)]
    entries = [replace(entry, priority=1, groups=()) for entry in read]
    for entry, state, reason in entry_states(entries):
        counts[state] += 1
        why = f": {reason.splitlines()[0]}" if reason else ""
        print_text(f"{state:<18} {entry}{why}")
    print_text(f"\n{counts.total():,} entries: {', '.join(f'{n:,} {state}' for state, n in counts.most_common())}")


def suite_scenarios(source: str) -> list[str]:
    """Return the scenarios of a suite that need a mirror, each once.

    Args:
        source: The name of a suite, a YAML file of plans, or a .conf file of HELM. Unknown run entries are skipped.

    Raises:
        UnknownNameError: No suite has this name.
        SpecError: The file has no plans.
    """
    if source.endswith(".conf"):
        index, names = scenario_index(), []
        for entry in read_conf(source, trusted=True):  # its models aren't called
            with suppress(UnknownScenarioError):
                names.append(find_entry_scenario(entry, index)[0].scenario)
    else:
        names = list(_scenarios_of_file(source))
    return [name for name in dict.fromkeys(names) if status(find_scenario(name)) not in ("generated", "packaged")]


def _scenarios_of_file(source: str, seen: tuple[str, ...] = ()) -> Iterator[str]:
    is_file = source.endswith((".yaml", ".yml")) or "/" in source
    if not is_file and source not in suite_names():
        raise UnknownNameError.among("suite", source, suite_names())
    path = from_home(source) if is_file else specs_root() / "suites" / f"{source}.yaml"
    if not path.is_file():
        raise SpecError.at(source, "", "file not found.")
    content = read_yaml(path)
    plans = content.get("plans", [content]) if isinstance(content, dict) else None
    if not isinstance(plans, list) or not all(isinstance(plan, dict) for plan in plans):
        raise SpecError.at(source, "plans", "must be a list of plans, each {scenario: NAME, …}.")
    for plan in plans:
        names = plan.get("scenario") or []
        yield from map(str, names if isinstance(names, list) else [names])
        if "suite" in plan and str(plan["suite"]) not in (source, *seen):
            yield from _scenarios_of_file(str(plan["suite"]), (*seen, source))


def _mirror(arguments: argparse.Namespace) -> None:
    from helmframe.scenarios.mirror import Outcome, mirror_all

    names = [*arguments.scenarios, *(name for source in arguments.suite for name in suite_scenarios(source))]
    if not names:
        raise ArgumentError("mirror: no scenario. Write helmframe mirror NAME … --to ROOT, or --suite SUITE.")
    if arguments.base:
        configure(download_base=arguments.base)
    display = _Display()

    def finished(result: "Outcome | Failure") -> None:
        display.clear()
        if isinstance(result, Outcome):
            files = f"{result.written:,} files written, {result.unchanged:,} unchanged"
            print_text(f"{result.scenario}: {result.rows:,} rows, {files}")

    options: dict[str, Any] = {"layout": arguments.layout, "select": arguments.select, "source": arguments.source}
    try:
        outcomes, failures = mirror_all(
            list(dict.fromkeys(names)),
            arguments.to,
            update_lock=arguments.update_lock,
            report=display.write_files,
            progress=display.download,
            finished=finished,
            **options,
        )
    finally:
        display.clear()
    if failures and (arguments.verbose or len(outcomes) + len(failures) == 1):
        raise failures[0].error
    skipped = [failure for failure in failures if failure.is_denied and failure.scenario not in arguments.scenarios]
    failed = [failure for failure in failures if failure not in skipped]
    for word, group in (("skipped, not open to everyone", skipped), ("failed", failed)):
        for failure in group:
            print_status(f"{word}: {failure.error}")
    if failed:
        total = len(outcomes) + len(failures)
        raise HelmframeError(
            f"{len(failed)} of {total} scenarios failed: {', '.join(failure.scenario for failure in failed)}."
        )


class _Display:
    """The progress of `mirror`: bars on a terminal, else a line every few seconds."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._kind: tuple[str, str] = ("", "")
        self._started = self._shown = time.monotonic()

    def download(self, progress: "Progress") -> None:
        """Show the bytes, the files and the time left of downloads."""
        now = time.monotonic()
        if self._kind != (progress.scenario, "download"):
            self.clear()
            self._kind, self._started = (progress.scenario, "download"), now
            self._bar = self._new_bar(progress.scenario, unit="B", unit_scale=True)
        files = f"{progress.files}/{progress.n_files} files"
        if not self._bar.disable:
            # bytes of earlier runs don't count for the rate
            self._bar.total, self._bar.n, self._bar.initial = progress.size, progress.received, progress.resumed
            self._bar.set_postfix_str(files, refresh=False)
            self._bar.refresh()
        elif now - self._shown >= _LINE_SECONDS:
            self._shown = now
            total = f" of {size_text(progress.size)}" if progress.size else ""
            left = _time_left(progress, now - self._started)
            print_status(f"{progress.scenario}: {files}, {size_text(progress.received)}{total}{left}")

    def write_files(self, path: str, done: int, total: int) -> None:
        """Show the files that are written."""
        if self._kind != ("", "write"):
            self.clear()
            self._kind = ("", "write")
            self._bar = self._new_bar("write", unit="file")
        if not self._bar.disable:
            self._bar.total, self._bar.n = total, done
            self._bar.set_postfix_str(path, refresh=False)
            self._bar.refresh()
        elif time.monotonic() - self._shown >= _LINE_SECONDS:
            self._shown = time.monotonic()
            print_status(f"{done:,} of {total:,} files written")

    def clear(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
        self._bar, self._kind = None, ("", "")

    def _new_bar(self, name: str, **options: Any) -> Any:
        from tqdm import tqdm

        # None: shown only on a terminal
        return tqdm(desc=name, disable=None, leave=False, file=sys.stderr, **options)


def _time_left(progress: "Progress", seconds: float) -> str:
    """Return the time left as text; "" if it is unknown.

    >>> from helmframe.scenarios.downloads import Progress
    >>> _time_left(Progress("mmlu", files=1, n_files=2, received=300, size=900), 30.0)
    ', about 60 s left'
    """
    received = progress.received - progress.resumed
    if not progress.size or received <= 0 or seconds <= 0:
        return ""
    left = (progress.size - progress.received) / received * seconds
    return f", about {left:.0f} s left" if left < 120 else f", about {left / 60:.0f} min left"


def _export(arguments: argparse.Namespace) -> None:
    print_text(load_results(arguments.results).to_helm(arguments.to))
