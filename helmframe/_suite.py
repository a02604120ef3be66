"""Several sentences, one queue."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helmframe._core.yaml import read_yaml
from helmframe._run import Run
from helmframe.config import from_home
from helmframe.early_stopping.rules import Until
from helmframe.engines import local
from helmframe.engines.resolve import Engine, running
from helmframe.errors import ArgumentError, HelmframeError, SourceError, SpecError, UnknownNameError
from helmframe.models.budget import Budget, Prices
from helmframe.plan import Plan
from helmframe.results import Results
from helmframe.scenarios.find import specs_root


@dataclass(frozen=True)
class Suite:
    """Plans that run together: requests to the same model share its queue and fill the same batches."""

    plans: tuple[Plan, ...]

    # -- say: each plan says it; those that are there already are asked to say it too ---------------------------------

    def generate(self, /, model: Any, *, n: int | None = None, **decoding: Any) -> "Suite":
        """The suite with these models answering every plan; as `Plan.generate`."""
        return Suite(tuple(plan.generate(model, n=n, **decoding) for plan in self.plans))

    def sample(self, n: int, seed: int = 0, *, order: str | None = None) -> "Suite":
        """The suite over a random n of each subset's instances, in place of what its plans say; as `Plan.sample`."""
        return Suite(tuple(plan.sample(n, seed, order=order) for plan in self.plans))

    def limit(self, n: int) -> "Suite":
        """The suite over the first n of each subset's instances, in place of what its plans say; as `Plan.limit`."""
        return Suite(tuple(plan.limit(n) for plan in self.plans))

    def perturb(self, said: Any, *, seeds: int = 1, compat: str | None = None) -> "Suite":
        """The suite with these variants of every instance; as `Plan.perturb`."""
        return Suite(tuple(plan.perturb(said, seeds=seeds, compat=compat) for plan in self.plans))

    def adapt(self, /, **said: Any) -> "Suite":
        """The suite with this said of every plan's adapter; as `Plan.adapt`."""
        return Suite(tuple(plan.adapt(**said) for plan in self.plans))

    # -- read --------------------------------------------------------------------------------------------------------

    def score(
        self,
        *,
        fresh: bool = False,
        resume: str | None = None,
        until: Until | None = None,
        max_requests: int | None = None,
        max_cost: float | None = None,
        prices: Prices | None = None,
        priority: int = 0,
        engine: Engine = "local",
    ) -> Results:
        """Run all plans side by side; one `Results` for all of them. Arguments as for `Plan.score`.

        What a model can't do is left out and told (`results.manifest["left_out"]`), and so is a scenario whose rows are
        not there; the rest goes on.
        """
        budget = Budget(max_requests, max_cost, prices, priority)
        folder = running(engine)(self.plans, fresh=fresh, resume=resume, until=until, budget=budget)
        return Results.load(folder.path)

    def submit(
        self,
        *,
        fresh: bool = False,
        resume: str | None = None,
        until: Until | None = None,
        max_requests: int | None = None,
        max_cost: float | None = None,
        prices: Prices | None = None,
        priority: int = 0,
        engine: Engine = "local",
    ) -> Run:
        """As `score`, in the background."""
        budget = Budget(max_requests, max_cost, prices, priority)
        return Run.start(self.plans, budget=budget, fresh=fresh, resume=resume, until=until, engine=engine)

    def results(self, *, resume: str | None = None, until: Until | None = None) -> Results:
        """What the store has of them now; asks nothing."""
        return Results.load(local.run(self.plans, ask=False, resume=resume, until=until).path)

    def explain(self) -> str:
        """What each plan would do."""
        return "\n\n".join(plan.explain() for plan in self.plans)


