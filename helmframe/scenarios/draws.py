"""Rules by which HELM samples and orders rows at random, which SQL can't express.

`mirror` makes a draw once, over all rows of a source in their order, and stores the chosen rows with `row_index`. So a
mirror of HELM's source has HELM's instances. The other parts of a spec are SQL.

Source: HELM, the scenario files named below; its random streams are Python's `random` and NumPy's, with its seeds.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from helmframe.errors import UnknownNameError
from helmframe.scenarios.haystacks import TEMPLATE, hotpotqa_contexts, squad_contexts
from helmframe.scenarios.privacy import cut_contexts, make_personal_data
from helmframe.scenarios.raw import extract_rows
from helmframe.scenarios.sql import text_literal

# HELM's legal classification scenarios have at most this many wrong references.
_WRONG_LABELS = 30
# The number of rows that SEA-HELM samples for testing.
_TESTED = 1_000


@dataclass(frozen=True)
class Draw:
    """A rule by which HELM chooses rows.

    `take` receives one row per row of the source: `position` (in all rows), `file` (its number), `split` (from the
    path, or null), the other columns of the paths, and the `keys`. It returns `position` and `row_index` of the
    selected rows, the columns that it adds, and `split` if the rule sets it.

    Args:
        take: The rule.
        keys: The columns that the rule needs: name → SQL over the source's columns.
        by_file: Whether `take` receives one row per file instead, with `position` of its first row and `rows`.
        columns: The stored columns that `take` adds: name → DuckDB type.
        made: The stored columns that are computed from those of the source and of the draw: name → SQL.
        unsplit: Whether to apply the rule only if the source has no splits.
        rows: The highest number of rows of a file, if rows are long; 0: no limit.
        extract: A function that converts a file of the publisher's format to a file of rows, in a folder.
    """

    take: Callable[[pl.DataFrame], pl.DataFrame]
    keys: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    made: Mapping[str, str] = field(default_factory=dict)
    by_file: bool = False
    unsplit: bool = False
    rows: int = 0
    extract: Callable[[Path, Path], Path] | None = None


def find_draw(name: str) -> Draw:
    """Return the draw of this name.

    Raises:
        UnknownNameError: The draw is unknown.
    """
    if name not in DRAWS:
        raise UnknownNameError.among("draw", name, DRAWS)
    return DRAWS[name]


def one_per_document(keys: pl.DataFrame) -> pl.DataFrame:
    """Choose one row of each document, in the order of the documents' first rows (narrativeqa, newsqa)."""
    stream = _stream(0)
    documents = keys.group_by("split", "document", maintain_order=True).agg("position")
    return _indexed([stream.choice(positions) for positions in documents["position"].to_list()])


def one_turn_per_dialogue(keys: pl.DataFrame) -> pl.DataFrame:
    """Choose one turn of each dialogue, the third or a later one (quac)."""
    stream = _stream(0)
    turns = [stream.randint(3, turns) for turns in keys["turns"]]
    return _indexed(keys["position"].to_list()).with_columns(turn=pl.Series(turns, dtype=pl.Int64))


def one_short_answer(keys: pl.DataFrame) -> pl.DataFrame:
    """Choose a short answer of each question, with its passage; every other row is an example (natural_qa).

    Questions without a short answer are skipped.
    """
    stream = _stream(0)
    answered = keys.filter(pl.col("answers") > 0)
    picked = [stream.randint(0, answers - 1) + 1 for answers in answered["answers"]]
    odd = pl.int_range(pl.len()).over("file") % 2 == 1
    return answered.select(
        "position",
        row_index=pl.int_range(pl.len()),
        split=pl.when(odd).then(pl.lit("validation")).otherwise(pl.lit("train")),
        picked=pl.Series(picked, dtype=pl.Int64),
    )


def wrong_labels_and_language(keys: pl.DataFrame) -> pl.DataFrame:
    """Choose at most 30 wrong labels of each text, and one of its languages (lex_glue, lextreme).

    Each subset has its own stream. A text with a sequence of entities has no wrong labels.
    """
    subsets = []
    for subset in keys.partition_by("subset", maintain_order=True):
        stream, picked, wrong = _stream(42), [], []
        classes = _classes(subset["labels"])
        for labels, languages in subset.select("labels", "languages").iter_rows():
            others = [label for label in classes if label not in (labels or ())]
            stream.shuffle(others)
            wrong.append(others[:_WRONG_LABELS] if classes else None)
            picked.append(stream.choice(range(languages)) + 1 if languages else None)
        taken = subset.select("position", row_index=pl.int_range(pl.len()))
        wrong_labels = pl.Series(wrong, dtype=subset["labels"].dtype)
        subsets.append(taken.with_columns(picked=pl.Series(picked, dtype=pl.Int64), wrong_labels=wrong_labels))
    return pl.concat(subsets)


