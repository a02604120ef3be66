"""The pipeline: functions of a plan's spec and a task, from a table to a longer table, one shard at a time.

The stages in order: `task_shards` (load), `build_requests` (perturb, adapt), `fit_requests`, `generate_completions`,
`judge_completions`, `score_completions`. The engines in `engines/` call them.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from helmframe._core.images import ImageRef
from helmframe._core.safe_text import get_logger
from helmframe._core.specs import SPLITS, Condition, Equals, MainScore, Pairs, Sample, ScenarioSpec, of_subset
from helmframe._schema import INSTANCES, READ, source_column
from helmframe.adapters.adapt import ADAPTERS, Setting, adapt, settings, used_fields
from helmframe.errors import MISSING_PARTS, CapabilityError, HelmframeError, PlanError
from helmframe.judging.judge import judges_of, refuse_pairs, verdicts_on, with_judges
from helmframe.judging.query import query_function
from helmframe.metrics.judge import with_verdicts
from helmframe.metrics.protocol import Metric, resolve_metrics
from helmframe.metrics.score import check_units, score
from helmframe.models.budget import Budget
from helmframe.models.completion_cache import CompletionCache, request_ids
from helmframe.models.fit import fit
from helmframe.models.generate import generate
from helmframe.models.model import Model
from helmframe.models.prompts import next_turn
from helmframe.perturbations.fields import ModelQuery, perturbed_image
from helmframe.perturbations.parsing import Variant
from helmframe.perturbations.perturb import perturb
from helmframe.scenarios.checksums import Data, data_checksum
from helmframe.scenarios.load import Selection, count, first_rows, keys, load, load_train
from helmframe.scenarios.spans import Span, spans
from helmframe.store import CompletionStore

if TYPE_CHECKING:
    from helmframe.early_stopping.monitor import StoppingMonitor
    from helmframe.scenarios.images import ImageReader

SHARD_ROWS = 20_000
# The first shard is small, so that requests start early.
FIRST_ROWS = 4_000
# Shards are small: Polars' streaming engine, its default, takes 50 % longer.
IN_MEMORY: Literal["in-memory"] = "in-memory"

logger = get_logger("helmframe.plan")


@dataclass(frozen=True)
class Task:
    """One scenario of a plan with variants, settings, models and metrics: HELM's run spec, for all subsets."""

    spec: ScenarioSpec
    variants: tuple[Variant, ...]
    settings: tuple[Setting, ...]
    models: tuple[Model, ...]
    outputs: int
    metrics: tuple[str | Metric, ...]
    default_room: bool = True  # head-room for models that are known to reason; HELM has none

    @property
    def main(self) -> MainScore:
        """The main score: the scenario's, or the first metric of a plan that replaces the scenario's metrics."""
        scored = [metric.name for metric in resolve_metrics(self.metrics)]
        main = self.spec.main
        return main if main.metric in scored or not scored else replace(main, metric=scored[0])


@dataclass(frozen=True)
class PlanSpec:
    """The content of a plan as values. `Plan` builds it and the engines read it."""

    scenarios: tuple[ScenarioSpec, ...]
    filters: tuple[Condition, ...] = ()
    sampling: Sample | None = None
    perturbations: tuple[Variant, ...] = ()
    adapter: Pairs = ()
    models: tuple[Model, ...] = ()
    decoding: Pairs = ()
    outputs: int = 0  # completions per request; 0: the number in the scenario
    metrics: tuple[str | Metric, ...] = ()
    data: str | None = None
    compat: str | None = None  # "helm": HELM's rules for the whole plan, as `hf.scenario(compat=)` lists them
    span: Span | None = None  # the only instances to load; set by engines that distribute the work


