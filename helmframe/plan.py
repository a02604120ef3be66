"""The sentence: what is said is a frozen value, what is read runs what it must.

What it goes through once it is read stands in `stages.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.specs import (
    Between,
    Condition,
    Equals,
    Expression,
    Sample,
    Sql,
    frozen,
    merged,
)
from helmframe._core.views import render
from helmframe._plan_yaml import steps, written
from helmframe._run import Run
from helmframe._schema import COMPLETIONS, VARIANTS
from helmframe.config import reading_from
from helmframe.early_stopping.rules import Until
from helmframe.engines import local
from helmframe.engines.resolve import Engine, running
from helmframe.errors import ArgumentError, NotAModelError, SpecError
from helmframe.judging.judge import refuse_pairs, with_judges
from helmframe.judging.query import asking, with_models
from helmframe.metrics import chosen
from helmframe.models.budget import Budget, Prices
from helmframe.models.fit import fit
from helmframe.models.generate import NUMBERS, check_decoding
from helmframe.models.model import Given, Model, Prompt
from helmframe.models.protocol import check_spelling, models_of
from helmframe.perturbations import PerturbationCall, variants
from helmframe.results import Results
from helmframe.scenarios.find import check_words, find_scenario, frame_scenario
from helmframe.scenarios.load import check_where
from helmframe.stages import Stages, of_split


@dataclass(frozen=True, repr=False)
class Plan(Stages):
    """One sentence: which instances, changed how, asked how, of whom, and what is scored.

    `hf.scenario(…)` begins one. The verbs that say (`where`, `sample`, `limit`, `perturb`, `adapt`, `generate`,
    `metrics`) return a new plan and run nothing; their order does not matter, and a list is a grid. The verbs that read
    (`explain`, `instances`, `variants`, `requests`, `score`, `submit`, `results`, `completions`) run what they must,
    and only that. `print(plan)` is the plan as YAML; `to_yaml` and `from_yaml` keep it.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(2).perturb("lowercase").generate(hf.models.oracle())
    >>> plan.score().value("exact_match")
    1.0
    """

    # -- say ---------------------------------------------------------------------------------------------------------

    def where(self, /, *conditions: str | pl.Expr | Sql, **equals: Any) -> "Plan":
        """Only instances that meet all conditions; what was said before stays.

        Args:
            *conditions: DuckDB SQL over the columns of `instances` (pushed into the scan), or a Polars expression
                (applied after it).
            **equals: column=value, a list for "one of", `hf.between(low, high)`; pushed into file paths and row groups.

        Raises:
            ArgumentError: no such column or value; with near matches.
        """
        said: list[Condition] = []
        for condition in conditions:
            if isinstance(condition, str):
                said.append(Sql(condition))
            elif isinstance(condition, Sql):
                said.append(condition)
            elif isinstance(condition, pl.Expr):
                said.append(Expression.of(condition))
            else:
                raise ArgumentError(f"where({condition!r}): write column=value, SQL as text, or a Polars expression.")
        said += [_equality(column, value) for column, value in equals.items()]
        of_rows = tuple(each for each in said if not of_split(each))
        for spec in self.scenarios if of_rows else ():
            check_where(spec, of_rows, self.data)
        return replace(self, filters=self.filters + tuple(said))

    def sample(self, n: int, seed: int = 0, *, order: str | None = None) -> "Plan":
        """A random n of each subset's instances, keyed by their ids: the same whatever else is asked.

        `order="helm"` is HELM's own draw over its evaluation splits (valid and test together). The default is "keyed",
        and "helm" in a plan with `compat="helm"`.
        """
        order = order or ("helm" if self.compat == "helm" else "keyed")
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ArgumentError(f"sample(seed={seed!r}): a whole number.")
        if order not in ("keyed", "helm"):
            raise ArgumentError.unknown_value(f"sample(order={order!r})", order, ["keyed", "helm"])
        return replace(self, sampling=Sample(_count("sample", n), seed, order))

    def limit(self, n: int) -> "Plan":
        """The first n of each subset's instances by `row_index`."""
        return replace(self, sampling=Sample(_count("limit", n), 0, "first"))

    def perturb(
        self,
        said: str | PerturbationCall | Sequence[str | PerturbationCall],
        *,
        seeds: int = 1,
        compat: str | None = None,
    ) -> "Plan":
        """Variants of each instance beside the original, in place of those said before.

        Args:
            said: a name (`"typos"`), a call (`hf.typos(prob=.1)`, `"typos(prob=.1)"`), a grid
                (`"typos(prob=[.1, .2])"`), a chain (`"lowercase+typos"`), a preset (`"canonical"`), or a list of
                these. `"rerun"` is the placebo: it requests the original prompt again.
                `hf.perturbations()` lists all.
            seeds: draws of each that is random.
            compat: "helm" takes HELM's own rules and random numbers for each, text for text. A plan with
                compat="helm" takes them for every perturbation that HELM has.

        Raises:
            UnknownNameError, ArgumentError: no such perturbation or argument, with near matches; or it is none for
                these scenarios.
            SourceError: the data root lacks a table that one of them reads; says how to get it.
        """
        if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
            raise ArgumentError(f"perturb(seeds={seeds!r}): a whole number from 1 on.")
        each: list[Any] = list(said) if isinstance(said, list | tuple) else [said]
        with reading_from(self.data):
            parsed = [
                variant for one in each if one != "original" for variant in variants(one, seeds, compat, self.compat)
            ]
            for variant in parsed:
                variant.check([spec.scenario for spec in self.scenarios])
        return replace(self, perturbations=with_models(parsed))

    def adapt(self, /, **said: Any) -> "Plan":
        """How an instance becomes a request; merged by key over the scenario's own.

        Args:
            **said: fields of `AdapterSpec`: method, shots, trials, instructions, system, input_prefix, chat_template, …
                A list is a grid: `shots=[0, 5]`.

        Raises:
            ArgumentError: no such field, or a value that it can't have.
        """
        for key, value in said.items():
            if isinstance(value, Mapping):
                raise ArgumentError(
                    f"adapt({key}={{…}}): a mapping. Several values are a list: {key}={[*value.values()]!r}."
                )
            if key in NUMBERS or key == "stop":
                raise ArgumentError(
                    f"adapt({key}={value!r}): says how the model answers: write .generate(model, {key}={value!r})."
                )
        plan = replace(self, adapter=merged(self.adapter, frozen(said)))
        plan.check_methods()
        return plan

    def generate(self, /, model: Any, *, n: int | None = None, **decoding: Any) -> "Plan":
        """Who answers, in place of who was said before; decoding parameters are merged by key.

        Args:
            model: anything that answers (`hf.model` says what), a list of them, or {name: model}.
            n: completions per request.
            **decoding: max_tokens, temperature, top_p, stop, … A list is a grid: `temperature=[0, .7]`.

        Raises:
            NotAModelError: it can't answer.
            ArgumentError: a decoding argument misspelt, or with a value that it can't have.
            CapabilityError: a decoding argument that a model can't take, or what was said that it can't do.
        """
        if isinstance(model, Plan):  # it has a method generate, as models do
            raise NotAModelError.of(model, "it says who is asked, and does not answer itself")
        models = models_of(model)
        check_spelling(decoding, models)
        for each in models:
            check_decoding(each, decoding)
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
            raise ArgumentError(f"generate(n={n!r}): a whole number from 1 on.")
        plan = replace(self, models=models, decoding=merged(self.decoding, frozen(decoding)), outputs=n or self.outputs)
        plan.check_methods()
        return plan

    def metrics(self, *given: Any) -> "Plan":
        """What to score, in place of the scenario's own metrics.

        Args:
            *given: names (`exact_match@5` is the best of five outputs), calls (`"iou_set_match(separator=',')"`),
                judges (`hf.judge(model, "safety")`), Polars expressions with a name over `hf.columns("read")`,
                functions whose parameters are columns, or lists of these.

        Raises:
            UnknownNameError: no metric is called that.
            ArgumentError: it can't be a metric, or has no such argument.
            CapabilityError: it needs what a model says it does not give.
        """
        flat = with_judges(given)
        names = [each.name for each in chosen(flat)]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ArgumentError(f"metrics(): {twice[0]!r} is said twice.")
        refuse_pairs(flat)
        plan = replace(self, scored=flat)
        plan.check_methods()
        return plan

    def to_yaml(self, path: str | Path | None = None) -> str:
        """The plan as YAML, one to one; also written to `path`, if given.

        Raises:
            PlanError: it holds an object (a frame, a function, an expression); names it.
        """
        text = written(self)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    @classmethod
    def from_yaml(cls, said: str | Path) -> "Plan":
        """The plan in a YAML text or file (a `Path`, or a name that ends in .yaml).

        Raises:
            SpecError: not YAML, an unknown key, a wrong type or value; names file and key.
            UnknownNameError: no scenario, perturbation, metric or method of that name.
        """
        plan: Plan | None = None
        for step in steps(said):
            say = scenario if plan is None else getattr(plan, step.verb)
            try:
                plan = say(*step.arguments, **step.more)
            except ArgumentError as error:
                raise SpecError.at(step.file, step.verb, str(error)) from error
        assert plan is not None  # steps() starts with the scenario
        return plan

    def __repr__(self) -> str:
        return written(self, objects=True)

    # -- read --------------------------------------------------------------------------------------------------------

    def instances(self) -> pl.LazyFrame:
        """`INSTANCES` of all scenarios: one row per instance; no model is asked."""
        frames = [shard for spec in self.scenarios for shard in self.load(spec)]
        return pl.concat(frames, how="diagonal_relaxed").lazy()

    def variants(self) -> pl.LazyFrame:
        """`VARIANTS`: one row per instance and perturbation; no model is asked."""
        return self.perturbed(self.instances(), asking(ask=False)).select(
            pl.col(list(VARIANTS.schema)), pl.all().exclude(list(VARIANTS.schema))
        )

    def requests(self) -> pl.LazyFrame:
        """Return `REQUESTS` with `prompt`, one row per prompt as a model gets it. No request is sent.

        A plan without a model has prompts of any length, without a chat template. `continuation` is the text whose
        log-probability is requested.
        """
        frames = []
        for task in self.tasks(self.models or [_any_model()], scored=False):
            train = self.train(task)
            for shard in self.load(task.spec):
                variants = self.perturbed(shard.lazy(), asking(ask=False)).collect()
                for setting in task.settings:
                    requests, heads = self.adapted(variants.lazy(), train, setting, task.spec)
                    for model in task.models:
                        fitted, prefixes = fit(requests.collect(), heads, model)
                        frames.append(fitted.join(prefixes, on="prefix_id", maintain_order="left"))
        prompt = (pl.col("prefix") + pl.col("suffix")).alias("prompt")
        return pl.concat(frames, how="diagonal_relaxed").lazy().with_columns(prompt).drop("prefix")

    def explain(self) -> str:
        """What a run would do: rows per stage, what is pushed down, requests stored and left to ask. Asks no model."""
        return str(render(self, "explain"))

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
        """Run the sentence: ask what the store does not have, score everything, keep it.

        Args:
            fresh: ask everything again.
            resume: Reuse the completions that an earlier run stored of models without a version: the run's id, or
                "last" for the newest run of the same plan that has some. Requests match by content.
            until: what is to be known before all is asked: `hf.precise(.03)`, `hf.decided("a", "b")`.
            max_requests: ask at most so many; the same sentence goes on from there.
            max_cost: stop once the answers cost so much, by `prices`.
            prices: model name → price of a million prompt tokens and of a million output tokens.
            priority: runs of higher priority go first in their model's queue; equal ones take turns.
            engine: "local", or "ray": the same on a Ray cluster; `hf.engines.Ray(…)` says which, and with what.

        Raises:
            UnknownNameError: `resume` names no run of the store; the newest ids are listed.
            ArgumentError: `resume` is given with `fresh`, or the run has no completions of these models.
            PlanError: no model was said, or the metric that `until` watches has no bounds; or, of Ray, something can't
                be sent to workers.
        """
        budget = Budget(max_requests, max_cost, prices, priority)
        folder = running(engine)([self], fresh=fresh, resume=resume, until=until, budget=budget)
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
        """As `score`, in the background: a live `Run` at once. Several share the queue of their model."""
        budget = Budget(max_requests, max_cost, prices, priority)
        return Run.start([self], budget=budget, fresh=fresh, resume=resume, until=until, engine=engine)

    def results(self, *, resume: str | None = None, until: Until | None = None) -> Results:
        """What the store has now; asks nothing. `n of n planned` stands in the results' repr.

        With `resume`, completions of models without a version are read from an earlier run, as in `score`. With
        `until`, of the looks that `score` with it would take, those that the store has whole.
        """
        return Results.load(local.run([self], ask=False, resume=resume, until=until).path)

    def completions(self) -> pl.LazyFrame:
        """`COMPLETIONS`: asks, as `.score()` does, and gives the answers without scores."""
        return self.score().completions.select(
            pl.col(list(COMPLETIONS.schema)), pl.all().exclude(list(COMPLETIONS.schema))
        )