def _classes(labels: pl.Series) -> list[Any]:
    """Return the labels of a subset in HELM's order: single labels by number, several by text; none of entities."""
    distinct = labels.explode().drop_nulls().unique().to_list()
    if any(str(label).startswith('"') for label in distinct):
        return []
    single = (labels.list.len() == 1).all()
    return sorted(distinct) if single else sorted(distinct, key=str)


def shuffle_options(keys: pl.DataFrame) -> pl.DataFrame:
    """Shuffle the four options of each question, with one stream for each subset (gpqa)."""
    subsets = []
    for subset in keys.partition_by("subset", maintain_order=True):
        stream = _stream(42)
        orders = []
        for _ in range(subset.height):
            options = [1, 2, 3, 4]
            stream.shuffle(options)
            orders.append(options)
        subsets.append(subset.select("position", row_index=pl.int_range(pl.len()), options=pl.Series(orders)))
    return pl.concat(subsets)


def shuffle_rows(keys: pl.DataFrame) -> pl.DataFrame:
    """Shuffle all rows (real_toxicity_prompts)."""
    return _indexed(_shuffled(keys["position"].to_list()))


def shuffle_each_subject(keys: pl.DataFrame) -> pl.DataFrame:
    """Shuffle the rows of each subject (decodingtrust_toxicity_prompts)."""
    subjects = keys.partition_by("subject", maintain_order=True)
    return pl.concat(_indexed(_shuffled(subject["position"].to_list())) for subject in subjects)


def shuffle_by_subject(keys: pl.DataFrame) -> pl.DataFrame:
    """Shuffle all rows, and the rows of each subject as column `alone` (bbq, bold)."""
    ordered = keys.sort("subject", maintain_order=True)
    alone = [
        _indexed(_shuffled(subject["position"].to_list())).rename({"row_index": "alone"})
        for subject in ordered.partition_by("subject", maintain_order=True)
    ]
    together = _indexed(_shuffled(ordered["position"].to_list()))
    return together.join(pl.concat(alone), on="position", how="left", maintain_order="left", validate="1:1")


def sort_and_shuffle(keys: pl.DataFrame) -> pl.DataFrame:
    """Sort each split by problem, then shuffle it; number the rows within subject and level (math)."""
    splits = [
        split.sort("problem", maintain_order=True)[np.random.default_rng(42).permutation(split.height)]
        for split in keys.partition_by("split", maintain_order=True)
    ]
    return pl.concat(splits).select("position", row_index=pl.int_range(pl.len()).over("split", "subject", "level"))


def sample_train_pairs(files: pl.DataFrame) -> pl.DataFrame:
    """Sample 20,000 train rows of each language pair; use all rows of other splits (wmt_14, MELT's translation)."""
    parts = []
    pairs = "language_pair" in files.columns
    for pair in files.partition_by("language_pair", maintain_order=True) if pairs else [files]:
        first = 0
        for split in pair.partition_by("split", maintain_order=True):
            # the files of a split follow each other
            rows = int(split["rows"].sum())
            sampled = split["split"][0] == "train"
            positions = np.random.default_rng(42).permutation(rows)[:20_000] if sampled else np.arange(rows)
            positions = positions + split["position"][0]
            parts.append(pl.DataFrame({"position": positions, "row_index": np.arange(first, first + len(positions))}))
            first += len(positions)
    return pl.concat(parts)


def balance_train_pairs(keys: pl.DataFrame) -> pl.DataFrame:
    """Sample equal numbers of equal and unequal train pairs, shuffled; use all rows of other splits (entity_matching).

    HELM starts from the states of NumPy's stream in its official runs. These are lost, so this uses its seed for other
    data sets.
    """
    parts = []
    for dataset in keys.partition_by("dataset", maintain_order=True):
        stream = np.random.RandomState(0)
        train = dataset.filter(split="train")
        n_equal = int((train["label"] == 1).sum())
        groups = [train.filter(label=label) for label in (0, 1)]
        groups = [pairs[stream.choice(pairs.height, min(n_equal, pairs.height), replace=False)] for pairs in groups]
        rows = pl.concat([*groups, dataset.filter(pl.col("split") != "train")])
        parts.append(rows.select("position", row_index=pl.int_range(pl.len())))
    return pl.concat(parts)


