"""The sentence: what is said is a frozen value, what is read runs what it must.

The last three methods of `Plan` are the whole engine: each stage a function from a table to a longer table, one shard
at a time. `engines/` says where and when they run.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import polars as pl

from helmframe.adapters import ADAPTERS, Setting, adapt, settings
from helmframe.asking import asking, with_models
from helmframe.columns import COMPLETIONS, INSTANCES, READ, VARIANTS
from helmframe.engines import local
from helmframe.engines.background import Run
from helmframe.errors import ArgumentError, CapabilityError, PlanError, SpecError
from helmframe.judging import judges_of, refuse_pairs, verdicts_on, with_judges
from helmframe.metrics import Metric, check_units, chosen, score
from helmframe.metrics.judge import with_verdicts
from helmframe.models.budget import Budget, Prices
from helmframe.models.fit import fit
from helmframe.models.generate import check_decoding, generate, request_ids
from helmframe.models.model import Model
from helmframe.models.protocol import from_any
from helmframe.perturbations import PerturbationCall, Variant, perturb, variants
from helmframe.results import Results
from helmframe.scenarios.find import find_scenario, frame_scenario
from helmframe.scenarios.load import check_where, count, keys, load, load_train
from helmframe.sentence import steps, written
from helmframe.settings import reading_from
from helmframe.specs import (
    Between,
    Condition,
    Equals,
    Expression,
    Pairs,
    Sample,
    ScenarioSpec,
    Sql,
    frozen,
    merged,
)
from helmframe.store import Answers
from helmframe.until import Until
from helmframe.watch import Watch

SHARD_ROWS = 20_000
# The first shard is small, so that the model is asked soon.
FIRST_ROWS = 4_000
# A shard is small: Polars' streaming engine, its default, takes half as long again.
ENGINE: Literal["in-memory"] = "in-memory"

logger = logging.getLogger("helmframe.plan")


@dataclass(frozen=True)
class Task:
    """What one scenario of a plan needs to be answered: HELM's run spec, for all its parts."""

    spec: ScenarioSpec
    variants: tuple[Variant, ...]
    settings: tuple[Setting, ...]
    models: tuple[Model, ...]
    outputs: int
    metrics: tuple[str | Metric, ...]


