"""The perturbation `contrast_sets`: replaces instances with examples that people rewrote to change the answer."""

import io
from collections.abc import Callable, Sequence
from hashlib import md5
from typing import Any

import polars as pl

from helmframe._schema import REFERENCE
from helmframe.errors import ArgumentError, SourceBrokenError, SourceMissingError
from helmframe.perturbations.factory import perturbation
from helmframe.perturbations.fields import instance_random
from helmframe.perturbations.tables import Tables
from helmframe.store.files import Address, address_of, below, listing, read

_ASK = "\nQuestion: "
_SHARED = 0.25  # the smallest share of a contrast example's word triples that occur in its review
_ADVICE = (
    "Download allenai/contrast-sets and put it into the data root as Parquet: boolq/contrast_sets/contrast-*.parquet "
    "(columns question, answer, perturbed_questions, perturbed_answers) and "
    "imdb/contrast_sets/{test,dev}_{original,contrast}-*.parquet (columns text, label)."
)


def _check(
    scenarios: Sequence[str],
    data: str | None = None,
    compat: str | None = None,  # noqa: ARG001
    *,
    tables: Tables,
) -> None:
    """Check that contrast sets exist for each scenario, and that the data root has them.

    Raises:
        ArgumentError: No contrast sets exist for a scenario.
        SourceMissingError: The data root lacks the contrast sets of a scenario.
    """
    without = [name for name in scenarios if name not in _SETS]
    if without:
        raise ArgumentError(
            f"contrast_sets: no contrast sets exist for {' and '.join(map(repr, without))}, only for "
            f"{' and '.join(map(repr, _SETS))}. Remove contrast_sets, or run these scenarios in a separate plan."
        )
    roots = _roots(data, tables)
    present = _sets(roots)["scenario"].unique()
    lacking = [name for name in scenarios if name not in present]
    if lacking:
        raise SourceMissingError(
            f"contrast_sets: no contrast sets of {' and '.join(map(repr, lacking))} found in {' or '.join(roots)}.\n"
            f"{_ADVICE}"
        )


