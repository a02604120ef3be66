"""A plan that feeds a plan: what a perturbation or a judge needs a model for, asked like any request, so kept."""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from helmframe._schema import INSTANCES
from helmframe.adapters.adapt import adapt, settings
from helmframe.errors import ArgumentError
from helmframe.models.budget import Budget
from helmframe.models.completion_cache import CompletionCache, store_root
from helmframe.models.fit import fit
from helmframe.models.generate import Report, generate
from helmframe.models.model import Model
from helmframe.models.protocol import from_any
from helmframe.models.request_ids import request_ids
from helmframe.models.scheduler import busy_of
from helmframe.perturbations.call import PerturbationCall
from helmframe.perturbations.fields import ModelQuery
from helmframe.perturbations.parsing import Variant
from helmframe.perturbations.perturb import perturb
from helmframe.scenarios.find import frame_scenario
from helmframe.scenarios.load import load

logger = logging.getLogger("helmframe.plan")

_BARE = {"shots": 0, "input_prefix": "", "input_suffix": "", "output_prefix": "", "instance_prefix": ""}
_DECODING = {"max_tokens": 1000, "temperature": 0.0, "stop": []}
# Shards of several models and scenarios need the same answers: the second finds what the first has asked.
_ONE_AT_A_TIME = threading.Lock()


def with_models(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """The variants with each model that makes one as a `Model`; one that is there twice is there once.

    Raises:
        NotAModelError: it can't answer.
        ArgumentError: two of them have one name.
    """
    made = tuple(dict.fromkeys(replace(each, chain=tuple(map(_with_model, each.chain))) for each in variants))
    names = [each.name for each in made]
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(f"perturb(): two are called {name!r}. Name their models: hf.model(function, name='…').")
    return made


def asking(*, ask: bool = True, budget: Budget | None = None, cache: CompletionCache | None = None) -> ModelQuery:
    """Answers to prompts by the model of a perturbation; null where it failed, or with `ask=False` is not asked yet."""

    def answers(said: PerturbationCall, prompts: pl.Series) -> pl.Series:
        model = said.model
        assert isinstance(model, Model)  # with_models() saw to it
        if prompts.is_empty():
            return pl.Series("answer", [], dtype=pl.String)
        with _ONE_AT_A_TIME:
            rows, how = pl.DataFrame({"input": prompts}), {"ask": ask, "budget": budget, "cache": cache}
            found = asked(model, rows, name=said.name, decoding=_DECODING, **how)  # type: ignore[arg-type]
        failed = found["error"].drop_nulls()
        if failed.len():
            counts = failed.len(), found.filter(pl.any_horizontal(pl.col("completion", "error").is_not_null())).height
            logger.warning("%s: %d of %d requests failed, the first with: %s", said, *counts, failed[0])
        return found["completion"].str.strip_chars().alias("answer")

    return answers


def asked(
    model: Model,
    prompts: pl.DataFrame,
    *,
    name: str,
    decoding: Mapping[str, Any],
    head: str = "",
    chat: bool = False,
    ask: bool = True,
    fresh: bool = False,
    budget: Budget | None = None,
    cache: CompletionCache | None = None,
    report: Report = lambda what, count: None,  # noqa: ARG005
) -> pl.DataFrame:
    """What a model says to some prompts, outside of a sentence: through its queue, from the store where it is there.

    Args:
        model: who answers.
        prompts: with `input`, and `id` where logs should name the rows; at least one row.
        name: the scenario under which answers are kept and logged.
        decoding: decoding parameters.
        head: the start of every prompt.
        chat: whether the model's chat template is used.
        ask: False looks into the store only.
        fresh: True asks everything again.
        budget: how much may be asked.
        cache: Completions to reuse, and where to store new ones; default the store's, outside of a run.
        report: told what is planned, kept, answered and failed.

    Returns:
        Columns of `COMPLETIONS`, one row per prompt in their order; null throughout where nothing was stored or asked.
    """
    nothing = pl.Series("references", [[]] * prompts.height, dtype=pl.List(pl.String))
    spec = frame_scenario(
        prompts.with_columns(nothing),
        name=name,
        id="id" if "id" in prompts.columns else None,
        method="generation",
        adapter={**_BARE, "global_prefix": head, "chat_template": chat},
        decoding=decoding,
    )
    (setting,) = settings(spec)
    rows = pl.concat(load(spec, rows=prompts.height))
    requests, heads = adapt(perturb(rows.lazy(), ()), pl.DataFrame(schema=INSTANCES.schema), setting)
    fingerprint = model.fingerprint()
    cache = cache or CompletionCache(store_root())
    kept = cache.answers(model, fingerprint, name)
    fitted, prefixes = fit(requests.collect(), heads, model)
    asked = request_ids(fitted, prefixes, fingerprint, by_instance=model.sees_rows)
    if not fresh:
        cache.reuse(asked, prefixes, model, fingerprint, name)
    with busy_of(fingerprint).waited:
        found = generate(asked, prefixes, model, kept, fingerprint, ask=ask, fresh=fresh, budget=budget, report=report)
    return rows.select("row_index").join(found, on="row_index", how="left", maintain_order="left", validate="1:1")


def _with_model(said: PerturbationCall) -> PerturbationCall:
    return replace(said, model=from_any(said.model)) if said.model is not None else said
