"""Specs as frozen values: scenarios, adapters, calls, conditions."""

import ast
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum
from functools import cached_property
from operator import itemgetter
from typing import Any, Final, Self, TypeAlias, TypedDict

import polars as pl

from helmframe._core.safe_text import safe_repr
from helmframe.config import find_credential, redacted
from helmframe.errors import ArgumentError

Scalar: TypeAlias = str | int | float | bool | None
Value: TypeAlias = "Scalar | tuple[Value, ...]"
Pairs: TypeAlias = tuple[tuple[str, Value], ...]


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return self.value


# The default of a parameter for which None is a value too.
UNSET: Final = Unset.UNSET
# A decoding parameter: a value, or a list of values, which is a grid.
Integers: TypeAlias = int | Sequence[int | None] | Mapping[str, int | None] | Unset | None
Numbers: TypeAlias = float | Sequence[float | None] | Mapping[str, float | None] | Unset | None
Reasoning: TypeAlias = str | int | Sequence[str | int | None] | Mapping[str, str | int | None] | Unset | None
Stops: TypeAlias = str | Sequence[str] | Sequence[Sequence[str]] | Mapping[str, str | Sequence[str]] | Unset | None

# The limits of calls, run entries and arguments that are written as text, which may come from another person's file.
LONGEST_CALL = 20_000  # characters
_MOST_LEVELS = 50  # of lists and mappings in a value
MOST_CELLS = 10_000  # of a grid
MOST_REPEATS = 100_000  # of a request: few-shot examples, trials, repeats, seeds, outputs

SPLITS = ("train", "valid", "test")
# The fields of a spec that a subset can override.
OF_SUBSET = ("adapter", "decoding")


@dataclass(frozen=True)
class Call:
    """A registered function by name with its arguments: `typos(prob=0.1)`."""

    name: str
    arguments: Pairs = ()

    def __post_init__(self) -> None:
        path = next((path for key, value in self.arguments if (path := find_credential(key, value))), None)
        if path is not None:
            raise credential_error(f"{self.name}()", path)

    @classmethod
    def parse(cls, text: str, positional: Callable[[str], Sequence[str]] | None = None) -> "Call":
        """Return the call in a text `name` or `name(key=literal, …)`; nothing is evaluated.

        Args:
            text: The text.
            positional: A function from the call's name to the names of its positional arguments; None refuses them.

        >>> Call.parse("typos(prob=.1)")
        Call(name='typos', arguments=(('prob', 0.1),))
        """
        check_length(text)
        if re.fullmatch(r"[\w@.\-]+", text.strip()):
            return cls(text.strip())
        try:
            node = parse_expression(text)
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                raise ValueError(text)  # noqa: TRY004 - the message below applies to any other text too
            names = () if positional is None else positional(node.func.id)
            if len(names) < len(node.args):
                raise ValueError(text)
            arguments = {
                **{name: literal_value(value) for name, value in zip(names, node.args, strict=False)},
                **{str(keyword.arg): literal_value(keyword.value) for keyword in node.keywords},
            }
        except ValueError:
            raise ArgumentError(f"{redacted(text)!r} is not a name or a call; write name or name(key=value).") from None
        return cls(node.func.id, frozen(arguments))

    def __str__(self) -> str:
        if not self.arguments:
            return self.name
        return f"{self.name}({', '.join(f'{key}={thawed(value)!r}' for key, value in self.arguments)})"


def check_length(text: str) -> None:
    """Check the length of a call or a run entry.

    Raises:
        ArgumentError: The text is too long.
    """
    if len(text) > LONGEST_CALL:
        raise ArgumentError(f"{text!r} has {len(text):,} characters; a name or a call has at most {LONGEST_CALL:,}.")


