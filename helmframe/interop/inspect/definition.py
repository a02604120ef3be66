"""Tasks in Inspect's terms as scenarios: solvers become an adapter, scorers become metrics, epochs become outputs.

Texts of task files and of samples are hostile: templates insert values by name, and never read attributes of objects or
files.

Source: inspect_ai 0.3.285, `solver/_prompt.py`, `solver/_multiple_choice.py`, `_util/format.py`.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

import polars as pl

from helmframe._core.specs import AdapterSpec, Call, DeferredFrame, MainScore, ScenarioSpec, decoding_pairs, frozen
from helmframe._core.yaml import reading
from helmframe._schema import BLOCK, SOURCE_PREFIX, source_column
from helmframe.adapters.adapt import adapter
from helmframe.adapters.generation import MESSAGE, generation
from helmframe.errors import ArgumentError, CapabilityError, SpecError
from helmframe.metrics.inspect_scorers import REDUCERS, option_letter
from helmframe.scenarios.frames import frame_scenario

_CHAIN_OF_THOUGHT = (
    "\n{prompt}\n\nBefore answering, reason in a step-by-step manner as to get the right answer. Provide your answer "
    'at the end on its own line in the form "ANSWER: $ANSWER" (without quotes) where $ANSWER is the answer to the '
    "question.\n"
)
_CHOICES = (
    "Answer the following multiple choice question{several}. The {where} of your response should be of the following "
    "format: 'ANSWER: ${letters}' (without quotes) where {letters} is one {more}of {{letters}}.{steps}"
    "\n\n{{question}}\n\n{{choices}}"
)
# The parameters of each solver and scorer. Other solvers call the model several times or need tools.
_SOLVERS: dict[str, tuple[str, ...]] = {
    "prompt_template": ("template",),
    "system_message": ("template",),
    "user_message": ("template",),
    "assistant_message": ("template",),
    "chain_of_thought": ("template",),
    "generate": (
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "seed",
        "frequency_penalty",
        "presence_penalty",
    ),
    "multiple_choice": ("template", "cot", "multiple_correct", "max_tokens"),
}
_CALLS = ("generate", "multiple_choice")  # these send the conversation to the model
_OPEN = ("prompt_template", "system_message", "user_message", "assistant_message")  # with parameters of any name
_SCORERS: dict[str, tuple[str, ...]] = {
    "match": ("location", "ignore_case", "numeric"),
    "includes": ("ignore_case",),
    "pattern": ("pattern", "ignore_case", "match_all"),
    "answer": ("pattern",),
    "choice": (),
    "exact": (),
    "f1": ("stop_words",),
    "math": (),
    "model_graded_qa": ("partial_credit",),
    "model_graded_fact": ("partial_credit",),
}
_JUDGES = {"model_graded_qa": "inspect_qa", "model_graded_fact": "inspect_fact"}
_MAX_TOKENS = 2048  # of a completion, unless the task specifies it
_MOST_CHARACTERS = 4_000_000  # of a rendered message
_RESERVED = {"split", "content", "sub_split"}
_CHOICE_SEED = 0  # Inspect shuffles options without a seed


@dataclass(frozen=True)
class Step:
    """A solver or scorer by name, with its arguments."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Definition:
    """A task: its solvers, scorers, epochs with their reducers ("mean", "pass_at_2"), and decoding parameters."""

    name: str
    solvers: tuple[Step, ...]
    scorers: tuple[Step, ...]
    epochs: int = 1
    reducers: tuple[str, ...] = ()
    decoding: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True)
