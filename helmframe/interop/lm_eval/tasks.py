"""Tasks of lm-evaluation-harness as scenarios: `hf.scenario("lm_eval:arc_easy")`.

The rows have the columns of the documents, and columns `lm_eval_…` with the pieces of the prompts. The adapters below
join them, so that the prompts are those of lm-eval.

Source: lm-eval 0.4.13, `api/task.py`, `api/samplers.py`, `config/task.py`.
"""

import ast
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import polars as pl

from helmframe._core.specs import AdapterSpec, Call, DeferredFrame, MainScore, ScenarioSpec, decoding_pairs, frozen
from helmframe._core.yaml import reading
from helmframe._schema import source_column
from helmframe.adapters.adapt import adapter
from helmframe.adapters.generation import generation
from helmframe.adapters.multiple_choice import one_row_per_reference
from helmframe.config import from_home
from helmframe.errors import ArgumentError, CapabilityError, SpecError
from helmframe.interop.lm_eval.config import (
    Entry,
    Function,
    Group,
    TaskConfig,
    check_functions,
    find_task,
    index,
    read_split,
    read_task_file,
    read_tasks,
    resolved,
    scoring_functions,
    tasks_folder,
)
from helmframe.interop.lm_eval.functions import TaskScorer, check_installed, class_task
from helmframe.interop.lm_eval.templates import template
from helmframe.metrics.lm_eval import AGGREGATIONS, COMPUTED, FILTERS, MEANS, REGISTERED, SCORERS
from helmframe.scenarios.catalogue import task_source
from helmframe.scenarios.frames import frame_scenario

_SEED = 1234  # of lm-eval's few-shot examples
_MAX_TOKENS = 256
_MARK = "\ue000{}\ue001"  # stands for a field of the document; private characters that no template has
# The metrics of a task without a `metric_list`.
_DEFAULT_METRICS = {
    "multiple_choice": ("acc", "acc_norm"),
    "generate_until": ("exact_match",),
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
}
_METHODS = {
    "multiple_choice": "lm_eval_choice",
    "generate_until": "lm_eval_generation",
    "loglikelihood": "lm_eval_likelihood",
    "loglikelihood_rolling": "lm_eval_rolling",
}