def check_text(text: str) -> None:
    """Check that a text can be written as UTF-8.

    Raises:
        ArgumentError: The text has half of a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(f"{safe_repr(text)}: character {error.start} is half of a surrogate pair.") from None


def parse_expression(text: str) -> ast.expr:
    """Return the syntax tree of a Python expression, which isn't evaluated.

    Raises:
        ValueError: The text isn't an expression, or is nested too deeply.
        ArgumentError: The text is too long.
    """
    check_length(text)
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def literal_value(node: ast.expr) -> Any:
    """Return the value of a literal: a text, a number, true, false, or a collection of these.

    Raises:
        ValueError: The node isn't a literal.
    """
    try:
        return ast.literal_eval(node)
    except (TypeError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def check_cells(grid: object, sizes: Iterable[int]) -> None:
    """Check the number of cells of a grid before it is made.

    Raises:
        ArgumentError: The grid has too many.
    """
    cells = math.prod(sizes)
    if cells > MOST_CELLS:
        raise ArgumentError(f"{grid}: the grid has {cells:,} cells; at most {MOST_CELLS:,} are allowed.")


def credential_error(where: str, path: str) -> ArgumentError:
    """Return the error of an argument that is a credential. It has the path of the argument, and not its value."""
    return ArgumentError(
        f"{where}: {path} looks like a credential, which would be stored and shown. Put the key into an environment "
        "variable, and write key_env='NAME_OF_THE_VARIABLE'."
    )


@dataclass(frozen=True)
class AdapterSpec:
    """The form of a request: how an instance becomes a prompt. The fields are HELM's.

    A prompt consists of the instructions, the few-shot examples and the question, separated by `instance_prefix`. Texts
    can contain columns of the scenario in braces: its subset columns (`{subject}`, with spaces for underscores), and
    columns that have the same value throughout a subset.

    Attributes:
        method: The adapter: "generation", "multiple_choice_joint", "chat", ….
        shots: The number of few-shot examples.
        trials: The number of times that each instance is requested, each time with other few-shot examples.
        instructions: The text at the start of the prompt.
        system: The system message of a chat.
        global_prefix: The text before the whole prompt.
        global_suffix: The text after the whole prompt.
        input_prefix: The text before an input.
        input_suffix: The text after an input.
        reference_prefix: The text before the first option. Its first letter or digit is counted up: "A. ", "B. ", ….
        reference_suffix: The text after an option.
        output_prefix: The text before the answer, the cue. At the end of the prompt its trailing space is removed.
        output_suffix: The text after the answer of a few-shot example.
        instance_prefix: The text between the instructions, the few-shot examples and the question.
        sample_train: True samples the few-shot examples; False takes them in order.
        answer_pattern: A regular expression. Its first group is the answer in a completion.
        chat_template: Whether to render the prompt with the model's chat template.
        shot_order: The order of the few-shot examples: "" as sampled, "reverse", "random", "random:2", ….
        cue_space: The white space around the cue, also in the few-shot examples. After it: "none", "space", "spaces" or
            "newline". Before it: "blank_line". "" leaves `output_prefix` unchanged.
        instructions_suffix: The text after the instructions, unless they end with it.
        reference_prefix_characters: The labels of the options, in place of counting up `reference_prefix`.
        chain_of_thought_prefix: The text before the reasoning in a few-shot example.
        chain_of_thought_suffix: The text after the reasoning in a few-shot example.
        substitutions: Pairs of a regular expression and its replacement, applied in order to the whole prompt.
        multi_label: True shows all correct answers of a few-shot example; False shows the first.
        repeats: The number of requests for each prompt.
        balance: "letters" samples the same number of few-shot examples for each option letter. "" balances the texts of
            answers, as HELM does.
        shots_as: "turns" makes each few-shot example a turn of the conversation, with `chat_template`. "text" puts all
            examples into the prompt.
        answer_parser: "strict" parses an option letter as HELM does. "lenient" also finds it in the sentences of a chat
            model. If a model of a plan only chats, "lenient" is the default for option letters of all its models.
        format_instructions: True adds HELM's instructions about the form of the answer, as they fit the method. Or
            their name: "follow", "mcqa", ….
        truncation: "right" cuts the end of a prompt, or of an option that is scored separately, if it is too long even
            without few-shot examples, as HELM does. "" refuses such prompts.
        scored_outputs: "all" scores all outputs of a request, and tables show the mean. "helm" scores one output, as
            HELM does: for metrics that compare it with references, the one of highest log-probability.

    >>> spec = AdapterSpec(shots=0, input_prefix="Question: ", output_prefix="Answer: ")
    >>> spec.method, spec.shots, spec.trials
    ('generation', 0, 1)
    """

    method: str = "generation"
    shots: int = 5
    trials: int = 1
    instructions: str = ""
    system: str = ""
    global_prefix: str = ""
    global_suffix: str = ""
    input_prefix: str = "Input: "
    input_suffix: str = "\n"
    reference_prefix: str = "A. "
    reference_suffix: str = "\n"
    output_prefix: str = "Output: "
    output_suffix: str = "\n"
    instance_prefix: str = "\n"
    sample_train: bool = True
    answer_pattern: str | None = None
    chat_template: bool = False
    shot_order: str = ""
    cue_space: str = ""
    instructions_suffix: str = "\n"
    reference_prefix_characters: tuple[str, ...] = ()
    chain_of_thought_prefix: str = ""
    chain_of_thought_suffix: str = "\n"
    substitutions: tuple[tuple[str, str], ...] = ()
    multi_label: bool = False
    repeats: int = 1
    balance: str = ""
    shots_as: str = "text"
    answer_parser: str = "strict"
    format_instructions: str = ""
    truncation: str = ""
    scored_outputs: str = "all"


class AdapterFields(TypedDict, total=False):
    """The keyword arguments of `Plan.adapt`: the fields of `AdapterSpec`. A list, or a dict with names, is a grid."""

    method: str | Sequence[str] | Mapping[str, str]
    shots: int | Sequence[int] | Mapping[str, int]
    trials: int | Sequence[int] | Mapping[str, int]
    instructions: str | Sequence[str] | Mapping[str, str]
    system: str | Sequence[str] | Mapping[str, str]
    global_prefix: str | Sequence[str] | Mapping[str, str]
    global_suffix: str | Sequence[str] | Mapping[str, str]
    input_prefix: str | Sequence[str] | Mapping[str, str]
    input_suffix: str | Sequence[str] | Mapping[str, str]
    reference_prefix: str | Sequence[str] | Mapping[str, str]
    reference_suffix: str | Sequence[str] | Mapping[str, str]
    output_prefix: str | Sequence[str] | Mapping[str, str]
    output_suffix: str | Sequence[str] | Mapping[str, str]
    instance_prefix: str | Sequence[str] | Mapping[str, str]
    sample_train: bool | Sequence[bool] | Mapping[str, bool]
    answer_pattern: str | Sequence[str | None] | Mapping[str, str | None] | None
    chat_template: bool | Sequence[bool] | Mapping[str, bool]
    shot_order: str | Sequence[str] | Mapping[str, str]
    cue_space: str | Sequence[str] | Mapping[str, str]
    instructions_suffix: str | Sequence[str] | Mapping[str, str]
    reference_prefix_characters: Sequence[str] | Sequence[Sequence[str]]
    chain_of_thought_prefix: str | Sequence[str] | Mapping[str, str]
    chain_of_thought_suffix: str | Sequence[str] | Mapping[str, str]
    substitutions: Sequence[Sequence[str]] | Sequence[Sequence[Sequence[str]]]
    multi_label: bool | Sequence[bool] | Mapping[str, bool]
    repeats: int | Sequence[int] | Mapping[str, int]
    balance: str | Sequence[str] | Mapping[str, str]
    shots_as: str | Sequence[str] | Mapping[str, str]
    answer_parser: str | Sequence[str] | Mapping[str, str]
    format_instructions: bool | str | Sequence[bool | str] | Mapping[str, bool | str]
    truncation: str | Sequence[str] | Mapping[str, str]
    scored_outputs: str | Sequence[str] | Mapping[str, str]


@dataclass(frozen=True)
class MainScore:
    """The main score of a scenario: metric and split, as the mean of subsets (`macro`) or of instances (`micro`)."""

    metric: str
    split: str = "test"
    mean: str = "macro"


@dataclass(frozen=True)
class Frame:
    """A frame as a scenario's rows; compared by content."""

    rows: pl.DataFrame
    digest: str
    images: pl.DataFrame | None = None  # the image columns, in the order of the rows, which have references to them

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Frame({self.rows.height} rows × {self.rows.width} columns, {self.digest[:8]})"


