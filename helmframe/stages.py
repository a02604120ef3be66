"""The engine: each stage a function from a table to a longer table, one shard at a time.

The last methods of `Stages` are all of it: `shards` (load), `asks` (perturb, adapt), `prompts` (fit), `answers`
(generate), `verdicts`, `scores`. `engines/` says where and when they run.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import polars as pl

from helmframe._core.specs import SPLITS, Condition, Equals, Pairs, Sample, ScenarioSpec
from helmframe._schema import INSTANCES, READ, source_column
from helmframe.adapters import ADAPTERS, Setting, adapt, settings
from helmframe.early_stopping.monitor import Watch
from helmframe.errors import CapabilityError, PlanError
from helmframe.judging.judge import judges_of, refuse_pairs, verdicts_on, with_judges
from helmframe.judging.query import asking
from helmframe.metrics import Metric, check_units, chosen, score
from helmframe.metrics.judge import with_verdicts
from helmframe.models.budget import Budget
from helmframe.models.completion_cache import CompletionCache
from helmframe.models.fit import fit
from helmframe.models.generate import generate
from helmframe.models.model import Model
from helmframe.models.request_ids import request_ids
from helmframe.perturbations import Variant, perturb
from helmframe.perturbations.by_model import Ask
from helmframe.scenarios.checksums import Data, data_checksum
from helmframe.scenarios.load import Selection, count, keys, load, load_train
from helmframe.scenarios.spans import Span, spans
from helmframe.store import Answers

SHARD_ROWS = 20_000
# The first shard is small, so that the model is asked soon.
FIRST_ROWS = 4_000
# A shard is small: Polars' streaming engine, its default, takes half as long again.
IN_MEMORY: Literal["in-memory"] = "in-memory"

logger = logging.getLogger("helmframe.plan")

# HELM's rules for the adapter; fields that the plan specifies come after them.
_HELM_ADAPTER: Pairs = (("scored_outputs", "helm"),)


@dataclass(frozen=True)
class Task:
    """What one scenario of a plan needs to be answered: HELM's run spec, for all its subsets."""

    spec: ScenarioSpec
    variants: tuple[Variant, ...]
    settings: tuple[Setting, ...]
    models: tuple[Model, ...]
    outputs: int
    metrics: tuple[str | Metric, ...]