@dataclass(frozen=True, repr=False)
class Plan:
    """One sentence: which instances, changed how, asked how, of whom, and what is scored.

    The verbs that say (`where`, `sample`, `limit`, `perturb`, `adapt`, `generate`, `metrics`) return a new plan and run
    nothing; their order does not matter, and a list is a grid. The verbs that read (`explain`, `instances`, `variants`,
    `requests`, `score`, `results`, `completions`) run what they must, and only that.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(2).perturb("lowercase").generate(hf.models.oracle())
    >>> plan.score().value("exact_match")
    1.0
    """

    scenarios: tuple[ScenarioSpec, ...]
    filters: tuple[Condition, ...] = ()
    sampling: Sample | None = None
    perturbations: tuple[Variant, ...] = ()
    adapter: Pairs = ()
    models: tuple[Model, ...] = ()
    decoding: Pairs = ()
    outputs: int = 0  # completions of each request; 0: as many as the scenario says
    scored: tuple[str | Metric, ...] = ()
    data: str | None = None

    # -- say ---------------------------------------------------------------------------------------------------------

    def where(self, /, *conditions: str | pl.Expr, **equals: Any) -> "Plan":
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
            elif isinstance(condition, pl.Expr):
                said.append(Expression.of(condition))
            else:
                raise ArgumentError(f"where({condition!r}): write column=value, SQL as text, or a Polars expression.")
        said += [_equality(column, value) for column, value in equals.items()]
        of_rows = tuple(each for each in said if not _of_split(each))
        for spec in self.scenarios if of_rows else ():
            check_where(spec, of_rows, self.data)
        return replace(self, filters=self.filters + tuple(said))

    def sample(self, n: int, seed: int = 0, *, order: str = "keyed") -> "Plan":
        """A random n of each part's instances, keyed by their ids: the same whatever else is asked.

        `order="helm"` is HELM's own draw over its evaluation splits (valid and test together).
        """
        if order not in ("keyed", "helm"):
            raise ArgumentError.unknown_value(f"sample(order={order!r})", order, ["keyed", "helm"])
        return replace(self, sampling=Sample(_count("sample", n), int(seed), order))

    def limit(self, n: int) -> "Plan":
        """The first n of each part's instances by `row_index`."""
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
                these. `"again"` asks the original again; `hf.perturbations()` lists all.
            seeds: draws of each that is random.
            compat: "helm" takes HELM's own rules and random numbers for each, text for text.

        Raises:
            UnknownNameError, ArgumentError: no such perturbation or argument, with near matches; or it is none for
                these scenarios.
            SourceError: the data root lacks a table that one of them reads; says how to get it.
        """
        if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
            raise ArgumentError(f"perturb(seeds={seeds!r}): a whole number from 1 on.")
        each: list[Any] = list(said) if isinstance(said, list | tuple) else [said]
        with reading_from(self.data):
            said_so = [variant for one in each if one != "original" for variant in variants(one, seeds, compat)]
            for variant in said_so:
                variant.check([spec.scenario for spec in self.scenarios])
        return replace(self, perturbations=with_models(said_so))

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
            CapabilityError: a decoding argument that a model can't take, or what was said that it can't do.
        """
        models = _models(model)
        for each in models:
            check_decoding(each, decoding)
        if n is not None and n < 1:
            raise ArgumentError(f"generate(n={n}): at least 1.")
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
        return perturb(self.instances(), self.perturbations, asking(ask=False), self.data).select(
            pl.col(list(VARIANTS.schema)), pl.all().exclude(list(VARIANTS.schema))
        )

    def requests(self) -> pl.LazyFrame:
        """`REQUESTS` with `prompt`, one row per prompt as the model (or, with none said, a plain one) gets it."""
        plain = self.models or (
            Model("any", "any", lambda prompts, _: list(map(str, prompts)), str, durable=False, takes=None),
        )
        frames = []
        for task in self.tasks(models=plain):
            train = self.train(task)
            for shard in self.load(task.spec):
                variants = perturb(shard.lazy(), task.variants, asking(ask=False), self.data).collect()
                for setting in task.settings:
                    requests, heads = adapt(variants.lazy(), train, setting, task.spec.part)
                    for model in task.models:
                        fitted, prefixes = fit(requests.collect(), heads, model)
                        frames.append(fitted.join(prefixes, on="prefix_id", maintain_order="left"))
        prompt = (pl.col("prefix") + pl.col("suffix")).alias("prompt")
        return pl.concat(frames, how="diagonal_relaxed").lazy().with_columns(prompt).drop("prefix")

    def explain(self) -> str:
        """What a run would do: rows per stage, what is pushed down, requests stored and left to ask. Asks no model."""
        from helmframe.views.explain import explained

        return explained(self)

    def score(
        self,
        *,
        fresh: bool = False,
        until: Until | None = None,
        max_requests: int | None = None,
        max_cost: float | None = None,
        prices: Prices | None = None,
        priority: int = 0,
    ) -> Results:
        """Run the sentence: ask what the store does not have, score everything, keep it.

        Args:
            fresh: ask everything again.
            until: what is to be known before all is asked: `hf.precise(.03)`, `hf.decided("a", "b")`.
            max_requests: ask at most so many; the same sentence goes on from there.
            max_cost: stop once the answers cost so much, by `prices`.
            prices: model name → price of a million prompt tokens and of a million output tokens.
            priority: runs of higher priority go first in their model's queue; equal ones take turns.

        Raises:
            PlanError: no model was said, or the metric that `until` watches has no bounds.
        """
        return local.run([self], fresh=fresh, until=until, budget=Budget(max_requests, max_cost, prices, priority))

    def submit(
        self,
        *,
        fresh: bool = False,
        until: Until | None = None,
        max_requests: int | None = None,
        max_cost: float | None = None,
        prices: Prices | None = None,
        priority: int = 0,
    ) -> Run:
        """As `score`, in the background: a live `Run` at once. Several share the queue of their model."""
        return Run.start([self], budget=Budget(max_requests, max_cost, prices, priority), fresh=fresh, until=until)

    def results(self, *, until: Until | None = None) -> Results:
        """What the store has now; asks nothing. `n of n planned` stands in the results' repr.

        With `until`, of the looks that `score` with it would take, those that the store has whole.
        """
        return local.run([self], ask=False, until=until)

    def completions(self) -> pl.LazyFrame:
        """`COMPLETIONS`: asks, as `.score()` does, and gives the answers without scores."""
        return self.score().completions.select(
            pl.col(list(COMPLETIONS.schema)), pl.all().exclude(list(COMPLETIONS.schema))
        )

    def check_methods(self) -> None:
        """That the settings can be, and that each model can do what was said: method, chat template, metrics.

        Raises:
            CapabilityError: one can't. Where the scenario has it by itself, that is told when it runs: other scenarios
                of a suite go on.
        """
        said = dict(self.adapter)
        sure = [each.name for each in chosen(self.scored) if {"logprob", "token_logprobs"} & {*each.needs}]
        for spec in self.scenarios:
            for cell in (each for grid in settings(spec, self.adapter, self.decoding) for each in grid.each):
                scores = ADAPTERS[cell.adapter.method].scores
                for model in self.models:
                    if "method" in said and scores and model.loglikelihood is None:
                        raise CapabilityError.no_log_probabilities(model.name, spec.scenario)
                    if "method" in said and not scores and not model.generates:
                        raise CapabilityError.no_generation(model.name, spec.scenario)
                    if "chat_template" in said and cell.adapter.chat_template and model.chat is None:
                        raise CapabilityError.no_chat_template(model.name)
                    if sure and not scores and model.token_logprobs is False:
                        raise CapabilityError.no_token_log_probabilities(model.name, sure[0])

    # -- for the engines ---------------------------------------------------------------------------------------------

    def tasks(self, models: Sequence[Model] | None = None) -> list[Task]:
        """The plan scenario by scenario.

        Raises:
            PlanError: no model; says the line to add. A metric that needs more outputs than are asked for.
        """
        answering = tuple(models) if models is not None else self.models
        if not answering:
            raise PlanError("the plan has no model to ask. Add one: .generate(my_function), then .score().")
        tasks = []
        for spec in self.scenarios:
            names = self.scored or with_judges(spec.metrics)
            refuse_pairs(names)
            outputs = self.outputs or spec.outputs
            for each in chosen(names):
                if each.check is not None:
                    each.check()
                if each.k > outputs:
                    raise PlanError(
                        f"{each.name} needs {each.k} outputs of each request. Add: .generate(…, n={each.k})."
                    )
            cells = tuple(settings(spec, self.adapter, self.decoding))
            tasks.append(Task(spec, self.perturbations, cells, answering, outputs, tuple(names)))
        return tasks

    def load(self, spec: ScenarioSpec, only: pl.DataFrame | None = None) -> Iterator[pl.DataFrame]:
        """`INSTANCES` of one scenario, or of some of its `keys`, shard by shard."""
        return load(spec, **self._selection(spec), rows=SHARD_ROWS, first=min(FIRST_ROWS, SHARD_ROWS), only=only)

    def keys(self, spec: ScenarioSpec) -> pl.DataFrame:
        """part, row_index, instance_id, split and cluster of all that `load` gives."""
        return keys(spec, **self._selection(spec))

    def size(self, spec: ScenarioSpec) -> int:
        """How many instances `load` gives, without reading their texts where nothing depends on them."""
        return int(count(spec, **self._selection(spec))["n"].sum())

    def _selection(self, spec: ScenarioSpec) -> dict[str, Any]:
        splits = tuple(str(value) for each in self.filters if _of_split(each) for value in _values(each))
        if not splits:
            helm = self.sampling is not None and self.sampling.order == "helm"
            splits = ("valid", "test") if helm else (spec.main.split,)
        conditions = [each for each in self.filters if not _of_split(each)]
        return {"where": tuple(conditions), "sample": self.sampling, "splits": splits, "data": self.data}

    def train(self, task: Task) -> pl.DataFrame:
        """The train pool; empty where no setting has shots."""
        if not any(each.adapter.shots for setting in task.settings for each in setting.each):
            return pl.DataFrame(schema=INSTANCES.schema)
        conditions = tuple(each for each in self.filters if not _of_split(each))
        pool = load_train(task.spec, where=conditions, data=self.data)
        if pool.is_empty():
            logger.warning("scenario %r has no train instances: it is asked without examples", task.spec.scenario)
        return pool

    def asks(
        self, task: Task, *, ask: bool = True, budget: Budget | None = None, watch: Watch | None = None
    ) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Shard by shard and setting by setting: `REQUESTS` and `HEADS`.

        Args:
            task: what is asked.
            ask: whether the models that make variants (`translate`) may be asked, or only what they have answered read.
            budget: how much they may be asked.
            watch: who takes the instances look by look, in place of shard by shard.
        """
        train = self.train(task)
        load = partial(self.load, task.spec)
        for instances in load() if watch is None else watch.looks(load):
            variants = perturb(instances.lazy(), task.variants, asking(ask=ask, budget=budget), self.data).collect(
                engine=ENGINE
            )
            for each in judges_of(task.metrics):
                each.template.check([*variants.columns, *READ.schema])  # before anything is asked
            for setting in task.settings:
                requests, heads = adapt(variants.lazy(), train, setting, task.spec.part)
                yield requests.collect(engine=ENGINE), heads

    def prompts(
        self, requests: pl.DataFrame, heads: pl.DataFrame, task: Task, model: Model, fingerprint: str
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """`FITTED` of one model, one row per output with its request_id, and the `PREFIXES`; asks nothing."""
        fitted, prefixes = fit(requests, heads, model)
        return request_ids(fitted, prefixes, fingerprint, task.outputs, by_instance=model.sees_rows), prefixes

    def answers(
        self,
        fitted: pl.DataFrame,
        prefixes: pl.DataFrame,
        model: Model,
        kept: Answers,
        fingerprint: str,
        **how: Any,
    ) -> pl.DataFrame:
        """`COMPLETIONS` of one model, from the store or asked now."""
        return generate(fitted, prefixes, model, kept, fingerprint, **how)

    def verdicts(self, completions: pl.DataFrame, task: Task, **how: Any) -> pl.DataFrame:
        """`VERDICTS` of the judges among the metrics, from the store or asked now."""
        return verdicts_on(completions, judges_of(task.metrics), **how)

    def scores(self, completions: pl.DataFrame, task: Task, verdicts: pl.DataFrame) -> pl.DataFrame:
        """`SCORES` of the completions."""
        judged = with_verdicts(completions, verdicts, judges_of(task.metrics))
        scores = score(judged.lazy(), task.metrics).collect(engine=ENGINE)
        check_units(scores, task.metrics)
        return scores


def scenario(said: Any, *, data: str | Path | None = None, **frame: Any) -> Plan:
    """A sentence about these instances.

    Args:
        said: a scenario's name, the path of a spec file, a list of these, or a frame (Polars, or anything that gives an
            Arrow stream).
        data: where the rows are, for this plan: a folder, `s3://bucket/prefix`; default `hf.configure(data=…)`, then
            HELMFRAME_DATA, then the hub.
        **frame: for a frame: input=, references= (column names), choices=, answer=, part=, cluster=, split=, name=.

    Raises:
        UnknownNameError: no such scenario; with near matches.
        SpecError: the spec file is wrong.
    """
    if isinstance(said, str | Path):
        return Plan((find_scenario(str(said)),), data=_text(data))
    if isinstance(said, list | tuple):
        return Plan(tuple(find_scenario(str(each)) for each in said), data=_text(data))
    return Plan((frame_scenario(said, **frame),), data=_text(data))


def between(low: Any, high: Any) -> Between:
    """For `where`: the column lies between both, ends included."""
    return Between("", low, high)


def _text(data: str | Path | None) -> str | None:
    return None if data is None else str(data)


def _equality(column: str, value: Any) -> Condition:
    if isinstance(value, Between):
        return replace(value, column=column)
    values = tuple(value) if isinstance(value, list | tuple | set) else (value,)
    for each in values:
        if each is not None and not isinstance(each, str | int | float | bool):
            raise ArgumentError(
                f"where({column}={value!r}): give text, a number, a list of these, or hf.between(low, high)."
            )
    return Equals(column, values)


def _of_split(condition: Condition) -> bool:
    return isinstance(condition, Equals) and condition.column == "split"


def _values(condition: Condition) -> tuple[Any, ...]:
    return condition.values if isinstance(condition, Equals) else ()


def _count(verb: str, n: int) -> int:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ArgumentError(f"{verb}({n!r}): a whole number from 1 on.")
    return n


def _models(said: Any) -> tuple[Model, ...]:
    if isinstance(said, Mapping):
        models = tuple(from_any(each, name=str(name)) for name, each in said.items())
    elif isinstance(said, list):
        models = tuple(from_any(each) for each in said)
    else:
        models = (from_any(said),)
    names = [model.name for model in models]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ArgumentError(
            f"generate(): two models are called {twice[0]!r}. Name them: generate({{'first': …, 'second': …}})."
        )
    if not models:
        raise ArgumentError("generate([]): give at least one model.")
    return models
