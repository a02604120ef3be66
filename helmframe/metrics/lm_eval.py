"""The filters, metrics and aggregations of lm-evaluation-harness, for its tasks.

The values of a document are computed once, for all filters and metrics (`document_values`). `lm_eval_score` is the mean
of one of them, and `lm_eval_aggregate` an aggregation that isn't a mean. Tasks with Python functions register a
`Scorer`, which computes the values instead.

Source: lm-eval 0.4.13, `filters/`, `api/metrics.py`, `api/task.py`.
"""

import json
import math
import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import polars as pl

from helmframe._core.safe_text import BoundedPattern, bounded_pattern, error_text, get_logger
from helmframe._schema import OF_REQUEST, SCORES
from helmframe.errors import ArgumentError, CapabilityError
from helmframe.metrics.protocol import metric

logger = get_logger("helmframe.metrics")
_INVALID = "[invalid]"
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_DIGITS = str.maketrans("", "", string.digits)
# Metric → its aggregation, and whether a higher value is better; the metrics of lm-eval's registry.
REGISTERED: dict[str, tuple[str, bool]] = {
    **dict.fromkeys(("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"), ("mean", True)),
    "brier_score": ("brier_score", False),
    "f1": ("f1", True),
    "mcc": ("matthews_corrcoef", True),
    "perplexity": ("perplexity", False),
    "word_perplexity": ("weighted_perplexity", False),
    "byte_perplexity": ("weighted_perplexity", False),
    "bits_per_byte": ("bits_per_byte", False),
    "bleu": ("bleu", True),
    "chrf": ("chrf", True),
    "chrf++": ("chrf++", True),
    "ter": ("ter", False),
}
# Output type → the metrics that `document_values` computes without Python functions.
COMPUTED = {
    "multiple_choice": ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "brier_score", "f1", "mcc"),
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "generate_until": ("exact_match", "bleu", "chrf", "chrf++", "ter"),
}
MEANS = ("mean", "nanmean")


class Scorer(Protocol):
    """The values of a task's documents, and their aggregations, by the task's Python functions."""

    def values(self, position: int, responses: Sequence[Sequence[Any]]) -> Mapping[str, Mapping[str, Any]]:
        """Return filter → metric → value of a document, from the responses to each of its requests."""

    def aggregate(self, metric: str, values: Sequence[Any]) -> Any:
        """Return the aggregation of the values of a metric."""


# The scorers of this process, by the digest of the task.
SCORERS: dict[str, Scorer] = {}


@metric(
    "lm_eval_exact_match",
    needs=("lm_eval_scoring",),
    source="lm-eval, filters and exact_match",
    correctness=True,
)
def lm_eval_exact_match(
    completion: str,
    perturbed_references: list[dict[str, Any]],
    lm_eval_choices: list[str] | None,
    lm_eval_scoring: str,
    *,
    filter: str = "none",
) -> float:
    """Return 1 if the filtered completion equals a target of an lm-eval task, else 0.

    The filters and the options `ignore_case`, `ignore_punctuation`, `ignore_numbers` and `regexes_to_ignore` are those
    of the task file.

    Example: With a filter that takes the number after ####, "so #### 18" against "18" is 1.
    """
    scoring = _scoring(lm_eval_scoring)
    result = filtered([completion], scoring["filters"][filter], lm_eval_choices or ())
    return _exact_match(result, _targets(perturbed_references), scoring["metrics"].get("exact_match", {}))


@metric(
    "lm_eval_score",
    level="instance",
    unit="score",
    needs=("lm_eval_scoring",),
    source="lm-eval, Task.process_results",
    no_value="the task computes no such metric",
)
def lm_eval_score(
    lm_eval_values: list[str | None], *, name: str, filter: str = "none", higher_is_better: bool = True
) -> tuple[float | None, str | None]:
    """Return the value of a document under a metric of an lm-eval task.

    Tasks with Python functions compute the value in their `process_results`.

    Example: `lm_eval_score(name='acc')` of LAMBADA is 1 if the model generates the last word greedily.

    Args:
        lm_eval_values: The values of the document, on one of its rows.
        name: The name of the metric in the task file.
        filter: The name of the filter in the task file.
        higher_is_better: The direction, as in the task file.
    """
    del higher_is_better
    values: dict[str, Any] = next((json.loads(text) for text in lm_eval_values if text is not None), {})
    if "error" in values:
        return None, values["error"]
    value = values["values"].get(filter, {}).get(name) if values else None
    if value is None or isinstance(value, str | list | dict):
        return None, f"metric {name!r} of filter {filter!r} isn't a number" if value is not None else None
    return float(value), None