@perturbation("contrast_sets", takes="frame", fields="both", check=_check)
def contrast_sets(
    frame: pl.LazyFrame, key: pl.Expr, data: str | None = None, compat: str | None = None, *, tables: Tables
) -> pl.LazyFrame:
    """Replace instances of BoolQ and IMDB with examples that people rewrote so that the answer changes.

    "Can minors drink with parents in new york?" (Yes) becomes "Can minors drink without parents in new york?" (No). The
    correct answer is that of the rewritten example. Instances without an example stay unchanged: 64 of BoolQ's 3,270
    instances have one. Other scenarios raise an error.

    Args:
        frame: The instances. Instances of "boolq" and "imdb" are looked up by their unperturbed input.
        key: The column that random numbers depend on. They choose one example if an instance has several.
        data: The root that contains `boolq/contrast_sets/` or `imdb/contrast_sets/`. The default is the plan's root.
        compat: "helm" chooses the example as HELM does.
        tables: The plan's word tables, whose roots may contain the contrast sets.

    The example writes a contrast set of one question:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import helmframe as hf
    >>> rewritten = {"perturbed_questions": [["can minors drink without parents"]], "perturbed_answers": [[False]]}
    >>> contrast_set = pl.DataFrame({"question": ["can minors drink with parents"], "answer": [True], **rewritten})
    >>> frame = pl.DataFrame({"q": ["Can minors drink with parents?"], "options": [["Yes", "No"]], "a": [0]})
    >>> with tempfile.TemporaryDirectory() as data:
    ...     folder = Path(data, "boolq", "contrast_sets")
    ...     folder.mkdir(parents=True)
    ...     contrast_set.write_parquet(folder / "contrast-0.parquet")
    ...     plan = hf.scenario(frame, input="q", choices="options", answer="a", name="boolq", data=data)
    ...     plan.perturb("contrast_sets").variants().collect()["perturbed_input"][1]
    'Can minors drink without parents?'

    Raises:
        SourceMissingError: The data root has neither folder.

    Source: Gardner et al. 2020 (github.com/allenai/contrast-sets); HELM `ContrastSetsPerturbation`.
    """
    if compat not in (None, "helm"):
        raise ArgumentError.unknown_value(f"contrast_sets(compat={compat!r})", compat, ["helm"])
    question = pl.col("input").str.split(_ASK).list.last()
    original = pl.when(pl.col("scenario") == "boolq").then(question).otherwise("input")
    count = pl.col("contrasts").list.len().cast(pl.UInt64)
    # the high half of the key, scaled: negligible modulo bias
    keyed_index = (pl.col("_key") // 2**32 * count) // 2**32
    index = _index_of_helm(pl.col("instance_id"), count) if compat else keyed_index
    stem = pl.col("input").str.head(pl.col("input").str.len_chars().cast(pl.Int64) - pl.col("original").str.len_chars())
    answer = pl.col("answers").list.get(index)
    return (
        frame.with_columns(_key=key, original=original)
        .join(
            _sets(_roots(data, tables)).lazy(),
            on=["scenario", "original"],
            how="left",
            maintain_order="left",
            validate="m:1",
        )
        .with_columns(_answer=answer, _found=pl.col("contrasts").is_not_null())
        .with_columns(
            perturbed_input=pl.when("_found")
            .then(stem + pl.col("contrasts").list.get(index))
            .otherwise("perturbed_input"),
            perturbed_references=pl.when("_found")
            .then(_answered(pl.col("references"), pl.col("_answer")))
            .otherwise("perturbed_references"),
        )
        .drop("_key", "_answer", "_found", "original", "contrasts", "answers")
    )


def with_contrasts(scenario: str, data: str | None = None) -> str:
    """Return an SQL condition that selects the instances of a scenario that have contrast examples.

    Raises:
        ArgumentError: No contrast sets exist for the scenario.
        SourceMissingError: The data root lacks them.
    """
    tables = Tables.of(data)
    _check([scenario], tables=tables)
    originals = _sets(tables.roots).filter(scenario=scenario)["original"]
    digests = ", ".join(f"'{md5(text.encode(), usedforsecurity=False).hexdigest()}'" for text in originals)
    question = "split_part(input, chr(10) || 'Question: ', -1)" if scenario == "boolq" else "input"
    return f"md5({question}) IN ({digests})"


def _sets(roots: Sequence[str]) -> pl.DataFrame:
    """Return scenario, original, contrasts and answers: one row per original that has contrasts with another answer.

    The contrast sets of a scenario come from the first root that has them.
    """
    sets = [rows for reader in _SETS.values() if (rows := _first(reader, roots)) is not None]
    if not sets:
        problem = f"no contrast sets found in {' or '.join(roots)}" if roots else "no data root is configured"
        raise SourceMissingError(f"contrast_sets: {problem}.\n{_ADVICE}")
    return pl.concat(sets).unique(["scenario", "original"], keep="first", maintain_order=True)


def _first(read: Callable[[Address], pl.DataFrame | None], roots: Sequence[str]) -> pl.DataFrame | None:
    return next((rows for root in roots if (rows := read(address_of(root))) is not None), None)


def _roots(data: str | None, tables: Tables) -> Sequence[str]:
    return [data] if data else tables.roots


def _boolq(root: Address) -> pl.DataFrame | None:
    rows = _read(below(root, "boolq", "contrast_sets"), "contrast-")
    if rows is None:
        return None
    # questions in the form of the scenario
    bare = pl.element().str.strip_chars()
    question = bare.str.head(1).str.to_uppercase() + bare.str.slice(1).str.to_lowercase() + "?"
    yes = pl.when(pl.element()).then(pl.lit("Yes")).otherwise(pl.lit("No"))
    return (
        rows.select(
            scenario=pl.lit("boolq"),
            original=pl.concat_list("question").list.eval(question).list.first(),
            answer="answer",
            contrasts=pl.col("perturbed_questions").list.eval(question),
            answers="perturbed_answers",
        )
        .explode("contrasts", "answers")
        # HELM uses only those that change the answer
        .filter((pl.col("contrasts") != "?") & (pl.col("answers") != pl.col("answer")))
        .group_by("scenario", "original", maintain_order=True)
        .agg("contrasts", "answers")
        .with_columns(pl.col("answers").list.eval(yes))
    )


def _imdb(root: Address) -> pl.DataFrame | None:
    pairs = []
    for mode, split in (("test", "test"), ("dev", "train")):
        contrast = _read(below(root, "imdb", "contrast_sets"), f"{mode}_contrast-")
        original = _read(below(root, "imdb", "contrast_sets"), f"{mode}_original-")
        if contrast is None:
            continue
        if original is None:
            reviews = _read(below(root, "imdb", "plain_text"), f"{split}-")
            if reviews is None:
                continue
            contrast, original = _paired(contrast, reviews)
        if contrast.height != original.height:
            raise SourceBrokenError(
                f"contrast_sets: imdb has {contrast.height} contrast examples and {original.height} originals in its "
                f"{mode} files. Both numbers must be equal.\n{_ADVICE}"
            )
        name = pl.when(pl.col("label") == 1).then(pl.lit("Positive")).otherwise(pl.lit("Negative"))
        pairs.append(
            pl.DataFrame(
                {
                    "scenario": ["imdb"] * contrast.height,
                    "original": original["text"].str.strip_chars(),
                    "contrasts": contrast.select(pl.concat_list("text")).to_series(),
                    "answers": contrast.select(pl.concat_list(name)).to_series(),
                }
            )
        )
    return pl.concat(pairs) if pairs else None


def _paired(contrast: pl.DataFrame, reviews: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the contrast examples whose review is present, and these reviews in the same order.

    A contrast example changes some words of its review and keeps most of its word triples. Each of the 588 examples
    shares at least 0.38 of its triples with its own review, and at most 0.12 with another.
    """
    rewritten = _triples(contrast["text"]).unique()
    triples = _triples(reviews["text"]).join(rewritten, on="triple", how="semi").unique()
    total = rewritten.group_by("row").agg(total=pl.len())
    best = (
        rewritten.join(triples, on="triple")
        .group_by("row", "row_right")
        .agg(shared=pl.len())
        .join(total, on="row")
        .filter(pl.col("shared") >= _SHARED * pl.col("total"))
        # some reviews occur twice: the first counts
        .sort("row", "shared", "row_right", descending=[False, True, False])
        .unique("row", keep="first", maintain_order=True)
    )
    return contrast[best["row"]], reviews[best["row_right"]]


def _triples(texts: pl.Series) -> pl.DataFrame:
    """Return the word triples of each text as hashes: row, triple."""
    words = pl.DataFrame({"text": texts}).with_row_index("row").with_columns(pl.col("text").str.split(" "))
    hashed = words.explode("text").with_columns(pl.col("text").hash())
    triple = pl.struct(*(pl.col("text").shift(-step).alias(str(step)) for step in range(3)))
    return hashed.select("row", triple=triple.hash())


_SETS = {"boolq": _boolq, "imdb": _imdb}


def _read(folder: Address, start: str) -> pl.DataFrame | None:
    """Return the rows of the folder's Parquet files whose name starts with `start`; None if there are no such files."""
    files = [file for file in listing(folder) if file.name.startswith(start) and file.name.endswith(".parquet")]
    tables = [pl.read_parquet(io.BytesIO(read(file.address))) for file in files]
    return pl.concat(tables) if tables else None


def _answered(references: pl.Expr, answer: pl.Expr) -> pl.Expr:
    """Return the references with `answer` as the correct one; only `answer` if no reference has that text."""

    def change_batch(columns: list[pl.Series] | Any) -> pl.Series:
        lists, answers = columns
        rows = []
        for options, right in zip(lists.to_list(), answers.to_list(), strict=True):
            marked = [option | {"correct": option["text"] == right} for option in options or ()]
            alone = [{"text": right, "correct": True, "tags": []}]
            rows.append(marked if any(option["correct"] for option in marked) else alone)
        return pl.Series(rows, dtype=pl.List(REFERENCE))

    return pl.map_batches([references, answer], change_batch, return_dtype=pl.List(REFERENCE), is_elementwise=True)


def _index_of_helm(ids: pl.Expr, count: pl.Expr) -> pl.Expr:
    def change_batch(columns: list[pl.Series] | Any) -> pl.Series:
        draws = [
            None if n is None else instance_random(name).choice(range(n)) for name, n in zip(*columns, strict=True)
        ]
        return pl.Series(draws, dtype=pl.UInt64)

    return pl.map_batches([ids, count], change_batch, return_dtype=pl.UInt64, is_elementwise=True)