def scenario(said: Any, *, data: str | Path | None = None, compat: str | None = None, **frame: Any) -> Plan:
    """A sentence about these instances.

    Args:
        said: a scenario's name, the path of a spec file, a list of these, or a frame (Polars, or anything that gives an
            Arrow stream).
        data: where the rows are, for this plan: a folder, `s3://bucket/prefix`; default `hf.configure(data=…)`, then
            HELMFRAME_DATA, then the hub.
        compat: "helm" applies HELM's rules, as run entries do: ids count the instances of HELM's run, its parameters
            (`where(task=15)`) choose the few-shot examples too, perturbations are HELM's, `sample` draws as HELM does,
            prompts that are too long without examples are cut at their end, and of a request's n outputs the one of
            highest log-probability is scored, where helmframe averages all n.
        **frame: for a frame: input=, references= (column names), choices=, answer=, subset=, cluster=, split=, name=.

    Raises:
        UnknownNameError: no such scenario; with near matches.
        SpecError: the spec file is wrong.
        ArgumentError: it is neither, or a column that is not there; with near matches.
    """
    check_words(said, frame)
    if compat not in (None, "helm"):
        raise ArgumentError.unknown_value(f"scenario(compat={compat!r})", compat, ["helm"])
    if isinstance(said, str | Path):
        return Plan((find_scenario(str(said)),), data=_text(data), compat=compat)
    if isinstance(said, list | tuple):
        if not said or not all(isinstance(each, str | Path) for each in said):
            raise ArgumentError("scenario([…]): a list of names; rows become a frame first: pl.DataFrame(rows).")
        return Plan(tuple(find_scenario(str(each)) for each in said), data=_text(data), compat=compat)
    return Plan((frame_scenario(said, **frame),), data=_text(data), compat=compat)