@metric(
    "lm_eval_aggregate",
    level="set",
    unit="score",
    needs=("lm_eval_scoring",),
    source="lm-eval, api/metrics.py and Task.aggregation",
    no_value="a document has no value, or the aggregation has none",
)
def lm_eval_aggregate(
    lm_eval_values: pl.Series,
    lm_eval_scoring: pl.Series,
    lm_eval_task: pl.Series,
    *,
    name: str,
    filter: str = "none",
    higher_is_better: bool = True,
) -> float | None:
    """Return an aggregation of an lm-eval task that isn't a mean, such as `f1` or `word_perplexity`.

    The aggregation is the task file's. Functions of the task file need an installed lm-eval, and a plan of the task in
    this process.

    Example: `lm_eval_aggregate(name='byte_perplexity')` of texts of -6 nats and 8 bytes together: e^(6/8) = 2.117.

    Args:
        lm_eval_values: The values of each document.
        lm_eval_scoring: The filters and metrics of the task.
        lm_eval_task: The digest of the task.
        name: The name of the metric in the task file.
        filter: The name of the filter in the task file.
        higher_is_better: The direction, as in the task file.
    """
    del higher_is_better
    texts = lm_eval_values.drop_nulls().to_list()
    decoded = [_decoded(text) for text in texts]
    if not decoded or any("error" in values or name not in values["values"].get(filter, {}) for values in decoded):
        return None
    values = [_item(entry["values"][filter][name]) for entry in decoded]
    aggregation = _scoring(lm_eval_scoring[0]).get("aggregations", {}).get(name)
    scorer = SCORERS.get(lm_eval_task[0])
    try:
        if aggregation is not None:
            result = AGGREGATIONS[aggregation](values)
        else:
            result = None if scorer is None else scorer.aggregate(name, values)
    except Exception:  # an error of a task's function, such as for a group that it doesn't expect
        logger.debug("aggregation of %s", name, exc_info=True)
        return None
    return None if result is None or math.isnan(result) else float(result)


_decoded = lru_cache(maxsize=65_536)(json.loads)


