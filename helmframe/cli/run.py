"""`helmframe run` and `helmframe explain`: run or explain plans, run entries and HELM's .conf files."""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from helmframe._core.safe_text import show_invisible
from helmframe._core.specs import Call, frozen
from helmframe._core.yaml import read_yaml
from helmframe._pipeline import suite_tasks
from helmframe._plan import Plan, scenario, spec_of
from helmframe._plan_yaml import foreign_effects, refuse_effects
from helmframe._run import load_results
from helmframe._suite import Suite, map_plans, suite_content, suite_names, suite_of, suite_path
from helmframe.cli.command import add_allow_substitution, add_verbose, command, print_status, print_text
from helmframe.config import read_key
from helmframe.early_stopping.rules import parse_until
from helmframe.engines import ENGINES, Engine
from helmframe.engines.manifest import called_models
from helmframe.engines.ray import Ray
from helmframe.errors import ArgumentError, HelmframeError, PlanError, StoreError
from helmframe.interop.helm import Entry, EntryState, parse_entry, plans_of, read_conf, skipped_text
from helmframe.interop.suites import suite
from helmframe.models.budget import Price, read_prices
from helmframe.models.protocol import host_of, is_local_name
from helmframe.scenarios.catalogue import has_task_source, scenario_names
from helmframe.scenarios.sources import hosts_of

_RUN = """\
examples:
  helmframe run "sampler:subject=music,model=noisy(accuracy=0.6)"
  helmframe run "mmlu:subject=philosophy" --model ./base --adapter ./lora --dtype bfloat16
  helmframe run lite --model org/name -m 100
  helmframe run --conf-paths run_specs.conf --suite v1 -m 10 -o benchmark_output
  helmframe run plan.yaml --max-cost 5 --prices gpt-4.1=2,8

Cached completions are reused: rerun the command to resume."""
_EXPLAIN = """\
example:
  helmframe explain "sampler:subject=music,model=noisy(accuracy=0.6)" -m 10"""
_MODELS = (
    "models for entries that have a group of models (model=text) or none; an entry that names one model runs only if "
    "that model is listed here"
)
_GROUPS = "run only entries of these groups: a scenario (mmlu, mmlu_anatomy), or a group of the .conf file"
_RESUME = (
    "reuse the completions that run RUN stored of models without a version; 'last' is the run of "
    "the same plans with the most stored completions"
)
_PRICES = (
    "US dollars per million prompt tokens, output tokens and, optionally, cached prompt tokens, by model name: "
    "org/name=0.5,1.5; or a YAML file with prices"
)
_UNTIL = (
    'stop early: request instances in random order until the rule is met. "precise(.03)": the interval of the main '
    "metric is at most ± .03. \"decided('a', 'b')\": one of two models is better"
)
_THREADS = (
    "accepted for compatibility with helm-run, where -n 1 is one thread; ignored: the queue of each model sets its own "
    "concurrency"
)
# The options that load the local models of `--model`.
_FLAGS = ("dtype", "device", "device_map", "adapter", "replicas", "revision", "trust_remote_code")
_TRUST = (
    "run files that execute Python code (trust_remote_code), or that send environment variables to servers (key_env), "
    "without a prompt"
)
_SKIP = "if FOLDER/runs/SUITE has results, print them and run nothing"


