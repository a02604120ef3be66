"""The command `helmframe`: run, list, show, explain, check, score, compare, gate, store, view, report, dashboard.

Exit status: 0 done, 1 failed, 2 usage error, 3 undecided (gate only), 130 stopped by Ctrl-C. A usage error is a wrong
option, name, value, spec or plan. `gate` exits with 1 only if the gate fails, and with 2 if an error prevents a
verdict. Results go to stdout, messages to stderr. --verbose adds the traceback of an error.
"""

import argparse
import inspect
import logging
import os
import shutil
import sys
import textwrap
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import helmframe
from helmframe._core.safe_text import error_text
from helmframe._core.yaml import read_yaml
from helmframe._pipeline import plan_tasks
from helmframe._plan import Plan, spec_of
from helmframe.cli.compare import add_compare
from helmframe.cli.engine import add_engine, said_engine
from helmframe.cli.gate import add_gate
from helmframe.cli.helm import add_mirror, list_helm_entries
from helmframe.cli.models import add_models, left_open, said_models
from helmframe.cli.output import Commands
from helmframe.cli.report import add_report
from helmframe.cli.score import add_score
from helmframe.cli.specs import add_check
from helmframe.cli.store import add_store
from helmframe.cli.view import add_view
from helmframe.early_stopping.rules import parse_until
from helmframe.errors import (
    ArgumentError,
    CapabilityError,
    HelmframeError,
    NotAModelError,
    NotComparableError,
    PlanError,
    SpecError,
    StoreError,
    UnknownNameError,
)
from helmframe.interop.helm import Entry, EntryState, parse_entry, plans_of, read_conf, skipped_text
from helmframe.interop.suites import suite, suite_names
from helmframe.metrics.protocol import METRICS
from helmframe.perturbations.registry import PERTURBATIONS
from helmframe.results import Results
from helmframe.scenarios.catalogue import find_scenario, scenario_names, specs_root, status
from helmframe.views.display import robustness_text, text_table

