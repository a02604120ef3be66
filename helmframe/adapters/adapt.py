"""The stage `adapt`, the decorator that registers an adapter, and the grid of settings."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from itertools import product
from typing import Any

import polars as pl

from helmframe._core.registry import Registry
from helmframe._core.safe_text import display_labels, type_name
from helmframe._core.specs import (
    AdapterSpec,
    NamedValues,
    Pairs,
    ScenarioSpec,
    check_cells,
    frozen,
    merged,
    of_subset,
    thawed,
)
from helmframe._schema import LENIENT, REFERENCE, STRICT, TURN, source_column, source_names
from helmframe.adapters import examples, layout
from helmframe.adapters.checks import ALL, check, with_change
from helmframe.adapters.format_instructions import expand_format_instructions, with_named_instructions
from helmframe.errors import ArgumentError

Questions = Callable[[pl.LazyFrame, AdapterSpec], pl.LazyFrame]

# The number of characters of a value in the name of a setting.
LONGEST_LABEL = 28
# Arguments whose value is a list, with its depth (list of texts: 1, list of pairs: 2). A deeper list is a grid.
_LIST_VALUED = {"stop": 1, "reference_prefix_characters": 1, "substitutions": 2}
# The original fields of the adapter. The hash skips later fields with default values, so that ids don't change.
_ORIGINAL_FIELDS = (
    "method", "shots", "trials", "instructions", "system", "global_prefix", "global_suffix", "input_prefix",
    "input_suffix", "reference_prefix", "reference_suffix", "output_prefix", "output_suffix", "instance_prefix",
    "sample_train", "answer_pattern", "chat_template",
)  # fmt: skip


# The methods whose completions are labels of options.
LABELLED = ("multiple_choice_joint", "multiple_choice_joint_chain_of_thought")


@dataclass(frozen=True)
class Adapter:
    """A registered adapter and its defaults; the attributes are the arguments of `@hf.adapter`."""

    function: Questions
    defaults: Pairs
    decoding: Pairs
    examples: Questions
    scores: bool
    ignores: tuple[str, ...]
    own_examples: bool = False


ADAPTERS: Registry[Adapter] = Registry(
    "adapter method",
    "Add one with @hf.adapter.",
    packages=["helmframe.adapters", "helmframe.interop"],
    decorator="adapter",
)


@dataclass(frozen=True)
class Setting:
    """One cell of a plan's grid: an adapter and decoding parameters, and a name for what distinguishes it (`shots=0`).

    `per_subset` contains the settings of the subsets for which the scenario's spec overrides something; `axes` has the
    cell's value of each field that is a grid.
    """

    name: str
    adapter: AdapterSpec
    decoding: Pairs
    per_subset: tuple[tuple[str, "Setting"], ...] = ()
    axes: Pairs = ()

    @property
    def decoding_json(self) -> str:
        """The decoding parameters as canonical JSON.

        Nulls are skipped, so that new parameters do not change existing ids.
        """
        parameters = {key: thawed(value) for key, value in self.decoding if value is not None}
        return json.dumps(parameters, sort_keys=True, ensure_ascii=False)

    @property
    def with_subsets(self) -> tuple["Setting", ...]:
        """The setting itself, and the settings of single subsets."""
        return (self, *(setting for _, setting in self.per_subset))

    def with_lenient_labels(self) -> "Setting":
        """Return the setting with the lenient parser, if its completions are labels of options."""
        parser = LENIENT if self.adapter.method in LABELLED else self.adapter.answer_parser
        subsets = tuple((subset, setting.with_lenient_labels()) for subset, setting in self.per_subset)
        return replace(self, adapter=replace(self.adapter, answer_parser=parser), per_subset=subsets)

    def for_subset(self, subset: str) -> "Setting":
        """Return the setting of this subset."""
        return replace(dict(self.per_subset).get(subset, self), name=self.name, per_subset=())


def adapter(
    name: str,
    *,
    defaults: Mapping[str, Any] | None = None,
    decoding: Mapping[str, Any] | None = None,
    examples: Questions | None = None,
    scores: bool = False,
    ignores: Sequence[str] = (),
    own_examples: bool = False,
) -> Callable[[Questions], Questions]:
    """Register a function `(variants, adapter) -> variants` as an adapter.

    The function adds columns to the variants, a lazy frame:

    - `question`: The text of the prompt up to the answer.
    - `answer`: The text that follows the question in a few-shot example.
    - `choices`: The completion that stands for each reference; null for free text.
    - `reference_index`: If one row becomes several requests, the reference of each request.
    - `continuation`: A text after the question. The request is then for its likelihood, not for a completion.
    - `answer_tokens`: The number of tokens that a completion needs, if the setting may allow fewer. The completion then
      ends at the end of the line.

    Args:
        name: The name of the method in plans and specs.
        defaults: Fields of `AdapterSpec` with other defaults.
        decoding: The decoding parameters that the adapter needs.
        examples: The function that adds `question` and `answer` to the train pool, one row per instance. The default is
            the decorated function.
        scores: Whether the adapter adds `continuation`.
        ignores: Fields of `AdapterSpec` that the adapter does not use.
        own_examples: Whether the question contains the few-shot examples already.

    Raises:
        ArgumentError: The name is missing, or the function has other parameters.

    >>> @adapter("shouted")
    ... def shouted(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    ...     question = pl.col("perturbed_input").str.to_uppercase() + spec.output_prefix
    ...     return variants.with_columns(
    ...         question=question, answer=pl.lit("n/a"), choices=pl.lit(None, dtype=pl.List(pl.String))
    ...     )
    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(1).adapt(method="shouted", shots=0)
    >>> plan.requests().collect().height
    1
    >>> ADAPTERS.remove("shouted")
    """
    if not isinstance(name, str):
        raise ArgumentError.no_name("hf.adapter", name)

    def register(function: Questions) -> Questions:
        _check_signature(name, function)
        frozen_defaults, frozen_decoding = frozen(defaults or {}), frozen(decoding or {})
        entry = Adapter(
            function, frozen_defaults, frozen_decoding, examples or function, scores, tuple(ignores), own_examples
        )
        ADAPTERS.add(name, entry)
        return function

    return register


def settings(
    spec: ScenarioSpec, adapter_fields: Pairs = (), decoding: Pairs = (), compat: str | None = None
) -> list[Setting]:
    """Return the grid of a scenario's defaults and the plan's fields; every list is an axis.

    The plan's fields apply to all subsets, even if the scenario's spec overrides them for a subset.

    Args:
        spec: The scenario.
        adapter_fields: Fields of the adapter, from the plan.
        decoding: Decoding parameters, from the plan.
        compat: "helm" applies HELM's rules. As in HELM, few-shot examples and trials that a method doesn't use are
            fields of the adapter, for `used_fields` to reset.

    Raises:
        UnknownNameError: No adapter method has that name.
        ArgumentError: A field is unknown or has the wrong type, a grid is empty or repeats a value, or `answer_pattern`
            isn't a regular expression with a group.
    """
    changes = (*_HELM_FIELDS, *adapter_fields) if compat else adapter_fields
    cells = _cells(spec, changes, decoding, compat)
    subsets = [(subset, _cells(of_subset(spec, subset), changes, decoding, compat)) for subset, _ in spec.per_subset]
    return [
        replace(cell, per_subset=tuple((subset, subset_cells[index]) for subset, subset_cells in subsets))
        for index, cell in enumerate(cells)
    ]


def used_fields(spec: AdapterSpec) -> AdapterSpec:
    """Return the adapter without the few-shot examples and trials that its method doesn't use."""
    ignored = {name: value for name, value in _UNUSED.items() if name in ADAPTERS[spec.method].ignores}
    return replace(spec, **ignored)


def _cells(spec: ScenarioSpec, adapter_fields: Pairs, decoding: Pairs, compat: str | None) -> list[Setting]:
    axes = [
        (True, key, value) for key, value in adapter_fields if isinstance(value, tuple) and not _is_value(key, value)
    ]
    axes += [(False, key, value) for key, value in decoding if isinstance(value, tuple) and not _is_value(key, value)]
    for _, key, values in axes:
        if not values or len(set(values)) < len(values):
            raise ArgumentError(f"{key}={thawed(values)!r}: a grid must be a list of one or more different values.")
    check_cells(" × ".join(key for _, key, _ in axes), (len(value) for _, _, value in axes))
    cells = []
    for named in product(*(list(zip(value, _labels(key, value), strict=True)) for _, key, value in axes)):
        chosen = [(axis, value) for axis, (value, _) in zip(axes, named, strict=True)]
        of_adapter = merged(adapter_fields, tuple((key, value) for (adapts, key, _), value in chosen if adapts))
        of_decoding = merged(decoding, tuple((key, value) for (adapts, key, _), value in chosen if not adapts))
        name = ",".join(f"{key}={label}" for (_, key, _), (_, label) in zip(axes, named, strict=True))
        method = str(dict(merged(spec.adapter, of_adapter)).get("method", AdapterSpec().method))
        entry = ADAPTERS[method]
        unused = tuple((key, _UNUSED.get(key, "")) for key in entry.ignores)
        counts = tuple((key, value) for key, value in of_adapter if key in _UNUSED) if compat else ()
        filled = with_named_instructions(entry.defaults, spec.adapter, of_adapter, unused, counts)
        check(filled)
        if spec.turns:
            _check_turns(spec, filled, entry)
        for key, value in of_adapter:
            if key in entry.ignores and value != _UNUSED.get(key, "") and not (compat and key in _UNUSED):
                raise ArgumentError(f"adapt({key}={thawed(value)!r}): method {method!r} doesn't use {key}. Remove it.")
        # the scenario's decoding parameters suit its own method
        same_method = dict(spec.adapter).get("method", AdapterSpec().method) == method
        layers = (entry.decoding, spec.decoding) if same_method else (spec.decoding, entry.decoding)
        fields_of_cell = tuple((key, value) for (_, key, _), value in chosen)
        cells.append(Setting(name, filled, merged(*layers, of_decoding), axes=fields_of_cell))
    return cells


def _check_turns(spec: ScenarioSpec, filled: AdapterSpec, entry: Adapter) -> None:
    problem = f"Scenario {spec.scenario!r} has conversations of several turns"
    if entry.scores:
        raise ArgumentError(f"{problem}, and adapt(method={filled.method!r}) generates no completions. Write 'chat'.")
    if filled.shots:
        raise ArgumentError(f"{problem}, which take no few-shot examples: adapt(shots={filled.shots}). Write shots=0.")


def adapt(
    variants: pl.LazyFrame, train: pl.DataFrame, setting: Setting, subset_columns: Sequence[str] = ()
) -> tuple[pl.LazyFrame, pl.DataFrame]:
    """Return each variant as a request: the question, and a reference to the blocks before it.

    Args:
        variants: `VARIANTS`.
        train: `INSTANCES` of the train pool, for every subset; may be empty.
        setting: The adapter and the decoding parameters.
        subset_columns: The columns that `instructions` may contain in braces (`{subject}`).

    Returns:
        `REQUESTS`, one row per (variant, trial), and `HEADS`, one row per (subset, trial).

    Source: HELM `InContextLearningAdapter`; prompts are the same (tests/parity).
    """
    if setting.per_subset:
        return _group_by_value(
            variants,
            "subset",
            lambda rows, subset: adapt(rows, train.filter(subset=subset), setting.for_subset(subset), subset_columns),
        )
    changes = variants.select(pl.col("adapter_change").unique(maintain_order=True)).collect().to_series().to_list()
    if len(changes) < 2:
        return _adapted(variants, train, setting, with_change(setting.adapter, *(changes or [None])), subset_columns)
    requests, heads = _group_by_value(
        variants,
        "adapter_change",
        lambda rows, change: _adapted(rows, train, setting, with_change(setting.adapter, change), subset_columns),
    )
    return requests, heads.unique(["head_id", "subset", "setting", "trial"], maintain_order=True)


def adapter_id(spec: AdapterSpec) -> str:
    """Return a hash of all fields that the adapter uses: 16 hexadecimal digits."""
    used = used_fields(spec)
    values = {field.name: getattr(used, field.name) for field in fields(used)}
    values = {
        name: value for name, value in values.items() if name in _ORIGINAL_FIELDS or value != getattr(_PLAIN, name)
    }
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _adapted(
    variants: pl.LazyFrame, train: pl.DataFrame, setting: Setting, spec: AdapterSpec, subset_columns: Sequence[str]
) -> tuple[pl.LazyFrame, pl.DataFrame]:
    """Return `adapt` of variants with one adapter: the setting's, or one that a perturbation changes."""
    columns = source_names(variants.collect_schema())
    named = layout.columns_named(spec, columns, subset_columns)
    if not named:
        return _with_one_adapter(variants, train, setting, spec, subset_columns)

    def filled_in(rows: pl.LazyFrame, subset: str) -> tuple[pl.LazyFrame, pl.DataFrame]:
        filled = layout.filled(spec, rows.collect(), named, subset_columns)
        return _with_one_adapter(rows, train.filter(subset=subset), setting, filled, subset_columns)

    return _group_by_value(variants, "subset", filled_in)


def _group_by_value(
    variants: pl.LazyFrame, column: str, build: Callable[[pl.LazyFrame, Any], tuple[pl.LazyFrame, pl.DataFrame]]
) -> tuple[pl.LazyFrame, pl.DataFrame]:
    """Return `build` of the variants of each value of a column: the requests in the variants' order, and the heads."""
    table = variants.collect()
    row = "_row" + "_" * sum(name.startswith("_row") for name in table.columns)  # calls are nested
    parts, heads = [], []
    for (value,), rows in table.with_row_index(row).partition_by(column, maintain_order=True, as_dict=True).items():
        requests, head = build(rows.lazy(), value)
        parts.append(requests)
        heads.append(head)
    return pl.concat(parts).sort(row, maintain_order=True).drop(row), pl.concat(heads)


def _with_one_adapter(
    variants: pl.LazyFrame, train: pl.DataFrame, setting: Setting, spec: AdapterSpec, subset_columns: Sequence[str]
) -> tuple[pl.LazyFrame, pl.DataFrame]:
    """Return `adapt` of variants whose adapter has the same texts; only instructions may contain subset columns."""
    spec = used_fields(expand_format_instructions(layout.cued(spec)))
    entry = ADAPTERS[spec.method]
    columns = map(source_column, subset_columns)
    subsets = variants.select("subset", *columns).unique("subset", maintain_order=True).collect()
    shots = examples.draw(entry.examples(_unperturbed(train.lazy()), spec).collect(), spec, subsets["subset"])
    heads = layout.heads(subsets, shots, setting.name, spec, subset_columns).with_columns(without=pl.lit(value=False))
    questions = entry.function(variants, spec)
    present = _checked(spec.method, questions)
    without = pl.lit(value=False)
    calibrated = pl.col("request_mode").eq_missing("calibration")
    if "request_mode" in present and questions.select(calibrated.any()).collect().item():
        # requests without the question have no examples
        bare = layout.heads(subsets, shots.clear(), setting.name, spec, subset_columns)
        heads = pl.concat([heads, bare.with_columns(without=pl.lit(value=True))])
        without = calibrated
    kind = "question"
    if TURN in present:
        # an adapter that sets `chat_template` sends messages, which are a dialogue without a template
        is_chat = "chat_template" in present
        kind = "message" if is_chat else kind
        is_text = not is_chat and not spec.chat_template
        questions = questions.with_columns(earlier=layout.completion_block(spec, kind=kind, is_text=is_text))
        present = questions.collect_schema()
    has_media = "content" in present and variants.select(pl.col("content").count()).collect().item() > 0
    scored = "continuation" in present
    media = "content" if has_media else None
    question = layout.question_block(pl.col("question"), spec, content=media, kind=kind, scored=scored)
    requests = (
        questions.with_columns(
            *(pl.lit(None, dtype=dtype).alias(name) for name, dtype in _OPTIONAL.items() if name not in present),
            blocks=pl.concat_list(pl.col("earlier").fill_null([]), question) if "earlier" in present else question,
            setting=pl.lit(setting.name),
            answer_pattern=pl.lit(spec.answer_pattern, dtype=pl.String),
            answer_parser=pl.lit(None if spec.answer_parser == STRICT else spec.answer_parser, dtype=pl.String),
            substitutions=pl.lit(json.dumps(spec.substitutions) if spec.substitutions else None, dtype=pl.String),
            scored_outputs=pl.lit(None if spec.scored_outputs == ALL else spec.scored_outputs, dtype=pl.String),
            truncation=pl.lit(spec.truncation or None, dtype=pl.String),
            chat_template=pl.col("chat_template") if "chat_template" in present else pl.lit(spec.chat_template),
            decoding=_decoding(questions, setting, scored=scored),
            adapter_id=pl.lit(adapter_id(setting.adapter)),
            without=without,
        )
        .drop("question", "answer", "answer_tokens", "earlier", strict=False)
        .join(
            heads.lazy().select("subset", "without", "trial", "head_id", "shot_ids"),
            on=["subset", "without"],
            how="left",
            maintain_order="left_right",
        )
        .drop("without")
    )
    heads = heads.drop("without").unique(["head_id", "subset", "setting", "trial"], maintain_order=True)
    return _repeated(requests, spec), heads


def _check_signature(name: str, function: Questions) -> None:
    try:
        inspect.signature(function).bind("variants", "adapter")
    except TypeError as error:
        raise ArgumentError(f"@hf.adapter({name!r}): the function must take (variants, adapter): {error}.") from None


def _checked(method: str, questions: object) -> pl.Schema:
    """Return the columns that an adapter added, after checks."""
    if not isinstance(questions, pl.LazyFrame):
        raise ArgumentError(
            f"Adapter {method!r} returned a value of type {type_name(type(questions))}. It must return the lazy frame "
            "that it gets, with columns added."
        )
    columns = questions.collect_schema()
    for name in ("question", "choices"):
        if name not in columns:
            raise ArgumentError(
                f"Adapter {method!r} must add a column {name!r}. help(hf.adapter) lists all columns that it must add."
            )
    return columns


def _repeated(requests: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """Return each request `repeats` times: as further trials, whose `repeat` makes them different requests."""
    if spec.repeats == 1:
        return requests
    time = pl.col("_time")
    rows = requests.with_columns(_time=pl.int_ranges(pl.lit(0), pl.lit(spec.repeats)))
    return (
        rows.explode("_time")
        .with_columns(trial=pl.col("trial") + time * spec.trials, repeat=pl.col("repeat") * spec.repeats + time)
        .drop("_time")
    )


def _decoding(questions: pl.LazyFrame, setting: Setting, *, scored: bool) -> pl.Expr:
    """Return the decoding parameters, with more tokens for completions that need them.

    These completions end at the end of the line. Likelihood requests have no parameters, so that the same text is
    scored once.
    """
    if scored or "answer_tokens" not in questions.collect_schema():
        return pl.lit("{}" if scored else setting.decoding_json)
    parameters = dict(setting.decoding)
    needed = questions.select(pl.col("answer_tokens").unique()).collect().to_series().to_list()
    roomier = {}
    for tokens in needed:
        allowed = parameters.get("max_tokens")
        if not isinstance(allowed, int) or allowed >= tokens:
            roomier[tokens] = setting.decoding_json
            continue
        stop = parameters.get("stop") or ()
        stops = stop if isinstance(stop, tuple) else (stop,)
        changed = {"max_tokens": tokens, "stop": stops if "\n" in stops else (*stops, "\n")}
        roomier[tokens] = Setting(setting.name, setting.adapter, frozen({**parameters, **changed})).decoding_json
    return pl.col("answer_tokens").replace_strict(roomier, return_dtype=pl.String)


def _unperturbed(train: pl.LazyFrame) -> pl.LazyFrame:
    return train.with_columns(
        perturbed_input=pl.col("input"), perturbed_references=pl.col("references").cast(pl.List(REFERENCE))
    )


def _labels(key: str, values: tuple[Any, ...]) -> list[str]:
    """Return the labels of a grid's values, as the names of settings contain them: short and distinct."""
    if isinstance(values, NamedValues):
        return list(values.names)
    texts = [_shown(key, value) for value in values]
    labels = display_labels(texts, LONGEST_LABEL)
    return [labels[text] for text in texts]


def _shown(key: str, value: Any) -> str:
    """Return a value of a grid as text."""
    if key != "json_schema" or value is None:
        return str(thawed(value))
    from helmframe._core.json_schema import schema_name

    return str(schema_name(value))


def _is_value(key: str, value: tuple[Any, ...]) -> bool:
    return not isinstance(value, NamedValues) and key in _LIST_VALUED and _depth(value) <= _LIST_VALUED[key]


def _depth(value: object) -> int:
    """Return the depth of nested lists."""
    return 1 + max(map(_depth, value), default=0) if isinstance(value, tuple) else 0


_PLAIN = AdapterSpec()
# HELM's rules for the adapter; fields that the plan specifies come after them.
_HELM_FIELDS: Pairs = (("scored_outputs", "helm"),)
# The values of fields that a method doesn't use; texts are "".
_UNUSED: Mapping[str, Any] = {"shots": 0, "trials": 1}
_OPTIONAL = {"reference_index": pl.Int64, "request_mode": pl.String, "continuation": pl.String}