class Sample:
    """A sample: a text or messages, its targets, options and metadata."""

    input: str | list[dict[str, str]]
    targets: list[str]
    choices: list[str] | None = None
    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def task_scenario(
    definition: Definition, digest: str, make: Callable[[], tuple[list[Sample], pl.DataFrame]], name: str
) -> ScenarioSpec:
    """Return the scenario of a task. Its samples are made when they are first needed.

    Args:
        definition: The task.
        digest: A hash of all that determines the samples.
        make: The function that makes the samples, and a frame with a row of columns for each.
        name: The name that `hf.scenario` resolves to this task.

    Raises:
        CapabilityError: A solver, scorer or reducer is unsupported.
        SpecError: An argument is invalid.
    """
    with reading(name, "a valid task of Inspect", SpecError):
        steps = json.dumps(_checked_solvers(definition), ensure_ascii=False, sort_keys=True)
        metrics = _metrics(definition)
    digest = hashlib.sha256(f"{digest}\0{steps}\0{metrics}".encode()).hexdigest()

    def rows() -> pl.DataFrame:
        with reading(name, "a valid task of Inspect", SpecError):
            samples, columns = make()
            frame = frame_scenario(
                _rows(definition.name, steps, samples, columns),
                input="inspect_input",
                references="inspect_references",
                id="inspect_id",
                name="task",
            ).frame
        assert frame is not None
        return frame.rows

    return ScenarioSpec(
        scenario=re.sub(r"[^A-Za-z0-9_.\-]", "_", definition.name),
        version=digest[:16],
        instances="SELECT * FROM rows",
        main=MainScore(metrics[0], "test", "micro"),
        metrics=metrics,
        adapter=frozen({"method": "inspect_chat"}),
        decoding=decoding_pairs(_decoding(definition), "config"),
        outputs=definition.epochs,
        description=definition.description or f"The task {definition.name}.",
        frame=DeferredFrame(name, digest, rows),
    )


def _decoding(definition: Definition) -> dict[str, Any]:
    values = {"max_tokens": _MAX_TOKENS, "temperature": 0.0 if definition.epochs == 1 else 1.0}
    values |= {key: value for key, value in definition.decoding.items() if value is not None}
    for step in definition.solvers:
        limits = step.arguments if step.name == "generate" else {"max_tokens": step.arguments.get("max_tokens")}
        values |= {key: value for key, value in limits.items() if value is not None} if step.name in _CALLS else {}
    return values


# -- solvers -----------------------------------------------------------------------------------------------------------


def _checked_solvers(definition: Definition) -> list[dict[str, Any]]:
    """Return the solvers before the completion, with their templates."""
    steps: list[dict[str, Any]] = []
    generated = ""
    for step in definition.solvers:
        where = f"{definition.name}: solver {step.name}"
        if step.name not in _SOLVERS:
            raise CapabilityError(
                f"Task {definition.name!r}: the solver {step.name!r} is unsupported. Supported: {', '.join(_SOLVERS)}."
            )
        if generated:
            raise CapabilityError(
                f"Task {definition.name!r}: the solver {step.name!r} after {generated!r} is unsupported."
            )
        _check_arguments(where, step, _SOLVERS[step.name], is_open=step.name in _OPEN)
        if step.name in _CALLS:
            generated = step.name
        if step.name != "generate":
            steps.append(_rendered_step(where, step))
    if not generated:
        raise CapabilityError(f"Task {definition.name!r}: solvers without generate or multiple_choice are unsupported.")
    if steps and steps[-1]["name"] == "assistant_message":
        raise CapabilityError(f"Task {definition.name!r}: assistant_message as the last message is unsupported.")
    return steps


def _rendered_step(where: str, step: Step) -> dict[str, Any]:
    arguments = dict(step.arguments)
    template = arguments.pop("template", None)
    if step.name == "multiple_choice":
        default = choice_template(cot=bool(arguments.get("cot")), several=bool(arguments.get("multiple_correct")))
        template = default if template is None else template
        if not isinstance(template, str) or not {"{question}", "{choices}"} <= set(re.findall(r"\{\w+\}", template)):
            raise SpecError.at(where, "template", "must contain {question} and {choices}.")
        arguments = {}
    elif step.name == "chain_of_thought" and template is None:
        template = _CHAIN_OF_THOUGHT
    if not isinstance(template, str):
        raise SpecError.at(where, "template", f"must be text, not {template!r}.")
    render(where, template, {}, unknown="keep")
    return {"name": step.name, "template": template, "params": arguments}


def _check_arguments(where: str, step: Step, parameters: Sequence[str], *, is_open: bool = False) -> None:
    for key, value in step.arguments.items():
        if key not in parameters and not is_open:
            raise CapabilityError(f"{where}: the argument {key}={value!r} is unsupported.")
        if callable(value):
            raise CapabilityError(f"{where}: the function {key} is unsupported.")


