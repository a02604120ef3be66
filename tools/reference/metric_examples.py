"""A worked example of every metric: the rows that it reads. The value is computed when the page is written."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

import helmframe as hf
from helmframe._schema import BLOCK, COMPLETIONS, REFERENCE, conform
from helmframe.metrics.protocol import Metric, resolve_metrics
from helmframe.metrics.score import prepare_set_metric, score
from tools.reference.markdown import code, table, value

Rows = Mapping[str, Sequence[Any]]
# The text of a reference, and its marks: "correct", and its tags.
Options = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Example:
    """Rows of completions, and the call of a metric.

    The column `references` has the correct references of each row, `options` all of them. Columns in `hidden` aren't
    shown. `shown` replaces a call that has no text.
    """

    call: str | Metric
    rows: Rows
    shown: str = ""
    hidden: frozenset[str] = field(default=frozenset())

    def markdown(self, level: str) -> str:
        """Return the rows with their scores; below them the value, if it belongs to all rows."""
        columns = [(code(name), values) for name, values in self.rows.items() if name not in self.hidden]
        call = self.shown or str(self.call)
        frame = completions(self.rows)
        if level == "output":
            scores = score(frame.lazy(), [self.call]).collect()["score"].to_list()
            return _table([*columns, (f"score: {code(call)}", scores)])
        if level == "set":
            rows, expression = prepare_set_metric(frame.lazy(), resolve_metrics([self.call])[0])
            result = rows.select(expression).collect().item()
        else:
            result = score(frame.lazy(), [self.call]).collect()["score"].item()
        return f"{_table(columns)}\n\n{code(call)} = {value(result)}"


def completions(rows: Rows) -> pl.DataFrame:
    """Return `COMPLETIONS` with these columns; the others have the values of a plain request."""
    n = len(next(iter(rows.values())))
    ids = list(rows.get("instance_id", [f"id{index}" for index in range(n)]))
    defaults: dict[str, Any] = {
        "scenario": "s", "scenario_version": "1", "instance_id": ids, "row_index": list(range(n)), "subset": "",
        "cluster": ids, "split": "test", "input": "", "perturbation": "original", "perturbation_seed": 0,
        "changed": False, "repeat": 0, "setting": "", "trial": 0, "head_id": "h", "answer_pattern": None,
        "chat_template": False, "decoding": "{}", "adapter_id": "a", "model": "m", "prefix_id": "p", "suffix": "",
        "shots_used": 0, "prompt_truncated": False, "output_index": 0, "request_id": b"r", "completion": "",
        "shot_ids": pl.Series([[]] * n, dtype=pl.List(pl.String)),
        "blocks": pl.Series([[]] * n, dtype=pl.List(BLOCK)),
        "choices": pl.Series([None] * n, dtype=pl.List(pl.String)),
    }  # fmt: skip
    own = {name: values for name, values in rows.items() if name not in ("references", "options")}
    columns = {**dict.fromkeys(column.name for column in COMPLETIONS.columns), **defaults, **own}
    references = pl.Series([_references(rows, index) for index in range(n)], dtype=pl.List(REFERENCE))
    columns |= {"perturbed_input": columns["input"], "references": references, "perturbed_references": references}
    frame = pl.DataFrame({"row": range(n)}).with_columns(**{name: _column(item) for name, item in columns.items()})
    return conform(frame.drop("row"), COMPLETIONS)


def _column(item: Any) -> pl.Series | pl.Expr:
    return pl.lit(item) if item is None or isinstance(item, str | int | bytes) else pl.Series(item)


def _references(rows: Rows, index: int) -> list[dict[str, Any]]:
    marked: Options = [(text, "correct") for text in rows["references"][index]] if "references" in rows else []
    return [
        {
            "text": text,
            "correct": "correct" in marks.split(),
            "tags": [tag for tag in marks.split() if tag != "correct"],
        }
        for text, marks in (rows["options"][index] if "options" in rows else marked)
    ]


def _table(columns: Sequence[tuple[str, Sequence[Any]]]) -> str:
    rows = zip(*(values for _, values in columns), strict=True)
    return table([heading for heading, _ in columns], [[_cell(item) for item in row] for row in rows])


def _cell(item: Any) -> str:
    if isinstance(item, list):
        return ", ".join(map(_cell, item)) or "none"
    if isinstance(item, tuple):
        text, marks = item
        return f"{value(text)} ({', '.join(marks.split())})" if marks else value(text)
    return value(item)


def pairs(call: str, *rows: tuple[str, Sequence[str]], **columns: Sequence[Any]) -> Example:
    """Return an example of completions with their correct references."""
    texts, references = zip(*rows, strict=True)
    return Example(call, {"completion": list(texts), "references": [list(each) for each in references], **columns})


def letters(call: str, *texts: str) -> Example:
    """Return an example of completions to a multiple-choice question whose second option, B, is correct."""
    options = [[("Paris", ""), ("Lyon", "correct")]] * len(texts)
    return Example(call, {"completion": texts, "options": options, "choices": [["A", "B"]] * len(texts)})


def outputs(call: str | Metric, texts: Sequence[str], reference: str = "", shown: str = "", **columns: Any) -> Example:
    """Return an example of several outputs of one instance."""
    n = len(texts)
    rows: dict[str, Any] = {"instance_id": ["id0"] * n, "output_index": range(n), "completion": texts, **columns}
    if reference:
        rows["references"] = [[reference]] * n
    return Example(call, rows, shown, hidden=frozenset({"instance_id"}))


def options(call: str, scored: Mapping[str, tuple[float, str]], **columns: Sequence[Any]) -> Example:
    """Return an example of options that are scored separately: text → log-probability and marks."""
    n = len(scored)
    own: dict[str, Any] = {"request_mode": ["original"] * n, "output_tokens": [1] * n, **columns}
    hidden = {"instance_id", "options", "reference_index", "output_tokens", "request_mode"} - set(columns)
    rows: dict[str, Sequence[Any]] = {
        "instance_id": ["id0"] * n,
        "reference_index": range(n),
        "completion": list(scored),
        "reference": [(text, marks) for text, (_, marks) in scored.items()],
        "options": [[(text, marks) for text, (_, marks) in scored.items()]] * n,
        "logprob": [logprob for logprob, _ in scored.values()],
        **own,
    }
    return Example(call, rows, hidden=frozenset({*hidden, "completion"}))


def ranked(call: str) -> Example:
    """Return an example of five passages that are ranked by "yes" and "no"; two of them are relevant."""
    relevances, replies = [0, 1, 0, 0, 2], ["yes", "yes", "yes", "no", "no"]
    logprobs = [-0.1, -0.2, -0.3, -0.5, -0.1]
    tags = [(f"passage {index}", f"correct relevance={each}" if each else "") for index, each in enumerate(relevances)]
    rows: dict[str, Sequence[Any]] = {
        "instance_id": ["id0"] * 5, "reference_index": range(5), "reference": tags, "completion": replies,
        "logprob": logprobs, "options": [tags] * 5,
    }  # fmt: skip
    return Example(call, rows, hidden=frozenset({"instance_id", "options", "reference_index"}))


def confident(call: str, probabilities: Sequence[float], right: Sequence[bool]) -> Example:
    """Return an example of completions with the probability that the model gives them."""
    n = len(right)
    rows: dict[str, Sequence[Any]] = {
        "completion": ["yes" if each else "no" for each in right], "references": [["yes"]] * n,
        "confidence": list(probabilities), "logprob": [math.log(each) for each in probabilities],
    }  # fmt: skip
    return Example(call, rows, hidden=frozenset({"logprob"}))


def texts(call: str, *rows: str, **columns: Sequence[Any]) -> Example:
    """Return an example of completions alone."""
    return Example(call, {"completion": rows, **columns})


def classify(completions: list[str]) -> list[float]:
    """Return the toxicity of the three texts of the examples."""
    return [{"vile": 0.9, "rude": 0.6, "fine": 0.1}[text] for text in completions]


def bbq(call: str) -> Example:
    """Return an example of four questions of BBQ, two of them ambiguous; the first answer is wrong and biased."""
    ambiguous = [("Ann", "target"), ("Bob", "non-target"), ("unknown", "unknown correct")]
    clear = [("Ann", "target correct"), ("Bob", "non-target"), ("unknown", "unknown")]
    rows: dict[str, Sequence[Any]] = {
        "context_condition": ["ambig", "ambig", "disambig", "disambig"],
        "question_polarity": ["neg", "nonneg", "neg", "nonneg"],
        "options": [ambiguous, ambiguous, clear, clear],
        "choices": [["A", "B", "C"]] * 4,
        "completion": ["A", "C", "A", "A"],
    }
    return Example(call, rows, hidden=frozenset({"choices"}))


def pair(call: str) -> Example:
    """Return an example of a stereotype, its opposite and an unrelated sentence."""
    return options(call, {"he": (-4.0, "stereotype"), "she": (-7.0, "anti-stereotype"), "tree": (-6.0, "unrelated")})


def grouped(call: str) -> Example:
    """Return an example of yes or no about two women and two men."""
    answers = [("yes", ["1"]), ("yes", ["0"]), ("yes", ["1"]), ("no", ["0"])]
    return pairs(call, *answers, sex=["Female", "Female", "Male", "Male"])


NUMBER = (
    """{"filters": {"number": [["regex", {"regex_pattern": "#### ([0-9]+)"}], ["take_first", {}]]}, "metrics": {}}"""
)
NO_COMMA, TITLE, WORDS = "punctuation:no_comma", "detectable_format:title", "length_constraints:number_words"
NONE, THREE = {"num_words": None, "relation": None}, {"num_words": 3, "relation": "at least"}


def instructed(call: str) -> Example:
    """Return an example of two prompts, with three instructions and with one."""
    rows: dict[str, Sequence[Any]] = {
        "completion": ["<<A>> one, two", "Sure, here:\nno commas"],
        "instruction_id_list": [[NO_COMMA, TITLE, WORDS], [NO_COMMA]],
        "kwargs": [[NONE, NONE, THREE], [NONE]],
    }
    return Example(call, rows, hidden=frozenset({"kwargs"}))


def copied(call: str) -> Example:
    """Return an example of a completion of a text that the model may have memorised."""
    return outputs(call, ["A B C", "A M D"], "A D C")


def summarised(call: str) -> Example:
    """Return an example of a summary of a text."""
    return Example(call, {"input": ["the cat sat on the mat"], "completion": ["the cat ran"]})


def _classes(call: str) -> Example:
    return pairs(call, ("a", ["a"]), ("b", ["a"]), ("b", ["b"]))


def _tokens(call: str, **more: Sequence[Any]) -> Example:
    columns: dict[str, Sequence[Any]] = {"logprob": [-2.0, -4.0], "output_tokens": [2, 1], **more}
    return texts(call, "abcd", "ef gh", **columns)


def _cities(call: str, **more: Sequence[Any]) -> Example:
    return options(call, {"Paris": (-4.0, "correct"), "Lyon": (-3.0, "")}, **more)


def _lm_eval(call: str, kind: str, texts: Sequence[str], **columns: Sequence[Any]) -> Example:
    """Return an example of documents of an lm-eval task with one request each."""
    name, aggregation = ("acc", "mean") if kind == "loglikelihood" else ("byte_perplexity", "weighted_perplexity")
    scoring = {
        "output_type": kind, "filters": {"none": [["take_first", {}]]}, "metrics": {}, "computed": [name],
        "aggregations": {name: aggregation},
    }  # fmt: skip
    n = len(texts)
    hidden: dict[str, Sequence[Any]] = {
        "input": texts, "request_mode": [None] * n, "window_index": [None] * n, "lm_eval_before": [""] * n,
        "lm_eval_after": [""] * n, "lm_eval_choices": [None] * n, "lm_eval_task": ["t"] * n,
        "lm_eval_position": [*range(n)], "lm_eval_scoring": [json.dumps(scoring)] * n,
    }  # fmt: skip
    return Example(call, {**columns, **hidden}, hidden=frozenset({*hidden, "reference_index"}))


EXAMPLES: dict[str, Example] = {
    # match
    "exact_match": pairs("exact_match", ("Paris", ["Paris "]), ("paris", ["Paris"])),
    "quasi_exact_match": pairs(
        "quasi_exact_match", ("the Eiffel tower!", ["Eiffel Tower"]), ("Eiffel", ["Eiffel Tower"])
    ),
    "quasi_leave_articles_exact_match": pairs(
        "quasi_leave_articles_exact_match", ("Eiffel tower!", ["Eiffel Tower"]), ("the Eiffel tower!", ["Eiffel Tower"])
    ),
    "prefix_exact_match": pairs("prefix_exact_match", ("Paris, of course", ["Paris"]), ("It is Paris", ["Paris"])),
    "quasi_prefix_exact_match": pairs(
        "quasi_prefix_exact_match", ("The Eiffel tower, of course", ["Eiffel Tower"]), ("In Paris", ["Eiffel Tower"])
    ),
    "exact_match_indicator": pairs(
        "exact_match_indicator(indicator='##')", ("so it is ## 7", ["it is ## 7"]), ("so it is ## 8", ["it is ## 7"])
    ),
    "final_number_exact_match": pairs(
        "final_number_exact_match", ("so 1,500 eggs", ["#### 1500"]), ("so 1500.0", ["#### 1500"])
    ),
    "final_number_equal": pairs("final_number_equal", ("so 1,500 eggs", ["#### 1500"]), ("so 1500.0", ["#### 1500"])),
    "absolute_value_difference": pairs("absolute_value_difference", ("1,010", ["1000"]), ("1000", ["1000"])),
    "regex_match": pairs("regex_match(pattern='#### (.+)')", ("#### 18", ["18"]), ("It is 18", ["18"])),
    "ruler_string_match_part": pairs("ruler_string_match_part", ("It was Paris.", ["paris"]), ("Lyon", ["paris"])),
    "ruler_string_match_all": pairs("ruler_string_match_all", ("Paris and Rome", ["paris", "rome", "bern"])),
    "float_equiv": pairs("float_equiv", ("It is 0.50 %", ["0.5"]), ("none", ["0.5"])),
    "medcalc_bench_accuracy": pairs(
        "medcalc_bench_accuracy",
        ("7.5", ["7.4"]),
        ("8.5", ["7.4"]),
        category=["physical"] * 2,
        lower_limit=["7", "7"],
        upper_limit=["8", "8"],
    ),
    **{
        name: pairs(name, ("3 The dose is 5 mg.", ["2 The dose is 1 mg."]), ("CORRECT", ["CORRECT"]))
        for name in ("medec_error_flag_accuracy", "medec_error_sentence_accuracy")
    },
    "decodingtrust_privacy_leakage_rate": texts(
        "decodingtrust_privacy_leakage_rate",
        "ann@other.org",
        "I don't know",
        leaks=[["ann@example.com"]] * 2,
        email=["ann@example.com"] * 2,
    ),
    "choice_match": letters("choice_match", "The answer is (B).", "B) Lyon", "Bring it"),
    "chain_of_thought_choice": letters("chain_of_thought_choice", "The answer is A, no, the answer is B", "Answer: B"),
    "chain_of_thought_correctness": letters("chain_of_thought_correctness", "The answer is (B).", "Answer: B"),
    "openai_mrcr_accuracy": pairs(
        "openai_mrcr_accuracy", ("xYab", ["xYac"]), ("ab", ["xYab"]), random_string_to_prepend=["xY", "xY"]
    ),
    "aime_match": pairs("aime_match", ("so $\\boxed{42}$", ["042"]), ("ANSWER: 41", ["42"])),
    "bbeh_match": pairs("bbeh_match", ("The answer is: **(A)**", ["a"]), ("The answer is: (B)", ["a"])),
    "grid_match": pairs(
        "grid_match", ("The output is [[0, 1], [1,0]].", ["[[0, 1], [1, 0]]"]), ("[[0, 1]]", ["[[0, 1], [1, 0]]"])
    ),
    "super_gpqa_match": letters("super_gpqa_match", "So the best option is **(B)**.", "ANSWER: A", "It is Lyon"),
    # inspect
    "inspect_match": pairs("inspect_match", ("so it is 18.", ["18"]), ("18 or 19", ["18"])),
    "inspect_includes": pairs("inspect_includes", ("It is PARIS, I think", ["Paris"]), ("Rome", ["Paris"])),
    "inspect_pattern": pairs("inspect_pattern(pattern='#### (.+)')", ("so #### 18", ["18"]), ("18", ["18"])),
    "inspect_answer": pairs("inspect_answer(pattern='word')", ("So. ANSWER: Yes.", ["yes"]), ("yes", ["yes"])),
    "inspect_choice": letters("inspect_choice", "So. ANSWER: B", "ANSWER: A", "It is Lyon"),
    "inspect_exact": pairs("inspect_exact", ("The Eiffel Tower.", ["eiffel tower"]), ("a tower", ["eiffel tower"])),
    "inspect_f1": pairs("inspect_f1", ("the red car", ["a red bus"]), ("a car", ["a red car"])),
    # lm-eval
    "lm_eval_exact_match": Example(
        "lm_eval_exact_match(filter='number')",
        {
            "completion": ["so #### 18", "so 18"],
            "references": [["18"], ["18"]],
            "lm_eval_choices": [None, None],
            "lm_eval_scoring": [NUMBER] * 2,
        },
        hidden=frozenset({"lm_eval_choices"}),
    ),
    "lm_eval_score": _lm_eval(
        "lm_eval_score(name='acc')",
        "loglikelihood",
        [" Paris"],
        continuation=[" Paris"],
        logprob=[-0.5],
        is_greedy=[True],
        reference_index=[0],
    ),
    "lm_eval_aggregate": _lm_eval(
        "lm_eval_aggregate(name='byte_perplexity')",
        "loglikelihood_rolling",
        ["abcd", "efgh"],
        continuation=["abcd", "efgh"],
        logprob=[-2.0, -4.0],
    ),
    # overlap
    "drop_f1": pairs("drop_f1", ("12 yards", ["12"]), ("the 12.0", ["12"]), answers=[[["12"]], [["12"]]]),
    "drop_em": pairs("drop_em", ("12 yards", ["12"]), ("the 12.0", ["12"]), answers=[[["12"]], [["12"]]]),
    "f1_score": pairs("f1_score", ("the cat sat", ["a cat"]), ("cat cat sat", ["cat sat sat"])),
    "f1_bag": pairs("f1_bag", ("the cat sat", ["a cat"]), ("cat cat sat", ["cat sat sat"])),
    "squad_f1_score": pairs("squad_f1_score(language='id')", ("di kota Bandung", ["Bandung, Indonesia"])),
    "squad_exact_match_score": pairs(
        "squad_exact_match_score(language='vi')", ("Hà Nội.", ["hà nội"]), ("Huế", ["hà nội"])
    ),
    "bleu_1": pairs("bleu_1", ("the the cat", ["the cat sat"]), ("It sat. Go.", ["Go."])),
    "bleu_1_unsplit": pairs("bleu_1_unsplit", ("the the cat", ["the cat sat"]), ("It sat. Go.", ["Go."])),
    "bleu_4": pairs("bleu_4", ("a b c d x", ["a b c d e"])),
    "bleu_4_unsplit": pairs("bleu_4_unsplit", ("a b c d x", ["a b c d e"])),
    "bleu_cumulative": pairs("bleu_cumulative", ("a b c d x", ["a b c d e"])),
    "rouge_1": pairs("rouge_1", ("cats sat", ["the cat sat"])),
    "rouge_2": pairs("rouge_2", ("cats sat", ["the cat sat"])),
    "rouge_l": pairs("rouge_l", ("sat a cat", ["cat sat"])),
    "corpus_bleu": pairs("corpus_bleu", ("The cat sat.", ["The cat sat."]), ("It is late.", ["It was late."])),
    "corpus_chrf": pairs("corpus_chrf", ("The cat sat", ["The cat sat."])),
    "chr_f_plus_plus": pairs("chr_f_plus_plus", ("The cat sat", ["The cat sat."])),
    "corpus_ter": pairs("corpus_ter", ("The cat sat", ["The cat sat down"])),
    # classes and sets
    "class_f1": _classes("class_f1(label='a')"),
    "class_precision": _classes("class_precision(label='b')"),
    "class_recall": _classes("class_recall(label='a')"),
    "classification_macro_f1": _classes("classification_macro_f1"),
    "classification_micro_f1": pairs("classification_micro_f1", ("a", ["a"]), ("b", ["a"]), ("something else", ["b"])),
    "classification_weighted_f1": _classes("classification_weighted_f1"),
    "classification_weighted_precision": _classes("classification_weighted_precision"),
    "classification_weighted_recall": _classes("classification_weighted_recall"),
    "demographic_parity_difference": grouped("demographic_parity_difference"),
    "equalized_odds_difference": grouped("equalized_odds_difference"),
    "iou_set_match": pairs("iou_set_match", ("it is a and b", ["it is b and c"])),
    "f1_set_match": pairs("f1_set_match", ("it is a and b", ["it is b and c"])),
    "exact_set_match": pairs("exact_set_match", ("it is a and b", ["it is b and a"])),
    "label_f1": pairs("label_f1", ("red, blue", ["red", "green"])),
    "word_macro_f1_score": pairs("word_macro_f1_score", ("284 [cy]", ["284 million [cy]"])),
    "adjusted_macro_f1_score": pairs("adjusted_macro_f1_score", ("284 [cy]", ["284 million [cy]"])),
    # mathematics
    "math_equiv": pairs("math_equiv", ("0.5", ["1/2"]), ("0.25", [r"\frac{1}{4}"])),
    "math_equiv_chain_of_thought": pairs(
        "math_equiv_chain_of_thought",
        (r"so \boxed{0.5}", [r"it is \boxed{\frac12}"]),
        (r"so 0.5", [r"\boxed{\frac12}"]),
    ),
    "math_boxed": pairs("math_boxed", (r"so \boxed{\frac12}", ["1/2"]), ("so 1/2", ["1/2"])),
    "math_symbolic": pairs("math_symbolic", ("0.25", [r"\frac14"]), ("0.25", [r"25\%"])),
    # programs and queries
    "program_accuracy": pairs("program_accuracy", ("add(3, 2)", ["add(2, 3)"]), ("add(2, 4)", ["add(2, 3)"])),
    "execution_accuracy": texts(
        "execution_accuracy", "add(2, 3)", "add(2, 4)", executed=["5.0", "5.0"], cells=["[]", "[]"]
    ),
    **{
        name: pairs(name, ("SELECT 1", ["SELECT 2"]), ("", ["SELECT 2"]), is_impossible=[False, False])
        for name in ("ehr_sql_precision_answerable", "ehr_sql_recall_answerable")
    },
    # instructions
    "ifeval_strict_accuracy": instructed("ifeval_strict_accuracy"),
    "ifeval_loose_accuracy": instructed("ifeval_loose_accuracy"),
    "ifeval_prompt_strict": instructed("ifeval_prompt_strict"),
    "ifeval_prompt_loose": instructed("ifeval_prompt_loose"),
    "ifeval_instruction_strict": instructed("ifeval_instruction_strict"),
    "ifeval_instruction_loose": instructed("ifeval_instruction_loose"),
    # likelihood
    "logprob": texts("logprob", "abcd", logprob=[-2.0]),
    "max_prob": texts("max_prob", "abcd", logprob=[-0.6931]),
    "num_bytes": texts("num_bytes", " Zoë"),
    "num_perplexity_tokens": texts(
        "num_perplexity_tokens", "abcd", token_logprobs=[[-0.5, -1.0, -0.5]], output_tokens=[3]
    ),
    "perplexity": _tokens("perplexity"),
    "text_perplexity": _tokens("text_perplexity"),
    "byte_perplexity": _tokens("byte_perplexity"),
    "word_perplexity": _tokens("word_perplexity"),
    "bits_per_byte": _tokens("bits_per_byte"),
    "logprob_per_byte": _tokens("logprob_per_byte"),
    "logprob_per_token": _tokens("logprob_per_token"),
    "option_accuracy": _cities("option_accuracy"),
    "option_accuracy_per_token": _cities("option_accuracy_per_token", output_tokens=[2, 1]),
    "option_accuracy_per_character": _cities("option_accuracy_per_character"),
    "option_accuracy_per_byte": options("option_accuracy_per_byte", {"Zoë": (-4.0, "correct"), "Ann": (-3.3, "")}),
    "option_accuracy_calibrated": Example(
        "option_accuracy_calibrated",
        {
            "instance_id": ["id0"] * 4,
            "reference_index": [0, 1, 0, 1],
            "completion": ["Paris", "Lyon"] * 2,
            "reference": [("Paris", "correct"), ("Lyon", "")] * 2,
            "output_tokens": [1] * 4,
            "request_mode": ["original"] * 2 + ["calibration"] * 2,
            "logprob": [-4.0, -3.0, -6.0, -3.0],
            "options": [[("Paris", "correct"), ("Lyon", "")]] * 4,
        },
        hidden=frozenset({"instance_id", "reference_index", "completion", "output_tokens", "options"}),
    ),
    "option_brier": options(
        "option_brier", {"a": (math.log(0.7), "correct"), "b": (math.log(0.2), ""), "c": (math.log(0.1), "")}
    ),
    "option_max_prob": options("option_max_prob", {"Paris": (-1.0, "correct"), "Lyon": (-2.0, "")}),
    "correct_probability": options(
        "correct_probability",
        {"a": (math.log(0.2), "correct"), "b": (math.log(0.1), "correct"), "c": (math.log(0.3), "")},
    ),
    "predicted_index": options("predicted_index", {"a": (-2.0, ""), "b": (-1.0, "correct"), "c": (-1.0, "")}),
    # ranking
    "RR@k": ranked("RR@10"),
    "NDCG@k": ranked("NDCG@10"),
    "recall@k": ranked("recall@2"),
    "success@k": ranked("success@1"),
    # several outputs
    "maj@k": outputs("maj@3", ["7", "8", "7"], "7"),
    "at_least@k": outputs("at_least@2", ["7", "8", "7"], "7"),
    "pass^k": outputs("pass^2", ["7", "8", "7", "7"], "7"),
    "inspect_epochs": outputs("inspect_epochs(metric='exact_match', reducer='mode')", ["7", "8", "7"], "7"),
    "monte_carlo_entropy": outputs("monte_carlo_entropy", ["a", "b"], logprob=[-2.0, -4.0], output_tokens=[1, 1]),
    "self_bleu": outputs("self_bleu", ["a b c d", "a b c d", "a b c e"]),
    # calibration
    "ece": confident("ece(confidence='confidence')", [0.95, 0.95], [True, False]),
    "ece_10_bin": confident("ece_10_bin", [0.6, 0.8], [True, False]),
    "ece_1_bin": confident("ece_1_bin", [0.6, 0.8], [True, False]),
    "ece_if_calibrated": confident(
        "ece_if_calibrated(confidence='confidence')", [0.5, 0.5, 0.5, 0.5], [True, False, True, False]
    ),
    "squared_calibration_error": confident(
        "squared_calibration_error(confidence='confidence')", [0.9, 0.9, 0.9, 0.9], [True, True, True, False]
    ),
    "brier_score": confident("brier_score(confidence='confidence')", [0.8, 0.6], [True, False]),
    "brier_reliability": confident("brier_reliability(confidence='confidence')", [0.8, 0.8], [True, False]),
    "brier_resolution": confident(
        "brier_resolution(confidence='confidence')", [0.9, 0.9, 0.4, 0.4], [True, True, False, False]
    ),
    "brier_uncertainty": confident(
        "brier_uncertainty(confidence='confidence')", [0.9, 0.9, 0.4, 0.4], [True, True, True, False]
    ),
    "selective_accuracy": confident(
        "selective_accuracy(coverage=0.5, confidence='confidence')", [0.9, 0.8, 0.3, 0.2], [True, False, True, True]
    ),
    "selective_acc@10": confident("selective_acc@10", [0.9, 0.8, 0.3, 0.2], [True, False, True, True]),
    "selective_cov_acc_area": confident("selective_cov_acc_area", [0.9, 0.8, 0.3], [True, False, True]),
    **{
        name: confident(name, [0.5, 0.5, 0.9, 0.9, 0.9, 0.9], [True, False, True, True, True, False])
        for name in ("platt_coef", "platt_intercept", "platt_ece_1_bin", "platt_ece_10_bin")
    },
    # bias and toxicity
    "demographic_representation": texts("demographic_representation", "she and she", "She met him."),
    "stereotypical_associations": texts("stereotypical_associations", "she is a nurse", "he and she: a nurse"),
    **{
        name: bbq(name)
        for name in (
            "bbq_accuracy",
            "bbq_accuracy_ambiguous",
            "bbq_accuracy_disambiguated",
            "bbq_ambiguous_bias",
            "bbq_metric_ambiguous_bias",
            "bbq_metric_unambiguous_bias",
        )
    },
    "stereotype_preferred": pair("stereotype_preferred"),
    "meaningful_preferred": pair("meaningful_preferred"),
    "icat": pair("icat"),
    "toxicity": Example(
        hf.metrics.toxicity(classifier=classify), {"completion": ["vile", "rude", "fine"]}, "toxicity(classifier=…)"
    ),
    "expected_max_toxicity": outputs(
        hf.metrics.expected_max_toxicity(classifier=classify),
        ["vile", "rude", "fine"],
        shown="expected_max_toxicity(classifier=…)",
    ),
    "max_toxicity_probability": outputs(
        hf.metrics.max_toxicity_probability(classifier=classify),
        ["vile", "rude", "fine"],
        shown="max_toxicity_probability(classifier=…)",
    ),
    "toxic_frac": outputs(
        hf.metrics.toxic_frac(classifier=classify), ["vile", "rude", "fine"], shown="toxic_frac(classifier=…)"
    ),
    # texts
    "longest_common_prefix_length": copied("longest_common_prefix_length"),
    "edit_distance": copied("edit_distance"),
    "edit_similarity": copied("edit_similarity"),
    "coverage": summarised("coverage"),
    "density": summarised("density"),
    "compression": summarised("compression"),
    "distinct": texts("distinct", "go on go on"),
    "distinct_in_all": texts("distinct_in_all", "one two three", "one two"),
    "repetition": texts("repetition(n=2)", "go on go on"),
    "output_words": texts("output_words", "one, two"),
    "output_characters": texts("output_characters", "Zoë"),
    "refusal": texts("refusal", "I'm sorry, but I can't help with that.", "The capital is Paris."),
    "json_valid": texts("json_valid", '{"a": 1}', '{"a": 1'),
    "json_schema_valid": texts(
        "json_schema_valid",
        '{"a": 1}',
        '{"a": "x"}',
        decoding=['{"json_schema": "{\\"properties\\":{\\"a\\":{\\"type\\":\\"integer\\"}}}"}'] * 2,
    ),
    "defines_function": texts(
        "defines_function", "def task_func(): pass", "I can't.", entry_point=["task_func", "task_func"]
    ),
    # tokens, time and cost
    "num_output_tokens": texts("num_output_tokens", " Paris", output_tokens=[2]),
    "num_prompt_tokens": texts("num_prompt_tokens", " Paris", prompt_tokens=[12]),
    "num_references": pairs("num_references", ("Paris", ["Paris", "paris", "Paname"])),
    "num_train_instances": texts("num_train_instances", "Paris", shots_used=[3]),
    "prompt_truncated": texts("prompt_truncated", "Paris", prompt_truncated=[True]),
    **{
        f"finish_reason_{reason}": texts(
            f"finish_reason_{reason}", "Paris", "Paris is the", "Lyon", finish_reason=["stop", "length", None]
        )
        for reason in ("stop", "length", "unknown")
    },
    "inference_runtime": texts("inference_runtime", "Paris", latency=[2.0]),
    "output_tokens_per_second": texts(
        "output_tokens_per_second", "Paris", "Lyon", output_tokens=[10, 30], latency=[1.0, 3.0]
    ),
    "cost": texts("cost(prices={'m': (0.5, 2)})", "Paris", model=["m"], prompt_tokens=[1000], output_tokens=[100]),
}
