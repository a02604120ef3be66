"""The command `helmframe`: run, list, show, explain. Exit 0 done, 1 error; a traceback only with --verbose."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import helmframe
from helmframe.errors import ArgumentError, HelmframeError
from helmframe.helm.entries import Entry, parse_entry, plans_of, read_conf
from helmframe.metrics import metrics
from helmframe.perturbations import PERTURBATIONS
from helmframe.plan import Plan
from helmframe.results import Results
from helmframe.scenarios.find import find_scenario, scenario_names
from helmframe.suite import suite
from helmframe.views.display import robustness_text, text_table


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit status."""
    arguments = _parser().parse_args(argv)
    if arguments.verbose:
        logging.basicConfig(level=logging.INFO)
    try:
        arguments.run(arguments)
    except KeyboardInterrupt:
        print("helmframe: stopped; what was answered is kept, the same command goes on from there", file=sys.stderr)
        return 1
    except HelmframeError as error:
        if arguments.verbose:
            raise
        print(f"helmframe: {error}", file=sys.stderr)
        return 1
    except Exception as error:  # noqa: BLE001 - the last line of defence before the user's terminal
        if arguments.verbose:
            raise
        print(f"helmframe: {type(error).__name__}: {error}\nMore: --verbose", file=sys.stderr)
        return 1
    return 0


def _run(arguments: argparse.Namespace) -> None:
    plans = _plans(arguments)
    if arguments.dry_run:
        print("\n\n".join(plan.explain() for plan in plans))
        return
    if arguments.local:
        print("helmframe: --local is the only mode there is; going on", file=sys.stderr)
    results = suite(*plans).score(fresh=arguments.fresh)
    print(results)
    if any(plan.perturbations for plan in plans):
        print("\nrobustness\n" + robustness_text(results.robustness()))
    if arguments.output_path:
        print(f"written: {results.to_parquet(Path(arguments.output_path) / 'runs' / arguments.suite)}")


def _plans(arguments: argparse.Namespace) -> list[Plan]:
    files = [each for each in arguments.what if each.endswith((".yaml", ".yml"))]
    entries: list[Entry] = [
        parse_entry(each) for each in [*arguments.what, *arguments.run_entries] if each not in files
    ]
    for path in arguments.conf_paths:
        entries += read_conf(path)
    if arguments.priority is not None:
        entries = [entry for entry in entries if entry.priority <= arguments.priority]
    if not files and not entries:
        raise ArgumentError(
            'nothing to run. Write: helmframe run "mmlu:subject=philosophy,model=org/name", or --conf-paths FILE.'
        )
    also = {"max_eval_instances": arguments.max_eval_instances, "num_train_trials": arguments.num_train_trials}
    also = {key: value for key, value in also.items() if value is not None}
    plans = [Plan.from_yaml(Path(each)) for each in files]
    plans += plans_of(entries, **also)
    for plan in plans:
        plan.tasks()
    return plans


def _list(arguments: argparse.Namespace) -> None:
    if arguments.kind in ("scenarios", "all"):
        rows = [(name, find_scenario(name).description.strip().splitlines()[0]) for name in scenario_names()]
        print(text_table(["scenario", "what"], rows), end="\n\n" if arguments.kind == "all" else "\n")
    if arguments.kind in ("perturbations", "all"):
        said = [
            (name, ", ".join(f"{key}={value!r}" for key, value in PERTURBATIONS[name].parameters.items()))
            for name in PERTURBATIONS
        ]
        print(text_table(["perturbation", "arguments"], said), end="\n\n" if arguments.kind == "all" else "\n")
    if arguments.kind in ("metrics", "all"):
        table = metrics().select("name", "level", "unit")
        print(text_table(table.columns, [list(map(str, row)) for row in table.iter_rows()]))


def _show(arguments: argparse.Namespace) -> None:
    target = Path(arguments.what)
    if target.is_dir():
        print(Results.load(target))
        return
    spec = find_scenario(arguments.what)
    print(Path(spec.origin).read_text(encoding="utf-8").rstrip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="helmframe", description="HELM on the go: evaluate anything that generates text."
    )
    parser.add_argument("--version", action="version", version=f"helmframe {helmframe.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run entries, .conf files or plans, and print the table")
    explain = commands.add_parser("explain", help="what a run would do; asks no model")
    for command in (run, explain):
        command.add_argument(
            "what", nargs="*", help="run entries (mmlu:subject=philosophy,model=org/name) or plan files (.yaml)"
        )
        command.add_argument("-c", "--conf-paths", nargs="+", default=[], metavar="FILE", help="HELM .conf files")
        command.add_argument("-r", "--run-entries", nargs="+", default=[], metavar="ENTRY", help="run entries")
        command.add_argument("-m", "--max-eval-instances", type=int, metavar="N", help="instances per run, HELM's draw")
        command.add_argument("-t", "--num-train-trials", type=int, metavar="N", help="draws of the in-context examples")
        command.add_argument(
            "--priority", type=int, metavar="P", help="only entries of a .conf file with priority up to P"
        )
        command.add_argument("--verbose", action="store_true", help="log, and tracebacks of errors")
    run.add_argument("--suite", default="default", help="name of the run's folder below --output-path")
    run.add_argument("-o", "--output-path", metavar="FOLDER", help="also write the results to FOLDER/runs/SUITE")
    run.add_argument("-n", "--num-threads", type=int, metavar="N", help="accepted; batches and queues decide")
    run.add_argument("-d", "--dry-run", action="store_true", help="explain only")
    run.add_argument("--local", action="store_true", help="accepted; the only mode there is")
    run.add_argument("--fresh", action="store_true", help="ask again what the store has")
    run.set_defaults(run=_run)
    explain.set_defaults(run=_run, dry_run=True, local=False)

    listing = commands.add_parser("list", help="scenarios, perturbations and metrics")
    listing.add_argument("kind", nargs="?", default="all", choices=["all", "scenarios", "perturbations", "metrics"])
    listing.set_defaults(run=_list)
    show = commands.add_parser("show", help="a scenario's spec, or the results in a folder")
    show.add_argument("what", metavar="SCENARIO|FOLDER")
    show.set_defaults(run=_show)
    for command in (listing, show):
        command.add_argument("--verbose", action="store_true", help="tracebacks of errors")
    return parser