FAILED, USAGE = 1, 2
STOPPED = 130  # what shells give for a Ctrl-C
USAGE_ERRORS = (
    ArgumentError,
    CapabilityError,
    NotAModelError,
    NotComparableError,
    PlanError,
    SpecError,
    UnknownNameError,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    if arguments.verbose:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        status: int | None = arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _tell("stopped; what was answered is kept, the same command goes on from there")
        if argv is None:
            # a model's threads may be inside native code, which an orderly end of the interpreter would abort
            os._exit(STOPPED)
        return STOPPED
    except BrokenPipeError:
        # the reader of a pipe, such as head, has seen enough; nothing is left to flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _error_status(arguments)
    except HelmframeError as error:
        if arguments.verbose:
            traceback.print_exc()
        else:
            _tell(str(error))
        return USAGE if isinstance(error, USAGE_ERRORS) else _error_status(arguments)
    except Exception as error:  # noqa: BLE001 - the last line of defence before the user's terminal
        if arguments.verbose:
            traceback.print_exc()
        else:
            _tell(f"{error_text(error)}\nMore: --verbose")
        return _error_status(arguments)
    return status or 0


def _error_status(arguments: argparse.Namespace) -> int:
    """Return the exit status of an error that is not a usage error; `gate` keeps 1 for its verdict."""
    return int(getattr(arguments, "error_status", FAILED))


def _run(arguments: argparse.Namespace) -> None:
    plans = _plans(arguments)
    if arguments.dry_run:
        print("\n\n".join(plan.explain() for plan in plans))
        return
    if any(not spec_of(plan).models for plan in plans):
        raise PlanError("nobody answers. Add model=org/name to the run entry, or --model org/name.")
    until = parse_until(arguments.until) if arguments.until else None
    for plan in plans:
        plan_tasks(spec_of(plan))  # what can't be run is said before anything is
    folder = Path(arguments.output_path, "runs", arguments.suite) if arguments.output_path else None
    if folder is not None and folder.exists() and any(folder.iterdir()):
        if arguments.skip_completed_runs:
            print(Results.load(folder))
            return
        raise StoreError(f"{folder} is not empty; choose another --suite, or remove it.")
    if arguments.local:
        _tell("--local is the only mode there is; going on")
    results = suite(*plans).score(
        fresh=arguments.fresh,
        max_requests=arguments.max_requests,
        max_cost=arguments.max_cost,
        prices=_prices(arguments.prices),
        until=until,
        engine=said_engine(arguments),
        resume=arguments.resume,
    )
    print(results)
    if any(spec_of(plan).perturbations for plan in plans):
        table = results.robustness()
        print("\nrobustness\n" + robustness_text(table.filter(table["metric"].is_in(results.main_metrics))))
    if folder is not None:
        _tell(f"written: {results.to_parquet(folder)}")
    failed = results.errors()
    if failed.height:
        first = f"failed completions: {failed.height:,}; the first, of {failed['instance_id'][0]}: {failed['error'][0]}"
        if failed.height == results.manifest["counts"]["planned"]:
            raise HelmframeError(f"nothing was answered; {first}")
        _tell(f"{first}\nThe same command asks for them again.")


def _plans(arguments: argparse.Namespace) -> list[Plan]:
    """The plans that the words, files and options say, in this order: plan files, entries, .conf files."""
    names = [word for word in arguments.what if "=" not in word]
    files = [name for name in names if name.endswith((".yaml", ".yml"))]
    confs = [name for name in names if name.endswith(".conf")]
    others = [word for word in arguments.what if word not in files + confs]
    entries: list[Entry] = [parse_entry(entry) for entry in others + arguments.run_entries]
    of_files = [entry for path in confs + arguments.conf_paths for entry in read_conf(path)]
    if not files and not entries and not of_files:
        raise ArgumentError(
            'nothing to run. Write: helmframe run "mmlu:subject=philosophy,model=org/name", or --conf-paths FILE.'
        )
    answering = said_models(arguments)
    models, most = answering or arguments.models_to_run, arguments.max_eval_instances
    plans = [Plan.from_yaml(Path(file)) for file in files]
    if answering:
        entries, of_files = left_open(entries), left_open(of_files)
        plans = [plan.generate(answering) for plan in plans]
    elif models:
        plans = [plan if spec_of(plan).models else plan.generate(list(models)) for plan in plans]
    if most is not None:
        plans = [plan if spec_of(plan).sampling else plan.sample(most, order="helm") for plan in plans]
    options: dict[str, Any] = {
        "models": models,
        "groups": arguments.groups_to_run,
        "priority": arguments.priority,
        "max_eval_instances": most,
        "num_train_trials": arguments.num_train_trials,
    }
    skipped: list[EntryState] = []
    plans += plans_of(entries, **options) + plans_of(of_files, skipped=skipped, **options)
    if skipped and plans:
        _tell(skipped_text(skipped))
    elif skipped:
        raise ArgumentError(f"nothing to run: {skipped_text(skipped)}")
    if not plans:
        raise ArgumentError("nothing to run: --priority, --models-to-run or --groups-to-run leave none of the entries.")
    return plans


def _prices(texts: Sequence[str] | None) -> dict[str, tuple[float, float]] | None:
    """Return the prices of `--prices`: model name → price of a million prompt tokens and of a million output tokens.

    Raises:
        ArgumentError: A price isn't NAME=PROMPT,OUTPUT.
    """
    if texts is None:
        return None
    prices = {}
    for text in texts:
        name, _, amounts = text.rpartition("=")
        try:
            prompt, output = map(float, amounts.split(","))
        except ValueError:
            raise ArgumentError(f"--prices {text!r}: write NAME=PROMPT,OUTPUT, such as org/name=0.5,1.5.") from None
        if not name:
            raise ArgumentError(f"--prices {text!r}: write NAME=PROMPT,OUTPUT, such as org/name=0.5,1.5.")
        prices[name] = (prompt, output)
    return prices


def _list(arguments: argparse.Namespace) -> None:
    if arguments.kind == "helm-entries":
        list_helm_entries(arguments.conf_paths)
        return
    tables = {
        "scenarios": (["scenario", "rows", "main metric", "what"], map(_scenario, scenario_names())),
        "suites": (["suite", "what"], map(_suite, suite_names())),
        "perturbations": (["perturbation", "arguments", "what"], map(_perturbation, PERTURBATIONS)),
        "metrics": (["metric", "level", "what"], map(_metric, METRICS)),
    }
    chosen = tables if arguments.kind == "all" else {arguments.kind: tables[arguments.kind]}
    print("\n\n".join(_narrow(heads, list(rows)) for heads, rows in chosen.values()))


def _scenario(name: str) -> list[str]:
    spec = find_scenario(name)
    main = spec.main.metric.partition("(")[0]
    return [name, status(spec), main if len(main) <= 22 else f"{main[:21]}…", spec.description]


def _suite(name: str) -> list[str]:
    said = read_yaml(specs_root() / "suites" / f"{name}.yaml")
    return [name, str(said["description"])]


def _perturbation(name: str) -> list[str]:
    entry = PERTURBATIONS[name]
    said = textwrap.shorten(entry.signature, 40, placeholder=" …")
    return [name, said, inspect.getdoc(entry.function) or ""]


def _metric(name: str) -> list[str]:
    entry = METRICS[name]
    return [name, entry.level, inspect.getdoc(entry.function) or ""]


def _narrow(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose last column is cut to its first sentence and to the terminal's width."""
    used = sum(max(map(len, column)) + 2 for column in zip(*(row[:-1] for row in (heads, *rows)), strict=True))
    width = max(30, shutil.get_terminal_size((120, 24)).columns - used)
    first = [" ".join(row[-1].split()).partition(". ")[0].rstrip(".") for row in rows]
    cut = [textwrap.shorten(each, width, placeholder=" …") for each in first]
    return text_table(heads, [[*row[:-1], each] for row, each in zip(rows, cut, strict=True)])


def _show(arguments: argparse.Namespace) -> None:
    if "://" in arguments.what or Path(arguments.what).is_dir():
        print(Results.load(arguments.what))
    elif arguments.what in suite_names() and arguments.what not in scenario_names():
        print((specs_root() / "suites" / f"{arguments.what}.yaml").read_text(encoding="utf-8").rstrip())
    else:
        print(Path(find_scenario(arguments.what).origin).read_text(encoding="utf-8").rstrip())


def _tell(message: str) -> None:
    print(f"helmframe: {message}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="helmframe",
        description="HELM on the go: evaluate anything that generates text.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"helmframe {helmframe.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    ours = (_add_run, _add_list, _add_show)
    for add in (*ours, add_mirror, add_score, add_compare, add_gate, add_check, add_store, add_view, add_report):
        add(commands)
    return parser


def _add_run(commands: Commands) -> None:
    run = commands.add_parser("run", help="run entries, .conf files or plans, and print the table")
    explain = commands.add_parser("explain", help="what a run would do; asks no model")
    for command in (run, explain):
        _add_plans(command)
        command.add_argument("--verbose", action="store_true", help="log, and tracebacks of errors")
    run.add_argument("--suite", default="default", help="name of the run's folder below --output-path")
    run.add_argument("-o", "--output-path", metavar="FOLDER", help="also write the results to FOLDER/runs/SUITE")
    run.add_argument("-n", "--num-threads", type=int, metavar="N", help=_THREADS)
    run.add_argument("--skip-completed-runs", action="store_true", help=_SKIP)
    run.add_argument("-d", "--dry-run", action="store_true", help="explain only")
    run.add_argument("--local", action="store_true", help="accepted; the only mode there is")
    run.add_argument("--fresh", action="store_true", help="generate everything again")
    run.add_argument("--max-requests", type=int, metavar="N", help="the most requests to send")
    run.add_argument(
        "--max-cost", type=float, metavar="X", help="stop once the completions cost this much, by --prices"
    )
    run.add_argument("--prices", nargs="+", metavar="NAME=PROMPT,OUTPUT", help=_PRICES)
    run.add_argument("--until", metavar="WHAT", help=_UNTIL)
    add_engine(run)
    run.add_argument("--resume", metavar="RUN", help=_RESUME)
    run.set_defaults(run=_run)
    explain.set_defaults(run=_run, dry_run=True, local=False)


def _add_plans(command: argparse.ArgumentParser) -> None:
    """The words and options of which `_plans` makes plans."""
    command.add_argument(
        "what", nargs="*", metavar="ENTRY|FILE", help="run entries, plan files (.yaml), HELM's files (.conf)"
    )
    command.add_argument("-c", "--conf-paths", nargs="+", default=[], metavar="FILE", help="HELM's .conf files")
    command.add_argument("-r", "--run-entries", nargs="+", default=[], metavar="ENTRY", help="run entries")
    add_models(command)
    command.add_argument("--models-to-run", nargs="+", default=[], metavar="NAME", help=_MODELS)
    command.add_argument("--groups-to-run", nargs="+", default=[], metavar="GROUP", help=_GROUPS)
    command.add_argument("-m", "--max-eval-instances", type=int, metavar="N", help="instances per subset, HELM's draw")
    command.add_argument(
        "-t", "--num-train-trials", type=int, metavar="N", help="draws of the in-context examples, in entries"
    )
    command.add_argument("--priority", type=int, metavar="P", help="only entries of a .conf file with priority up to P")


def _add_list(commands: Commands) -> None:
    command = commands.add_parser("list", help="scenarios, suites, perturbations, metrics, states of HELM's entries")
    kinds = ["all", "scenarios", "suites", "perturbations", "metrics", "helm-entries"]
    command.add_argument("kind", nargs="?", default="all", choices=kinds)
    command.add_argument(
        "-c", "--conf-paths", nargs="+", default=[], metavar="FILE", help="for helm-entries: .conf files, or folders"
    )
    command.add_argument("--verbose", action="store_true", help="tracebacks of errors")
    command.set_defaults(run=_list)


def _add_show(commands: Commands) -> None:
    command = commands.add_parser("show", help="the spec of a scenario or suite, or the results in a folder")
    command.add_argument("what", metavar="SCENARIO|SUITE|FOLDER")
    command.add_argument("--verbose", action="store_true", help="tracebacks of errors")
    command.set_defaults(run=_show)


_EXAMPLES = """\
examples:
  helmframe run "mmlu:subject=philosophy,model=org/name" -m 100
  helmframe run "sampler:subject=music,model=noisy(accuracy=0.6)"    a mock model; needs no data
  helmframe run --conf-paths run_specs.conf --suite v1 -m 10
  helmframe run plan.yaml
  helmframe run "mmlu:subject=philosophy" --model ./base --adapter ./lora --dtype bfloat16

org/name is a folder in transformers format: ./org/name, ./name, below $HELMFRAME_MODELS, or on the hub.
$HELMFRAME_DATA names the folder or bucket of the scenarios' rows, $HELMFRAME_STORE where answers are kept.

Exit status: 0 done or pass, 1 failed, 2 usage error, 3 undecided (gate), 130 stopped by Ctrl-C."""
_MODELS = (
    "who answers, in entries with a group of models (model=text) or none; of the others, only those with one of these"
)
_GROUPS = "only entries of these groups: a scenario's name (mmlu, mmlu_anatomy), or what a .conf file says"
_RESUME = (
    "reuse the completions that this run stored of models without a version; 'last': the newest run of the same plans"
)
_PRICES = "prices of a million prompt tokens and of a million output tokens, by the model's name: org/name=0.5,1.5"
_UNTIL = (
    "ask in random order, only until that is known: \"precise(.03)\", ± .03 of the main metric; \"decided('a', 'b')\", "
    "which of two models is better"
)
_THREADS = "HELM's threads, of which -n 1 is one; accepted, and the queue of each model decides how many ask at once"
_SKIP = "print the results that are in FOLDER/runs/SUITE, if there are; what the store has is never asked again anyway"
