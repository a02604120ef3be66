"""One run per text method of HELM, and its rarer fields, on real rows: what helmframe is told, and what HELM is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

TRAIN, EVAL = 24, 6


@dataclass(frozen=True)
class Case:
    """One run: `adapter` and `decoding` in our words, `helm` in HELM's; `window` in tokens of `byte_tokens`."""

    name: str
    rows: Callable[[Path], pl.DataFrame]
    adapter: dict[str, Any]
    helm: dict[str, Any]
    decoding: dict[str, Any] = field(default_factory=dict)
    window: int | None = None


def read(data: Path, file: str, rows: int) -> pl.DataFrame:
    return pl.read_parquet(data / "scenarios" / f"{file}-00000-of-00001.parquet").head(rows)


def split(frame: pl.DataFrame, train: int = TRAIN) -> pl.DataFrame:
    """The first `train` rows are the train pool, the others are asked; ids as HELM counts them."""
    place = pl.int_range(pl.len())
    return frame.head(train + EVAL).with_columns(
        split=pl.when(place < train).then(pl.lit("train")).otherwise(pl.lit("test")),
        instance_id=pl.concat_str(pl.lit("id"), place),
    )


def one(text: str | pl.Expr, correct: pl.Expr | bool = True) -> pl.Expr:
    text = pl.col(text) if isinstance(text, str) else text
    return pl.struct(text=text, correct=correct if isinstance(correct, pl.Expr) else pl.lit(correct))


def boolq(data: Path) -> pl.DataFrame:
    frame = split(read(data, "boolq/data/train", 100))
    return frame.select(
        "instance_id",
        "split",
        input=pl.concat_str("passage", pl.lit("\nQuestion: "), "question", pl.lit("?")),
        references=pl.concat_list(one(pl.lit("Yes"), pl.col("answer")), one(pl.lit("No"), ~pl.col("answer"))),
    )


def truthful(data: Path) -> pl.DataFrame:
    """Several correct references, and every fifth row none."""
    frame = split(read(data, "truthful_qa/generation/validation", 100))
    wrong = pl.int_range(pl.len()) % 5 == 4

    def texts(name: str) -> pl.Expr:
        return pl.col(name).list.head(3)

    return (
        frame.with_columns(
            right=pl.when(wrong).then(pl.lit([], dtype=pl.List(pl.String))).otherwise(texts("correct_answers")),
            other=texts("incorrect_answers"),
        )
        .with_columns(
            pl.col("right").list.eval(pl.struct(text=pl.element(), correct=pl.lit(value=True))),
            pl.col("other").list.eval(pl.struct(text=pl.element(), correct=pl.lit(value=False))),
        )
        .select("instance_id", "split", input="question", references=pl.concat_list("right", "other"))
    )


def openbook(data: Path) -> pl.DataFrame:
    frame = split(read(data, "openbookqa/main/test", 100))
    texts, labels = (pl.col("choices").struct.field(name) for name in ("text", "label"))
    return frame.select(
        "instance_id",
        "split",
        input="question_stem",
        references=pl.concat_list(
            one(texts.list.get(place), labels.list.get(place) == pl.col("answerKey")) for place in range(4)
        ),
        chain_of_thought=pl.concat_str(pl.lit("Let us think about "), "question_stem", pl.lit(".")),
    )


def both_right(data: Path) -> pl.DataFrame:
    """OpenBookQA whose first and last options are right too."""
    references = pl.col("references")
    last = references.list.get(3).struct.field("text")
    first = references.list.get(0).struct.field("text")
    return openbook(data).with_columns(references=pl.concat_list(one(first), references.list.slice(1, 2), one(last)))


def hellaswag(data: Path) -> pl.DataFrame:
    frame = split(read(data, "hellaswag/data/validation", EVAL), train=0)
    return frame.select(
        "instance_id",
        "split",
        input=pl.concat_str("activity_label", pl.lit(": "), "ctx"),
        references=pl.concat_list(
            one(pl.col("endings").list.get(place), pl.col("label") == str(place)) for place in range(4)
        ),
    )


def blimp(data: Path) -> pl.DataFrame:
    frame = split(read(data, "blimp/adjunct_island/train", EVAL), train=0)
    return frame.select(
        "instance_id",
        "split",
        input=pl.lit(""),
        references=pl.concat_list(one("sentence_good"), one("sentence_bad", correct=False)),
    )


def passages(data: Path) -> pl.DataFrame:
    """Each question with its own passage and those of the two questions after it."""
    frame = read(data, "natural_questions_openbook/oracle_longans/validation", TRAIN + EVAL + 2)
    frame = frame.with_columns(second=pl.col("long_answer").shift(-1), third=pl.col("long_answer").shift(-2))
    return split(frame).select(
        "instance_id",
        "split",
        input="question",
        references=pl.concat_list(one("second", correct=False), one("long_answer"), one("third", correct=False)),
    )