class DeferredFrame(Frame):
    """The rows of another tool's task. They are made when they are first read; compared by the digest.

    Args:
        name: The name that `hf.scenario` resolves to this task, such as `lm_eval:arc_easy`.
        digest: A hash of all that determines the rows: the task's definition and the addresses of its data.
        make: The function that makes the rows.
    """

    def __init__(self, name: str, digest: str, make: Callable[[], pl.DataFrame]) -> None:
        for field, value in (("name", name), ("digest", digest), ("images", None), ("_make", make)):
            object.__setattr__(self, field, value)

    name: str
    _make: Callable[[], pl.DataFrame]

    @cached_property
    def rows(self) -> pl.DataFrame:
        """The rows."""
        return self._make()

    def __repr__(self) -> str:
        return f"DeferredFrame({self.name!r}, {self.digest[:8]})"


@dataclass(frozen=True)
class Download:
    """Files at their publisher, for `helmframe mirror NAME`; one entry of `download` in a spec.

    Attributes:
        url: `https://…` or `hf://datasets/OWNER/NAME/…`: a file or an archive. `{revision}` and the names in `values`
            are placeholders.
        revision: The commit or tag; "" if it is unknown. A lock file then pins the first download.
        values: Placeholder → its values. A text is a constant; a list has values; a mapping has the source's spelling
            → the value of the column. Each combination is a file, whose columns in the path these values are.
        files: In an archive, the pattern of the paths of the files, with `{column}` and `*`.
        format: "parquet", "csv", "tsv", "json", "jsonl", "objects", "text", "lines", "xml", "xlsx",
            "natural_questions" or "class_names"; "" by the name of the file. See `docs/your_data.md`.
        options: Options of the format: `header`, `delimiter`, `quote`, `encoding`, `element`, `sheet`.
        select: DuckDB SQL from the table `rows` to the spec's columns; "" if the source has them.
        tables: Name → a further file that `select` may join: a mapping with url, format, options and files.
        sha256: The checksum of the file, or path or URL → checksum; empty if it is unknown.
    """

    url: str
    revision: str = ""
    values: Pairs = ()
    files: str = ""
    format: str = ""
    options: Pairs = ()
    select: str = ""
    tables: "tuple[tuple[str, Download], ...]" = ()
    sha256: Pairs = ()