def suite(*said: Plan | str | Path, models: Any = None, **options: Any) -> Suite:
    """Several plans as one: `hf.suite(plan, plan)`, `hf.suite("lite")`, `hf.suite("run_specs.conf", priority=2)`.

    Args:
        *said: plans; names of suites ("classic", "lite", "mmlu", "safety", "capabilities"), YAML files of plans, or
            HELM's .conf files. Entries of these whose scenario or rows are missing here are skipped, and a warning is
            logged that lists them.
        models: who answers, in plans that say nobody: anything that answers, a list of them, or {name: model}.
        **options: of .conf files, as the command has them: priority, groups, max_eval_instances, num_train_trials.

    Raises:
        UnknownNameError: no suite of that name.
        SpecError: a file is wrong; names it and the plan.
        ArgumentError: none, something that is no plan, or an option without a .conf file.
    """
    plans: list[Plan] = []
    for each in said:
        if isinstance(each, Plan):
            plans.append(each)
        elif isinstance(each, str | Path):
            plans += _conf(str(each), options, models) if str(each).endswith(".conf") else _file(_found(str(each)))
        else:
            raise _no_plan(each)
    if not plans:
        raise ArgumentError("hf.suite(): give at least one plan.")
    for name in options:
        if name not in _OPTIONS:
            raise ArgumentError.unknown_argument("hf.suite()", name, ("models", *_OPTIONS))
    if options and not any(str(each).endswith(".conf") for each in said if isinstance(each, str | Path)):
        raise ArgumentError(f"hf.suite({', '.join(options)}=…) is said of .conf files; there is none.")
    if models is not None:
        plans = [plan if plan.models else plan.generate(models) for plan in plans]
    return Suite(tuple(dict.fromkeys(plans)))


# Of .conf files.
_OPTIONS = ("priority", "groups", "max_eval_instances", "num_train_trials")


def suite_names() -> list[str]:
    """The names that `suite` knows, sorted."""
    return sorted(file.stem for file in (specs_root() / "suites").glob("*.yaml"))


def _no_plan(given: object) -> ArgumentError:
    if isinstance(given, list | tuple):
        return ArgumentError("hf.suite([…]): give plans one by one, not as a list: hf.suite(*plans).")
    kind = type(given).__name__
    return ArgumentError(f"hf.suite(): give plans, as hf.scenario(…) makes them, or a suite's name, not {kind}.")


def _found(said: str) -> Path:
    if said.endswith((".yaml", ".yml")) or "/" in said:
        path = from_home(said)
        if not path.is_file():
            raise SpecError.at(said, "", "there is no such file.")
        return path
    if said not in suite_names():
        raise UnknownNameError.among("suite", said, suite_names(), hint="Or give plans, or the path of a file of them.")
    return specs_root() / "suites" / f"{said}.yaml"


def _file(path: Path) -> Iterator[Plan]:
    """The plans of a suite file: `plans` is a list of them, `each` what all say that do not say it (or null)."""
    import yaml

    said = read_yaml(path)
    if isinstance(said, dict) and "plans" not in said and "scenario" in said:
        yield Plan.from_yaml(path)
        return
    if not isinstance(said, dict) or not isinstance(said.get("plans"), list):
        raise SpecError.at(path.name, "plans", "is missing: a list of plans, each {scenario: NAME, …}.")
    for key in said:
        if key not in ("suite", "description", "each", "plans"):
            raise SpecError.unknown_key(path.name, str(key), ("suite", "description", "each", "plans"))
    each = said.get("each") or {}
    for place, plan in enumerate(said["plans"]):
        if not isinstance(plan, dict):
            raise SpecError.at(path.name, f"plans[{place}]", f"should be {{scenario: NAME, …}}, not {plan!r}.")
        try:
            words = {verb: value for verb, value in (each | plan).items() if value is not None}
            yield Plan.from_yaml(yaml.safe_dump(words, allow_unicode=True, sort_keys=False))
        except SourceError:
            raise
        except HelmframeError as error:
            raise SpecError.at(path.name, f"plans[{place}]", str(error)) from error


def _conf(path: str, options: dict[str, Any], models: Any) -> list[Plan]:
    # HELM's language stands above plans; a suite reads it where one is given
    from helmframe.interop.helm.entries import EntryState, read_conf
    from helmframe.interop.helm.entry_states import skipped_text, warn_skipped
    from helmframe.interop.helm.plans import plans_of

    # where the user says who answers, entries that name one model of HELM's are none of his
    skipped: list[EntryState] = []
    plans = plans_of(read_conf(path), named=models is None, skipped=skipped, **options)
    if skipped and not plans:
        raise ArgumentError(f"hf.suite({path!r}): no entry can be run. {skipped_text(skipped)}")
    warn_skipped(skipped)
    return plans