@dataclass(frozen=True, repr=False)
class Stages:
    """What a sentence says, as fields, and the stages that it goes through."""

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
    compat: str | None = None  # "helm": HELM's rules for the whole plan, as `hf.scenario(compat=)` lists them
    span: Span | None = None  # of an engine that shares the work out: no other instances than these

    def check_methods(self) -> None:
        """That the settings can be, and that each model can do what was said: method, chat template, metrics.

        Raises:
            CapabilityError: one can't. Where the scenario has it by itself, that is told when it runs: other scenarios
                of a suite go on.
        """
        said = dict(self.adapter)
        sure = [each.name for each in chosen(self.scored) if {"logprob", "token_logprobs"} & {*each.needs}]
        for spec in self.scenarios:
            for cell in (each for grid in self._settings(spec) for each in grid.each):
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

    def tasks(self, models: Sequence[Model] | None = None, *, scored: bool = True) -> list[Task]:
        """The plan scenario by scenario.

        Args:
            models: Models to use instead of the plan's.
            scored: False for tasks without metrics, which need neither a sandbox nor a classifier nor a judge.

        Raises:
            PlanError: no model; says the line to add. A metric that needs more outputs than are asked for.
        """
        answering = tuple(models) if models is not None else self.models
        if not answering:
            raise PlanError("the plan has no model to ask. Add one: .generate(my_function), then .score().")
        tasks = []
        for spec in self.scenarios:
            names = (self.scored or with_judges(spec.metrics)) if scored else ()
            refuse_pairs(names)
            outputs = self.outputs or spec.outputs
            for each in chosen(names):
                each.check_usable()
                if each.k > outputs:
                    raise PlanError(
                        f"{each.name} needs {each.k} outputs of each request. Add: .generate(…, n={each.k})."
                    )
            cells = tuple(self._settings(spec))
            tasks.append(Task(spec, self.perturbations, cells, answering, outputs, tuple(names)))
        return tasks

    def _settings(self, spec: ScenarioSpec) -> list[Setting]:
        """Return the grid of adapters and decoding parameters of one scenario."""
        adapter = (*_HELM_ADAPTER, *self.adapter) if self.compat else self.adapter
        return settings(spec, adapter, self.decoding)

    def load(self, spec: ScenarioSpec, only: pl.DataFrame | None = None) -> Iterator[pl.DataFrame]:
        """`INSTANCES` of one scenario, or of some of its `keys`, shard by shard."""
        first = min(FIRST_ROWS, SHARD_ROWS)
        if self.span is not None:
            first, only = SHARD_ROWS, self.span.keys if only is None else only
        return load(spec, **self._selection(spec), rows=SHARD_ROWS, first=first, only=only)

    def spans(self, spec: ScenarioSpec, pieces: int) -> list[Span]:
        """All that `load` gives in so many spans or more, none larger than a shard; `replace(plan, span=…)` is one."""
        return spans(spec, **self._selection(spec), most=SHARD_ROWS, pieces=pieces)

    def keys(self, spec: ScenarioSpec) -> pl.DataFrame:
        """subset, row_index, instance_id, split and cluster of all that `load` gives."""
        return keys(spec, **self._selection(spec))

    def data_checksum(self, task: Task, stop: threading.Event) -> Data:
        """What the task's rows are read from, its examples too."""
        selection = self._selection(task.spec)
        splits = {*selection["splits"], *(["train"] if _has_shots(task) else [])}
        if self.compat:
            splits = {*SPLITS}  # ids count the instances of all of them
        return data_checksum(
            task.spec, where=selection["where"], splits=sorted(splits), data=selection["data"], stop=stop
        )

    def size(self, spec: ScenarioSpec) -> int:
        """How many instances `load` gives, without reading their texts where nothing depends on them."""
        return int(count(spec, **self._selection(spec))["n"].sum())

    def _selection(self, spec: ScenarioSpec) -> Selection:
        splits = tuple(str(value) for each in self.filters if of_split(each) for value in _values(each))
        if not splits:
            helm = self.sampling is not None and self.sampling.order == "helm"
            splits = ("valid", "test") if helm else (spec.main.split,)
        conditions = [each for each in self.filters if not of_split(each)]
        sample = self.sampling
        if self.span is not None:
            conditions, sample = [*conditions, *self.span.conditions()], None
        return {
            "where": tuple(conditions),
            "sample": sample,
            "splits": splits,
            "data": self.data,
            "compat": self.compat,
        }

    def train(self, task: Task) -> pl.DataFrame:
        """The train pool; empty where no setting has shots."""
        if not _has_shots(task):
            return pl.DataFrame(schema=INSTANCES.schema)
        conditions = tuple(each for each in self.filters if not of_split(each))
        pool = load_train(task.spec, where=conditions, data=self.data, compat=self.compat)
        splits = task.spec.split_names.values() or SPLITS
        if pool.is_empty() and "train" in splits:
            logger.warning("scenario %r has no train instances: it is asked without examples", task.spec.scenario)
        return pool.drop(unread_columns(task.spec), strict=False) if self.compat else pool

    def shards(self, task: Task, watch: Watch | None = None) -> Iterator[pl.DataFrame]:
        """`INSTANCES` of one task as they are asked: shard by shard, or look by look as `watch` takes them."""
        return self.load(task.spec) if watch is None else watch.looks(partial(self.load, task.spec))

    def perturbed(self, instances: pl.LazyFrame, ask: Ask | None) -> pl.LazyFrame:
        """Return `VARIANTS` of the instances under the plan's perturbations."""
        keep_unchanged = [spec.scenario for spec in self.scenarios if spec.keeps_unchanged]
        return perturb(instances, self.perturbations, ask, self.data, keep_unchanged=keep_unchanged)

    def adapted(
        self, variants: pl.LazyFrame, train: pl.DataFrame, setting: Setting, spec: ScenarioSpec
    ) -> tuple[pl.LazyFrame, pl.DataFrame]:
        """Return `REQUESTS` and `HEADS` of the variants in one setting."""
        requests, heads = adapt(variants, train, setting, spec.subsets)
        if self.compat:  # HELM cuts every prompt that is too long without examples
            requests = requests.with_columns(pl.col("truncation").fill_null("right"))
        return requests, heads

    def asks(
        self,
        task: Task,
        shards: Iterable[pl.DataFrame],
        *,
        ask: bool = True,
        budget: Budget | None = None,
        cache: CompletionCache | None = None,
    ) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Shard by shard and setting by setting: `REQUESTS` and `HEADS`.

        Args:
            task: what is asked.
            shards: of whom.
            ask: whether the models that make variants (`translate`) may be asked, or only what they have answered read.
            budget: how much they may be asked.
            cache: As for `asked`.
        """
        model = asking(ask=ask, budget=budget, cache=cache)
        train = self.train(task)
        for instances in shards:
            variants = self.perturbed(instances.lazy(), model).collect(engine=IN_MEMORY)
            for each in judges_of(task.metrics):
                each.template.check([*variants.columns, *READ.schema])  # before anything is asked
            for setting in task.settings:
                requests, heads = self.adapted(variants.lazy(), train, setting, task.spec)
                yield requests.collect(engine=IN_MEMORY), heads

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
        scores = score(judged.lazy(), task.metrics).collect(engine=IN_MEMORY)
        check_units(scores, task.metrics)
        return scores


def of_split(condition: Condition) -> bool:
    """Whether it says which split is read, not which of its rows."""
    return isinstance(condition, Equals) and condition.column == "split"


def unread_columns(spec: ScenarioSpec) -> list[str]:
    """Return the columns of examples that HELM's instances of the scenario lack."""
    names: Any = dict(spec.helm).get("unread", ())
    return [source_column(str(name)) for name in names]


def _has_shots(task: Task) -> bool:
    return any(each.adapter.shots for setting in task.settings for each in setting.each)


def _values(condition: Condition) -> tuple[Any, ...]:
    return condition.values if isinstance(condition, Equals) else ()
