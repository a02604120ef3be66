"""Suites by name, from YAML files of plans, and from HELM's .conf files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.yaml import read_yaml, specs_root
from helmframe._plan import Plan, spec_of
from helmframe._suite import Missing, Suite, map_plans, plans_of, suite_names, suite_of, suite_path
from helmframe.errors import ArgumentError
from helmframe.interop.helm.entries import Entry, EntryState, read_conf
from helmframe.interop.helm.plans import plans_of as plans_of_entries
from helmframe.interop.helm.plans import skipped_text, warn_skipped


def suite(
    *plans: Plan | str | Path,
    models: Any = None,
    priority: int | None = None,
    groups: Sequence[str] = (),
    max_eval_instances: int | None = None,
    num_train_trials: int | None = None,
    trusted: bool = False,
    allow_substitution: bool = False,
) -> Suite:
    """Return several plans as one: `hf.suite(plan, plan)`, `hf.suite("lite")`, `hf.suite("run_specs.conf")`.

    The parameters from `priority` to `num_train_trials` apply to .conf files, as in `helmframe run`.

    >>> import helmframe as hf
    >>> plans = [hf.scenario("sampler").where(subject=subject).limit(2) for subject in ("music", "biology")]
    >>> results = suite(*plans, models=hf.models.oracle()).score()
    >>> results.completions.collect()["subset"].unique().sort().to_list()
    ['biology', 'music']

    Args:
        *plans: Plans, names of suites ("classic", "lite", "mmlu", "safety", "capabilities"), YAML files of plans, or
            HELM's .conf files. Entries with an unknown scenario or with missing rows are skipped, and a warning lists
            them. Plans of other files that lack a part, such as rows or a word table, are skipped, and the results
            list them. A file `{suite: NAME, generate: MODEL, …}` is the named suite with these keys in every plan.
        models: The models of plans without one: anything that generates text, a list of them, or {name: model}.
        priority: The highest priority number of the entries to run; default all.
        groups: The groups of the entries to run: names of scenarios, or groups of the .conf file; default all.
        max_eval_instances: The number of instances per subset, for entries without one.
        num_train_trials: The number of trials with other few-shot examples, as in HELM's `-t`.
        trusted: Whether the files may run Python code (`trust_remote_code`), and send environment variables to the
            servers of their choice as keys (`key_env`). Pass True for files that you wrote or read.
        allow_substitution: Whether .conf files may include other files and addresses, and read environment variables
            (`include`, `${…}`). Pass True for files that you wrote or read.

    Raises:
        UnknownNameError: No suite has that name.
        SpecError: A file is invalid. The message has the file and the plan.
        ArgumentError: `plans` is empty or has another type, or an option of .conf files is passed without one.
        PlanError: A file needs `trusted=True`. The message lists what it would do.
        HelmframeError: Each plan lacks a part. It is the first error.
    """
    options: dict[str, Any] = {
        "priority": priority, "groups": groups, "max_eval_instances": max_eval_instances,
        "num_train_trials": num_train_trials,
    }  # fmt: skip
    specified = [name for name, value in options.items() if value not in (None, ())]
    all_plans: list[Plan | Missing] = []
    for source in plans:
        if isinstance(source, Plan):
            all_plans.append(source)
        elif isinstance(source, str | Path):
            if str(source).endswith(".conf"):
                entries = read_conf(str(source), allow_substitution=allow_substitution, trusted=trusted)
                all_plans += _conf(str(source), entries, options, models)
            else:
                all_plans += _file(suite_path(str(source)), trusted)
        else:
            raise _no_plan(source)
    if not all_plans:
        raise ArgumentError("suite() needs at least one plan. Write hf.suite(plan, …) or hf.suite('lite').")
    if specified and not any(str(source).endswith(".conf") for source in plans if isinstance(source, str | Path)):
        raise ArgumentError(f"suite({specified[0]}=…): {specified[0]} applies to .conf files only. Remove it.")
    made = suite_of(all_plans)
    if models is None or all(spec_of(plan).models for plan in made.plans):
        return made
    return map_plans(made, lambda plan: plan if spec_of(plan).models else plan.generate(models))


def list_suites() -> pl.DataFrame:
    """Return every suite that `hf.suite(name)` finds, one row each.

    Returns:
        name, plans (the number of plans), description.

    >>> list_suites().filter(name="lite").select("name", "plans").row(0)
    ('lite', 10)
    """
    rows = []
    for name in suite_names():
        content = read_yaml(specs_root() / "suites" / f"{name}.yaml")
        rows.append({"name": name, "plans": len(content["plans"]), "description": str(content.get("description", ""))})
    return pl.DataFrame(rows)


def _no_plan(source: object) -> ArgumentError:
    if isinstance(source, list | tuple):
        return ArgumentError("suite([…]): pass the plans as arguments, not as a list. Write hf.suite(*plans).")
    kind = type(source).__name__
    return ArgumentError(
        f"suite({kind}): an argument must be a plan, as hf.scenario(…) returns it, or the name of a suite."
    )


def _file(path: Path, trusted: bool) -> Iterator[Plan | Missing]:
    """Return the plans of a file: a suite, or a plan."""
    content = read_yaml(path)
    if isinstance(content, dict) and "plans" not in content and "scenario" in content:
        yield Plan.from_yaml(path, trusted=trusted)
        return
    yield from plans_of(content, str(path), trusted=trusted)


def _conf(path: str, entries: Sequence[Entry], options: Mapping[str, Any], models: Any) -> list[Plan]:
    # with models of the user, entries that name one of HELM's models are skipped
    skipped: list[EntryState] = []
    plans = plans_of_entries(entries, named=models is None, skipped=skipped, **options)
    if skipped and not plans:
        raise ArgumentError(f"suite({path!r}): no entry can be run. {skipped_text(skipped)}")
    warn_skipped(skipped)
    return plans
