"""What is said, as frozen values: scenario specs, adapters, calls, conditions; YAML in and out.

Strict: an unknown key, a wrong type or a missing word is a `SpecError` that names file and key. No code in specs.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
import yaml

from helmframe.errors import ArgumentError, SpecError

Scalar: TypeAlias = str | int | float | bool | None
Value: TypeAlias = "Scalar | tuple[Value, ...]"
Pairs: TypeAlias = tuple[tuple[str, Value], ...]

SPLITS = ("train", "valid", "test")
# The same safe reader in C, where PyYAML was built with it: some ten times as fast.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# What a part may say otherwise.
OF_PART = ("adapter", "decoding")
# What `status` may say: the hub asks who you are; a licence is to be bought or signed; nobody serves the rows any more;
# they are somewhere else, and in no form to be read from there. All of these are read from the user's own root.
STATUSES = ("gated", "licensed", "dead", "elsewhere")


@dataclass(frozen=True)
class Call:
    """A registered function by name with its arguments: `typos(prob=0.1)`."""

    name: str
    arguments: Pairs = ()

    @classmethod
    def parse(cls, text: str) -> "Call":
        """From `name` or `name(key=literal, …)`; literals only, nothing is evaluated.

        >>> Call.parse("typos(prob=.1)")
        Call(name='typos', arguments=(('prob', 0.1),))
        """
        if re.fullmatch(r"[\w@.\-]+", text.strip()):
            return cls(text.strip())
        try:
            node = ast.parse(text.strip(), mode="eval").body
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
                raise ValueError(text)
            arguments = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
        except (SyntaxError, ValueError):
            raise ArgumentError(f"{text!r} is not a name or a call; write name or name(key=value).") from None
        return cls(node.func.id, frozen(arguments))

    def __str__(self) -> str:
        if not self.arguments:
            return self.name
        return f"{self.name}({', '.join(f'{key}={thawed(value)!r}' for key, value in self.arguments)})"


@dataclass(frozen=True)
class AdapterSpec:
    """How an instance becomes a request; HELM's fields under the field's words.

    Texts may name the scenario's part columns (`{subject}`, underscores as spaces) and columns that say one thing in
    each part; `instance_prefix` stands between instructions, shots and question; the question ends at `output_prefix`,
    trailing space stripped.
    Instructions get `instructions_suffix` unless they end with it. `cue_space` says otherwise ("none", "space",
    "spaces", "newline" after it, or a "blank_line" before), in the shots too. `substitutions` are (regular expression,
    replacement) pairs over the whole prompt, in order; what stands around the reasoning in a shot is
    `chain_of_thought_prefix` and `_suffix`. `format_instructions` adds HELM's words on the form of answers ("follow",
    "mcqa", …).

    Options: `reference_prefix` counts up from its first letter or digit; `reference_prefix_characters` says other ones.

    Shots: `sample_train` draws them, else they are taken in order; `balance="letters"` draws equally many of each
    answer's letter, where HELM's rule ("") balances the answers' texts; `multi_label` says all correct answers of a
    shot, not the first; `shot_order` puts the shots drawn into another order ("reverse", "random", "random:2", …);
    `shots_as="turns"` makes each a turn of a conversation (with `chat_template`).

    Answers: `answer_parser` says how a choice is read: "strict" as HELM does, "lenient" in a chat model's words too;
    `answer_pattern` is a regular expression whose first group is the answer. `repeats` asks every prompt so often.
    `truncation="right"` lets a prompt too long without any shot be cut at its end, as HELM does; else it is refused.
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


@dataclass(frozen=True)
class MainScore:
    """The score a scenario is known by: which metric, on which split, over parts (`macro`) or by size (`micro`)."""

    metric: str
    split: str = "test"
    mean: str = "macro"


@dataclass(frozen=True)
class Frame:
    """A frame as a scenario's rows; compared by content."""

    rows: pl.DataFrame
    digest: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Frame({self.rows.height} rows × {self.rows.width} columns, {self.digest[:8]})"