def _item(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


# -- values of documents -----------------------------------------------------------------------------------------------

_KEYS = tuple(name for name in SCORES.key if name not in ("output_index", *OF_REQUEST, "metric"))
# The columns that `document_values` reads.
VALUE_COLUMNS = (
    *_KEYS, "output_index", *OF_REQUEST, "completion", "logprob", "is_greedy", "continuation", "perturbed_input",
    "perturbed_references", "lm_eval_before", "lm_eval_after", "lm_eval_choices", "lm_eval_task", "lm_eval_position",
    "lm_eval_scoring",
)  # fmt: skip


def document_values(rows: pl.DataFrame) -> pl.Series:
    """Return the values of each document as JSON, on its first row; null on other rows, and if a request failed.

    The JSON is {"values": filter → metric → value}, or {"error": reason}.

    Args:
        rows: The completions, with `VALUE_COLUMNS`.
    """
    texts: list[str | None] = [None] * rows.height
    documents: dict[tuple[Any, ...], list[tuple[int, dict[str, Any]]]] = {}
    for number, row in enumerate(rows.iter_rows(named=True)):
        documents.setdefault(tuple(row[name] for name in _KEYS), []).append((number, row))
    for numbered in documents.values():
        of_document = [row for _, row in numbered]
        if all(row["completion"] is not None for row in of_document):
            texts[numbered[0][0]] = _values_json(of_document)
    return pl.Series("lm_eval_values", texts, dtype=pl.String)


def _values_json(rows: list[dict[str, Any]]) -> str:
    first = rows[0]
    scoring = _scoring(first["lm_eval_scoring"])
    try:
        responses = _responses(rows)
        if scoring.get("functions"):
            scorer = SCORERS.get(first["lm_eval_task"])
            if scorer is None:
                raise CapabilityError(
                    "The Python functions of the task aren't loaded. Build the plan in this process: "
                    "hf.scenario('lm_eval:…')."
                )
            values = scorer.values(first["lm_eval_position"], responses)
        else:
            choices = first["lm_eval_choices"] or ()
            values = {
                name: _values(scoring, [filtered(one, steps, choices) for one in responses], first)
                for name, steps in scoring["filters"].items()
            }
        return json.dumps({"values": values}, default=_plain, ensure_ascii=False)
    except Exception as error:  # an error of a task's function belongs to the document
        logger.debug("values of a document", exc_info=True)
        return json.dumps({"error": error_text(error)})


def _plain(value: Any) -> Any:
    """Return a value of NumPy, or a set, as JSON has it."""
    import numpy as np  # late: importing helmframe must not import it

    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form.")


class _Unknown:
    """Stands for whether a continuation is greedy, if the model doesn't report it; its use is an error."""

    def _fail(self, *_: object) -> Any:
        raise CapabilityError(
            "The metric needs to know whether the continuation is greedy, and the model doesn't report it. Use a local "
            "model, or an object whose loglikelihood(pairs) returns (logprob, is_greedy)."
        )

    __bool__ = __int__ = __index__ = __float__ = __eq__ = _fail
    __hash__ = None  # type: ignore[assignment]


_UNKNOWN = _Unknown()


def _responses(rows: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Return the responses to each request of a document, in lm-eval's form and order.

    A log-probability is a pair with whether the continuation is greedy. It is a number for a whole text, whose windows
    are added up. Several outputs are several responses to one request.
    """

    def order(row: Mapping[str, Any]) -> tuple[Any, ...]:
        parts = (row["reference_index"], row["window_index"], row["output_index"])
        return (row["request_mode"] == "calibration", *(-1 if part is None else part for part in parts))

    requests: dict[tuple[Any, Any], list[Any]] = {}
    for row in sorted(rows, key=order):
        of_request = requests.setdefault((row["request_mode"], row["reference_index"]), [])
        if row["continuation"] is None:
            of_request.append(row["completion"])
        elif row["logprob"] is None:
            raise CapabilityError("the model returned no log-probability")
        elif row["reference_index"] is None:
            of_request[:] = [math.fsum([*of_request, row["logprob"]])]
        else:
            greedy = _UNKNOWN if row["is_greedy"] is None else row["is_greedy"]
            of_request.append((row["logprob"], greedy))
    return list(requests.values())


def _values(scoring: Mapping[str, Any], results: Sequence[Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a document by metric.

    Source: lm-eval `ConfigurableTask.process_results`.
    """
    kind, names = scoring["output_type"], scoring["computed"]
    if kind == "loglikelihood":
        logprob, is_greedy = results[0]
        values: dict[str, Callable[[], Any]] = {"perplexity": lambda: logprob, "acc": lambda: int(bool(is_greedy))}
    elif kind == "loglikelihood_rolling":
        text = f"{row['lm_eval_before']}{row['perturbed_input']}{row['lm_eval_after']}"
        n_bytes = len(text.encode())
        values = {
            "word_perplexity": lambda: (results[0], len(re.split(r"\s+", text))),
            "byte_perplexity": lambda: (results[0], n_bytes),
            "bits_per_byte": lambda: (results[0], n_bytes),
        }
    elif kind == "multiple_choice":
        values = _choice_values(results, row["perturbed_references"])
    else:
        targets, options = _targets(row["perturbed_references"]), scoring["metrics"].get("exact_match", {})
        pair = (targets[0] if targets else "", results[0])
        values = {"exact_match": lambda: _exact_match(results[0], targets, options)}
        values |= dict.fromkeys(("bleu", "chrf", "chrf++", "ter"), lambda: pair)
    return {name: values[name]() for name in names}


def _choice_values(
    results: Sequence[tuple[float, Any]], references: Sequence[Mapping[str, Any]]
) -> dict[str, Callable[[], Any]]:
    import numpy as np  # late: importing helmframe must not import it

    texts = [reference["text"] for reference in references]
    golds = [number for number, reference in enumerate(references) if reference["correct"]]
    logprobs = np.array([logprob for logprob, _ in results[: len(texts)]])
    without = np.array([logprob for logprob, _ in results[len(texts) :]])
    gold = golds[0] if golds else None
    lengths = np.array([float(len(text)) for text in texts])
    n_bytes = np.array([float(len(text.encode())) for text in texts])
    raised = np.exp(logprobs - logprobs.max())

    def hit(scores: Any) -> float:
        return float(int(np.argmax(scores)) in golds)

    def greedy() -> int:
        return int(any(bool(results[number][1]) for number in golds))

    def brier() -> tuple[int, list[float]]:
        if gold is None:
            raise ArgumentError("The target isn't an option.")
        return gold, (raised / raised.sum()).tolist()

    return {
        "acc": lambda: hit(logprobs),
        "acc_norm": lambda: hit(logprobs / lengths),
        "acc_bytes": lambda: hit(logprobs / n_bytes),
        "acc_mutual_info": lambda: hit(logprobs - without),
        "exact_match": greedy,
        "brier_score": brier,
        "f1": lambda: (-100 if gold is None else gold, int(np.argmax(logprobs))),
        "mcc": lambda: (-100 if gold is None else gold, int(np.argmax(logprobs))),
    }


def _targets(references: Sequence[Mapping[str, Any]]) -> list[str]:
    return [reference["text"] for reference in references if reference["correct"]]


def _exact_match(result: Any, targets: Sequence[str], options: Mapping[str, Any]) -> float:
    """Return the share of the results that equal a target; a filter may return one text or several."""
    results = result if isinstance(result, list) else [result]
    golds = [_normal(target, options) for target in targets]
    return sum(_normal(str(text), options) in golds for text in results) / max(len(results), 1)


@lru_cache(maxsize=256)
def _scoring(text: str) -> Any:
    return json.loads(text)


def _normal(text: str, options: Mapping[str, Any]) -> str:
    for pattern in options.get("regexes_to_ignore") or ():
        text = bounded_pattern(pattern).sub("", text)
    if options.get("ignore_case"):
        text = text.lower()
    if options.get("ignore_punctuation"):
        text = text.translate(_PUNCTUATION)
    return text.translate(_DIGITS) if options.get("ignore_numbers") else text


# -- aggregations ------------------------------------------------------------------------------------------------------


def _weighted_mean(values: Sequence[tuple[float, float]]) -> float:
    return sum(value for value, _ in values) / sum(weight for _, weight in values)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _nanmean(values: Sequence[float]) -> float | None:
    numbers = [value for value in values if not math.isnan(value)]
    return _mean(numbers) if numbers else None


def _f1(pairs: Sequence[tuple[int, int]]) -> float:
    """Return scikit-learn's F1 of the label 1, whose other label is 0."""
    if not {label for pair in pairs for label in pair} <= {0, 1}:
        raise ArgumentError("f1 needs two options, and a target that is one of them.")
    hits = sum(gold == predicted == 1 for gold, predicted in pairs)
    total = sum(gold + predicted for gold, predicted in pairs)
    return 2 * hits / total if total else 0.0


def _matthews(pairs: Sequence[tuple[int, int]]) -> float:
    """Return the correlation coefficient of Matthews, for any number of labels.

    Source: Gorodkin 2004; scikit-learn `matthews_corrcoef`.
    """
    n, hits = len(pairs), sum(gold == predicted for gold, predicted in pairs)
    golds, predictions = (Counter(pair[side] for pair in pairs) for side in (0, 1))
    covariance = hits * n - sum(count * predictions[label] for label, count in golds.items())
    of_golds = n * n - sum(count * count for count in golds.values())
    of_predictions = n * n - sum(count * count for count in predictions.values())
    return covariance / math.sqrt(of_golds * of_predictions) if of_golds * of_predictions else 0.0


def _brier(pairs: Sequence[tuple[int, Sequence[float]]]) -> float:
    import numpy as np  # late: importing helmframe must not import it

    gold = np.eye(len(pairs[0][1]))[[gold for gold, _ in pairs]]
    return float(np.mean(np.sum((np.array([probabilities for _, probabilities in pairs]) - gold) ** 2, axis=1)))


def _corpus(name: str, pairs: Sequence[tuple[str, Any]]) -> float:
    import sacrebleu

    outputs = [output[0] if isinstance(output, list) else output for _, output in pairs]
    references = [[gold for gold, _ in pairs]]
    if name == "chrf++":
        return float(sacrebleu.corpus_chrf(outputs, references, word_order=2).score)
    return float(getattr(sacrebleu, f"corpus_{name}")(outputs, references).score)


AGGREGATIONS: dict[str, Callable[[Sequence[Any]], float | None]] = {
    "mean": _mean,
    "nanmean": _nanmean,
    "median": lambda values: float(sorted(values)[len(values) // 2]),
    "perplexity": lambda values: math.exp(-_mean(values)),
    "weighted_perplexity": lambda values: math.exp(-_weighted_mean(values)),
    "bits_per_byte": lambda values: -_weighted_mean(values) / math.log(2),
    "f1": _f1,
    "matthews_corrcoef": _matthews,
    "brier_score": _brier,
    **{name: lambda pairs, name=name: _corpus(name, pairs) for name in ("bleu", "chrf", "chrf++", "ter")},  # type: ignore[misc]
}


# -- filters -----------------------------------------------------------------------------------------------------------


def filtered(responses: list[Any], steps: Sequence[tuple[str, Mapping[str, Any]]], choices: Sequence[str]) -> Any:
    """Return the responses of a document after the steps of a filter: a list, or a text once one is taken.

    >>> filtered(["It is 18.", "It is 19."], [("regex", {"regex_pattern": "([0-9]+)"}), ("take_first", {})], ())
    '18'
    """
    value: Any = responses
    for name, options in steps:
        value = FILTERS[name](value, options, choices)
    return value


def _matched(pattern: re.Pattern[str] | BoundedPattern, text: Any, options: Mapping[str, Any]) -> str | None:
    """Return the selected match of a pattern; None without one."""
    matches = pattern.findall(text if isinstance(text, str) else "")
    if not matches:
        return None
    match = matches[options.get("group_select", 0)]
    if isinstance(match, tuple):
        groups = [group for group in match if group]
        if not groups:
            return ""
        match = groups[0]
    return str(match).strip()


def _regex(responses: list[Any], options: Mapping[str, Any], choices: Sequence[str]) -> list[Any]:
    del choices
    pattern = bounded_pattern(options.get("regex_pattern", r"#### (\-?[0-9\.\,]+)"))
    fallback = options.get("fallback", _INVALID)
    matches = [_matched(pattern, response, options) for response in responses]
    return [fallback.strip() if match == "" else fallback if match is None else match for match in matches]


@lru_cache(maxsize=1)
def _unicode_punctuation() -> dict[int, None]:
    codes = range(sys.maxunicode)
    return dict.fromkeys(code for code in codes if unicodedata.category(chr(code)).startswith("P"))


def _multi_choice_regex(responses: list[Any], options: Mapping[str, Any], choices: Sequence[str]) -> list[Any]:
    """Return the letter of an option in brackets: by the pattern, else by the option's text, else by a letter."""

    def ignored(text: str) -> str:
        for pattern in options.get("regexes_to_ignore") or ():
            text = bounded_pattern(pattern).sub("", text)
        text = text.lower() if options.get("ignore_case") else text
        return text.translate(_unicode_punctuation()) if options.get("ignore_punctuation") else text

    letters = [chr(ord("A") + number) for number in range(len(choices))]
    texts = [ignored(choice.strip()) for choice in choices]
    by_text = dict(zip(texts, letters, strict=True))
    of_texts = re.compile("|".join(sorted(map(re.escape, texts), key=len, reverse=True)))
    of_letters = re.compile(rf":[\s]*({'|'.join(letters)})")
    pattern = bounded_pattern(options.get("regex_pattern", r"#### (\-?[0-9\.\,]+)"))
    results = []
    for response in responses:
        match = _matched(pattern, response, options)
        if not match:
            text = _matched(of_texts, ignored(response), options)
            match = f"({by_text[text]})" if text and text in by_text else text
            if not match:
                letter = _matched(of_letters, response, options)
                match = f"({letter})" if letter and letter in letters else letter
        results.append(match or options.get("fallback", _INVALID))
    return results


def _take_first_k(responses: list[Any], options: Mapping[str, Any], choices: Sequence[str]) -> list[Any]:
    del choices
    if len(responses) < options["k"]:
        raise ArgumentError(f"The filter take_first_k needs {options['k']} outputs: generate(…, n={options['k']}).")
    return responses[: options["k"]]


FILTERS: dict[str, Callable[[Any, Mapping[str, Any], Sequence[str]], Any]] = {
    "take_first": lambda responses, _, __: responses[0],
    "take_first_k": _take_first_k,
    "majority_vote": lambda responses, _, __: [Counter(responses).most_common(1)[0][0]],
    "regex": _regex,
    "multi_choice_regex": _multi_choice_regex,
    "remove_whitespace": lambda responses, _, __: [response.strip() for response in responses],
    "lowercase": lambda responses, _, __: [response.lower() for response in responses],
    "uppercase": lambda responses, _, __: [response.upper() for response in responses],
    "map": lambda responses, options, _: [
        (options.get("mapping_dict") or {}).get(response, options.get("default_value")) for response in responses
    ],
}