class Documents:
    """The documents of a task, rendered: its rows, and the text before each question.

    Args:
        config: The configuration of the task.
        data: The root of the rows; None for the configured one.
    """

    _made: dict[str, "Documents"] = {}  # noqa: RUF012 - by digest; adapters look a task up by a column of its rows

    def __init__(self, config: TaskConfig, data: str | None) -> None:
        self.named, self.data = config, data
        self.digest = hashlib.sha256(f"{config!r}\0{data}".encode()).hexdigest()

    @cached_property
    def config(self) -> TaskConfig:
        """The configuration, with Python functions in place of their names."""
        return resolved(self.named) if self.named.functions() and self.named.task_class is None else self.named

    def __call__(self) -> pl.DataFrame:
        """Return the rows, as `hf.scenario(frame)` makes them."""
        Documents._made[self.digest] = self
        with reading(f"lm_eval:{self.config.task}", "a valid task of lm-eval", SpecError):
            frame = frame_scenario(self.rows(), **_COLUMNS, name="task").frame
        assert frame is not None
        return frame.rows

    @classmethod
    def of(cls, digest: str, default: "Documents | None" = None) -> "Documents":
        """Return the documents whose rows were made in this process."""
        return cls._made[digest] if default is None else cls._made.get(digest, default)

    @property
    def split(self) -> str:
        """The evaluated split."""
        split = self.config.eval_split
        if split is None:
            raise SpecError.at(self.config.task, "test_split", "is missing, and so is validation_split.")
        return split

    @cached_property
    def table(self) -> pl.DataFrame:
        """The evaluated documents, as in the source."""
        if self.config.process_docs is None and self.config.custom_dataset is None:
            return read_split(self.config, self.split, self.data)
        return pl.DataFrame(self.documents, infer_schema_length=None, strict=False)

    @cached_property
    def _custom_dataset(self) -> Any:
        """The splits that the task's Python function makes."""
        arguments = {**(self.config.metadata or {}), **(self.config.dataset_kwargs or {})}
        return self.config.custom_dataset(**arguments)

    def _read(self, split: str, process: Any) -> list[dict[str, Any]]:
        """Return the documents of a split, as the task's Python functions make them."""
        custom = self.config.custom_dataset is not None
        rows = self._custom_dataset[split] if custom else read_split(self.config, split, self.data).to_dicts()
        if process is None:
            return [dict(row) for row in rows]
        try:
            from datasets import Dataset
        except ImportError:
            raise CapabilityError(
                f"Task {self.config.task!r} needs the package datasets for its Python function: pip install lm-eval."
            ) from None
        return [dict(document) for document in process(rows if custom else Dataset.from_list(rows))]

    @cached_property
    def documents(self) -> list[dict[str, Any]]:
        """The evaluated documents."""
        process, custom = self.config.process_docs, self.config.custom_dataset
        return self.table.to_dicts() if process is None and custom is None else self._read(self.split, process)

    @cached_property
    def pool(self) -> list[dict[str, Any]]:
        """The documents that few-shot examples are sampled from."""
        fewshot = self.config.fewshot
        if fewshot.split is not None:
            same = fewshot.split == self.config.eval_split and fewshot.process_docs == self.config.process_docs
            return self.documents if same else self._read(fewshot.split, fewshot.process_docs)
        samples: Any = fewshot.samples() if callable(fewshot.samples) else fewshot.samples
        if samples is not None:
            return [dict(sample) for sample in samples]
        split = self.config.training_split or self.config.validation_split or self.config.test_split
        same = split in (None, self.config.eval_split)
        return self.documents if same else self._read(str(split), self.config.process_docs)

    def field(self, document: Mapping[str, Any], source: Any, key: str) -> Any:
        """Return a field of the document by its name, the rendered template, or the result of a Python function."""
        if callable(source):
            return source(document)
        if isinstance(source, str):
            if source in document:
                return document[source]
            return template(source, f"{self.config.task}: {key}").render(document)
        return source

    def text(self, document: Mapping[str, Any], source: Any = None) -> Any:
        """Return the question of a document; the index of an option for tasks with several inputs."""
        source = self.config.doc_to_text if source is None else source
        value = self.field(document, source, "doc_to_text")
        is_template = isinstance(source, str) and source not in document
        is_index = is_template and isinstance(value, str) and value.isdigit()
        return int(value) if is_index and self.config.doc_to_choice is not None else value

    def target(self, document: Mapping[str, Any], source: Any = None) -> Any:
        """Return the target of a document: a text, the index of an option, or a list of these."""
        source = self.config.doc_to_target if source is None else source
        value = self.field(document, source, "doc_to_target")
        if not isinstance(value, str) or callable(source) or source in document:
            return value
        if value.isdigit() and self.config.doc_to_choice is not None:
            return int(value)
        return _literal(value) if len(value) > 1 and value[0] == "[" and value[-1] == "]" else value

    def options(self, document: Mapping[str, Any], source: Any = None) -> list[str]:
        """Return the options of a document."""
        source = self.config.doc_to_choice if source is None else source
        if isinstance(source, Mapping):
            return [str(value) for value in source.values()]
        value = self.field(document, source, "doc_to_choice")
        options = _literal(value) if isinstance(value, str) else value
        if not isinstance(options, list):
            raise SpecError.at(self.config.task, "doc_to_choice", f"must be a list of options, not {options!r}.")
        return options

    def prefix(self, document: Mapping[str, Any]) -> str | None:
        """Return the start of the model's answer, if the task has one."""
        value = self.field(document, self.config.gen_prefix, "gen_prefix")
        return None if value is None else str(value)

    @cached_property
    def scoring(self) -> str:
        """The filters and the options of the metrics, as JSON for the metrics `lm_eval_…`."""
        return json.dumps(_scoring(self.named), sort_keys=True, default=str)

    @cached_property
    def has_several_inputs(self) -> bool:
        """Return whether the options are inputs, each with the same continuation."""
        return self.config.doc_to_choice is not None and isinstance(self.text(self.documents[0]), int)

    @cached_property
    def has_several_targets(self) -> bool:
        """Return whether a document has a list of targets."""
        return isinstance(self.target(self.documents[0]), list)

    def rows(self) -> pl.DataFrame:
        """Return the documents with the pieces of their prompts."""
        pieces = [self._pieces(index, document) for index, document in enumerate(self.documents)]
        taken = [name for name in self.table.columns if name.startswith("lm_eval_") or name in _MEANT]
        return pl.concat([self.table.drop(taken), pl.DataFrame(pieces, schema=_PIECES)], how="horizontal")

    def _pieces(self, position: int, document: dict[str, Any]) -> dict[str, Any]:
        question, target = self.text(document), self.target(document)
        options = self.options(document) if self.config.doc_to_choice is not None else None
        before, after, questions, continuations = "", "", None, None
        delimiter = self.config.target_delimiter
        rolling = self.config.output_type == "loglikelihood_rolling"
        if self.config.output_type in ("loglikelihood", "loglikelihood_rolling"):
            if not isinstance(target, str) or not isinstance(question, str):
                raise SpecError.at(self.config.task, "doc_to_target", f"must be text, not {target!r:.80}.")
            source = self.config.doc_to_target if rolling else self.config.doc_to_text
            before, question, after = self._spans(document, target if rolling else question, source)
            gold, options, continuations = ([], [], None) if rolling else (0, [target], [target])
        elif self.has_several_inputs:
            assert options is not None
            questions, continuations = options, [f"{delimiter}{target}"] * len(options)
            gold, question = question, "\n".join(options)
        else:
            gold = target
            if not isinstance(question, str):
                raise SpecError.at(self.config.task, "doc_to_text", f"must be text, not {question!r}.")
            before, question, after = self._spans(document, question, self.config.doc_to_text)
            continuations = [f"{delimiter}{option}" for option in options] if options is not None else None
        prefix = self.prefix(document)
        if prefix and not rolling:
            space = delimiter if _needs_delimiter(before + question + after, prefix) and questions is None else ""
            after += space + prefix
        return {
            "lm_eval_task": self.digest,
            "lm_eval_position": position,
            "lm_eval_input": question,
            "lm_eval_references": _references(options, gold),
            "lm_eval_before": before,
            "lm_eval_after": after,
            "lm_eval_inputs": questions,
            "lm_eval_continuations": continuations,
            "lm_eval_choices": _texts(document.get("choices")),
            "lm_eval_scoring": self.scoring,
            "lm_eval_split": "test",
        }

    def _spans(self, document: dict[str, Any], question: str, source: Any) -> tuple[str, str, str]:
        """Return the question as the template's text before its first field, the fields, and the text after the last.

        Perturbations change only the fields.
        """
        if not isinstance(source, str) or source in document:
            return "", question, ""
        fields = [name for name, value in document.items() if isinstance(value, str) and value.strip()]
        marks = {name: _MARK.format(index) for index, name in enumerate(fields)}
        try:
            marked = template(source, f"{self.config.task}: a template").render(document | marks)
        except SpecError:  # the template computes with a field
            return "", question, ""
        places = [match.span() for match in re.finditer("\ue000\\d+\ue001", marked)]
        if not places:
            return "", question, ""
        start, end = places[0][0], places[-1][1]
        before, after = marked[:start], marked[end:]
        inside = question[len(before) : len(question) - len(after)]
        restored = marked[start:end]
        for name, mark in marks.items():
            restored = restored.replace(mark, document[name])
        same = before + inside + after == question and restored.split() == inside.split()
        return (before, inside, after) if same else ("", question, "")

    def contexts(self, shots: int, positions: Sequence[int]) -> list[str]:
        """Return the text before the question of the documents at these positions: description and few-shot examples.

        lm-eval samples the examples of one document after the other, so they depend on its position.
        """
        pool, examples = self.pool if shots else [], self._examples
        texts = []
        for position in positions:
            description = self.config.description
            text = (
                "" if not description else str(self.field(self.documents[position], description, "description") or "")
            )
            for number in self._draws(shots)[position]:
                if number not in examples:
                    examples[number] = self._example(pool[number])
                text += examples[number]
            texts.append(text)
        return texts

    @cached_property
    def _examples(self) -> dict[int, str]:
        return {}

    @cached_property
    def _draws_by_shots(self) -> dict[int, list[list[int]]]:
        return {}

    def _draws(self, shots: int) -> list[list[int]]:
        """Return the positions in the pool of the examples of each document."""
        if shots not in self._draws_by_shots:
            fewshot, stream = self.config.fewshot, Random(_SEED)  # noqa: S311 - lm-eval's generator
            # as in lm-eval, also when both are missing
            excludes = fewshot.split == self.config.test_split
            pool = self.pool if shots else []
            self._draws_by_shots[shots] = [
                self._sampled(stream, pool, shots, document if excludes else None) for document in self.documents
            ]
        return self._draws_by_shots[shots]

    def _sampled(self, stream: Random, pool: Sequence[Any], shots: int, document: Any) -> list[int]:
        if not shots:
            return []
        sampler = self.config.fewshot.sampler
        indices = list(range(len(pool)))
        if sampler == "first_n":
            others = [index for index in indices if document is None or pool[index] != document]
            return self._enough(others, shots)[:shots]
        if sampler != "default":
            raise CapabilityError(f"Task {self.config.task!r}: the sampler {sampler!r} of examples is unsupported.")
        if document is None:
            return stream.sample(self._enough(indices, shots), shots)
        drawn = stream.sample(self._enough(indices, shots + 1), shots + 1)
        chosen = [index for index in drawn if pool[index] != document][:shots]
        if len(chosen) < shots:
            others = [index for index in indices if pool[index] != document]
            chosen = stream.sample(self._enough(others, shots), shots)
        return chosen

    def _enough(self, indices: list[int], shots: int) -> list[int]:
        if len(indices) < shots:
            raise ArgumentError(
                f"Task {self.config.task!r} has {len(indices)} documents for {shots} few-shot examples. Write "
                f"adapt(shots={max(len(indices) - 1, 0)})."
            )
        return indices

    def _example(self, document: dict[str, Any]) -> str:
        fewshot = self.config.fewshot
        question, answer = self.text(document, fewshot.doc_to_text), self.target(document, fewshot.doc_to_target)
        options = self.options(document, fewshot.doc_to_choice) if fewshot.doc_to_choice else None
        prefix = self.field(document, fewshot.gen_prefix, "gen_prefix")
        delimiter = str(fewshot.target_delimiter)
        if self.has_several_inputs:
            assert options is not None
            question, options = options[question], None
        answered = answer is not None and answer != ""
        delimited = (answered and not prefix) or (prefix and _needs_delimiter(question, prefix))
        text = f"{question}{delimiter if delimited else ''}"
        if not answered:
            return text + (prefix or "")
        if options and isinstance(answer, int):
            answer = options[answer]
        elif isinstance(answer, list):
            answer = answer[0]
        if not isinstance(answer, str):
            raise SpecError.at(self.config.task, "doc_to_target", f"must be text in an example, not {answer!r}.")
        if prefix:
            answer = prefix + (" " if _needs_delimiter(prefix, answer) else "") + answer
        return f"{text}{answer}{fewshot.fewshot_delimiter}"


