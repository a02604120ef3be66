"""The stage `adapt`, the decorator that makes a function an adapter, and the grid of settings."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from typing import Any

import polars as pl

from helmframe.adapters import examples, layout
from helmframe.columns import REFERENCE
from helmframe.errors import ArgumentError
from helmframe.registry import Registry
from helmframe.specs import AdapterSpec, Pairs, ScenarioSpec, adapter_spec, frozen, merged, thawed

Questions = Callable[[pl.LazyFrame, AdapterSpec], pl.LazyFrame]

# Decoding arguments whose value is a list; a list of lists is a grid of them.
LIST_VALUED = ("stop",)


@dataclass(frozen=True)
class Adapter:
    """A registered adapter and what it says unless told otherwise."""

    function: Questions
    defaults: Pairs
    decoding: Pairs


ADAPTERS: Registry[Adapter] = Registry("adapter method", "Add one with @helmframe.adapter.")


@dataclass(frozen=True)
class Setting:
    """One cell of the grid of a plan: an adapter and decoding parameters, and what sets it apart (`shots=0`)."""

    name: str
    adapter: AdapterSpec
    decoding: Pairs

    @property
    def decoding_json(self) -> str:
        """The decoding parameters as canonical JSON; nulls are left out, so new parameters never change old ids."""
        said = {key: thawed(value) for key, value in self.decoding if value is not None}
        return json.dumps(said, sort_keys=True, ensure_ascii=False)


def adapter(
    name: str, *, defaults: Mapping[str, Any] | None = None, decoding: Mapping[str, Any] | None = None
) -> Callable[[Questions], Questions]:
    """Register a function `(variants, adapter) -> variants` that adds what is asked and how it is answered.

    It adds the columns `question` (the text up to the answer), `answer` (what follows in an example) and `choices`
    (what answers with each reference in turn; null for free text). One row may become several (then it fills
    `reference_index`).

    Args:
        name: the method's name, in sentences and specs.
        defaults: fields of the adapter it says differently from `AdapterSpec`.
        decoding: decoding parameters it needs.
    """

    def register(function: Questions) -> Questions:
        ADAPTERS.add(name, Adapter(function, frozen(defaults or {}), frozen(decoding or {})))
        return function

    return register


def settings(spec: ScenarioSpec, said: Pairs = (), decoding: Pairs = ()) -> list[Setting]:
    """The grid that a scenario's defaults and what the sentence says span: every list is an axis.

    Raises:
        UnknownNameError: no adapter method of that name.
        ArgumentError: no such adapter field, a value of the wrong type, an empty grid or one with a value twice, or an
            `answer_pattern` that is no regular expression with a group.
    """
    axes = [(True, key, value) for key, value in said if isinstance(value, tuple)]
    axes += [(False, key, value) for key, value in decoding if isinstance(value, tuple) and not _is_value(key, value)]
    for _, key, values in axes:
        if not values or len(set(values)) < len(values):
            raise ArgumentError(f"{key}={thawed(values)!r}: a grid is a list of one or more different values.")
    cells = []
    for values in product(*(value for _, _, value in axes)):
        chosen = list(zip(axes, values, strict=True))
        of_adapter = merged(said, tuple((key, value) for (adapts, key, _), value in chosen if adapts))
        of_decoding = merged(decoding, tuple((key, value) for (adapts, key, _), value in chosen if not adapts))
        name = ",".join(f"{key}={thawed(value)}" for (_, key, _), value in chosen)
        method = str(dict(merged(spec.adapter, of_adapter)).get("method", AdapterSpec().method))
        entry = ADAPTERS[method]
        filled = adapter_spec(entry.defaults, spec.adapter, of_adapter)
        _check_pattern(filled.answer_pattern)
        cells.append(Setting(name, filled, merged(entry.decoding, spec.decoding, of_decoding)))
    return cells


def adapt(
    variants: pl.LazyFrame, train: pl.DataFrame, setting: Setting, part_columns: Sequence[str] = ()
) -> tuple[pl.LazyFrame, pl.DataFrame]:
    """Each variant as a request: the question, and by reference the blocks that come before it.

    Args:
        variants: `VARIANTS`.
        train: `INSTANCES` of the train pool, of every part; may be empty.
        setting: the adapter and the decoding parameters.
        part_columns: columns that `instructions` may name (`{subject}`).

    Returns:
        `REQUESTS`, one row per (variant, trial), and `HEADS`, one row per (part, trial).

    Source: HELM `InContextLearningAdapter`; prompt for prompt the same (tests/parity).
    """
    spec = setting.adapter
    questions = ADAPTERS[spec.method].function
    parts = variants.select("part", *part_columns).unique("part", maintain_order=True).collect()
    shots = examples.draw(questions(_unperturbed(train.lazy()), spec).collect(), spec, parts["part"])
    heads = layout.heads(parts, shots, setting.name, spec, part_columns)
    asked = questions(variants, spec)
    present = asked.collect_schema()
    has_media = "content" in present and variants.select(pl.col("content").count()).collect().item() > 0
    optional = [
        pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in (("reference_index", pl.Int64), ("request_mode", pl.String))
        if name not in present
    ]
    requests = (
        asked.with_columns(
            *optional,
            blocks=layout.question_block(pl.col("question"), spec, content="content" if has_media else None),
            setting=pl.lit(setting.name),
            answer_pattern=pl.lit(spec.answer_pattern, dtype=pl.String),
            chat_template=pl.lit(spec.chat_template),
            decoding=pl.lit(setting.decoding_json),
            adapter_id=pl.lit(adapter_id(spec)),
        )
        .drop("question", "answer")
        .join(
            heads.lazy().select("part", "trial", "head_id", "shot_ids"),
            on="part",
            how="left",
            maintain_order="left_right",
        )
    )
    return requests, heads


def adapter_id(spec: AdapterSpec) -> str:
    """A hash of everything the adapter says, 16 hex digits."""
    return sha256(json.dumps(spec.__dict__, sort_keys=True).encode()).hexdigest()[:16]


def _unperturbed(train: pl.LazyFrame) -> pl.LazyFrame:
    return train.with_columns(
        perturbed_input=pl.col("input"), perturbed_references=pl.col("references").cast(pl.List(REFERENCE))
    )


def _check_pattern(pattern: str | None) -> None:
    if pattern is None:
        return
    try:
        groups = pl.select(pl.lit("").str.extract_groups(pattern)).to_series().struct.fields
    except pl.exceptions.ComputeError as error:
        raise ArgumentError(f"answer_pattern={pattern!r} is no regular expression: {error}") from None
    if not groups:
        raise ArgumentError(f"answer_pattern={pattern!r} has no group (…) around the answer.")


def _is_value(key: str, value: tuple[Any, ...]) -> bool:
    return key in LIST_VALUED and not any(isinstance(each, tuple) for each in value)