def check_capabilities(plan: PlanSpec) -> None:
    """Raise if a setting is invalid, or a model lacks what the plan specifies: method, chat template, metrics.

    Raises:
        CapabilityError: A model lacks a capability. The needs of the scenario's own spec are checked when it runs, so
            that other scenarios of a suite continue.
    """
    fields = dict(plan.adapter)
    needing = [
        metric.name for metric in resolve_metrics(plan.metrics) if {"logprob", "token_logprobs"} & {*metric.needs}
    ]
    for spec in plan.scenarios:
        for model in plan.models if spec.images else ():
            if not model.media and not model.images:
                raise CapabilityError.no_images(model.name, spec.scenario)
        for cell in (cell for setting in _settings(plan, spec) for cell in setting.with_subsets):
            scores = ADAPTERS[cell.adapter.method].scores
            for model in plan.models:
                if "method" in fields and scores and model.loglikelihood is None:
                    raise CapabilityError.no_log_probabilities(model.name, spec.scenario)
                if "method" in fields and not scores and not model.generates:
                    raise CapabilityError.no_generation(model.name, spec.scenario)
                if "chat_template" in fields and cell.adapter.chat_template and model.chat is None:
                    raise CapabilityError.no_chat_template(model.name)
                if needing and not scores and model.token_logprobs is False:
                    raise CapabilityError.no_token_log_probabilities(model.name, needing[0])


def plan_tasks(plan: PlanSpec, models: Sequence[Model] | None = None, *, scored: bool = True) -> list[Task]:
    """Return the plan as tasks, one per scenario.

    Args:
        plan: The plan.
        models: Models to use instead of the plan's.
        scored: False for tasks without metrics, which need neither a sandbox nor a classifier nor a judge.

    Raises:
        PlanError: The plan has no model, or a metric needs more outputs than the plan generates.
    """
    target_models = tuple(models) if models is not None else plan.models
    if not target_models:
        raise PlanError("The plan has no model. Add one: .generate(my_function).score().")
    tasks = []
    for spec in plan.scenarios:
        names = (plan.metrics or with_judges(spec.metrics)) if scored else ()
        refuse_pairs(names)
        outputs = plan.outputs or spec.outputs
        for metric in resolve_metrics(names):
            metric.check_usable()
            if metric.k > outputs:
                raise PlanError(
                    f"Metric {metric.name} needs {metric.k} outputs of each request. Write .generate(…, n={metric.k})."
                )
        cells = tuple(_settings(plan, spec))
        default_room = plan.compat is None
        tasks.append(Task(spec, plan.perturbations, cells, target_models, outputs, tuple(names), default_room))
    return tasks


@dataclass(frozen=True)
class Skipped:
    """A scenario that a suite skips, and the reason: the missing part, and how to provide it."""

    scenario: str
    reason: str


def suite_tasks(plans: Sequence[PlanSpec]) -> tuple[list[tuple[PlanSpec, Task]], list[Skipped]]:
    """Return the tasks of all plans; several plans skip those that lack a part, such as a sandbox or a classifier.

    Raises:
        PlanError: A plan is invalid.
        HelmframeError: The only plan, or each plan, lacks a part.
    """
    tasks: list[tuple[PlanSpec, Task]] = []
    skipped: list[Skipped] = []
    errors: list[HelmframeError] = []
    for plan in plans:
        try:
            tasks += [(plan, task) for task in plan_tasks(plan)]
        except MISSING_PARTS as error:
            errors.append(error)
            skipped += [Skipped(spec.scenario, str(error)) for spec in plan.scenarios]
    if errors and not tasks:
        raise errors[0]
    return tasks, skipped


def _settings(plan: PlanSpec, spec: ScenarioSpec) -> list[Setting]:
    """Return the grid of adapters and decoding parameters of one scenario."""
    cells = settings(spec, plan.adapter, plan.decoding, plan.compat)
    return [cell.with_lenient_labels() for cell in cells] if parses_leniently(plan, spec) else cells


def only_chatting(plan: PlanSpec) -> list[str]:
    """Return the names of the plan's models that only chat."""
    return [model.name for model in plan.models if model.only_chats]