class ClassDocuments(Documents):
    """The documents of a task that is a Python class, whose object makes the prompts."""

    @cached_property
    def task(self) -> Any:
        """The task of lm-eval."""
        return class_task(self.named, lambda config, split: read_split(config, split, self.data).to_dicts())

    @cached_property
    def documents(self) -> list[dict[str, Any]]:
        """The evaluated documents."""
        return [dict(document) for document in self.task.eval_docs]

    @cached_property
    def table(self) -> pl.DataFrame:
        """The evaluated documents."""
        return pl.DataFrame(self.documents, infer_schema_length=None, strict=False)

    def requests(self, document: dict[str, Any], shots: int = 0) -> list[Any]:
        """Return lm-eval's requests of a document: one completion, or log-probabilities after one prompt.

        Raises:
            CapabilityError: The requests are of several kinds.
        """
        prompt = self.task.fewshot_context(document, num_fewshot=shots)
        made = self.task.construct_requests(document, prompt, metadata=(self.named.task, 0, 1))
        requests = made if isinstance(made, list) else [made]
        forms = {(one.request_type, one.arguments[0]) for one in requests}
        if len(forms) > 1 or requests[0].request_type not in ("generate_until", "loglikelihood"):
            raise CapabilityError(f"Task {self.named.task!r}: its Python class makes requests of several kinds.")
        return requests

    def described(self) -> TaskConfig:
        """Return the configuration with what the class determines: the kind of requests, and the metrics."""
        first, directions = self.requests(self.documents[0]), self.task.higher_is_better()
        generates = first[0].request_type == "generate_until"
        metrics = [
            {
                "metric": name,
                "aggregation": function.__name__ if getattr(function, "__name__", "") in MEANS else "class",
                "higher_is_better": directions.get(name, True),
            }
            for name, function in self.task.aggregation().items()
        ]
        arguments = first[0].arguments[1] if generates else None
        kind = "generate_until" if generates else "multiple_choice"
        return replace(self.named, output_type=kind, generation_kwargs=arguments, metric_list=metrics)

    def contexts(self, shots: int, positions: Sequence[int]) -> list[str]:
        """Return the text before the question of the documents at these positions."""
        if shots not in self._contexts:
            self.task.set_fewshot_seed(_SEED)
            prompts = [str(self.requests(document, shots)[0].arguments[0]) for document in self.documents]
            self._contexts[shots] = [
                prompt.removesuffix(self.task.doc_to_text(document))
                for prompt, document in zip(prompts, self.documents, strict=True)
            ]
        return [self._contexts[shots][position] for position in positions]

    @cached_property
    def _contexts(self) -> dict[int, list[str]]:
        return {}

    def _pieces(self, position: int, document: dict[str, Any]) -> dict[str, Any]:
        requests = self.requests(document)
        generates = requests[0].request_type == "generate_until"
        options = None if generates else [str(one.arguments[1]) for one in requests]
        return {
            **dict.fromkeys(_PIECES),
            "lm_eval_task": self.digest,
            "lm_eval_position": position,
            "lm_eval_input": str(self.task.doc_to_text(document)),
            "lm_eval_references": _references(options, self.task.doc_to_target(document)),
            "lm_eval_before": "",
            "lm_eval_after": "",
            "lm_eval_continuations": options,
            "lm_eval_scoring": self.scoring,
            "lm_eval_split": "test",
        }