def choice_template(*, cot: bool = False, several: bool = False) -> str:
    """Return Inspect's default template of a multiple-choice question."""
    return _CHOICES.format(
        several=" where multiple answers may be correct" if several else "",
        where="last line" if cot else "entire content",
        letters="LETTERS" if several else "LETTER",
        more="or more " if several else "",
        steps=" Think step by step before answering." if cot else "",
    )


class _Values(Formatter):
    """A formatter that inserts values by name and index, and never reads attributes of objects.

    With `unknown="keep"`, fields without a value are unchanged, as in Inspect; else they raise KeyError.
    """

    def __init__(self, unknown: str) -> None:
        self._keeps = unknown == "keep"
        self._size = 0  # of the inserted texts

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:  # noqa: ARG002
        name = re.split(r"[.\[]", field_name, maxsplit=1)[0]
        value = kwargs.get(name)
        if value is None:
            return self._unknown(field_name, is_null=name in kwargs), field_name
        for key in _indices(field_name[len(name) :]):
            try:
                value = value[int(key) if key.isdigit() else key]
            except (LookupError, TypeError):
                return self._unknown(field_name), field_name
        return value, field_name

    def _unknown(self, field_name: str, *, is_null: bool = False) -> Any:
        if self._keeps:
            return "{" + field_name + "}"
        if is_null:
            return None
        raise KeyError(field_name)

    def format_field(self, value: Any, format_spec: str) -> str:
        text = self._formatted(value, format_spec)
        self._size += len(text)
        if self._size > _MOST_CHARACTERS:
            raise ValueError(f"it inserts more than {_MOST_CHARACTERS:,} characters")
        return text

    def _formatted(self, value: Any, format_spec: str) -> str:
        try:
            if any(int(width) > _MOST_CHARACTERS for width in re.findall(r"\d+", format_spec)):
                raise ValueError("a width is too large")
            return format(value, format_spec)
        except (ValueError, TypeError):
            if not self._keeps:
                raise
            return "{" + str(value) + ":" + format_spec + "}"


def _indices(path: str) -> list[str]:
    """Return the keys of `[0][name]`; an attribute, `.name`, is a key that no value has."""
    return [key or "\0" for key in re.findall(r"\[([^\]]*)\]|\.[^.\[]*", path)]


def render(where: str, template: str, values: Mapping[str, Any], *, unknown: str) -> str:
    """Return a template with these values.

    >>> render("task", "{prompt} {other} {person[name]}", {"prompt": "Hi", "person": {"name": "Ada"}}, unknown="keep")
    'Hi {other} Ada'

    Raises:
        SpecError: The template is invalid, or too long once it is rendered.
    """
    try:
        return _Values(unknown).vformat(template, (), values)
    except (ValueError, KeyError, RecursionError) as error:
        shown = template if len(template) <= 80 else template[:80] + "…"
        raise SpecError.at(where, "template", f"the template {shown!r} fails: {error}.") from None


def conversation(
    steps: Sequence[Mapping[str, Any]],
    messages: Sequence[Mapping[str, str]],
    choices: Sequence[str],
    metadata: Mapping[str, Any],
) -> list[dict[str, str]]:
    """Return the messages that the solvers send for a sample's messages."""
    turns = [dict(message) for message in messages]
    for step in steps:
        name, template, values = step["name"], step["template"], {**metadata, **step["params"]}
        where = f"solver {name}"
        if name.endswith("_message"):
            turn = {"role": name.removesuffix("_message"), "content": render(where, template, values, unknown="keep")}
            heads = [index for index, message in enumerate(turns) if message["role"] == "system"]
            turns.insert(max(heads, default=-1) + 1 if name == "system_message" else len(turns), turn)
            continue
        prompt = next(message for message in reversed(turns) if message["role"] == "user")
        if name == "multiple_choice":
            labels = [option_letter(index) for index in range(len(choices))]
            options = "\n".join(f"{label}) {choice}" for label, choice in zip(labels, choices, strict=True))
            fields = {"question": prompt["content"], "choices": options, "letters": ",".join(labels)}
            prompt["content"] = render(where, template, fields, unknown="raise")
        else:
            values = {"prompt": prompt["content"]}
            if name == "prompt_template":  # its parameters win over the prompt, and the prompt over the metadata
                values = {**metadata, **values, **step["params"]}
            prompt["content"] = render(where, template, values, unknown="keep")
    return turns


