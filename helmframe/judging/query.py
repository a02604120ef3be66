"""Requests of perturbations and judges to their models, cached like all requests."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from helmframe._core.safe_text import get_logger
from helmframe._schema import INSTANCES
from helmframe.adapters.adapt import adapt, settings
from helmframe.errors import ArgumentError
from helmframe.models.budget import Budget
from helmframe.models.completion_cache import CompletionCache, request_ids, store_root
from helmframe.models.fit import fit
from helmframe.models.generate import Report, generate, roomier_requests
from helmframe.models.model import Model
from helmframe.models.protocol import from_any
from helmframe.models.scheduler import busy_of
from helmframe.perturbations.call import PerturbationCall
from helmframe.perturbations.fields import ModelQuery
from helmframe.perturbations.parsing import Variant
from helmframe.perturbations.perturb import perturb
from helmframe.scenarios.frames import frame_scenario
from helmframe.scenarios.load import load

logger = get_logger("helmframe.plan")

_BARE = {"shots": 0, "input_prefix": "", "input_suffix": "", "output_prefix": "", "instance_prefix": ""}
_DECODING = {"max_tokens": 1000, "temperature": 0.0, "stop": []}
# Several shards need the same completions: the first shard generates them, and the others reuse them.
_ONE_AT_A_TIME = threading.Lock()


def with_models(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """Return the distinct variants, with the models of perturbations converted to `Model`.

    Raises:
        NotAModelError: A model can't generate.
        ArgumentError: Two variants have the same name.
    """
    chosen = tuple(
        dict.fromkeys(replace(variant, chain=tuple(map(_with_model, variant.chain))) for variant in variants)
    )
    names = [variant.name for variant in chosen]
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(
                f"perturb(): two perturbations have the name {name!r}. Name their models: hf.model(function, name='…')."
            )
    return chosen


def query_function(
    *, send: bool = True, budget: Budget | None = None, cache: CompletionCache | None = None
) -> ModelQuery:
    """Return a function that generates completions of prompts with the model of a perturbation.

    A completion is null if the request failed, or with `send=False` if it isn't in the store.
    """

    def query(call: PerturbationCall, prompts: pl.Series) -> pl.Series:
        model = call.model
        assert isinstance(model, Model)  # with_models() ensures it
        if prompts.is_empty():
            return pl.Series("answer", [], dtype=pl.String)
        with _ONE_AT_A_TIME:
            rows, options = pl.DataFrame({"input": prompts}), {"send": send, "budget": budget, "cache": cache}
            completions = query_model(model, rows, name=call.name, decoding=_DECODING, **options)  # type: ignore[arg-type]
        failed = completions["error"].drop_nulls()
        if failed.len():
            counts = (
                failed.len(),
                completions.filter(pl.any_horizontal(pl.col("completion", "error").is_not_null())).height,
            )
            logger.warning("%s: %d of %d requests failed. First error: %s", call, *counts, failed[0])
        return completions["completion"].str.strip_chars().alias("answer")

    return query


def query_model(
    model: Model,
    prompts: pl.DataFrame,
    *,
    name: str,
    decoding: Mapping[str, Any],
    head: str = "",
    chat: bool = False,
    send: bool = True,
    fresh: bool = False,
    budget: Budget | None = None,
    cache: CompletionCache | None = None,
    report: Report = lambda event, count: None,  # noqa: ARG005
) -> pl.DataFrame:
    """Return a model's completions of prompts: from the store if they are cached, else through the model's queue.

    Args:
        model: The model.
        prompts: A frame with `input`, and optionally `id`, the name of a row in logs; at least one row.
        name: The scenario under which completions are stored and logged.
        decoding: Decoding parameters.
        head: The text at the start of every prompt.
        chat: Whether the model's chat template is used.
        send: Whether to send requests; False reads the store only.
        fresh: Whether to send all requests again.
        budget: The limit of requests.
        cache: The completions to reuse, and the location of new ones; by default the store, outside of a run.
        report: A function that receives the counts of planned, cached, generated and failed requests.

    Returns:
        Columns of `COMPLETIONS`, one row per prompt in their order; a row is null if its request was not sent.
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
    stored = cache.completions(model, fingerprint, name)
    fitted, prefixes = fit(requests.collect(), heads, model)
    identified = request_ids(fitted, prefixes, fingerprint, by_instance=model.sees_rows)
    if not fresh:
        cache.reuse(identified, prefixes, model, fingerprint, name)
        if not model.durable:
            cache.reuse(roomier_requests(identified, prefixes, model, fingerprint), prefixes, model, fingerprint, name)
    with busy_of(fingerprint).waited:
        generated = generate(
            identified, prefixes, model, stored, fingerprint, send=send, fresh=fresh, budget=budget, report=report
        )
    return rows.select("row_index").join(generated, on="row_index", how="left", maintain_order="left", validate="1:1")


def _with_model(call: PerturbationCall) -> PerturbationCall:
    return replace(call, model=from_any(call.model)) if call.model is not None else call