_REFERENCE = pl.List(pl.Struct({"text": pl.String, "correct": pl.Boolean}))
_PIECES: dict[str, pl.DataType] = {
    "lm_eval_task": pl.String(),
    "lm_eval_position": pl.Int64(),
    "lm_eval_input": pl.String(),
    "lm_eval_references": _REFERENCE,
    "lm_eval_before": pl.String(),
    "lm_eval_after": pl.String(),
    "lm_eval_inputs": pl.List(pl.String),
    "lm_eval_continuations": pl.List(pl.String),
    "lm_eval_choices": pl.List(pl.String),
    "lm_eval_scoring": pl.String(),
    "lm_eval_split": pl.String(),
}
# Columns of a frame that have a meaning for `hf.scenario(frame)`; columns of these names are skipped.
_MEANT = ("content", "sub_split")
# The parameters of `hf.scenario(frame)`; the document's own columns of any other name are the scenario's columns.
_COLUMNS: dict[str, Any] = {"input": "lm_eval_input", "references": "lm_eval_references", "split": "lm_eval_split"}


def _needs_delimiter(before: str, after: str) -> bool:
    return bool(before) and not (before[-1].isspace() or after[:1].isspace())


def _texts(value: Any) -> list[str] | None:
    """Return a list of texts; None for another value."""
    return value if isinstance(value, list) and all(isinstance(text, str) for text in value) else None