@dataclass(frozen=True)
class ScenarioSpec:
    """One scenario: where its rows are, the SELECT that makes them instances, how it is asked and scored by default.

    `columns` are the source's, with DuckDB's types (an ENUM says the values that a text has); `example` gives values of
    a column to try the spec with, where any text would not do.
    `parts` is what single parts say otherwise of adapter and decoding: `{scotus: {adapter: {shots: 1}}}`.
    `hub` says where the `rows` are there; `whole` what a mirror takes instead, and `select` SQL by which it makes the
    spec's columns of what it takes; a scenario without `rows` is not read from there but through a mirror.
    `draw` names what HELM draws of the rows, made once by `mirror`; where it was not made, the SELECT does without.
    `default` names the parts that are meant where a sentence says none (`{subject: all}`); `outputs` is how many
    completions each request asks for; `union` says that its files have different columns (a row has null where its
    file lacks one); `status` says why the rows are not free to read from the hub, if they are not.
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
    part: tuple[str, ...] = ()
    adapter: Pairs = ()
    decoding: Pairs = ()
    description: str = ""
    paper: str = ""
    license: str = ""
    helm: Pairs = ()
    default: Pairs = ()
    parts: Pairs = ()
    draw: str = ""
    example: Pairs = ()
    outputs: int = 1
    union: bool = False
    status: str = ""
    origin: str = ""
    frame: Frame | None = None

    @property
    def generated(self) -> str:
        """The name of the function that makes the rows, where no file holds them."""
        return str(dict(self.source).get("generated") or "")

    @property
    def split_names(self) -> dict[str, str]:
        """The source's split name → ours (train, valid, test)."""
        return {key: str(value) for key, value in self.splits}


def load_scenario(path: Path) -> ScenarioSpec:
    """The spec in a YAML file.

    Raises:
        SpecError: not YAML, an unknown or missing key, a wrong type; names file and key.
    """
    file = path.name
    said = _mapping(path)
    for key in ("scenario", "version", "source", "instances", "metrics", "main"):
        if key not in said:
            raise SpecError.at(file, key, "is missing.")
    values: dict[str, Any] = {}
    for key, value in said.items():
        if key == "main":
            values[key] = _main(file, value)
        elif key in ("metrics", "part"):
            values[key] = _names(file, key, value)
        elif key == "splits":
            # in the order given: it is the order of the splits within a part, and so of row_index
            values[key] = _splits(file, value)
        elif key in ("source", "hub", "columns", "adapter", "decoding", "helm", "default", "example", "parts"):
            values[key] = _pairs(file, key, value)
        elif key == "union":
            if not isinstance(value, bool):
                raise SpecError.at(file, key, f"should be true or false, not {value!r}.")
            values[key] = value
        elif key == "outputs":
            values[key] = _outputs(file, value)
        else:
            values[key] = str(value)
    spec = ScenarioSpec(**values, origin=str(path))
    _check(file, spec)
    return spec


def of_part(spec: ScenarioSpec, part: str) -> ScenarioSpec:
    """The spec with what it says of this part over what it says of all."""
    said: dict[str, Any] = dict(dict(spec.parts).get(part) or ())  # type: ignore[arg-type]
    if not said:
        return spec
    adapter, decoding = (said.get(key, ()) for key in OF_PART)
    return replace(spec, adapter=merged(spec.adapter, adapter), decoding=merged(spec.decoding, decoding))


def adapter_spec(*layers: Pairs, where: str = "adapt()") -> AdapterSpec:
    """The adapter that the layers say together, later ones over earlier ones.

    Raises:
        ArgumentError: a name that is no field of an adapter, or a value of the wrong type.
    """
    known = {each.name: each for each in fields(AdapterSpec)}
    spec = AdapterSpec()
    for key, value in (pair for layer in layers for pair in layer):
        if key not in known:
            raise ArgumentError.unknown_argument(where, key, known)
        wanted = type(getattr(AdapterSpec(), key))
        if key == "answer_pattern":
            wanted = str
        if wanted is tuple:
            _check_list(where, key, value)
        if not (isinstance(value, wanted) and isinstance(value, bool) == (wanted is bool)) and not (
            key == "answer_pattern" and value is None
        ):
            raise ArgumentError(f"{where}: {key}={thawed(value)!r} should be {wanted.__name__}.")
        if wanted is int and isinstance(value, int) and value < (1 if key in ("trials", "repeats") else 0):
            raise ArgumentError(f"{where}: {key}={value} is too small.")
        spec = replace(spec, **{key: value})
    return spec