def parses_leniently(plan: PlanSpec, spec: ScenarioSpec) -> bool:
    """Return whether option letters are parsed leniently for all models, because a model of the plan only chats.

    They aren't with `compat="helm"`, or if the plan or the scenario's spec sets `answer_parser`.
    """
    specified = {key for layer in (plan.adapter, spec.adapter) for key, _ in layer}
    specified |= {key for subset, _ in spec.per_subset for key, _ in of_subset(spec, subset).adapter}
    return bool(only_chatting(plan)) and not plan.compat and "answer_parser" not in specified


def image_reader(plan: PlanSpec, spec: ScenarioSpec) -> "ImageReader | None":
    """Return a reader of the images of one scenario; None if it has no images."""
    if not spec.images:
        return None
    from helmframe.scenarios.images import ImageReader  # late: most scenarios have no images

    return ImageReader(spec, plan.data)


def load_instances(
    plan: PlanSpec,
    spec: ScenarioSpec,
    only: pl.DataFrame | None = None,
    images: "ImageReader | None" = None,
    most: int | None = None,
) -> Iterator[pl.DataFrame]:
    """Return `INSTANCES` of one scenario shard by shard; with `only`, of these `instance_keys`; at most `most` rows."""
    first = min(FIRST_ROWS, SHARD_ROWS)
    if plan.span is not None:
        first, only = SHARD_ROWS, plan.span.keys if only is None else only
    return load(spec, **_selection(plan, spec), rows=SHARD_ROWS, first=first, only=only, images=images, most=most)


def split_spans(plan: PlanSpec, spec: ScenarioSpec, pieces: int) -> list[Span]:
    """Return the rows of `load_instances` as at least `pieces` spans, none larger than a shard.

    `replace(plan, span=…)` is the plan over one of them.
    """
    return spans(spec, **_selection(plan, spec), most=SHARD_ROWS, pieces=pieces)


def instance_keys(plan: PlanSpec, spec: ScenarioSpec) -> pl.DataFrame:
    """Return subset, row_index, instance_id, split and cluster of all instances; a conversation has one row."""
    return keys(spec, **_selection(plan, spec))


def task_checksum(plan: PlanSpec, task: Task, stop: threading.Event) -> Data:
    """Return the checksum of the data of a task's rows and few-shot examples."""
    selection = _selection(plan, task.spec)
    splits = {*selection["splits"], *(["train"] if _has_shots(task) else [])}
    if plan.compat:
        splits = {*SPLITS}  # ids count the instances of all splits
    return data_checksum(task.spec, where=selection["where"], splits=sorted(splits), data=selection["data"], stop=stop)


def corpus_overlap(
    plans: Iterable[PlanSpec],
    corpus: str | Path | Sequence[str | Path],
    n: int | Sequence[int],
    *,
    text: str,
    tokens: str,
) -> pl.DataFrame:
    """Return `OVERLAP` of the instances of plans, in one pass over the corpus."""
    from helmframe.scenarios.overlap import overlap  # late: it imports NumPy

    instances = (shard for plan in plans for spec in plan.scenarios for shard in load_instances(plan, spec))
    return overlap(instances, corpus, n, text=text, tokens=tokens)


def count_instances(plan: PlanSpec, spec: ScenarioSpec) -> dict[str, int]:
    """Return the number of instances by subset, without reading their texts unless a condition depends on them."""
    counts = count(spec, **_selection(plan, spec)).group_by("subset", maintain_order=True).agg(pl.col("n").sum())
    return dict(counts.iter_rows())


def rows_to_count(plan: PlanSpec, spec: ScenarioSpec) -> int | None:
    """Return the number of rows from which the counts of a plan are estimated; None if all its rows are read."""
    return None if plan.sampling or plan.span else first_rows(spec, **_selection(plan, spec))