def _literal(text: str) -> Any:
    """Return the value of a Python literal; the text itself if it isn't one."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _references(options: list[str] | None, gold: Any) -> list[dict[str, Any]]:
    golds = gold if isinstance(gold, list) else [gold]
    if options is None:
        return [{"text": str(value), "correct": True} for value in golds if value is not None]
    indices = [options.index(value) if isinstance(value, str) and value in options else value for value in golds]
    return [{"text": str(option), "correct": number in indices} for number, option in enumerate(options)]


# -- adapters ----------------------------------------------------------------------------------------------------------

_BARE = {
    "shots": 0, "input_prefix": "", "input_suffix": "", "output_prefix": "", "output_suffix": "", "instance_prefix": "",
}  # fmt: skip


def _questions(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """Return the variants with `context`, the text before the question, and `question`."""
    digest, position = source_column("lm_eval_task"), source_column("lm_eval_position")
    table = variants.collect()
    if digest not in table.columns:
        raise ArgumentError(
            f"adapt(method={spec.method!r}): the method needs a task of lm-eval, hf.scenario('lm_eval:…')."
        )
    texts = {}
    for (task,), rows in table.select(digest, position).unique().group_by(digest):
        numbers = rows[position].to_list()
        contexts = Documents.of(str(task)).contexts(spec.shots, numbers)
        texts.update({(task, number): text for number, text in zip(numbers, contexts, strict=True)})
    before, after = (pl.col(source_column(f"lm_eval_{name}")) for name in ("before", "after"))
    return (
        table.with_columns(
            context=pl.Series([texts[row] for row in table.select(digest, position).iter_rows()], dtype=pl.String)
        )
        .lazy()
        .with_columns(question=pl.concat_str("context", before, "perturbed_input", after))
    )


@adapter("lm_eval_generation", defaults=_BARE, examples=generation, own_examples=True)
def lm_eval_generation(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """Request a completion of the prompt of an lm-eval task.

    Source: lm-eval `ConfigurableTask.fewshot_context`, output type generate_until.
    """
    return (
        _questions(variants, spec)
        .with_columns(answer=pl.lit(None, dtype=pl.String), choices=pl.lit(None, dtype=pl.List(pl.String)))
        .drop("context")
    )


@adapter("lm_eval_likelihood", defaults=_BARE, examples=generation, scores=True, own_examples=True)
def lm_eval_likelihood(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """Request the log-probability of the target after the prompt of an lm-eval task.

    Source: lm-eval `ConfigurableTask.construct_requests`, output type loglikelihood.
    """
    return (
        _questions(variants, spec)
        .with_columns(
            continuation=pl.col(source_column("lm_eval_continuations")).list.first(),
            reference_index=pl.lit(0, dtype=pl.Int64),
            request_mode=pl.lit("original"),
            answer=pl.lit(None, dtype=pl.String),
            choices=pl.lit(None, dtype=pl.List(pl.String)),
        )
        .drop("context")
    )


@adapter("lm_eval_rolling", defaults=_BARE, examples=generation, scores=True, own_examples=True)
def lm_eval_rolling(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """Request the log-probability of a whole text of an lm-eval task.

    The stage `fit` cuts the text into windows, which are those of lm-eval.

    Source: lm-eval `ConfigurableTask.construct_requests`, output type loglikelihood_rolling.
    """
    return (
        _questions(variants, replace(spec, shots=0))
        .with_columns(
            continuation=pl.col("question"),
            question=pl.lit(""),
            answer=pl.lit(None, dtype=pl.String),
            choices=pl.lit(None, dtype=pl.List(pl.String)),
        )
        .drop("context")
    )


@adapter("lm_eval_choice", defaults=_BARE, examples=generation, scores=True, own_examples=True)
def lm_eval_choice(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """Request the log-probability of each option after the prompt of an lm-eval task.

    Source: lm-eval `ConfigurableTask.construct_requests`, output type multiple_choice.
    """
    rows = one_row_per_reference(_questions(variants, spec))
    option = pl.col("reference_index")
    inputs = pl.col(source_column("lm_eval_inputs"))
    own = pl.concat_str("context", inputs.list.get(option, null_on_oob=True), source_column("lm_eval_after"))
    return rows.with_columns(
        question=pl.when(inputs.is_not_null()).then(own).otherwise("question"),
        continuation=pl.col(source_column("lm_eval_continuations")).list.get(option, null_on_oob=True),
        request_mode=pl.lit("original"),
        answer=pl.lit(None, dtype=pl.String),
        choices=pl.lit(None, dtype=pl.List(pl.String)),
    ).drop("reference", "context")


@adapter("lm_eval_choice_calibrated", defaults=_BARE, examples=generation, scores=True, own_examples=True)
def lm_eval_choice_calibrated(variants: pl.LazyFrame, spec: AdapterSpec) -> pl.LazyFrame:
    """Request the log-probability of each option after the prompt of an lm-eval task, and again without a prompt.

    Source: lm-eval `ConfigurableTask.construct_requests`, acc_mutual_info.
    """
    modes = pl.concat_list(pl.lit("original"), pl.lit("calibration"))
    without = pl.col("request_mode") == "calibration"
    return (
        lm_eval_choice(variants, spec)
        .with_columns(request_mode=modes)
        .explode("request_mode")
        .with_columns(question=pl.when(without).then(pl.lit("")).otherwise("question"))
    )


# -- scenarios ---------------------------------------------------------------------------------------------------------


def list_tasks() -> pl.DataFrame:
    """Return the tasks, groups and tags of lm-eval: name, kind, file, and the number of tasks of a tag."""
    rows = [
        {"name": f"lm_eval:{entry.name}", "kind": entry.kind, "file": str(entry.path or ""), "tasks": len(entry.tasks)}
        for entry in sorted(index(tasks_folder()).values(), key=lambda entry: entry.name)
    ]
    return pl.DataFrame(rows, schema={"name": pl.String, "kind": pl.String, "file": pl.String, "tasks": pl.Int64})


@task_source("lm_eval", listing=list_tasks)
def load_tasks(name: str, *, data: str | None, trust_remote_code: bool) -> Sequence[ScenarioSpec]:
    """Return the scenarios of a task, group or tag of lm-eval, or of a task file.

    Raises:
        UnknownNameError: No task has this name.
        SpecError: The task file is invalid.
        ArgumentError: The task needs Python functions that aren't trusted.
    """
    with reading(f"lm_eval:{name}", "a valid task of lm-eval", SpecError):
        return _load_tasks(name, data, trust_remote_code=trust_remote_code)


def _load_tasks(name: str, data: str | None, *, trust_remote_code: bool) -> Sequence[ScenarioSpec]:
    if name.endswith((".yaml", ".yml")):
        path = from_home(name).resolve()
        content = read_task_file(path, trusted=trust_remote_code)
        kind = "group" if "group" in content else "class" if "class" in content else "task"
        entries = index(_folder_of(path)) if kind == "group" else {}
        named = content.get("group" if kind == "group" else "task", path.stem)
        group = read_tasks(Entry(str(named), kind, path), entries, trusted=trust_remote_code)
        name = str(path)
    else:
        entries = index(tasks_folder())
        group = read_tasks(find_task(name, entries), entries)
    if len(group.tasks) == 1:
        return [task_scenario(group.tasks[0], data, name, trust_remote_code=trust_remote_code)]
    return group_scenarios(group, data, name, trust_remote_code=trust_remote_code)


def _folder_of(path: Path) -> Path:
    """Return the folder of the tasks that a group's file may name: lm-eval's, else that of the file."""
    try:
        return tasks_folder()
    except CapabilityError:
        return path.parent


class GroupDocuments:
    """The documents of several tasks as the rows of one scenario, whose subsets are the tasks."""

    def __init__(self, tasks: Sequence[Documents]) -> None:
        self.tasks = tuple(tasks)
        self.digest = hashlib.sha256("\0".join(task.digest for task in tasks).encode()).hexdigest()

    def __call__(self) -> pl.DataFrame:
        """Return the rows, as `hf.scenario(frame)` makes them; columns of several types are texts."""
        with reading("the group of lm-eval", "valid", SpecError):
            return self._made_rows()

    def _made_rows(self) -> pl.DataFrame:
        frames = []
        for task in self.tasks:
            Documents._made[task.digest] = task  # noqa: SLF001 - as a task of its own does
            frames.append(task.rows().with_columns(lm_eval_subtask=pl.lit(task.config.task)))
        types: dict[str, set[pl.DataType]] = {}
        for frame in frames:
            for column, dtype in frame.schema.items():
                types.setdefault(column, set()).add(dtype)
        mixed = [column for column, dtypes in types.items() if len(dtypes - {pl.Null()}) > 1]
        rows = pl.concat([frame.drop(mixed, strict=False) for frame in frames], how="diagonal_relaxed")
        made = frame_scenario(rows, **_COLUMNS, subset="lm_eval_subtask", name="group").frame
        assert made is not None
        return made.rows


def group_scenarios(
    group: Group, data: str | None, name: str, *, trust_remote_code: bool = False
) -> Sequence[ScenarioSpec]:
    """Return the scenario of a group, whose subsets are its tasks; several scenarios if its tasks differ in form.

    The mean is that of lm-eval's group: of all documents, or of the tasks if it doesn't weight them by size.

    Raises:
        ArgumentError, CapabilityError: A task is unsupported.
    """
    specs = [task_scenario(config, data, config.task, trust_remote_code=trust_remote_code) for config in group.tasks]
    forms = {(spec.adapter, spec.decoding, spec.metrics, spec.outputs) for spec in specs}
    # the aggregation of one task isn't that of several
    if any(config.task_class for config in group.tasks):
        return specs
    if len(forms) > 1 or any(name.startswith((_AGGREGATED, "text_perplexity")) for name in specs[0].metrics):
        return specs
    documents = GroupDocuments([Documents(config, data) for config in group.tasks])
    return [
        replace(
            specs[0],
            scenario=_scenario_name(group.name),
            version=documents.digest[:16],
            main=MainScore(specs[0].metrics[0], "test", "micro" if group.weight_by_size else "macro"),
            subsets=("lm_eval_subtask",),
            description=f"The {len(specs)} tasks of {group.name} of lm-evaluation-harness.",
            frame=DeferredFrame(f"lm_eval:{name}", documents.digest, documents),
        )
    ]


def _scenario_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.\-]", "_", name)


def task_scenario(config: TaskConfig, data: str | None, name: str, *, trust_remote_code: bool = False) -> ScenarioSpec:
    """Return the scenario of a task. Its documents are read when they are first needed.

    Raises:
        ArgumentError: The task needs Python functions that aren't trusted.
        CapabilityError: The output type, a metric or a Python function is unsupported.
    """
    for key, reason in _UNSUPPORTED.items():
        if getattr(config, key):
            raise CapabilityError(f"Task {config.task!r}: {reason} ({key}).")
    check_functions(config, trust_remote_code=trust_remote_code)
    documents, make = Documents(config, data), None
    if config.task_class is not None:
        of_class = ClassDocuments(config, data)
        of_class.named = config = of_class.described()
        documents, make = of_class, lambda: of_class.task
    metrics = _metrics(config)
    if _scores_by_functions(config):
        check_installed(config, "its Python code")
        SCORERS[documents.digest] = TaskScorer(
            config, lambda: Documents.of(documents.digest, documents).documents, make
        )
    method = _METHODS[config.output_type]
    return ScenarioSpec(
        scenario=_scenario_name(config.task),
        version=documents.digest[:16],
        instances="SELECT * FROM rows",
        main=MainScore(metrics[0], "test", "micro"),
        metrics=metrics,
        adapter=frozen(
            {
                "method": f"{method}_calibrated" if "option_accuracy_calibrated" in metrics else method,
                "shots": config.num_fewshot or 0,
                "chat_template": False,
            }
        ),
        decoding=_decoding(config),
        outputs=config.repeats if config.output_type == "generate_until" else 1,
        description=f"The task {config.task} of lm-evaluation-harness.",
        frame=DeferredFrame(f"lm_eval:{name}", documents.digest, documents),
    )


def _decoding(config: TaskConfig) -> Any:
    if config.output_type != "generate_until":
        return ()
    arguments = dict(config.generation_kwargs or {})
    until = arguments.get("until", [config.fewshot_delimiter])
    stop = [until] if isinstance(until, str) else list(until)
    sampled = arguments.get("do_sample", False)
    temperature = float(arguments.get("temperature", 1.0)) if sampled else 0.0
    tokens = int(arguments.get("max_gen_toks", arguments.get("max_tokens", _MAX_TOKENS)))
    return decoding_pairs({"max_tokens": tokens, "temperature": temperature, "stop": stop}, "generation_kwargs")


def _filters(config: TaskConfig) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Return the steps of each filter by name."""
    filters: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for entry in config.filter_list or [{"name": "none", "filter": [{"function": "take_first"}]}]:
        filters[str(entry["name"])] = [
            (str(step["function"]), {k: v for k, v in step.items() if k != "function"}) for step in entry["filter"]
        ]
    return filters