def frozen(mapping: Mapping[str, Any]) -> Pairs:
    """The mapping as sorted pairs, lists as tuples: hashable and comparable."""
    return tuple(sorted((str(key), frozen_value(value)) for key, value in mapping.items()))


def frozen_value(value: Any) -> Value:
    """The value with lists as tuples and mappings as pairs.

    Raises:
        ArgumentError: neither text, number, bool, None nor a list of these.
    """
    if isinstance(value, Mapping):
        return frozen(value)
    if isinstance(value, list | tuple):
        return tuple(frozen_value(each) for each in value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ArgumentError(
        f"{value!r} ({type(value).__name__}) should be text, a number, true, false, or a list of these."
    )


def thawed(value: Value) -> Any:
    """Tuples as lists again, for YAML and JSON."""
    return [thawed(each) for each in value] if isinstance(value, tuple) else value


def merged(*layers: Pairs) -> Pairs:
    """The pairs of all layers, later ones over earlier ones, by key."""
    return tuple(sorted({key: value for layer in layers for key, value in layer}.items()))


def _mapping(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """What the file says, over what the file says that it is `like`: by key, in adapter and decoding by their keys."""
    file = path.name
    try:
        said = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe one
    except yaml.YAMLError as error:
        raise SpecError.at(file, "", f"not YAML: {error}") from None
    if not isinstance(said, dict):
        raise SpecError.at(file, "", "a scenario spec is a mapping that starts with 'scenario: NAME'.")
    known = ["like", *(each.name for each in fields(ScenarioSpec) if each.name not in ("origin", "frame"))]
    for key in said:
        if key not in known:
            raise SpecError.unknown_key(file, str(key), known)
    like = said.pop("like", None)
    if like is None:
        return said
    base = path.parent / f"{like}.yaml"
    if not re.fullmatch(r"\w+", str(like)) or base in (path, *seen) or not base.is_file():
        raise SpecError.at(file, "like", f"{like!r} should be the name of another spec in the same folder.")
    over = _mapping(base, (path, *seen))
    for key in ("adapter", "decoding"):
        if isinstance(said.get(key), dict) and isinstance(over.get(key), dict):
            said[key] = over[key] | said[key]
    return over | said


def _pairs(file: str, key: str, value: object) -> Pairs:
    if not isinstance(value, dict):
        raise SpecError.at(file, key, f"should be a mapping, not {value!r}.")
    return frozen(value)


def _splits(file: str, value: object) -> Pairs:
    pairs = dict(_pairs(file, "splits", value))
    return tuple((str(name), pairs[str(name)]) for name in value) if isinstance(value, dict) else ()


def _names(file: str, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise SpecError.at(file, key, f"should be a list of names, not {value!r}.")
    return tuple(value)


def _outputs(file: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SpecError.at(file, "outputs", f"should be a whole number from 1 on, not {value!r}.")
    return value


def _main(file: str, value: object) -> MainScore:
    if not isinstance(value, dict) or "metric" not in value:
        raise SpecError.at(file, "main", "should be {metric: …, split: …, mean: macro or micro}.")
    known = [each.name for each in fields(MainScore)]
    for key in value:
        if key not in known:
            raise SpecError.unknown_key(file, f"main.{key}", known)
    main = MainScore(**{key: str(each) for key, each in value.items()})
    if main.split not in SPLITS:
        raise SpecError.at(file, "main.split", f"{main.split!r} is none of {', '.join(SPLITS)}.")
    if main.mean not in ("macro", "micro"):
        raise SpecError.at(file, "main.mean", f"{main.mean!r} is neither macro nor micro.")
    return main


def _check(file: str, spec: ScenarioSpec) -> None:
    if not re.fullmatch(r"[a-z0-9_]+", spec.scenario):
        raise SpecError.at(file, "scenario", f"{spec.scenario!r} should be lower-case letters, digits and _.")
    if spec.status and spec.status not in STATUSES:
        raise SpecError.at(file, "status", f"{spec.status!r} is none of {', '.join(STATUSES)}.")
    for theirs, ours in spec.splits:
        if ours not in SPLITS:
            raise SpecError.at(file, f"splits.{theirs}", f"{ours!r} is none of {', '.join(SPLITS)}.")
    for table, address in (*spec.source, *spec.hub):
        if not isinstance(address, str):
            raise SpecError.at(
                file, f"source.{table}", "should be one address, such as '{data}/name/{split}-*.parquet'."
            )
    try:
        adapter_spec(spec.adapter, where="adapter")
    except ArgumentError as error:
        raise SpecError.at(file, "adapter", str(error)) from None
    for part, said in spec.parts:
        _check_part(file, spec, part, said)


def _check_part(file: str, spec: ScenarioSpec, part: str, said: Value) -> None:
    key = f"parts.{part}"
    if not spec.part:
        raise SpecError.at(file, key, "the scenario has no parts; say part: [COLUMN].")
    pairs = said if isinstance(said, tuple) else ()
    if not pairs or not all(isinstance(each, tuple) and isinstance(each[1], tuple) for each in pairs):
        raise SpecError.at(file, key, "should be {adapter: {…}, decoding: {…}}, or one of these.")
    for name in (str(each[0]) for each in pairs if isinstance(each, tuple)):
        if name not in OF_PART:
            raise SpecError.unknown_key(file, f"{key}.{name}", OF_PART)
    try:
        adapter_spec(of_part(spec, part).adapter, where="adapter")
    except ArgumentError as error:
        raise SpecError.at(file, f"{key}.adapter", str(error)) from None


def _check_list(where: str, key: str, value: Value) -> None:
    """That a field which is a list holds texts, or pairs of them."""
    pairs = key == "substitutions"
    items = value if isinstance(value, tuple) else (None,)
    flat = [text for each in items for text in (each if isinstance(each, tuple) and len(each) == 2 else (None,))]
    if not all(isinstance(each, str) for each in (flat if pairs else items)):
        form = "[['regular expression', 'replacement'], …]" if pairs else "a list of texts"
        raise ArgumentError(f"{where}: {key}={thawed(value)!r} should be {form}.")


def placeholders(address: str) -> list[str]:
    """The columns an address is filled from: `{data}/mmlu/{subject}/{split}-*.parquet` → subject, split."""
    return [name for name in re.findall(r"\{(\w+)\}", address) if name not in ("data", "package")]


def call_names(calls: Iterable[Call]) -> str:
    """A chain as one name: `lowercase+typos(prob=0.1)`."""
    return "+".join(str(call) for call in calls)


@dataclass(frozen=True)
class Equals:
    """`where(subject="philosophy")`, `where(subject=["a", "b"])`: the column is one of the values."""

    column: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Between:
    """`where(year=hf.between(1990, 1999))`: both ends included."""

    column: str
    low: Scalar
    high: Scalar


@dataclass(frozen=True)
class Sql:
    """`where("length(input) < 500")`: DuckDB SQL over the columns of `instances`, pushed into the scan."""

    text: str


@dataclass(frozen=True)
class Expression:
    """`where(pl.col("input").str.len_chars() < 500)`: applied after the scan; compared by its serialized form."""

    text: str
    expr: pl.Expr

    @classmethod
    def of(cls, expr: pl.Expr) -> "Expression":
        """The condition that an expression says."""
        return cls(str(expr.meta.serialize(format="json")), expr)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


Condition: TypeAlias = Equals | Between | Sql | Expression


@dataclass(frozen=True)
class Sample:
    """`sample(n, seed)`: a keyed draw; `limit(n)` is order "first"; order "helm" is HELM's own draw. Each per part."""

    n: int
    seed: int = 0
    order: str = "keyed"