def _selection(plan: PlanSpec, spec: ScenarioSpec) -> Selection:
    splits = tuple(str(value) for condition in plan.filters if selects_split(condition) for value in _values(condition))
    if not splits:
        helm = plan.sampling is not None and plan.sampling.order == "helm"
        splits = ("valid", "test") if helm else (spec.main.split,)
    conditions = [condition for condition in plan.filters if not selects_split(condition)]
    sample = plan.sampling
    if plan.span is not None:
        conditions, sample = [*conditions, *plan.span.conditions()], None
    return {
        "where": tuple(conditions),
        "sample": sample,
        "splits": splits,
        "data": plan.data,
        "compat": plan.compat,
    }


def train_pool(plan: PlanSpec, task: Task) -> pl.DataFrame:
    """Return the train instances of a task; empty if no setting has few-shot examples."""
    if not _has_shots(task):
        return pl.DataFrame(schema=INSTANCES.schema)
    if task.spec.images:
        raise CapabilityError(
            f"Scenario {task.spec.scenario!r} has images, and few-shot examples with images aren't supported. Write "
            ".adapt(shots=0)."
        )
    conditions = tuple(condition for condition in plan.filters if not selects_split(condition))
    pool = load_train(task.spec, where=conditions, data=plan.data, compat=plan.compat)
    splits = task.spec.split_names.values() or SPLITS
    if pool.is_empty() and "train" in splits:
        logger.warning("Scenario %r has no train instances: its prompts have no few-shot examples.", task.spec.scenario)
    if "shots" in dict(plan.adapter) and not plan.compat:
        _warn_of_small_pool(task, pool)
    return pool.drop(unread_columns(task.spec), strict=False) if plan.compat else pool


def _warn_of_small_pool(task: Task, pool: pl.DataFrame) -> None:
    """Log a warning if a subset has fewer train instances than the plan has few-shot examples."""
    shots = max(setting.adapter.shots for setting in task.settings)
    sizes = pool.group_by("subset", maintain_order=True).len()
    small = sizes.filter(pl.col("len") < shots).sort("len", maintain_order=True)
    for subset, n in small.head(1).iter_rows():
        where = f"subset {subset!r}" if subset else "the scenario"
        logger.warning(
            "Scenario %r: adapt(shots=%d), but %s has %d train instances: its prompts have %d examples.",
            task.spec.scenario, shots, where, n, n,
        )  # fmt: skip


def task_shards(
    plan: PlanSpec, task: Task, monitor: "StoppingMonitor | None" = None, images: "ImageReader | None" = None
) -> Iterator[pl.DataFrame]:
    """Return `INSTANCES` of one task shard by shard; with a monitor, look by look."""
    load_rows = partial(load_instances, plan, task.spec, images=images)
    return load_rows() if monitor is None else monitor.looks(load_rows)


def perturb_instances(plan: PlanSpec, instances: pl.LazyFrame, query: ModelQuery | None) -> pl.LazyFrame:
    """Return `VARIANTS` of the instances under the plan's perturbations."""
    keep_unchanged = [spec.scenario for spec in plan.scenarios if spec.keeps_unchanged]
    return perturb(instances, plan.perturbations, query, plan.data, keep_unchanged=keep_unchanged)


def adapt_variants(
    plan: PlanSpec, variants: pl.LazyFrame, train: pl.DataFrame, setting: Setting, spec: ScenarioSpec
) -> tuple[pl.LazyFrame, pl.DataFrame]:
    """Return `REQUESTS` and `HEADS` of the variants in one setting."""
    requests, heads = adapt(variants, train, setting, spec.subsets)
    if plan.compat:  # HELM cuts every prompt that is too long without examples
        requests = requests.with_columns(pl.col("truncation").fill_null("right"))
    return requests, heads