def _entries(config: TaskConfig) -> list[tuple[str, Any, bool]]:
    """Return name, aggregation and direction of each metric of a task; lm-eval's defaults if it has none."""
    entries = []
    for entry in config.metric_list or [{"metric": name} for name in _DEFAULT_METRICS[config.output_type]]:
        name = entry.get("metric")
        # a function gives its name to its metric
        name = name.name.rpartition(".")[2] if isinstance(name, Function) else str(name)
        aggregation, higher = REGISTERED.get(name, ("mean", True))
        entries.append((name, entry.get("aggregation", aggregation), bool(entry.get("higher_is_better", higher))))
    return entries


def _scores_by_functions(config: TaskConfig) -> bool:
    """Return whether lm-eval's code makes the scores: functions, or filters and metrics that aren't ours."""
    computed = COMPUTED[config.output_type]
    if scoring_functions(config) or any(entry.get("hf_evaluate") for entry in config.metric_list or ()):
        return True
    if any(name not in FILTERS for steps in _filters(config).values() for name, _ in steps):
        return True
    return any(name not in computed or aggregation not in AGGREGATIONS for name, aggregation, _ in _entries(config))


def _metrics(config: TaskConfig) -> tuple[str, ...]:
    """Return our names of the task's metrics, those of generated texts for each filter."""
    filters, functions = _filters(config), _scores_by_functions(config)
    single = config.output_type == "generate_until" and config.repeats == 1
    plain = len(filters) == 1 and {step for steps in filters.values() for step, _ in steps} <= _PLAIN_STEPS
    names: list[str] = []
    for name, aggregation, higher in _entries(config):
        usual = not functions and aggregation == REGISTERED[name][0]
        if usual and single and name == "exact_match":
            names += [str(Call("lm_eval_exact_match", frozen({"filter": each}))) for each in filters]
        elif usual and name in _OURS[config.output_type] and (config.output_type != "generate_until" or single * plain):
            names.append(_OURS[config.output_type][name])
        else:
            metric = "lm_eval_score" if aggregation in MEANS else _AGGREGATED
            direction = {} if higher else {"higher_is_better": False}
            names += [str(Call(metric, frozen({"name": name, "filter": each, **direction}))) for each in filters]
    return tuple(dict.fromkeys(names))