@command("run", help="Run plans, run entries or .conf files, and print the scores", order=10)
def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run`."""
    parser.usage, parser.epilog = "%(prog)s [options] ENTRY|SUITE|FILE ...", _RUN
    _add_plans(parser)
    parser.add_argument("-d", "--dry-run", action="store_true", help="explain the run and send no request")
    cache = parser.add_argument_group("cache")
    cache.add_argument("--fresh", action="store_true", help="ignore cached completions and generate all again")
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max-requests", type=int, metavar="N", help="send at most N requests")
    limits.add_argument("--max-cost", type=float, metavar="X", help="stop once the completions cost X US dollars")
    _add_prices(limits)
    limits.add_argument("--until", metavar="RULE", help=_UNTIL)
    output = parser.add_argument_group("output")
    output.add_argument("-o", "--output-path", metavar="FOLDER", help="also write the results to FOLDER/runs/SUITE")
    output.add_argument("--suite", default="default", help="name of the folder in FOLDER/runs")
    output.add_argument("--skip-completed-runs", action="store_true", help=_SKIP)
    add_engine(parser)
    cache.add_argument("--resume", metavar="RUN", help=_RESUME)
    compatibility = parser.add_argument_group("compatibility with helm-run")
    compatibility.add_argument("-n", "--num-threads", type=int, metavar="N", help=_THREADS)
    compatibility.add_argument("--local", action="store_true", help="accepted and ignored: the only mode")
    parser.set_defaults(run=_run)


@command("explain", help="Show what a run would do: rows per stage, cached completions, requests", order=20)
def add_explain(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `explain`."""
    parser.usage, parser.epilog = "%(prog)s [options] ENTRY|SUITE|FILE ...", _EXPLAIN
    _add_plans(parser)
    _add_prices(parser)
    parser.set_defaults(run=_run, dry_run=True, local=False)


def _add_prices(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--prices", nargs="+", metavar="NAME=PROMPT,OUTPUT|FILE", help=_PRICES)


def _add_plans(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `_plans` reads."""
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="ENTRY|SUITE|FILE",
        help="run entries, suites, other tools' tasks (lm_eval:NAME, inspect:NAME, hf:NAME), files of plans (.yaml), "
        "HELM's .conf files",
    )
    parser.add_argument("--trust-files", action="store_true", help=_TRUST)
    add_verbose(parser)
    entries = parser.add_argument_group("run entries")
    entries.add_argument("-r", "--run-entries", nargs="+", default=[], metavar="ENTRY", help="run entries")
    entries.add_argument("-c", "--conf-paths", nargs="+", default=[], metavar="FILE", help="HELM's .conf files")
    add_allow_substitution(entries)
    entries.add_argument("--groups-to-run", nargs="+", default=[], metavar="GROUP", help=_GROUPS)
    entries.add_argument("--priority", type=int, metavar="P", help="run only .conf entries with priority ≤ P")
    entries.add_argument(
        "-m",
        "--max-eval-instances",
        type=int,
        metavar="N",
        help="evaluate at most N instances of each subset, sampled as HELM does",
    )
    entries.add_argument(
        "-t", "--num-train-trials", type=int, metavar="N", help="run N trials, each with other few-shot examples"
    )
    models = parser.add_argument_group("models")
    models.add_argument(
        "--model",
        nargs="+",
        default=[],
        metavar="NAME",
        help="models to evaluate, in place of those in entries and plans",
    )
    models.add_argument("--models-to-run", nargs="+", default=[], metavar="NAME", help=_MODELS)
    add_model_loading(parser)


def _run(arguments: argparse.Namespace) -> None:
    plans = _plans(arguments)
    hosts = _contacts(plans)
    if hosts:
        print_status(f"contacts {show_invisible(', '.join(hosts))}")
    if arguments.dry_run:
        print_text(plans.explain(prices=_prices(arguments.prices)))
        return
    if any(not spec_of(plan).models for plan in plans.plans):
        raise PlanError("No model. Add model=org/name to the run entry, or --model org/name.")
    until = parse_until(arguments.until) if arguments.until else None
    suite_tasks([spec_of(plan) for plan in plans.plans])  # raises for invalid plans before any plan runs
    folder = Path(arguments.output_path, "runs", arguments.suite) if arguments.output_path else None
    if folder is not None and folder.exists() and any(folder.iterdir()):
        if arguments.skip_completed_runs:
            print_text(load_results(folder))
            return
        raise StoreError(f"{folder} isn't empty. Choose another --suite, or remove the folder.")
    if arguments.local:
        print_status("--local is ignored: it is the only mode")
    results = plans.score(
        fresh=arguments.fresh,
        max_requests=arguments.max_requests,
        max_cost=arguments.max_cost,
        prices=_prices(arguments.prices),
        until=until,
        engine=engine_option(arguments),
        resume=arguments.resume,
    )
    print_text(results)
    if any(spec_of(plan).perturbations for plan in plans.plans):
        from helmframe.views.display import robustness_text

        table = results.robustness()
        print_text("\nrobustness\n" + robustness_text(table.filter(table["metric"].is_in(results.main_metrics))))
    if folder is not None:
        print_status(f"wrote {results.to_parquet(folder)}")
    failed = results.errors()
    if failed.height:
        planned = results.manifest["counts"]["planned"]
        first = f"The first, for instance {failed['instance_id'][0]}: {failed['error'][0]}"
        if failed.height == planned:
            raise HelmframeError(f"All {planned:,} requests failed. {first}")
        print_status(f"{failed.height:,} of {planned:,} requests failed. {first}\nRerun the command to retry them.")


def _plans(arguments: argparse.Namespace) -> Suite:
    """Return the plans of the arguments, in this order: suites and plan files, run entries, .conf files."""
    names = [word for word in arguments.sources if "=" not in word]
    suites = set(suite_names()) - set(scenario_names())  # a name of both is a run entry
    files = [name for name in names if name.endswith((".yaml", ".yml")) or name in suites]
    confs = [name for name in names if name.endswith(".conf")]
    tasks = [word for word in arguments.sources if has_task_source(word)]
    entry_texts = [word for word in arguments.sources if word not in files + confs + tasks]
    entries: list[Entry] = [parse_entry(entry) for entry in entry_texts + arguments.run_entries]
    substitution = {"allow_substitution": arguments.allow_substitution}
    read = {path: read_conf(path, **substitution, trusted=True) for path in confs + arguments.conf_paths}
    conf_entries = [entry for path in read for entry in read[path]]
    trusted = _confirm(files, tasks, read, trusted=arguments.trust_files)
    if not files and not tasks and not entries and not conf_entries:
        raise ArgumentError(
            'Nothing to run. Write: helmframe run "mmlu:subject=philosophy,model=org/name", helmframe run lite --model '
            "org/name, or --conf-paths FILE."
        )
    requested = model_options(arguments)
    models, limit = requested or arguments.models_to_run, arguments.max_eval_instances
    task_plans = [scenario(task, trust_remote_code=trusted) for task in tasks]
    made = suite(*files, *task_plans, trusted=trusted) if files or tasks else Suite(())
    if requested:
        entries, conf_entries = without_models(entries), without_models(conf_entries)
        made = made.generate(requested)
    elif models:
        made = map_plans(made, lambda plan: plan if spec_of(plan).models else plan.generate(list(models)))
    if limit is not None:
        made = map_plans(made, lambda plan: _at_most(plan, limit))
    options: dict[str, Any] = {
        "models": models,
        "groups": arguments.groups_to_run,
        "priority": arguments.priority,
        "max_eval_instances": limit,
        "num_train_trials": arguments.num_train_trials,
    }
    skipped: list[EntryState] = []
    plans = [*made.plans, *plans_of(entries, **options), *plans_of(conf_entries, skipped=skipped, **options)]
    if skipped and plans:
        print_status(skipped_text(skipped))
    elif skipped:
        raise ArgumentError(f"Nothing to run. {skipped_text(skipped)}")
    if not plans:
        raise ArgumentError("Nothing to run: no entry matches --priority, --models-to-run and --groups-to-run.")
    return suite_of(plans, made.skipped)


def _confirm(
    files: Sequence[str], tasks: Sequence[str], entries: Mapping[str, Sequence[Entry]], *, trusted: bool
) -> bool:
    """Return whether the files and tasks are trusted: if the user confirms what they would do, or by the option.

    Raises:
        PlanError: They would run code or send environment variables, and the user doesn't confirm, or has no terminal.
    """
    if trusted:
        return True
    effects: dict[str, list[str]] = {task: foreign_effects(task) for task in tasks}
    for file in files:
        path = suite_path(file)
        _, content, over = suite_content(read_yaml(path), str(path))
        effects[file] = foreign_effects([content, over])
    for file, listed in entries.items():
        effects[file] = foreign_effects([value for entry in listed for _, value in entry.arguments])
    effects = {file: lines for file, lines in effects.items() if lines}
    if not effects:
        return False
    if sys.stdin.isatty():
        for file, lines in effects.items():
            print_status(f"{file} would\n" + "\n".join(f"  {show_invisible(effect)}" for effect in lines))
        print_status("The option --trust-files skips this question. Run the files? [y/N]")
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return True
    for file, lines in effects.items():
        refuse_effects(file, lines, "hf.suite(path, trusted=True)")
    return False


def _contacts(plans: Suite) -> list[str]:
    """Return the hosts that a run sends requests to, each with its purposes."""
    specs = [spec_of(plan) for plan in plans.plans]
    with_models = [spec for spec in specs if spec.models]
    tasks = [task for _, task in suite_tasks(with_models)[0]] if with_models else []
    called = called_models(tasks)
    purposes: dict[str, dict[str, None]] = {}

    def add(host: str, purpose: str) -> None:
        purposes.setdefault(host, {})[purpose] = None

    for kind, models in (("model", called.models), ("judge", called.judges), ("model", called.perturbation_models)):
        for model in models:
            if (host := host_of(model)) is not None:
                key = f", with the key in {model.key_env}" if read_key(model.key_env) else ""
                add(host, f"{kind} {model.name}{key}")
    for spec in specs:
        for rows in spec.scenarios:
            for host in hosts_of(rows, spec.data):
                add(host, f"data of {rows.scenario}")
    for task in tasks:
        for metric in task.metrics:
            for host in re.findall(r"https?://(?:[^/@\s'\"]*@)?([^/\s'\"?#,)]+)", str(metric)):
                add(host, "classifier")
    return [f"{host} ({'; '.join(listed)})" for host, listed in purposes.items()]


def _at_most(plan: Plan, n: int) -> Plan:
    """Return the plan with at most n instances of each subset."""
    sampling = spec_of(plan).sampling
    if sampling is None:
        return plan.sample(n, order="helm")
    return plan.sample(n, sampling.seed, order=sampling.order) if sampling.n > n else plan


def _prices(texts: Sequence[str] | None) -> dict[str, Price] | None:
    """Return the prices of `--prices` by model name.

    Raises:
        ArgumentError: A price isn't NAME=PROMPT,OUTPUT or NAME=PROMPT,OUTPUT,CACHED, or is invalid.
        SpecError: A file can't be read.
    """
    if texts is None:
        return None
    prices: dict[str, Price] = {}
    for text in texts:
        name, separator, amounts = text.rpartition("=")
        if not separator and text.endswith((".yaml", ".yml")):
            prices |= read_prices(text)
            continue
        try:
            values = [float(amount) for amount in amounts.split(",")]
        except ValueError:
            values = []
        if not name or len(values) not in (2, 3):
            raise ArgumentError(f"--prices {text!r}: write NAME=PROMPT,OUTPUT, such as org/name=0.5,1.5.")
        prices |= read_prices({name: values})
    return prices


def add_model_loading(parser: argparse.ArgumentParser) -> None:
    """Add the options that load the local models of `--model`."""
    group = parser.add_argument_group("local models of --model")
    group.add_argument(
        "--dtype", metavar="TYPE", help="float32, bfloat16, float16, or auto for the type of the checkpoint"
    )
    group.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:1 or mps")
    group.add_argument(
        "--device-map", metavar="MAP", help="auto distributes the layers over the GPUs; needs accelerate"
    )
    group.add_argument("--adapter", metavar="FOLDER", help="PEFT adapter to merge into the weights")
    group.add_argument("--replicas", type=int, metavar="N", help="run N copies in parallel, one on each GPU")
    group.add_argument("--revision", metavar="COMMIT", help="branch, tag or commit of the model on the Hub")
    group.add_argument(
        "--trust-remote-code", action="store_true", default=None, help="allow code of the checkpoint to run"
    )


def model_options(arguments: argparse.Namespace) -> list[str]:
    """Return the models of `--model` as in plan files: local models have the other options as arguments.

    Raises:
        ArgumentError: There are options without a local model, or `--models-to-run` with `--model`.
    """
    names: list[str] = arguments.model
    options: dict[str, Any] = {name: value for name in _FLAGS if (value := getattr(arguments, name)) is not None}
    if names and arguments.models_to_run:
        raise ArgumentError(
            "--model and --models-to-run exclude each other: --model replaces the models of all entries. Remove one."
        )
    if not options:
        return names
    flag = "--" + next(iter(options)).replace("_", "-")
    if not names:
        raise ArgumentError(f"{flag} needs a model to load. Add --model ./folder.")
    if not any(map(is_local_name, names)):
        raise ArgumentError(
            f"{flag} applies to local models (a folder, a GGUF file, a name on the Hub); {names[0]!r} isn't one. "
            f"Remove {flag}."
        )
    return [str(Call("local", frozen({"model": name, **options}))) if is_local_name(name) else name for name in names]


def without_models(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries without their models."""
    return [
        replace(
            entry, arguments=tuple(pair for pair in entry.arguments if pair[0] not in ("model", "model_deployment"))
        )
        for entry in entries
    ]


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the options of the engine and its resources."""
    group = parser.add_argument_group("engine")
    group.add_argument("--engine", default="local", metavar="ENGINE", help=" or ".join(ENGINES))
    group.add_argument("--address", metavar="HOST:PORT", help="address of the Ray cluster (default: a local one)")
    group.add_argument("--actors", metavar="N|N-M", help="replicas of each model on the cluster (default: 1-4)")
    group.add_argument("--num-gpus", type=float, metavar="N", help="GPUs of each replica")
    group.add_argument("--num-cpus", type=float, metavar="N", help="CPUs of each replica (default: 1)")


def engine_option(arguments: argparse.Namespace) -> Engine:
    """Return the engine of the options.

    Raises:
        ArgumentError: There are options of Ray without `--engine ray`, or a number is invalid.
    """
    options = {name: getattr(arguments, name) for name in ("address", "num_gpus", "num_cpus")}
    options = {name: value for name, value in options.items() if value is not None}
    if arguments.actors is not None:
        options["replicas"] = _replicas(arguments.actors)
    if arguments.engine == "ray":
        return Ray(**options)
    if options:
        raise ArgumentError("--address, --actors, --num-gpus and --num-cpus apply to a Ray cluster. Add --engine ray.")
    return str(arguments.engine)


def _replicas(text: str) -> int | tuple[int, int]:
    low, dash, high = text.partition("-")
    if not low.isdigit() or (dash and not high.isdigit()):
        raise ArgumentError(f"--actors {text} must be a number or a range, such as 1-8.")
    return (int(low), int(high)) if dash else int(low)