def long_passages(data: Path) -> pl.DataFrame:
    frame = split(read(data, "natural_questions_openbook/oracle_longans/validation", 100))
    return frame.select(
        "instance_id",
        "split",
        input=pl.concat_str("context", pl.lit("\nQuestion: "), "question"),
        references=pl.col("answers").list.eval(pl.struct(text=pl.element(), correct=pl.lit(value=True))),
    )


def sums(data: Path) -> pl.DataFrame:
    frame = split(read(data, "gsm8k/main/train", 100))
    return frame.select("instance_id", "split", input="question", references=pl.concat_list(one("answer")))


def articles(data: Path) -> pl.DataFrame:
    """Texts of a few bytes and of several windows, with characters of several bytes at their ends."""
    frame = split(read(data, "bold/default/train", 400).tail(EVAL), train=0)
    text = pl.col("wikipedia").list.join(" ")
    curly = text.str.replace_all("[aeiou]", "é—${0}").str.slice(0, 900)
    place = pl.int_range(pl.len())
    return frame.select(
        "instance_id",
        "split",
        input=pl.when(place == 0).then(pl.lit("Short.")).when(place < 3).then(curly).otherwise(text),
        references=pl.lit([], dtype=pl.List(pl.Struct({"text": pl.String, "correct": pl.Boolean}))),
    )


def conversations(data: Path) -> pl.DataFrame:
    """A sum and its answer, and the next sum."""
    frame = read(data, "gsm8k/main/train", EVAL + 1)
    frame = frame.with_columns(following=pl.col("question").shift(-1)).head(EVAL)

    def message(role: str, text: str) -> pl.Expr:
        return pl.struct(role=pl.lit(role), content=pl.col(text))

    turns = [message("user", "question"), message("assistant", "answer"), message("user", "following")]
    return split(frame, train=0).select(
        "instance_id",
        "split",
        input="following",
        references=pl.concat_list(one("answer")),
        messages=pl.concat_list(turns),
    )


def translations(data: Path) -> pl.DataFrame:
    frame = split(read(data, "wmt14/fr-en/test", 100)).unnest("translation")
    return frame.select("instance_id", "split", input="fr", references=pl.concat_list(one("en")))


_PASSAGE = {"input_prefix": "Passage: ", "output_prefix": "Answer: "}
_JOINT = {"input_prefix": "Question: ", "output_prefix": "Answer: "}
_SEPARATE = {"input_prefix": "", "input_suffix": "", "output_prefix": " ", "output_suffix": ""}
_BARE = {"input_prefix": "", "input_suffix": "", "output_prefix": "", "output_suffix": ""}
_SHORT = {"max_tokens": 5, "temperature": 0.0}
_MC = "Answer the following questions."
_RANK = {
    "input_prefix": "Query: ",
    "reference_prefix": "Passage: ",
    "output_prefix": "Does the passage answer the query?\nAnswer: ",
}
_BREAK = [["\n", "<br>\n"], ["(?i)question", r"[\g<0>]"]]