# -- scorers -----------------------------------------------------------------------------------------------------------


def _metrics(definition: Definition) -> tuple[str, ...]:
    """Return our names of the scorers; with reducers of epochs, of the reduced scores."""
    choice = next((step for step in definition.solvers if step.name == "multiple_choice"), None)
    names = []
    for step in definition.scorers:
        if step.name not in _SCORERS:
            raise CapabilityError(
                f"Task {definition.name!r}: the scorer {step.name!r} is unsupported. Supported: {', '.join(_SCORERS)}."
            )
        where = f"{definition.name}: scorer {step.name}"
        parameters = _SCORERS[step.name]
        _check_arguments(where, step, (*parameters, "model") if step.name in _JUDGES else parameters)
        names.append(_metric(step, choice))
    if not names:
        raise CapabilityError(f"Task {definition.name!r} has no scorer.")
    reducers = [reducer for reducer in definition.reducers if reducer != "mean"]
    if definition.epochs > 1 and reducers:
        reduced = [_reduced(definition, name, reducer) for reducer in definition.reducers for name in names]
        names = [*reduced, *names]
    return tuple(dict.fromkeys(names))


def _metric(step: Step, choice: Step | None) -> str:
    arguments = {key: value for key, value in step.arguments.items() if value is not None}
    if step.name in _JUDGES:
        partial = "_partial" if arguments.get("partial_credit") else ""
        judge = _JUDGES[step.name] + partial
        model = arguments.get("model")
        named = {"model": model} if isinstance(model, str) else {}
        return str(Call("inspect_model_graded", frozen({"judge": judge, **named})))
    if choice is None:
        if step.name == "choice":
            raise CapabilityError("The scorer 'choice' without the solver 'multiple_choice' is unsupported.")
    elif step.name != "choice":
        arguments["labels"] = True
    elif choice.arguments.get("multiple_correct"):
        arguments["multiple_correct"] = True
    return str(Call(f"inspect_{step.name}", frozen(arguments)))


def _reduced(definition: Definition, name: str, reducer: str) -> str:
    match = re.fullmatch(r"(pass_at|pass_k|at_least)_(\d+)", reducer)
    plain, k = (match[1], int(match[2])) if match else (reducer, 1)
    if plain not in REDUCERS or (match is None and plain in ("pass_at", "pass_k", "at_least")):
        raise CapabilityError(f"Task {definition.name!r}: the epoch reducer {reducer!r} is unsupported.")
    counted = {"k": k} if match else {}
    return str(Call("inspect_epochs", frozen({"metric": name, "reducer": plain, **counted})))


# -- samples -----------------------------------------------------------------------------------------------------------

_REFERENCE = pl.List(pl.Struct({"text": pl.String, "correct": pl.Boolean}))
_PIECES: dict[str, pl.DataType] = {
    "inspect_id": pl.String(),
    "inspect_input": pl.String(),
    "inspect_references": _REFERENCE,
    "inspect_choices": pl.List(pl.String),
    "inspect_before": pl.List(MESSAGE),
    "inspect_metadata": pl.String(),
    "inspect_solvers": pl.String(),
}


def _rows(task: str, steps: str, samples: Sequence[Sample], columns: pl.DataFrame) -> pl.DataFrame:
    needs_choices = '"name": "multiple_choice"' in steps
    pieces = []
    for position, sample in enumerate(samples):
        where = f"{task}: sample {sample.id or position + 1}"
        messages = [{"role": "user", "content": sample.input}] if isinstance(sample.input, str) else sample.input
        if not messages or messages[-1]["role"] != "user":
            raise SpecError.at(where, "input", "must be text, or messages that end with one of the role user.")
        if needs_choices and not sample.choices:
            raise SpecError.at(where, "choices", "are missing, and the solver multiple_choice needs them.")
        references = (
            _options(where, sample.choices or (), sample.targets)
            if needs_choices
            else [{"text": text, "correct": True} for text in sample.targets]
        )
        pieces.append(
            {
                "inspect_id": sample.id or str(position + 1),
                "inspect_input": messages[-1]["content"],
                "inspect_references": references,
                "inspect_choices": sample.choices,
                "inspect_before": messages[:-1],
                "inspect_metadata": json.dumps(sample.metadata, default=str, ensure_ascii=False),
                "inspect_solvers": steps,
            }
        )
    return pl.concat([_renamed(columns), pl.DataFrame(pieces, schema=_PIECES)], how="horizontal")