def sample_test_rows(keys: pl.DataFrame) -> pl.DataFrame:
    """Sample a tenth of each table for testing, a fifth of the rest for validation (entity_data_imputation)."""
    parts = []
    for table in keys.filter("whole").partition_by("dataset", maintain_order=True):
        test = table[_sample_indices(table.height, 0.1)]
        rest = table.filter(~pl.col("position").is_in(test["position"].to_list()))
        valid = rest[_sample_indices(rest.height, 0.2)]
        train = rest.filter(~pl.col("position").is_in(valid["position"].to_list()))
        named = {"train": train, "validation": valid, "test": test}
        rows = pl.concat([split_rows.select("position", split=pl.lit(name)) for name, split_rows in named.items()])
        parts.append(rows.with_columns(row_index=np.arange(rows.height)))
    return pl.concat(parts)


def sample_examples(keys: pl.DataFrame, n: int = 0, share: float = 0.0) -> pl.DataFrame:
    """Sample n rows, or a share, as few-shot examples; their order stays (financebench, gold_commodity_news)."""
    sampled = _stream(0).sample(range(keys.height), n or int(keys.height * share))
    split = pl.when(pl.int_range(pl.len()).is_in(sampled)).then(pl.lit("train")).otherwise(pl.lit("test"))
    return keys.select("position", row_index=pl.int_range(pl.len()), split=split)


def shuffle_and_split(keys: pl.DataFrame) -> pl.DataFrame:
    """Shuffle the rows of each file; the first 70 % are few-shot examples (financial_phrasebank)."""
    parts = []
    for file in keys.partition_by("file", maintain_order=True):
        positions = file["position"].to_list()
        _stream(121).shuffle(positions)
        parts.append(_as_splits(positions, int(len(positions) * 0.7)))
    return pl.concat(parts)


