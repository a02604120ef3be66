"""Methods of `Results` for perturbations and groups of instances.

The original belongs to every family. The manifest declares whether a perturbation counts as robustness or fairness. A
perturbation that the manifest lacks counts as the registry declares it, and an unregistered one as robustness.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from helmframe import stats
from helmframe._core.checks import is_integer
from helmframe._core.expressions import look_up_pairs
from helmframe._core.registry import render
from helmframe._core.text import normalised
from helmframe._schema import ORIGINAL, VARIANTS
from helmframe.errors import ArgumentError, NotComparableError, UnknownNameError
from helmframe.metrics.helm_outputs import helm_scores
from helmframe.metrics.score import parse
from helmframe.perturbations.registry import PERTURBATIONS
from helmframe.results._data import ResultsData, reader_of, with_overlap
from helmframe.results._early_stopping import mark_stopped_intervals
from helmframe.results._pairing import ShortTable
from helmframe.stats.frames import map_chunks
from helmframe.stats.table import AXES

FAMILIES = ("robustness", "fairness")
DEFINITIONS = ("paired", "helm")
# The columns that identify an output under every variant, and the columns that identify the variant.
_OUTPUT_KEY = ("scenario", "instance_id", "setting", "trial", "model", "output_index")
_VARIANT_KEY = ("perturbation", "perturbation_seed")
_VALUES = ("output", "score")
_WITHOUT_PERTURBATION = tuple(name for name in AXES if name != "perturbation")
_ARGUMENTS = re.compile(r"""\((?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^'"()])*\)""", re.DOTALL)


class Flips(pl.DataFrame):
    """A frame of completions whose score a perturbation changed; notebooks highlight the changes of the input."""

    def _repr_html_(self, *, _from_series: bool = False) -> str:
        return str(render(self, "html"))


class Changes(ShortTable):
    """A frame of changes under perturbations; its short table has the change with its interval first."""


def robustness(
    results: ResultsData,
    by: str | Sequence[str] | None = None,
    *,
    metrics: str | Sequence[str] | None = None,
    perturbations: str | Sequence[str] | None = None,
    placebo: str | None = None,
    definition: str = "paired",
    pool: str | Sequence[str] | bool = (),
    ci: float = 0.95,
) -> pl.DataFrame:
    """Compare original with perturbed scores, one row per group, metric and perturbation ("all": over all of them).

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").perturb("typos")
    >>> results = plan.generate(hf.models.noisy(0.8, seed=1)).score()
    >>> table = results.robustness(metrics="exact_match", perturbations="typos")
    >>> table.select("perturbation", "original", "perturbed", "change", "n").row(-1)
    ('typos', 0.84375, 0.8125, -0.03571428571428571, 32)

    Args:
        results: Results of a run.
        by: As in `table`, without perturbation.
        metrics: The metrics; default all.
        perturbations: The perturbations, by name or family; default the robustness perturbations
            (`hf.list_perturbations()`).
        placebo: A perturbation that changes nothing ("rerun"): adds the change beyond the placebo's.
        definition: "helm" returns HELM's numbers: the lowest score over original and variants, without intervals; a
            family's over all instances, a perturbation's over those that it changed.
        pool: The axes to average over, as in `table`.
        ci: The level of the change's interval.

    Returns:
        original, mean over variants, worst (of the original and its k variants), right→wrong, wrong→right, changed
        share, and the headline: the paired change (perturbed − original, on changed inputs) with its interval. With a
        placebo also excess, its interval and n_placebo. `print` shows the headline; `.columns` lists all columns.
    """
    inputs, pooled = _select_scores(results, by, metrics, pool)
    table = _change_table(
        inputs, "robustness", perturbations=perturbations, placebo=placebo, definition=definition, ci=ci
    )
    return Changes(_label_table(results, table, inputs.keys, pooled, by))


def fairness(
    results: ResultsData,
    by: str | Sequence[str] | None = None,
    *,
    metrics: str | Sequence[str] | None = None,
    perturbations: str | Sequence[str] | None = None,
    placebo: str | None = None,
    definition: str = "paired",
    pool: str | Sequence[str] | bool = (),
    ci: float = 0.95,
) -> pl.DataFrame:
    """Return the table of `robustness` over the fairness perturbations: dialect, gender, person names, your own.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").perturb(hf.perturbations.gender())
    >>> results = plan.generate(hf.models.oracle()).score()
    >>> results.fairness(metrics="exact_match").select("perturbation", "original", "n").rows()
    [('all', 1.0, 32), ('gender', 1.0, 32)]
    """
    inputs, pooled = _select_scores(results, by, metrics, pool)
    table = _change_table(
        inputs, "fairness", perturbations=perturbations, placebo=placebo, definition=definition, ci=ci
    )
    return Changes(_label_table(results, table, inputs.keys, pooled, by))


def worst_case(
    results: ResultsData,
    by: str | Sequence[str] | None = None,
    *,
    k: int | None = None,
    metrics: str | Sequence[str] | None = None,
    perturbations: str | Sequence[str] | None = None,
    pool: str | Sequence[str] | bool = (),
    ci: float = 0.95,
) -> pl.DataFrame:
    """Return the mean worst score over original and variants; with `k`, the expected worst over k seeds (worst@k).

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").perturb("typos")
    >>> results = plan.generate(hf.models.noisy(0.8, seed=1)).score()
    >>> results.worst_case(metrics="exact_match").select("value", "k", "variants", "n").rows()
    [(0.71875, 1, 'original, typos', 32)]

    Args:
        results: Results of a run.
        by: As in `table`, without perturbation.
        k: The number of seeds of one perturbation, at most the seeds of `perturb(…, seeds=…)`; the original isn't a
            seed. There is one row per perturbation with k seeds, placebos included.
        metrics: The metrics, each with a direction; default all that have one.
        perturbations: The perturbations, by name or family ("robustness", "fairness"); default all but placebos.
        pool: The axes to average over, as in `table`.
        ci: The level of the interval.

    Returns:
        `by`, metric, `STATS`, k, variants (their names), n_dropped. The value gets worse with k for any model: compare
        only values of the same k and variants.
    """
    directed = list(reader_of(results).directions()) if metrics is None else metrics
    inputs, pooled = _select_scores(results, by, directed, pool)
    table = _worst_case_table(inputs, k=k, perturbations=perturbations, ci=ci)
    return _label_table(results, table, inputs.keys, pooled, by)


def consistency(
    results: ResultsData,
    by: str | Sequence[str] | None = None,
    *,
    perturbations: str | Sequence[str] | None = None,
    exact: bool = False,
    pool: str | Sequence[str] | bool = (),
    ci: float = 0.95,
) -> pl.DataFrame:
    """Return the share of instances whose output stays the same under each perturbation, right or wrong.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").perturb("typos")
    >>> results = plan.generate(hf.models.noisy(0.8, seed=1)).score()
    >>> results.consistency().select("perturbation", "consistency", "n").rows()
    [('all', 0.75, 28), ('typos', 0.75, 28)]

    Args:
        results: Results of a run.
        by: As in `table`, without perturbation and metric.
        perturbations: The perturbations, by name or family; default all, placebos included.
        exact: Whether to compare free text exactly, not only its normalised words.
        pool: The axes to average over, as in `table`.
        ci: The level of the interval.
    """
    inputs, pooled = _select_scores(results, by, None, pool)
    table = _consistency_table(inputs, perturbations=perturbations, exact=exact, ci=ci)
    return _label_table(results, table, inputs.keys, pooled, by)


def gap(
    results: ResultsData,
    group: str,
    by: str | Sequence[str] | None = None,
    *,
    reference: Any = None,
    metrics: str | Sequence[str] | None = None,
    pool: str | Sequence[str] | bool = (),
    ci: float = 0.95,
    overlap: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return the score of each group minus the score of all instances, or of one group, with its interval.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject=["music", "biology"])
    >>> results = plan.generate(hf.models.noisy(0.8)).score()
    >>> table = results.gap("subject", reference="music", metrics="exact_match")
    >>> table.select("subject", "value", "reference_value", "gap").rows()
    [('biology', 0.75, 0.6875, 0.0625)]

    Args:
        results: Results of a run.
        group: A column: sub_split, subset, or a source column of the scenario; "overlap" with `overlap`.
        by: As in `table`.
        reference: The group to compare the others with; default all instances.
        metrics: The metrics; default all.
        pool: The axes to average over, as in `table`.
        ci: The level of the interval.
        overlap: The frame of `plan.overlap(…)`, for the groups "clean" and "contaminated", as in `table`.
    """
    results = with_overlap(results, overlap)
    (column,) = reader_of(results).columns(group)
    inputs, pooled = _select_scores(results, by, metrics, pool, axes=AXES, extra_keys=[column])
    keys = [key for key in inputs.keys if key != column]
    table = stats.gap(
        inputs.scores, column, keys, reference=reference, fractions=inputs.fractions, ci=ci, mean=inputs.mean
    )
    return _label_table(results, table, keys, pooled, [*reader_of(results).names(by), group])


def flips(results: ResultsData, perturbation: str | None = None, *, metric: str | None = None) -> pl.DataFrame:
    """Return the outputs whose score a perturbation changed, original and perturbed side by side, with a word diff.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").perturb("typos")
    >>> results = plan.generate(hf.models.noisy(0.8, seed=1)).score()
    >>> flips = results.flips("typos")
    >>> flips["flip"].value_counts(sort=True).rows()
    [('worse', 4), ('better', 3)]

    Args:
        results: Results of a run.
        perturbation: The perturbation; default all but placebos.
        metric: The metric whose scores are compared; default the main metric.

    Returns:
        flip ("worse" or "better"), input, perturbed_input, diff of the inputs (`the [quick→quikc] fox`), both
        completions, outputs and scores. Notebooks highlight the changes. Select a few of the 18 columns:
        `.select("diff", "completion", "perturbed_completion")`. For scenarios scored by likelihood, the completion is
        the preferred option, and the outputs are null.
    """
    (name,) = reader_of(results).metric_list(metric or results.main_metrics[0])
    return Flips(render(Flips(_flips_table(_select_scores(results, None, name)[0], perturbation, name)), "with_diff"))


def worst_sides(
    sides: Mapping[str, pl.LazyFrame],
    worst: int | str,
    higher_is_better: Mapping[str, bool],
    perturbations: Mapping[str, Mapping[str, Any]],
) -> dict[str, pl.LazyFrame]:
    """Return the sides of a comparison with each instance's worst score instead of its variants' scores.

    Args:
        sides: A dict of label → `SCORES`.
        worst: "all" for the worst over the original and all variants; k for the expected worst over k seeds.
        higher_is_better: A dict of metric → direction.
        perturbations: The perturbations' entries in the manifest.

    Raises:
        NotComparableError: If the worst cases are over different variants.
        ArgumentError: If `worst` is neither "all" nor an integer.
    """
    if worst != "all" and not is_integer(worst):
        raise ArgumentError(f"worst={worst!r}: worst must be 'all' or an integer, the number of seeds, such as 4.")
    k = worst if is_integer(worst) else None
    worst_by_label: dict[str, pl.LazyFrame] = {}
    pools: dict[str, pl.DataFrame] = {}
    for label, scores in sides.items():
        variants = [
            name for name in _perturbation_names([scores]) if k is not None or not _is_placebo(name, perturbations)
        ]
        counted = scores.filter(pl.col("perturbation").is_in([ORIGINAL, *variants]))
        table, pools[label] = stats.worst_scores(counted, higher_is_better=higher_is_better, k=k)
        worst_by_label[label] = table.lazy()
    _check_same_variants(pools)
    return worst_by_label


def _select_scores(
    results: ResultsData,
    by: str | Sequence[str] | None,
    metrics: str | Sequence[str] | None,
    pool: str | Sequence[str] | bool = (),
    axes: Sequence[str] = _WITHOUT_PERTURBATION,
    extra_keys: Sequence[str] = (),
) -> tuple["_PerturbationInputs", list[str]]:
    """Return the inputs of a table by these columns, and the axes that it pools."""
    keys, pooled = reader_of(results).group_keys(by, pool, axes)
    keys = [key for key in dict.fromkeys([*keys, *extra_keys]) if key in axes or key != "perturbation"]
    requested = (
        pl.lit(value=True) if metrics is None else pl.col("metric").is_in(reader_of(results).metric_list(metrics))
    )
    inputs = _PerturbationInputs(
        scores=reader_of(results).with_source_columns(results.scores, keys).filter(requested),
        chunks=[rows.filter(requested) for rows in reader_of(results).scores(keys)],
        completions=reader_of(results).with_source_columns(results.completions, keys),
        keys=keys,
        metrics=results.metric_names,
        higher_is_better=reader_of(results).directions(),
        fractions=reader_of(results).fractions(),
        mean=reader_of(results).mean(),
        perturbations=reader_of(results).perturbation_entries(),
    )
    return inputs, pooled


def _label_table(
    results: ResultsData,
    table: pl.DataFrame,
    keys: Sequence[str],
    pooled: Sequence[str],
    by: str | Sequence[str] | None,
) -> pl.DataFrame:
    """Return the table with notes on pooled axes and early stopping, and its columns under the caller's names."""
    reader = reader_of(results)
    axes = [name for name in ("metric", "perturbation") if name in table.columns]
    table = reader.in_order(table, [*(name for name in keys if name not in axes), *axes])
    return reader.with_requested_names(
        mark_stopped_intervals(results.manifest, reader.with_pooled(table, keys, pooled)), by
    )


@dataclass(frozen=True)
class _PerturbationInputs:
    """The scores and completions of an analysis of perturbations, and the options to aggregate them.

    Args:
        scores: `SCORES`, with the columns of `keys`.
        chunks: The same scores, in chunks of whole instances.
        completions: `COMPLETIONS`, with the columns of `keys`.
        keys: The columns whose values make a group.
        metrics: The names of all metrics.
        higher_is_better: A dict of metric → direction; metrics without a direction are absent.
        fractions: The metrics whose scores lie between 0 and 1.
        mean: The mean over subsets, "macro" or "micro".
        perturbations: The entry of each perturbation in the manifest.
    """

    scores: pl.LazyFrame
    chunks: Sequence[pl.LazyFrame]
    completions: pl.LazyFrame
    keys: Sequence[str]
    metrics: Sequence[str]
    higher_is_better: Mapping[str, bool]
    fractions: Collection[str]
    mean: str
    perturbations: Mapping[str, Mapping[str, Any]]

    def filtered_chunks(self, names: Collection[str]) -> list[pl.LazyFrame]:
        """Return the chunks with only the original and these perturbations."""
        return [chunk.filter(pl.col("perturbation").is_in([ORIGINAL, *names])) for chunk in self.chunks]

    def perturbation_names(self) -> list[str]:
        """Return the perturbations of the run."""
        return _perturbation_names(self.chunks)

    def resolve(self, requested: str | Sequence[str] | None, *, default: str | None) -> list[str]:
        """Return the requested perturbations, as `_resolve_perturbations` does."""
        return _resolve_perturbations(self.perturbation_names(), requested, default=default, entries=self.perturbations)


def _change_table(
    inputs: _PerturbationInputs,
    family: str,
    *,
    perturbations: str | Sequence[str] | None,
    placebo: str | None,
    definition: str,
    ci: float,
) -> pl.DataFrame:
    """Return `stats.robustness` over a family, or HELM's numbers for it."""
    if definition not in DEFINITIONS:
        raise ArgumentError.unknown_value(f"definition={definition!r}", definition, DEFINITIONS)
    names = inputs.resolve(perturbations, default=family)
    if definition == "helm":
        if placebo is not None:
            raise ArgumentError("definition='helm': HELM's definition has no placebo. Remove placebo or definition.")
        kinds = {name: [family] for name in names}
        counted = helm_scores(inputs.scores, inputs.completions, list(inputs.higher_is_better))
        table = stats.helm_definition(_changed_input(replace(inputs, scores=counted)), inputs.keys, families=kinds)
        return table.filter(pl.col("perturbation").is_in([ORIGINAL, family, *names]))
    if placebo is not None:
        (placebo,) = inputs.resolve(placebo, default=family)
        names = [name for name in names if name != placebo]
    return stats.robustness(
        inputs.filtered_chunks([*names, placebo] if placebo else names),
        inputs.keys,
        higher_is_better=dict.fromkeys(inputs.metrics) | dict(inputs.higher_is_better),
        fractions=inputs.fractions,
        ci=ci,
        mean=inputs.mean,
        placebo=placebo,
    )


def _worst_case_table(
    inputs: _PerturbationInputs, *, k: int | None, perturbations: str | Sequence[str] | None, ci: float
) -> pl.DataFrame:
    """Return `stats.worst_case`, or `stats.worst_at_k` if k is set; only worst@k includes placebos."""
    names = (
        inputs.perturbation_names()
        if k is not None and perturbations is None
        else inputs.resolve(perturbations, default=None)
    )
    chunks, higher_is_better = inputs.filtered_chunks(names), inputs.higher_is_better
    if k is None:
        return stats.worst_case(
            chunks, inputs.keys, higher_is_better=higher_is_better, fractions=inputs.fractions, ci=ci, mean=inputs.mean
        )
    return stats.worst_at_k(
        chunks, inputs.keys, k, higher_is_better=higher_is_better, fractions=inputs.fractions, ci=ci, mean=inputs.mean
    )


def _check_same_variants(tables: Mapping[str, pl.DataFrame]) -> None:
    """Check that worst cases are over the same variants; others aren't comparable.

    Args:
        tables: A dict of label → a table of `worst_case` with `variants`, and optionally k and scenario.

    Raises:
        NotComparableError: If the variants differ.
    """
    on = [name for name in ("scenario", "k", "variants") if all(name in table.columns for table in tables.values())]
    pools = {label: table.select(on).unique().sort(on) for label, table in tables.items()}
    first = next(iter(pools.values()), None)
    if first is None or all(pool.equals(first) for pool in pools.values()):
        return
    variants_by_label = "; ".join(
        f"{label!r} over {' and '.join(pool['variants'].unique().sort())}" for label, pool in pools.items()
    )
    raise NotComparableError(
        f"Worst cases over different variants aren't comparable: {variants_by_label}. Run both with the same "
        "perturbations and seeds, or compare worst@k at the same k, such as worst=4."
    )


def _consistency_table(
    inputs: _PerturbationInputs, *, perturbations: str | Sequence[str] | None, exact: bool, ci: float
) -> pl.DataFrame:
    """Return `stats.consistency` over completions; placebos are included by default."""
    available = _perturbation_names([inputs.completions])
    names = available if perturbations is None else inputs.resolve(perturbations, default=None)
    repeated = pl.col("repeat") > 0
    free_text = pl.col("output") if exact else normalised(pl.col("output"))
    option_texts = [
        pl.col(name).list.eval(pl.element().struct.field("text")) for name in ("references", "perturbed_references")
    ]
    # an option whose text was perturbed is still the same option
    original_option = pl.when(~option_texts[0].list.contains(pl.col("output"))).then(
        look_up_pairs(pl.col("output"), option_texts[1], option_texts[0])
    )
    outputs = (
        parse(inputs.completions.filter(pl.col("perturbation").is_in([ORIGINAL, *names])))
        .filter((pl.col("perturbation") == ORIGINAL) | pl.col("changed") | repeated)
        .with_columns(
            answer=pl.when(pl.col("choices").is_null())
            .then(free_text)
            .otherwise(pl.coalesce(original_option, "output")),
            failed=pl.col("completion").is_null(),
        )
    )
    return stats.consistency(outputs, inputs.keys, ci=ci, mean=inputs.mean)


def _flips_table(inputs: _PerturbationInputs, perturbation: str | None, metric: str) -> pl.DataFrame:
    """Return the outputs whose score a perturbation changed, with the original outputs.

    Returns:
        The key columns, then flip ("worse" or "better"), input, perturbed_input (with the references
        where those changed), completion, perturbed_completion, output, perturbed_output, score, perturbed_score.
    """
    if metric not in inputs.higher_is_better:
        raise ArgumentError(
            f"flips(metric={metric!r}): the metric has no direction, so no change is better or worse. Write a metric "
            "that has one."
        )
    changed = _with_texts(
        _changed_scores(inputs, inputs.resolve(perturbation, default=None), metric), inputs.completions
    )
    worse = (pl.col("perturbed_score") < pl.col("score")) == inputs.higher_is_better[metric]
    keys = [*_OUTPUT_KEY[:2], *_VARIANT_KEY, *_OUTPUT_KEY[2:]]
    columns = [f"{prefix}{name}" for name in ("input", "completion", *_VALUES) for prefix in ("", "perturbed_")]
    return (
        changed.with_columns(flip=pl.when(worse).then(pl.lit("worse")).otherwise(pl.lit("better")))
        .select(*keys, "flip", *columns)
        .sort(pl.col("flip") != "worse", *keys)
        .collect()
    )


def _changed_scores(inputs: _PerturbationInputs, names: Sequence[str], metric: str) -> pl.LazyFrame:
    """Return the scores of variants that differ from the original's, with both scores and both outputs."""
    scores = inputs.scores.filter(pl.col("metric") == metric)
    originals = scores.filter(pl.col("perturbation") == ORIGINAL).select(*_OUTPUT_KEY, *_VALUES)
    return (
        scores.filter(pl.col("perturbation").is_in(names))
        .select(*_OUTPUT_KEY, *_VARIANT_KEY, *(pl.col(name).alias(f"perturbed_{name}") for name in _VALUES))
        .join(originals, on=_OUTPUT_KEY, how="inner", nulls_equal=True)
        .filter(pl.col("perturbed_score") != pl.col("score"))
    )


def _with_texts(scores: pl.LazyFrame, completions: pl.LazyFrame) -> pl.LazyFrame:
    """Return the scores with input and completion, the original's and the variant's."""
    # a metric over an instance's outputs has no output index: the first output is shown
    indexed = scores.with_columns(index=pl.col("output_index").fill_null(0))
    texts = _likeliest_options(completions).with_columns(index=pl.col("output_index"))
    on = [*_OUTPUT_KEY[:-1], "index"]
    originals = texts.filter(pl.col("perturbation") == ORIGINAL).select(*on, "completion")
    variants = texts.select(
        *on,
        *_VARIANT_KEY,
        "input",
        with_references=_input_text(""),
        perturbed_input=_input_text("perturbed_"),
        perturbed_completion="completion",
    )
    same = pl.col("perturbed_input") == pl.col("with_references")
    return (
        indexed.join(variants, on=[*on, *_VARIANT_KEY], how="left")
        .join(originals, on=on, how="left")
        .with_columns(input=pl.when(same).then("input").otherwise("with_references"))
    )


def _likeliest_options(completions: pl.LazyFrame) -> pl.LazyFrame:
    """Return one row per output: the likeliest option, if options have separate requests."""
    single = completions.filter(pl.col("reference_index").is_null())
    options = completions.filter(pl.col("reference_index").is_not_null(), pl.col("request_mode") != "calibration")
    ranked = options.sort("logprob", descending=True, nulls_last=True, maintain_order=True)
    likeliest = ranked.unique([*_OUTPUT_KEY, *_VARIANT_KEY], keep="first", maintain_order=True)
    return pl.concat([single, likeliest])


def _input_text(prefix: str) -> pl.Expr:
    """Return the input, followed by the references if the variant changed them."""
    changed = pl.col("perturbed_references").ne_missing(pl.col("references"))
    references = pl.col(f"{prefix}references").list.eval(pl.element().struct.field("text")).list.join("\n")
    return pl.concat_str(pl.col(f"{prefix}input"), pl.when(changed).then(pl.lit("\n") + references), ignore_nulls=True)


def _changed_input(inputs: _PerturbationInputs) -> pl.LazyFrame:
    """Return the scores with HELM's `changed`: whether the input differs, or HELM counts the unchanged copy.

    References are ignored, unless the perturbation follows HELM's rules: its `changed` is already HELM's.
    """
    key = list(VARIANTS.key)
    by_helm = pl.col("changed") & pl.col("perturbation_parameters").str.contains('"compat": "helm"', literal=True)
    changed = pl.col("perturbed_input").ne_missing(pl.col("input")) | by_helm.fill_null(value=False)
    changed_rows = inputs.completions.select(*key, changed=changed).unique(key)
    return inputs.scores.drop("changed").join(changed_rows, on=key, how="left", validate="m:1")


def _perturbation_names(chunks: Sequence[pl.LazyFrame]) -> list[str]:
    columns = map_chunks(chunks, lambda rows: rows.select(pl.col("perturbation").unique()).collect()["perturbation"])
    return sorted({name for column in columns for name in column} - {ORIGINAL})


def _resolve_perturbations(
    available: Sequence[str],
    requested: str | Sequence[str] | None,
    *,
    default: str | None,
    entries: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """Return the perturbations requested by name, name without arguments, or family; else the default family."""
    if requested is None:
        return [
            name for name in available if not _is_placebo(name, entries) and default in (None, _family(name, entries))
        ]
    resolved: list[str] = []
    for request in [requested] if isinstance(requested, str) else requested:
        matches = [name for name in available if request == name]
        matches = matches or [name for name in available if request == name.partition("(")[0] and "+" not in name]
        if request in FAMILIES and not matches:
            matches = [
                name for name in available if _family(name, entries) == request and not _is_placebo(name, entries)
            ]
        if not matches:
            names = dict.fromkeys([*available, *(name.partition("(")[0] for name in available if "+" not in name)])
            raise UnknownNameError.among("perturbation of these results", request, names)
        resolved += [name for name in matches if name not in resolved]
    return resolved


def _family(name: str, entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the family of a chain of perturbations: fairness if any link belongs to it."""
    if name in entries:
        return str(entries[name]["kind"])
    families = {PERTURBATIONS[link].kind if link in PERTURBATIONS else FAMILIES[0] for link in _links(name)}
    return next((family for family in reversed(FAMILIES) if family in families), "")


def _is_placebo(name: str, entries: Mapping[str, Mapping[str, Any]]) -> bool:
    if name in entries:
        return bool(entries[name]["repeats"])
    return any(link in PERTURBATIONS and PERTURBATIONS[link].repeats for link in _links(name))


def _links(name: str) -> list[str]:
    """Return the names of a chain of perturbations, without their arguments.

    >>> _links("lowercase+instructions(text='a) b')")
    ['lowercase', 'instructions']
    """
    return _ARGUMENTS.sub("", name).split("+")