def _scoring(config: TaskConfig) -> dict[str, Any]:
    """Return what the metrics `lm_eval_…` need to know of a task."""
    scoring: dict[str, Any] = {
        "filters": _filters(config),
        "metrics": {
            str(entry["metric"]): {key: value for key, value in entry.items() if key not in _METRIC_KEYS}
            for entry in config.metric_list or ()
        },
    }
    if not any(name.startswith(("lm_eval_score", _AGGREGATED)) for name in _metrics(config)):
        return scoring
    aggregations = {name: aggregation for name, aggregation, _ in _entries(config) if isinstance(aggregation, str)}
    return {
        **scoring,
        "output_type": config.output_type,
        "functions": _scores_by_functions(config),
        "computed": [name for name, _, _ in _entries(config)],
        "aggregations": {name: value for name, value in aggregations.items() if value in AGGREGATIONS},
    }


_METRIC_KEYS = ("metric", "aggregation", "higher_is_better", "hf_evaluate")
_PLAIN_STEPS = {"take_first", "remove_whitespace"}
_AGGREGATED = "lm_eval_aggregate"
# Output type → lm-eval's metric → ours with the same values.
_OURS: dict[str, dict[str, str]] = {
    "multiple_choice": {
        "acc": "option_accuracy",
        "acc_norm": "option_accuracy_per_character",
        "acc_bytes": "option_accuracy_per_byte",
        "acc_mutual_info": "option_accuracy_calibrated",
        "brier_score": "option_brier",
    },
    "loglikelihood": {"perplexity": "text_perplexity"},
    "loglikelihood_rolling": {},
    "generate_until": {"bleu": "corpus_bleu", "chrf": "corpus_chrf", "ter": "corpus_ter"},
}
# Key of a task → why a task with it has no plan.
_UNSUPPORTED = {
    "doc_to_image": "images are unsupported",
    "doc_to_audio": "audio is unsupported",
    "use_prompt": "prompts of promptsource are unsupported",
    "unsafe_code": "it runs generated code outside of a sandbox, which is unsupported",
}