def sample_train_rows(keys: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """Sample a share of the rows as few-shot examples and shuffle the rest (legal_contract_summarization, sumosum)."""
    positions = keys["position"].to_numpy()
    train = np.random.RandomState(seed).choice(len(positions), round(share * len(positions)), replace=False)
    rest = np.delete(positions, train)
    test = rest[np.random.RandomState(seed).choice(len(rest), len(rest), replace=False)]
    return _as_splits([*positions[train].tolist(), *test.tolist()], len(train))


def sample_options(keys: pl.DataFrame) -> pl.DataFrame:
    """Split the rows, and sample eight wrong options for each, shuffled with the right one (cti_to_mitre)."""
    rows = sample_train_rows(keys, 0.7, 42)
    stream, options = _stream(42), []
    joined = rows.join(keys.select("position", "technique", "techniques"), on="position", maintain_order="left")
    for technique, techniques in joined.select("technique", "techniques").iter_rows():
        wrong = [name for name in techniques if name != technique]
        drawn = [*stream.sample(wrong, min(len(wrong), 8)), technique]
        stream.shuffle(drawn)
        options.append(drawn)
    return rows.with_columns(options=pl.Series(options, dtype=pl.List(pl.String)))


def sample_by_label(
    keys: pl.DataFrame, *, seed: int, splits: Sequence[str] = ("test",), subset: str = "", more: int | None = None
) -> pl.DataFrame:
    """Sample about 1,000 rows of each split in `splits`, in the shares of their labels (SEA-HELM's classification).

    Other splits are used whole. If the source has no splits, the other rows are examples.

    Args:
        keys: The rows; those whose `usable` is false are skipped.
        seed: The seed of each label's stream.
        splits: The splits to sample.
        subset: The column of the subsets. Each subset has a sample of its own.
        more: A label. The sample of a split gets the first of the other rows with this label in addition.
    """
    parts = []
    for rows in keys.partition_by(subset, maintain_order=True) if subset else [keys]:
        usable = _usable(rows)
        if usable["split"].null_count():
            test = _by_label(usable, seed, more)
            parts.append(_in_splits({"train": _others(usable, test), "test": test}))
            continue
        named = usable.partition_by("split", as_dict=True)
        sampled = {name: _by_label(split, seed, more) if name in splits else split for (name,), split in named.items()}
        parts.append(_in_splits(sampled))
    return pl.concat(parts)


def sample_questions(keys: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Sample 1,000 questions for testing; of the others, those with the shortest texts are examples (SEA-HELM).

    Rows whose `usable` is false are skipped.
    """
    rows = _usable(keys)
    test = rows[np.random.RandomState(seed).choice(rows.height, min(_TESTED, rows.height), replace=False)]
    return _in_splits({"train": _shortest(_others(rows, test)), "test": test})


def shorten_examples(keys: pl.DataFrame) -> pl.DataFrame:
    """Choose the fifth of the train rows with the shortest texts, and all rows of other splits (SEA-HELM's TyDiQA)."""
    named = {split: frame for (split,), frame in keys.partition_by("split", as_dict=True).items()}
    return _in_splits({name: _shortest(rows) if name == "train" else rows for name, rows in named.items()})


def shuffle_minimal_pairs(keys: pl.DataFrame) -> pl.DataFrame:
    """Order the rows by category, the largest first, and shuffle the two sentences of each (SEA-HELM's LINDSEA).

    Each category has its own stream.
    """
    counts = keys.group_by("category", maintain_order=True).agg(pl.len(), "position")
    # the order of categories of the same size is that of the method `value_counts` of a pandas series
    order = np.argsort(counts["len"].to_numpy()[::-1])[::-1]
    positions, swapped = [], []
    for row in (counts.height - 1 - order).tolist():
        stream = _stream(1)
        for position in counts["position"][row].to_list():
            pair = [False, True]
            stream.shuffle(pair)
            positions.append(position)
            swapped.append(pair[0])
    return _indexed(positions).with_columns(swapped=pl.Series(swapped, dtype=pl.Boolean))


def split_at_random(keys: pl.DataFrame) -> pl.DataFrame:
    """Split the rows at random: a third for testing, the others as examples (MELT's spelling correction).

    The split is that of the method `train_test_split` of a Hugging Face dataset.
    """
    order = np.random.default_rng(42).permutation(keys.height)
    n_test = math.ceil(0.33 * keys.height)
    return _in_splits({"train": keys[order[n_test:]], "test": keys[order[:n_test]]})


def mask_words(keys: pl.DataFrame) -> pl.DataFrame:
    """Choose a tenth of the words of each text, as numbers from 1 (MELT's mask filling)."""
    stream = _stream(42)
    masked = [[index + 1 for index in stream.sample(range(words), int(words * 0.1))] for words in keys["words"]]
    return keys.select("position", row_index="position", masked=pl.Series(masked, dtype=pl.List(pl.Int64)))


def shuffle_all_options(keys: pl.DataFrame) -> pl.DataFrame:
    """Shuffle the options of each question, with one stream for all splits (MELT's ViMMRC)."""
    stream, orders = _stream(42), []
    for options in keys["options"]:
        order = list(range(1, options + 1))
        stream.shuffle(order)
        orders.append(order)
    return keys.select("position", row_index="position", option_order=pl.Series(orders, dtype=pl.List(pl.Int64)))


def _usable(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter("usable") if "usable" in rows.columns else rows


def _others(rows: pl.DataFrame, sample: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(~pl.col("position").is_in(sample["position"].to_list()))


def _by_label(rows: pl.DataFrame, seed: int, more: int | None) -> pl.DataFrame:
    """Return a sample of each label, in the order of the labels."""
    share = min(1.0, _TESTED / rows.height)
    samples = []
    for label in rows.sort("label", maintain_order=True).partition_by("label", maintain_order=True):
        sampled = np.random.RandomState(seed).choice(label.height, round(share * label.height), replace=False)
        samples.append(label[sampled])
    sample = pl.concat(samples)
    if more is None:
        return sample
    return pl.concat([sample, _others(rows, sample).filter(pl.col("label") == more).head(1)])


def _shortest(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("length") < np.quantile(rows["length"].to_numpy(), 0.2)) if rows.height else rows


def _in_splits(named: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return position and split of rows by split, with the row_index of their order."""
    rows = pl.concat([rows.select("position", split=pl.lit(name)) for name, rows in named.items()])
    return rows.with_columns(row_index=pl.int_range(pl.len()))


_NEVER_TWICE = "list_filter({0}, lambda text, i: list_position({0}, text) = i)"
# The answers of a question; an example has only the one that was picked.
_ANSWERS = f"CASE split WHEN 'train' THEN {{0}}[picked:picked] ELSE {_NEVER_TWICE} END"


def _prompt_sql(context: str) -> str:
    """Return the prompt of RULER around a context, as SQL."""
    first, _, rest = TEMPLATE.partition("{context}")
    between, _, last = rest.partition("{query}")
    return f"{text_literal(first)} || {context} || {text_literal(between)} || question || {text_literal(last)}"


# The context of a long prompt; its documents are joined only when it is written, since many contexts share them.
_CONTEXT = "array_to_string(list_transform(documents, lambda text, i: 'Document ' || i || E':\\n' || text), E'\\n\\n')"
# A text in a list as Python writes it.
_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
# The stored column of draws that choose the splits of rows in one file.
_SPLIT = {"split": "VARCHAR"}
_AVAILABLE = "list_filter(languages, lambda each: each.text IS NOT NULL)"

DRAWS: Mapping[str, Draw] = {
    "narrative_qa": Draw(one_per_document, keys={"document": "md5(document.summary.text)"}),
    "news_qa": Draw(one_per_document, keys={"document": 'md5("text")'}),
    "quac": Draw(one_turn_per_dialogue, keys={"turns": "len(questions)"}, columns={"turn": "BIGINT"}),
    "natural_qa_closedbook": Draw(
        one_short_answer,
        keys={"answers": "len(answer)"},
        made={"answer": _ANSWERS.format("answer")},
        unsplit=True,
        extract=partial(extract_rows, columns={"question": "question", "answer": "short_answers"}),
    ),
    "natural_qa_openbook_longans": Draw(
        one_short_answer,
        keys={"answers": "len(short_answers)"},
        made={"long_answer": "long_answers[picked]", "short_answers": _ANSWERS.format("short_answers")},
        unsplit=True,
        extract=partial(extract_rows, columns={name: name for name in ("question", "short_answers", "long_answers")}),
    ),
    "lex_glue": Draw(
        wrong_labels_and_language,
        keys={"labels": "labels", "languages": "NULL::BIGINT"},
        columns={"wrong_labels": "BIGINT[]"},
    ),
    "lextreme": Draw(
        wrong_labels_and_language,
        keys={"labels": "labels", "languages": f"len({_AVAILABLE})"},
        columns={"wrong_labels": "VARCHAR[]"},
        made={"input": f"coalesce({_AVAILABLE}[picked].text, input)"},
    ),
    "ruler_hotpotqa": Draw(
        hotpotqa_contexts,
        keys={"question": "question", "answer": "answer", "titles": "context.title", "sentences": "context.sentences"},
        made={"input": _prompt_sql(_CONTEXT), "outputs": "[answer]"},
        rows=20,
    ),
    "ruler_squad": Draw(
        squad_contexts,
        keys={"question": "question", "answers": 'answers."text"', "title": "title", "context": "context"},
        made={"input": _prompt_sql(_CONTEXT), "outputs": 'answers."text"'},
        rows=20,
    ),
    "gpqa": Draw(shuffle_options, columns={"options": "BIGINT[]"}),
    "bbq": Draw(shuffle_by_subject, keys={"subject": "category"}, columns={"alone": "BIGINT"}),
    "bold": Draw(shuffle_by_subject, keys={"subject": "domain"}, columns={"alone": "BIGINT"}),
    "real_toxicity_prompts": Draw(shuffle_rows),
    "decodingtrust_toxicity_prompts": Draw(shuffle_each_subject),
    "decodingtrust_privacy_context": Draw(
        cut_contexts, keys={"context": "context"}, columns={"ends": "VARCHAR[]"}
    ),
    "decodingtrust_privacy_pii": Draw(
        make_personal_data,
        keys={"supports": "supports"},
        columns={"few_shot_num": "BIGINT", "information": "VARCHAR", "secrets": "VARCHAR[]"},
    ),
    "math": Draw(sort_and_shuffle, keys={"problem": "problem", "level": "level"}),
    "wmt_14": Draw(sample_train_pairs, by_file=True),
    "financebench": Draw(partial(sample_examples, n=10), unsplit=True),
    "gold_commodity_news": Draw(partial(sample_examples, share=0.1), unsplit=True),
    "financial_phrasebank": Draw(shuffle_and_split, unsplit=True),
    "legal_contract_summarization": Draw(partial(sample_train_rows, share=0.2, seed=0), unsplit=True),
    "sumosum": Draw(partial(sample_train_rows, share=0.2, seed=0), unsplit=True),
    "cti_to_mitre": Draw(
        sample_options,
        keys={"technique": "technique", "techniques": "techniques"},
        columns={"options": "VARCHAR[]"},
        unsplit=True,
    ),
    "entity_matching": Draw(balance_train_pairs, keys={"label": "label"}),
    "entity_data_imputation": Draw(
        sample_test_rows,
        keys={"whole": "CASE dataset WHEN 'Buy' THEN description IS NOT NULL ELSE "
        'name IS NOT NULL AND addr IS NOT NULL AND phone IS NOT NULL AND "type" IS NOT NULL AND city IS NOT NULL END'},
        unsplit=True,
    ),
    "tydiqa": Draw(shorten_examples, keys={"length": "length(passage_text)"}),
    "xquad_th": Draw(partial(sample_questions, seed=4520), keys={"length": "length(context)"}, columns=_SPLIT),
    "xquad_vi": Draw(partial(sample_questions, seed=4502), keys={"length": "length(context)"}, columns=_SPLIT),
    "indicqa": Draw(
        partial(sample_questions, seed=7900),
        keys={"length": "length(context)", "usable": "trim(answers.\"text\"[1], E' \\t\\n\\r') <> ''"},
        columns=_SPLIT,
    ),
    "uitvsfc": Draw(partial(sample_by_label, seed=4156), keys={"label": "label"}),
    "wisesight": Draw(
        partial(sample_by_label, seed=4183), keys={"label": "category", "usable": "category <> 'q'"}
    ),
    "mlhsd": Draw(
        partial(sample_by_label, seed=7123),
        keys={"label": "CASE WHEN HS = 1 THEN 'Benci' WHEN Abusive = 1 THEN 'Kasar' ELSE 'Bersih' END"},
        columns=_SPLIT,
    ),
    "vihsd": Draw(partial(sample_by_label, seed=4878, splits=("train", "test")), keys={"label": "label_id"}),
    "thaitoxicitytweets": Draw(
        partial(sample_by_label, seed=4156),
        keys={"label": "is_toxic", "usable": "tweet_text <> '' AND tweet_text <> 'TWEET_NOT_FOUND'"},
        columns=_SPLIT,
    ),
    "indonli": Draw(partial(sample_by_label, seed=4685), keys={"label": "label"}),
    "xnli": Draw(partial(sample_by_label, seed=4156, subset="language", more=1), keys={"label": "label"}),
    "indicxnli": Draw(partial(sample_by_label, seed=4156, more=2), keys={"label": "label"}),
    "melt_translation": Draw(sample_train_pairs, by_file=True),
    "melt_lm_mask_filling_mlqa": Draw(
        mask_words, keys={"words": "len(string_split(context, ' '))"}, columns={"masked": "BIGINT[]"}
    ),
    "melt_lm_spelling_correction_vsec": Draw(split_at_random, columns=_SPLIT),
    "melt_knowledge_vimmrc": Draw(
        shuffle_all_options,
        keys={"options": f"len(regexp_extract_all(options, {text_literal(_QUOTED)}))"},
        columns={"option_order": "BIGINT[]"},
    ),
    "lindsea_syntax_minimal_pairs": Draw(
        shuffle_minimal_pairs, keys={"category": "category"}, columns={"swapped": "BOOLEAN"}
    ),
}  # fmt: skip


def _stream(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - HELM's stream


def _shuffled(positions: list[int]) -> list[int]:
    _stream(0).shuffle(positions)
    return positions


def _indexed(positions: list[int]) -> pl.DataFrame:
    return pl.DataFrame(
        {"position": pl.Series(positions, dtype=pl.Int64), "row_index": pl.int_range(len(positions), eager=True)}
    )


def _as_splits(positions: Sequence[int], n_train: int) -> pl.DataFrame:
    """Return the rows in this order; the first are few-shot examples."""
    split = ["train"] * n_train + ["test"] * (len(positions) - n_train)
    return _indexed(list(positions)).with_columns(split=pl.Series(split, dtype=pl.String))


def _sample_indices(rows: int, share: float) -> list[int]:
    """Return row numbers, sampled as by the `sample` method of a pandas frame."""
    return [int(index) for index in np.random.RandomState(1234).choice(rows, round(share * rows), replace=False)]
