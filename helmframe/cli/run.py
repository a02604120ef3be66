"""`helmframe run` and `helmframe explain`: execute or explain plans, run entries and HELM's .conf files."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helmframe._pipeline import plan_tasks
from helmframe._plan import Plan, spec_of
from helmframe.cli.command import command, print_status
from helmframe.cli.run_options import add_engine, add_models, engine_option, model_options, without_models
from helmframe.early_stopping.rules import parse_until
from helmframe.errors import ArgumentError, HelmframeError, PlanError, StoreError
from helmframe.interop.helm import Entry, EntryState, parse_entry, plans_of, read_conf, skipped_text
from helmframe.interop.suites import suite
from helmframe.results import Results
from helmframe.views.display import robustness_text

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


@command("run", help="run entries, .conf files or plans, and print the table", order=10)
def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run`."""
    _add_plans(parser)
    parser.add_argument("--suite", default="default", help="name of the run's folder below --output-path")
    parser.add_argument("-o", "--output-path", metavar="FOLDER", help="also write the results to FOLDER/runs/SUITE")
    parser.add_argument("-n", "--num-threads", type=int, metavar="N", help=_THREADS)
    parser.add_argument("--skip-completed-runs", action="store_true", help=_SKIP)
    parser.add_argument("-d", "--dry-run", action="store_true", help="explain only")
    parser.add_argument("--local", action="store_true", help="accepted; the only mode there is")
    parser.add_argument("--fresh", action="store_true", help="generate everything again")
    parser.add_argument("--max-requests", type=int, metavar="N", help="the most requests to send")
    parser.add_argument(
        "--max-cost", type=float, metavar="X", help="stop once the completions cost this much, by --prices"
    )
    parser.add_argument("--prices", nargs="+", metavar="NAME=PROMPT,OUTPUT", help=_PRICES)
    parser.add_argument("--until", metavar="WHAT", help=_UNTIL)
    add_engine(parser)
    parser.add_argument("--resume", metavar="RUN", help=_RESUME)
    parser.set_defaults(run=_run)


@command("explain", help="what a run would do; asks no model", order=20)
def add_explain(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `explain`."""
    _add_plans(parser)
    parser.set_defaults(run=_run, dry_run=True, local=False)


def _add_plans(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `_plans` reads."""
    parser.add_argument(
        "what", nargs="*", metavar="ENTRY|FILE", help="run entries, plan files (.yaml), HELM's files (.conf)"
    )
    parser.add_argument("-c", "--conf-paths", nargs="+", default=[], metavar="FILE", help="HELM's .conf files")
    parser.add_argument("-r", "--run-entries", nargs="+", default=[], metavar="ENTRY", help="run entries")
    add_models(parser)
    parser.add_argument("--models-to-run", nargs="+", default=[], metavar="NAME", help=_MODELS)
    parser.add_argument("--groups-to-run", nargs="+", default=[], metavar="GROUP", help=_GROUPS)
    parser.add_argument("-m", "--max-eval-instances", type=int, metavar="N", help="instances per subset, HELM's draw")
    parser.add_argument(
        "-t", "--num-train-trials", type=int, metavar="N", help="draws of the in-context examples, in entries"
    )
    parser.add_argument("--priority", type=int, metavar="P", help="only entries of a .conf file with priority up to P")
    parser.add_argument("--verbose", action="store_true", help="log, and tracebacks of errors")


def _run(arguments: argparse.Namespace) -> None:
    plans = _plans(arguments)
    if arguments.dry_run:
        print("\n\n".join(plan.explain() for plan in plans))
        return
    if any(not spec_of(plan).models for plan in plans):
        raise PlanError("nobody answers. Add model=org/name to the run entry, or --model org/name.")
    until = parse_until(arguments.until) if arguments.until else None
    for plan in plans:
        plan_tasks(spec_of(plan))  # raises for invalid plans before any plan runs
    folder = Path(arguments.output_path, "runs", arguments.suite) if arguments.output_path else None
    if folder is not None and folder.exists() and any(folder.iterdir()):
        if arguments.skip_completed_runs:
            print(Results.load(folder))
            return
        raise StoreError(f"{folder} is not empty; choose another --suite, or remove it.")
    if arguments.local:
        print_status("--local is the only mode there is; going on")
    results = suite(*plans).score(
        fresh=arguments.fresh,
        max_requests=arguments.max_requests,
        max_cost=arguments.max_cost,
        prices=_prices(arguments.prices),
        until=until,
        engine=engine_option(arguments),
        resume=arguments.resume,
    )
    print(results)
    if any(spec_of(plan).perturbations for plan in plans):
        table = results.robustness()
        print("\nrobustness\n" + robustness_text(table.filter(table["metric"].is_in(results.main_metrics))))
    if folder is not None:
        print_status(f"written: {results.to_parquet(folder)}")
    failed = results.errors()
    if failed.height:
        first = f"failed completions: {failed.height:,}; the first, of {failed['instance_id'][0]}: {failed['error'][0]}"
        if failed.height == results.manifest["counts"]["planned"]:
            raise HelmframeError(f"nothing was answered; {first}")
        print_status(f"{first}\nThe same command asks for them again.")


def _plans(arguments: argparse.Namespace) -> list[Plan]:
    """Return the plans of the arguments, in this order: plan files, run entries, .conf files."""
    names = [word for word in arguments.what if "=" not in word]
    files = [name for name in names if name.endswith((".yaml", ".yml"))]
    confs = [name for name in names if name.endswith(".conf")]
    others = [word for word in arguments.what if word not in files + confs]
    entries: list[Entry] = [parse_entry(entry) for entry in others + arguments.run_entries]
    conf_entries = [entry for path in confs + arguments.conf_paths for entry in read_conf(path)]
    if not files and not entries and not conf_entries:
        raise ArgumentError(
            'nothing to run. Write: helmframe run "mmlu:subject=philosophy,model=org/name", or --conf-paths FILE.'
        )
    requested = model_options(arguments)
    models, limit = requested or arguments.models_to_run, arguments.max_eval_instances
    plans = [Plan.from_yaml(Path(file)) for file in files]
    if requested:
        entries, conf_entries = without_models(entries), without_models(conf_entries)
        plans = [plan.generate(requested) for plan in plans]
    elif models:
        plans = [plan if spec_of(plan).models else plan.generate(list(models)) for plan in plans]
    if limit is not None:
        plans = [plan if spec_of(plan).sampling else plan.sample(limit, order="helm") for plan in plans]
    options: dict[str, Any] = {
        "models": models,
        "groups": arguments.groups_to_run,
        "priority": arguments.priority,
        "max_eval_instances": limit,
        "num_train_trials": arguments.num_train_trials,
    }
    skipped: list[EntryState] = []
    plans += plans_of(entries, **options) + plans_of(conf_entries, skipped=skipped, **options)
    if skipped and plans:
        print_status(skipped_text(skipped))
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