def between(low: Any, high: Any) -> Between:
    """For `where`: the column lies between both, ends included."""
    return Between("", low, high)


def _any_model() -> Model:
    """Return a stand-in for plans without a model. It accepts every request and never gets one."""

    def ask(prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Given]:  # noqa: ARG001
        return [str(prompt) for prompt in prompts]

    return Model("any", "any", ask, str, durable=False, takes=None, media=True, loglikelihood=ask)


def _text(data: str | Path | None) -> str | None:
    return None if data is None else str(data)


def _equality(column: str, value: Any) -> Condition:
    if isinstance(value, Between):
        low, high = value.low, value.high
        numbers = isinstance(low, int | float) and isinstance(high, int | float) and low > high
        if numbers or (isinstance(low, str) and isinstance(high, str) and low > high):
            raise ArgumentError(f"where({column}=between({low!r}, {high!r})): write the lower one first.")
        return replace(value, column=column)
    values = tuple(value) if isinstance(value, list | tuple | set) else (value,)
    if not values:
        raise ArgumentError(f"where({column}={value!r}): matches nothing; give one value at least.")
    for each in values:
        if each is not None and not isinstance(each, str | int | float | bool):
            raise ArgumentError(
                f"where({column}={value!r}): give text, a number, a list of these, or hf.between(low, high)."
            )
    return Equals(column, values)


def _count(verb: str, n: int) -> int:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ArgumentError(f"{verb}({n!r}): a whole number from 1 on.")
    return n