DOWNLOAD_FORMATS = (
    "parquet", "csv", "tsv", "json", "jsonl", "objects", "text", "lines", "xml", "xlsx", "natural_questions",
    "class_names",
)  # fmt: skip
DOWNLOAD_OPTIONS = ("header", "delimiter", "quote", "encoding", "element", "sheet")


@dataclass(frozen=True)
class ScenarioSpec:
    """A scenario: the source of its rows, the SELECT that makes them instances, its default adapter and metrics.

    `columns` are the source's, with DuckDB's types (an ENUM lists the values of a text). `example` has values of a
    column to try the spec with, if not every text fits. `per_subset` overrides adapter and decoding in single subsets:
    `{scotus: {adapter: {shots: 1}}}`. `hub` has the address of the `rows` on the hub; a mirror reads `whole` instead,
    and makes the spec's columns by the SQL in `select`. A scenario without `rows` is read through a mirror only. `draw`
    names the rule by which HELM chooses rows at random; `mirror` applies it, and without a mirror the SELECT works
    too. The SELECT may have a column `helm_references`: the references of plans with HELM's rules, if they differ.
    `default` has the subsets of plans without a condition on them (`{subject: all}`). `outputs` is the number of
    completions per request. `images` names the columns with images, which are sent with the question; the n-th replaces
    the placeholder `<image n>`, if the question has it. With `union`, files may have different columns, and missing
    ones are null. `status` is the reason why the Hub doesn't serve the rows to everyone. `turns` names the column of
    the SELECT with the user's messages of a conversation, a list of texts. Each turn is then an instance, and
    `references` has a list per turn. `download` has the files of the publisher, which `mirror` turns into Parquet.
    `terms` is the page with the terms to accept, or where to apply, if the rows aren't open to everyone.
    """

    scenario: str
    version: str
    instances: str
    main: MainScore
    metrics: tuple[str, ...]
    source: Pairs = ()
    hub: Pairs = ()
    columns: Pairs = ()
    splits: Pairs = ()
    subsets: tuple[str, ...] = ()
    adapter: Pairs = ()
    decoding: Pairs = ()
    description: str = ""
    paper: str = ""
    license: str = ""
    helm: Pairs = ()
    default: Pairs = ()
    per_subset: Pairs = ()
    draw: str = ""
    example: Pairs = ()
    outputs: int = 1
    union: bool = False
    images: tuple[str, ...] = ()
    status: str = ""
    turns: str = ""
    download: tuple[Download, ...] = ()
    terms: str = ""
    origin: str = ""
    frame: Frame | None = None

    @property
    def generated(self) -> str:
        """The name of the generator of the rows, if no file has them."""
        return str(dict(self.source).get("generated") or "")

    @property
    def narrowing_columns(self) -> frozenset[str]:
        """The columns whose values make a separate HELM run: those of the subset, and HELM's parameters."""
        parameters: Any = dict(self.helm).get("parameters", ())
        names = [name if isinstance(name, str) else name[1] for name in parameters]
        return frozenset(("subset", *self.subsets, *map(str, names)))

    @property
    def keeps_unchanged(self) -> bool:
        """True if HELM keeps the copies of its instances that a perturbation left unchanged."""
        return bool(dict(self.helm).get("passage_question"))

    @property
    def split_names(self) -> dict[str, str]:
        """The source's name of a split → ours (train, valid, test)."""
        return {key: str(value) for key, value in self.splits}