CASES = (
    Case("generation", boolq, _PASSAGE, {**_PASSAGE, "method": "generation", "num_outputs": 1}, _SHORT),
    Case(
        "trials",
        boolq,
        {**_PASSAGE, "trials": 3, "shots": 4, "repeats": 2, "instructions": _MC},
        {
            **_PASSAGE, "method": "generation", "num_train_trials": 3, "max_train_instances": 4, "num_trials": 2,
            "instructions": f"{_MC}\n",
        },
        _SHORT,
    ),
    Case(
        "in_order",
        boolq,
        {**_PASSAGE, "trials": 2, "shots": 3, "sample_train": False},
        {
            **_PASSAGE, "method": "generation", "num_train_trials": 2, "max_train_instances": 3, "sample_train": False,
        },
        _SHORT,
    ),
    Case("multi_label", truthful, {"multi_label": True}, {"method": "generation", "multi_label": True}, _SHORT),
    Case(
        "substitutions",
        sums,
        {"substitutions": _BREAK, "shots": 2, "global_prefix": "Sums\n", "global_suffix": "\nquestion?"},
        {
            "method": "generation", "max_train_instances": 2, "global_prefix": "Sums\n", "global_suffix": "\nquestion?",
            "substitutions": [{"source": source, "target": target} for source, target in _BREAK],
        },
        _SHORT,
    ),
    Case(
        "truncated",
        long_passages,
        {**_PASSAGE, "instructions": _MC, "truncation": "right"},
        {**_PASSAGE, "method": "generation", "instructions": f"{_MC}\n"},
        {"max_tokens": 100, "temperature": 0.0},
        window=900,
    ),
    Case(
        "cut",
        long_passages,
        {**_PASSAGE, "instructions": _MC, "truncation": "right"},
        {**_PASSAGE, "method": "generation", "instructions": f"{_MC}\n"},
        {"max_tokens": 100, "temperature": 0.0},
        window=760,
    ),
    Case(
        "translation",
        translations,
        {
            "input_prefix": "French: ", "output_prefix": "English: ", "shots": 1, "instructions": "Translate.",
            "instructions_suffix": "",
        },
        {
            "method": "generation", "input_prefix": "French: ", "output_prefix": "English: ", "max_train_instances": 1,
            "instructions": "Translate.",
        },
        _SHORT,
    ),
    Case(
        "follow",
        sums,
        {"format_instructions": "follow", "shots": 1},
        {
            "method": "generation", "max_train_instances": 1,
            "expanders": {"follow_format_instructions": "all"},
        },
        _SHORT,
    ),
    Case(
        "joint",
        openbook,
        {**_JOINT, "method": "multiple_choice_joint", "instructions": _MC},
        {**_JOINT, "method": "multiple_choice_joint", "instructions": f"{_MC}\n"},
        _SHORT,
    ),
    Case(
        "joint_letters",
        both_right,
        {
            **_JOINT, "method": "multiple_choice_joint", "multi_label": True, "reference_prefix": "(A) ",
            "reference_prefix_characters": ["أ", "ب", "ج", "هـ"], "format_instructions": "mcqa_no_prefix",
            "instructions": _MC,
        },
        {
            **_JOINT, "method": "multiple_choice_joint", "multi_label": True, "reference_prefix": "(A) ",
            "reference_prefix_characters": ["أ", "ب", "ج", "هـ"], "instructions": f"{_MC}\n",
            "expanders": {"output_format_instructions": "mcqa_no_prefix"},
        },
        _SHORT,
    ),
    Case(
        "chain_of_thought",
        openbook,
        {
            **_JOINT, "method": "multiple_choice_joint_chain_of_thought", "shots": 3,
            "chain_of_thought_prefix": "Let's think. ", "chain_of_thought_suffix": "\nSo it is ",
            "format_instructions": "gpqa_suffix",
        },
        {
            **_JOINT, "method": "multiple_choice_joint_chain_of_thought", "max_train_instances": 3,
            "chain_of_thought_prefix": "Let's think. ", "chain_of_thought_suffix": "\nSo it is ",
            "expanders": {"output_format_instructions": "gpqa_suffix"},
        },
        _SHORT,
    ),
    Case(
        "separate_original",
        hellaswag,
        {"method": "multiple_choice_separate_original"},
        {**_SEPARATE, "method": "multiple_choice_separate_original", "max_train_instances": 0},
    ),
    Case(
        "separate_shots",
        openbook,
        {
            "method": "multiple_choice_separate_original", "input_prefix": "Q: ", "input_suffix": "\n",
            "output_prefix": "A: ", "output_suffix": "\n", "shots": 3, "instructions": _MC, "global_suffix": "!",
        },
        {
            "method": "multiple_choice_separate_original", "input_prefix": "Q: ", "input_suffix": "\n",
            "output_prefix": "A: ", "output_suffix": "\n", "max_train_instances": 3, "instructions": f"{_MC}\n",
            "global_suffix": "!",
        },
    ),
    Case(
        "separate_empty",
        blimp,
        {"method": "multiple_choice_separate_original", "output_prefix": ""},
        {**_SEPARATE, "output_prefix": "", "method": "multiple_choice_separate_original", "max_train_instances": 0},
    ),
    Case(
        "separate_calibrated",
        openbook,
        {"method": "multiple_choice_separate_calibrated", "shots": 2, "output_suffix": "\n"},
        {
            **_SEPARATE, "method": "multiple_choice_separate_calibrated", "max_train_instances": 2,
            "output_suffix": "\n",
        },
    ),
    Case(
        "language_modeling",
        articles,
        {"method": "language_modeling"},
        {**_BARE, "method": "language_modeling", "max_train_instances": 0, "max_tokens": 0},
        window=200,
    ),
    Case(
        "ranking_binary",
        passages,
        {"method": "ranking_binary", "instructions": _MC},
        {**_RANK, "method": "ranking_binary", "max_train_instances": 2, "instructions": f"{_MC}\n"},
        _SHORT,
    ),
    Case(
        "chat",
        conversations,
        {"method": "chat"},
        {**_BARE, "method": "chat", "max_train_instances": 0},
        _SHORT,
    ),
)  # fmt: skip