def build_requests(
    plan: PlanSpec,
    task: Task,
    shards: Iterable[pl.DataFrame],
    *,
    send: bool = True,
    budget: Budget | None = None,
    cache: CompletionCache | None = None,
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Return `REQUESTS` and `HEADS`, shard by shard and setting by setting.

    Args:
        plan: The plan.
        task: One of its tasks.
        shards: `INSTANCES` of the task, shard by shard.
        send: False reads only cached completions of models that make variants (`translate`).
        budget: The limits of requests to these models.
        cache: As for `query_function`.
    """
    model = query_function(send=send, budget=budget, cache=cache)
    train = train_pool(plan, task)
    for instances in shards:
        variants = perturb_instances(plan, instances.lazy(), model).collect(engine=IN_MEMORY)
        for judge in judges_of(task.metrics):
            judge.template.check([*variants.columns, *READ.schema])  # before any request is sent
        for setting in task.settings:
            requests, heads = adapt_variants(plan, variants.lazy(), train, setting, task.spec)
            yield requests.collect(engine=IN_MEMORY), heads


def fit_requests(
    requests: pl.DataFrame, heads: pl.DataFrame, task: Task, model: Model, fingerprint: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return `FITTED` of one model, one row per output with its request_id, and `PREFIXES`. No request is sent."""
    fitted, prefixes = fit(requests, heads, model, default_room=task.default_room)
    return request_ids(fitted, prefixes, fingerprint, task.outputs, by_instance=model.sees_rows), prefixes


def fit_next_turn(
    requests: pl.DataFrame,
    heads: pl.DataFrame,
    task: Task,
    model: Model,
    fingerprint: str,
    *,
    earlier: pl.DataFrame,
    completions: pl.DataFrame,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return `FITTED` and `PREFIXES` of a later turn of conversations, as `fit_requests` does. No request is sent.

    Args:
        requests: `REQUESTS` of the turn.
        heads: `HEADS`.
        task: The task.
        model: The model.
        fingerprint: The model's fingerprint.
        earlier: `FITTED` of the turn before.
        completions: `COMPLETIONS` of the turn before. Turns after a request without an outcome have no row.
    """
    conversations = next_turn(requests, earlier, completions)
    fitted, prefixes = fit_requests(conversations, heads, task, model, fingerprint)
    return fitted.with_columns(refused=pl.coalesce("failed", "refused")).drop("failed"), prefixes


def generate_completions(
    fitted: pl.DataFrame,
    prefixes: pl.DataFrame,
    model: Model,
    store: CompletionStore,
    fingerprint: str,
    images: "ImageReader | None" = None,
    **options: Any,
) -> pl.DataFrame:
    """Return `COMPLETIONS` of one model, from the store or generated now."""
    load_image = None if images is None else partial(_load_image, images)
    return generate(fitted, prefixes, model, store, fingerprint, load_image=load_image, **options)


def _load_image(images: "ImageReader", ref: ImageRef, changes: str | None, position: int) -> bytes:
    """Return the bytes of an image, perturbed if there are changes."""
    data = images.read(ref)
    return data if changes is None else perturbed_image(data, changes, position)


def judge_completions(completions: pl.DataFrame, task: Task, **options: Any) -> pl.DataFrame:
    """Return `VERDICTS` of the judges among the metrics, from the store or requested now."""
    return verdicts_on(completions, judges_of(task.metrics), **options)


def score_completions(completions: pl.DataFrame, task: Task, verdicts: pl.DataFrame) -> pl.DataFrame:
    """Return `SCORES` of the completions."""
    judged = with_verdicts(completions, verdicts, judges_of(task.metrics))
    scores = score(judged.lazy(), task.metrics).collect(engine=IN_MEMORY)
    check_units(scores, task.metrics)
    return scores


def selects_split(condition: Condition) -> bool:
    """Return whether a condition selects a split, not rows of it."""
    return isinstance(condition, Equals) and condition.column == "split"


def unread_columns(spec: ScenarioSpec) -> list[str]:
    """Return the columns of examples that HELM's instances of the scenario lack."""
    names: Any = dict(spec.helm).get("unread", ())
    return [source_column(str(name)) for name in names]


def _has_shots(task: Task) -> bool:
    return any(
        used_fields(cell.adapter).shots and not ADAPTERS[cell.adapter.method].own_examples
        for setting in task.settings
        for cell in setting.with_subsets
    )


def _values(condition: Condition) -> tuple[Any, ...]:
    return condition.values if isinstance(condition, Equals) else ()