def _renamed(columns: pl.DataFrame) -> pl.DataFrame:
    """Return the columns without those that have a meaning for scenarios: `split` becomes `split_`."""
    plain = columns.drop([name for name in columns.columns if name.startswith(("inspect_", SOURCE_PREFIX))])
    return plain.rename({name: f"{name}_" for name in plain.columns if name.lower() in _RESERVED})


def _options(where: str, choices: Sequence[str], targets: Sequence[str]) -> list[dict[str, Any]]:
    """Return the options as references; the targets are letters, or numbers from the 27th option on."""
    correct = set()
    for target in targets:
        for token in target.replace(",", " ").split():
            correct |= {token} if token.isnumeric() else set(token.upper())
    labels = [option_letter(index) for index in range(len(choices))]
    if not correct <= set(labels):
        raise SpecError.at(where, "target", f"{targets!r} must be letters of the {len(choices)} options.")
    return [{"text": text, "correct": label in correct} for text, label in zip(choices, labels, strict=True)]


def shuffled_choices(samples: Sequence[Sample]) -> list[Sample]:
    """Return samples with shuffled options, and with the letters of their targets at the new positions."""
    from dataclasses import replace
    from random import Random

    stream, shuffled = Random(_CHOICE_SEED), []  # noqa: S311 - Inspect's generator
    for sample in samples:
        if not sample.choices:
            shuffled.append(sample)
            continue
        order = list(range(len(sample.choices)))
        stream.shuffle(order)
        letters = {option_letter(old): option_letter(new) for new, old in enumerate(order)}
        shuffled.append(
            replace(
                sample,
                choices=[sample.choices[index] for index in order],
                targets=[letters.get(target.upper(), target) for target in sample.targets],
            )
        )
    return shuffled


# -- adapter -----------------------------------------------------------------------------------------------------------


@adapter(
    "inspect_chat",
    defaults={"shots": 0, "input_prefix": "", "input_suffix": "", "output_prefix": "", "output_suffix": ""},
    decoding={"max_tokens": _MAX_TOKENS, "temperature": 0.0},
    ignores=("shots", "instructions", "global_prefix", "global_suffix"),
    examples=generation,
    own_examples=True,
)
def inspect_chat(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """Request the next message of the conversation that the solvers of an Inspect task make.

    Perturbations change the sample's input and its options, and no other text.

    Source: inspect_ai, `solver/`.
    """
    table = variants.collect()
    stored = {name: source_column(f"inspect_{name}") for name in ("solvers", "before", "metadata")}
    if stored["solvers"] not in table.columns:
        raise ArgumentError(
            f"adapt(method={spec.method!r}): the method needs a task: hf.scenario('inspect:…') or hf.scenario('hf:…')."
        )
    rows = table.select(*stored.values(), "perturbed_input", "perturbed_references").iter_rows()
    earlier, questions = [], []
    for solvers, before, metadata, text, references in rows:
        messages = [*(before or ()), {"role": "user", "content": text}]
        choices = [reference["text"] for reference in references]
        turns = conversation(json.loads(solvers), messages, choices, json.loads(metadata))
        earlier.append([_block(turn) for turn in turns[:-1]])
        questions.append(turns[-1]["content"])
    return table.lazy().with_columns(
        earlier=pl.Series(earlier, dtype=pl.List(BLOCK)),
        question=pl.Series(questions, dtype=pl.String),
        answer=pl.lit(None, dtype=pl.String),
        choices=pl.lit(None, dtype=pl.List(pl.String)),
        chat_template=pl.lit(True if spec.chat_template else None, dtype=pl.Boolean),
    )


def _block(turn: Mapping[str, str]) -> dict[str, Any]:
    part = {"type": "text", "text": turn["content"], "media": None}
    return {"role": turn["role"], "kind": "message", "content": [part]}