def of_subset(spec: ScenarioSpec, subset: str) -> ScenarioSpec:
    """Return the spec with its overrides for this subset."""
    overrides: dict[str, Any] = dict(dict(spec.per_subset).get(subset) or ())  # type: ignore[arg-type]
    if not overrides:
        return spec
    adapter, decoding = (overrides.get(key, ()) for key in OF_SUBSET)
    return replace(spec, adapter=merged(spec.adapter, adapter), decoding=merged(spec.decoding, decoding))


def adapter_spec(*layers: Pairs, where: str = "adapt()") -> AdapterSpec:
    """Return the adapter of these layers, where later layers take precedence.

    Raises:
        ArgumentError: A name isn't a field of an adapter, or a value has the wrong type.
    """
    adapter_fields = {spec_field.name: spec_field for spec_field in fields(AdapterSpec)}
    spec = AdapterSpec()
    for key, value in (pair for layer in layers for pair in layer):
        if key not in adapter_fields:
            raise ArgumentError.unknown_argument(where, key, adapter_fields)
        wanted = type(getattr(AdapterSpec(), key))
        if key == "answer_pattern":
            wanted = str
        if wanted is tuple:
            _check_list(where, key, value)
        if not (isinstance(value, wanted) and isinstance(value, bool) == (wanted is bool)) and not (
            key == "answer_pattern" and value is None
        ):
            raise ArgumentError(f"{where}: {key}={thawed(value)!r} must be {wanted.__name__}.")
        if wanted is int and isinstance(value, int) and value < (1 if key in ("trials", "repeats") else 0):
            raise ArgumentError(f"{where}: {key}={value} is below the minimum.")
        if wanted is int and isinstance(value, int) and value > MOST_REPEATS:
            raise ArgumentError(f"{where}: {key}={value} must be at most {MOST_REPEATS:,}.")
        spec = replace(spec, **{key: value})
    return spec


class NamedValues(tuple[Value, ...]):
    """The values of a grid, with a name for each: names of prompts instead of their texts.

    >>> NamedValues({"plain": "Answer.", "letter": "Answer with a letter."}).names
    ('plain', 'letter')
    """

    names: tuple[str, ...]

    def __new__(cls, values: Mapping[str, Any]) -> Self:
        """Return the values of a mapping from names."""
        named = super().__new__(cls, [frozen_value(value) for value in values.values()])
        named.names = tuple(map(str, values))
        return named

    def __getnewargs__(self) -> tuple[dict[str, Value]]:
        """Return the argument that `pickle` and `copy` pass to `__new__`."""
        return (dict(zip(self.names, self, strict=True)),)


def frozen(mapping: Mapping[str, Any], level: int = 0) -> Pairs:
    """Return a mapping as sorted pairs, with lists as tuples: hashable and comparable; `level` as for `frozen_value`.

    Raises:
        ArgumentError: As for `frozen_value`.
    """
    return tuple(sorted(((str(key), frozen_value(value, level)) for key, value in mapping.items()), key=itemgetter(0)))


def decoding_pairs(decoding: Mapping[str, Any], where: str) -> Pairs:
    """Return decoding parameters as pairs, with a JSON schema as text.

    Args:
        decoding: The parameters by name.
        where: The argument with the schema, for messages.

    Raises:
        ArgumentError: The schema is invalid.
    """
    if decoding.get("json_schema") is None:
        return frozen(decoding)
    from helmframe._core.json_schema import with_schema_text

    return frozen(with_schema_text(decoding, where))


def set_values(**values: Any) -> dict[str, Any]:
    """Return the values that are set.

    >>> set_values(temperature=None, seed=UNSET)
    {'temperature': None}
    """
    return {key: value for key, value in values.items() if value is not UNSET}


def frozen_value(value: Any, level: int = 0) -> Value:
    """Return a value with lists as tuples and mappings as pairs; `level` is the number of lists and mappings around it.

    Raises:
        ArgumentError: The value is neither text, number, bool, None nor a list of these, has half of a surrogate pair,
            or exceeds a limit.
    """
    if isinstance(value, NamedValues):
        return value
    if level > _MOST_LEVELS:
        raise ArgumentError(f"A value is nested more than {_MOST_LEVELS} levels deep.")
    if isinstance(value, Mapping):
        return frozen(value, level + 1)
    if isinstance(value, list | tuple):
        return tuple(frozen_value(element, level + 1) for element in value)
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ArgumentError(f"{_digits(value)} must be an integer of at most 64 bits.")
    if isinstance(value, str):
        check_text(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ArgumentError(
        f"{safe_repr(value)} ({type(value).__name__}) must be text, a number, true, false, or a list of these."
    )


def _digits(value: int) -> str:
    return f"An integer of {value.bit_length():,} bits" if value.bit_length() > 100 else str(value)


def thawed(value: Value) -> Any:
    """Return a value with tuples as lists, and named values as a dict, for YAML and JSON."""
    if isinstance(value, NamedValues):
        return {name: thawed(element) for name, element in zip(value.names, value, strict=True)}
    return [thawed(element) for element in value] if isinstance(value, tuple) else value


def merged(*layers: Pairs) -> Pairs:
    """Return the pairs of all layers by key, where later layers take precedence."""
    return tuple(sorted({key: value for layer in layers for key, value in layer}.items()))


def _check_list(where: str, key: str, value: Value) -> None:
    """Check that a list field has texts, or pairs of texts."""
    pairs = key == "substitutions"
    items = value if isinstance(value, tuple) else (None,)
    flat = [text for item in items for text in (item if isinstance(item, tuple) and len(item) == 2 else (None,))]
    if not all(isinstance(text, str) for text in (flat if pairs else items)):
        form = "[['regular expression', 'replacement'], …]" if pairs else "a list of texts"
        raise ArgumentError(f"{where}: {key}={thawed(value)!r} must be {form}.")


def placeholders(address: str) -> list[str]:
    """Return the columns in an address: `{data}/mmlu/{subject}/{split}-*.parquet` → subject, split."""
    return [name for name in re.findall(r"\{(\w+)\}", address) if name not in ("data", "package")]


def call_names(calls: Iterable[Call]) -> str:
    """Return a chain of calls as one name: `lowercase+typos(prob=0.1)`."""
    return "+".join(str(call) for call in calls)


@dataclass(frozen=True)
class Equals:
    """A condition that a column is one of the values: `where(subject="a")`, `where(subject=["a", "b"])`."""

    column: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Between:
    """A condition on a range, both ends included: `where(year=hf.between(1990, 1999))`."""

    column: str
    low: Scalar
    high: Scalar


@dataclass(frozen=True)
class Sql:
    """A condition in DuckDB SQL over the columns of `instances`, part of the scan: `where("length(input) < 500")`.

    `narrows` is for HELM's rules: evaluation rows that don't meet the condition don't belong to the scenario.
    """

    text: str
    narrows: bool = False


@dataclass(frozen=True)
class Expression:
    """A Polars expression as a condition, applied after the scan; compared by its serialized form."""

    text: str
    expr: pl.Expr

    @classmethod
    def of(cls, expr: pl.Expr) -> "Expression":
        """Return the condition of an expression."""
        return cls(str(expr.meta.serialize(format="json")), expr)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


Condition: TypeAlias = Equals | Between | Sql | Expression


@dataclass(frozen=True)
class Sample:
    """A sample of each subset: `sample(n, seed)` is keyed; `limit(n)` is order "first"; order "helm" is HELM's.

    Order "chosen" has `instances`, the ids of each scenario; n is then their number over all subsets.
    """

    n: int
    seed: int = 0
    order: str = "keyed"
    instances: tuple[tuple[str, tuple[str, ...]], ...] = ()
