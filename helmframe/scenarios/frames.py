"""A data frame as a scenario."""

import io
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from helmframe._core.specs import SPLITS, Frame, MainScore, ScenarioSpec, adapter_spec, decoding_pairs, frozen
from helmframe._core.yaml import reading
from helmframe._schema import CONTENT, INSTANCES, REFERENCE, SOURCE_PREFIX, source_column
from helmframe.errors import ArgumentError
from helmframe.scenarios.sources import open_files
from helmframe.scenarios.sql import text_list

_TEXT = (pl.String, pl.Categorical, pl.Enum)
# The end of the name of a file of rows → the DuckDB expression that reads it.
_ROWS_FILES = {
    ".csv": "read_csv({files}, sample_size = -1, union_by_name = true)",
    ".tsv": "read_csv({files}, sample_size = -1, delim = '\t', union_by_name = true)",
    ".json": "read_json({files}, sample_size = -1, union_by_name = true)",
    ".jsonl": "read_json({files}, format = 'newline_delimited', sample_size = -1, union_by_name = true)",
    ".ndjson": "read_json({files}, format = 'newline_delimited', sample_size = -1, union_by_name = true)",
    ".parquet": "read_parquet({files}, union_by_name = true)",
}
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_IMAGES_AT_ONCE = 64  # rows with images that are hashed together
_METRICS = ("exact_match", "quasi_exact_match", "prefix_exact_match", "quasi_prefix_exact_match")


@reading("scenario(frame): the frame", "valid", ArgumentError)
def frame_scenario(
    frame: Any,
    *,
    input: str = "input",
    references: str | None = None,
    choices: str | None = None,
    answer: str | None = None,
    turns: str | None = None,
    id: str | None = None,
    subset: str | Sequence[str] | None = None,
    cluster: str | None = None,
    split: str | None = None,
    images: str | Sequence[str] | None = None,
    name: str | None = None,
    method: str | None = None,
    adapter: Mapping[str, Any] | None = None,
    decoding: Mapping[str, Any] | None = None,
    metrics: str | Sequence[str] | None = None,
    main: str | None = None,
) -> ScenarioSpec:
    """Return the scenario whose instances are the rows of a frame.

    The arguments from `input` to `split` are names of columns. Other columns of the frame are the scenario's own:
    conditions and metrics use their names, and tables store them as `data_NAME`. Columns `split`, `content` (a list of
    {type, text, media}) and `sub_split` (text) have the meaning in `hf.schema("instances")`.

    Args:
        frame: A Polars frame (eager or lazy), an object with an Arrow stream (pandas, pyarrow, DuckDB), a data set of
            the package datasets or a dict of its splits, a list of dicts, a dict of columns, or the path of a file of
            rows (see `is_rows_file`).
        input: The text of the question.
        references: The correct references: a text, a list of texts (all correct), or a list of {text, correct}; default
            `references`.
        choices: The options of a multiple-choice question, a list of texts; needs `answer`.
        answer: The correct option: its index (from 0), its letter, or its text.
        turns: The user's messages of a conversation, a list of texts, in place of `input`. `references` then has, for
            each turn, a text, a list of texts, or null; without it, no turn has references.
        id: Unique ids of the instances; default their positions, train first, then valid, then test.
        subset: Fixed strata, such as a subject. Few-shot examples come from the same subset.
        cluster: The group of instances that were sampled together, such as the questions of one passage.
        split: The split: train, valid or test; default `split` if the frame has it, else all instances are test.
        images: The columns with images: bytes, {bytes, path} as on the Hub, paths below the data root, or lists of
            these. The n-th image replaces `<image n>` in the question; other images come before the question.
        name: The name of the scenario; default a hash of the content.
        method: The method of the adapter; default multiple_choice_joint with choices, chat with turns, else generation.
        adapter: Further fields of the adapter.
        decoding: Decoding parameters; default max_tokens and stop for the method.
        metrics: The metrics; default the exact-match family, and output_words without references of turns.
        main: The main metric of the scenario; default exact_match with choices, else quasi_exact_match.

    Raises:
        ArgumentError: A column is missing or has an unsupported type. The message lists near columns.
        SourceError: The file of rows can't be read.
    """
    rows, pictures = _without_images(_polars(frame), images)
    subsets = (subset,) if isinstance(subset, str) else tuple(subset or ())
    for parameter, column in [
        *(("subset", subset_column) for subset_column in subsets),
        ("cluster", cluster),
        ("id", id),
    ]:
        if column is not None and _need(rows, parameter, column).dtype.is_nested():
            raise ArgumentError(
                f"{parameter}={column!r}: the column must be text or numbers, not {rows[column].dtype}."
            )
    if split is None and "split" in rows.columns:
        split = "split"
    if turns is None:
        texts = {"input": _input(rows, input), "references": _references(rows, references, choices, answer)}
    else:
        _check_turns(rows, turns, choices or answer)
        texts = _turn_references(rows, references)
    columns = {
        **texts,
        "split": _split(rows, split),
        **({"cluster": rows[cluster].cast(pl.String)} if cluster else {}),
        **({"instance_id": _ids(rows, id)} if id else {}),
        **_content(rows),
        **_sub_split(rows),
    }
    # DuckDB ignores case in column names
    if subsets != ("subset",) and {name.lower() for name in subsets} & set(INSTANCES.schema):
        raise ArgumentError(
            f"subset={subset!r}: this column name is reserved for a table column. Rename the column, for example to "
            "'subject'."
        )
    meanings = {"input": input, "references": references, "split": split, "cluster": cluster, "instance_id": id}
    if turns is not None:
        del meanings["input"]
    if choices is None and references is None:
        meanings["references"] = "references"
    meanings |= {name: name for name in ("content", "sub_split") if name in columns}
    source_columns = rows.select(
        pl.col(name).alias(source_column(name)) for name in rows.columns if meanings.get(name) != name
    )
    for stored, dtype in source_columns.schema.items():
        if _lacks_duckdb_type(dtype):
            column = stored.removeprefix(SOURCE_PREFIX)
            raise ArgumentError(
                f"scenario(frame): column {column!r} has the unsupported type {dtype}. Drop it, or cast it: "
                f"pl.col({column!r}).cast(pl.String)."
            )
    table = _ordered(
        pl.DataFrame([*source_columns, *(series.alias(column) for column, series in columns.items())]),
        [source_column(subset_column) for subset_column in subsets],
    )
    if name is None and is_rows_file(frame):
        name = re.sub(r"[^A-Za-z0-9_.\-]+", "_", PurePosixPath(str(frame)).name.partition(".")[0]) or None
    digest = _digest(table) if pictures is None else _digest_with_images(table, pictures)
    choice = choices is not None
    plain = turns is None or method not in (None, "chat")
    scenario_name = name or f"frame_{digest[:8]}"
    if not re.fullmatch(r"[A-Za-z0-9_.\-]+", scenario_name):
        raise ArgumentError(f"scenario(name={scenario_name!r}): name must consist of letters, digits, _, - and . only.")
    default = _METRICS if "references" in columns else ("output_words",)
    measured = (metrics,) if isinstance(metrics, str) else tuple(metrics or default)
    return ScenarioSpec(
        scenario=scenario_name,
        version=digest[:16],
        instances="SELECT * FROM rows",
        main=MainScore(main or _main(measured, choice=choice), _main_split(table), "macro" if subsets else "micro"),
        metrics=measured,
        subsets=subsets,
        adapter=_chat_adapter(method, adapter)
        if turns
        else _adapter(table, method, adapter, choice=choice, images=pictures is not None),
        decoding=decoding_pairs(
            {**(_decoding(choice=choice) if plain else {}), **(decoding or {})}, "decoding.json_schema"
        ),
        description=f"A data frame with {table.height:,} rows.",
        images=() if pictures is None else tuple(pictures.columns),
        frame=Frame(table, digest, pictures),
        turns=turns or "",
    )


def is_rows_file(source: object) -> bool:
    """Return whether a value is the path of a file of rows: CSV, TSV, JSON, JSON Lines or Parquet.

    >>> is_rows_file("s3://bucket/faq.csv"), is_rows_file("mmlu")
    (True, False)
    """
    return isinstance(source, str | Path) and _ending(source) in _ROWS_FILES


def _ending(path: str | Path) -> str:
    """Return the end of a file's name in lower case, without that of the compression."""
    return PurePosixPath(str(path).removesuffix(".gz").removesuffix(".zst")).suffix.lower()


def _read_file(path: str | Path) -> pl.DataFrame:
    """Return the rows of a file, or of the files of a glob pattern, in the order of their names."""
    with open_files(str(path), PurePosixPath(str(path)).name) as source:
        files = _ROWS_FILES[_ending(path)].format(files=text_list([source.address]))
        select = f"SELECT * FROM {files}"
        rows = source.guarded(lambda: source.connection.sql(select).pl())
    return pl.DataFrame(rows)


def _of_splits(splits: Mapping[str, Any]) -> pl.DataFrame:
    """Return the rows of a dict of data sets, such as `datasets.DatasetDict`, with the column `split`."""
    names = {"validation": "valid", "dev": "valid"}
    frames = [rows.to_polars().with_columns(split=pl.lit(names.get(name, name))) for name, rows in splits.items()]
    joined: pl.DataFrame = pl.concat(frames, how="diagonal_relaxed")
    return joined


def _polars(frame: Any) -> pl.DataFrame:
    if is_rows_file(frame):
        frame = _read_file(frame)
    elif isinstance(frame, Mapping) and frame and all(hasattr(rows, "to_polars") for rows in frame.values()):
        frame = _of_splits(frame)
    elif hasattr(frame, "to_polars"):  # a data set of the package datasets
        frame = frame.to_polars()
    elif isinstance(frame, Mapping) or (isinstance(frame, list) and all(isinstance(row, Mapping) for row in frame)):
        frame = _of_dicts(frame)
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if not isinstance(frame, pl.DataFrame):
        if not hasattr(frame, "__arrow_c_stream__"):
            raise ArgumentError(
                f"scenario({type(frame).__name__}): the argument must be a name, a path, a data frame (Polars, pandas, "
                "pyarrow, DuckDB), a data set of the package datasets, or a list of dicts."
            )
        frame = pl.DataFrame(frame)
    rows: pl.DataFrame = frame
    if rows.height == 0:
        raise ArgumentError("scenario(frame): the frame must have at least one row.")
    seen: dict[str, str] = {}
    for column in rows.columns:
        if rows[column].dtype == pl.Object:
            raise ArgumentError(f"scenario(frame): column {column!r} has Python objects. Drop it, or cast it to text.")
        if column.lower() in seen:
            raise ArgumentError(
                f"scenario(frame): the columns {seen[column.lower()]!r} and {column!r} differ only in case. Rename one."
            )
        seen[column.lower()] = column
    return rows


def _of_dicts(rows: Mapping[str, Any] | list[Any]) -> pl.DataFrame:
    """Return the frame of a dict of columns or of a list of rows."""
    try:
        return pl.DataFrame(rows, infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        kind = "the dict's columns" if isinstance(rows, Mapping) else "the dicts"
        raise ArgumentError(f"scenario(…): {kind} don't make a table: {error}.") from None


def _without_images(rows: pl.DataFrame, images: str | Sequence[str] | None) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Return the rows with references in place of images, and the images in the order of the rows."""
    names = [images] if isinstance(images, str) else list(images or ())
    if not names:
        return rows, None
    for column in names:
        if column not in rows.columns:
            raise ArgumentError.unknown_value(f"images={column!r}: column not found in the frame", column, rows.columns)
        dtype = rows.schema[column]
        item = dtype.inner if isinstance(dtype, pl.List) else dtype
        if isinstance(item, pl.Struct):
            item = dict(item).get("bytes", pl.Null())
        if not isinstance(item, pl.Binary | pl.String):
            raise ArgumentError(
                f"images={column!r}: the column must have bytes, paths, {{bytes, path}} or lists of these, not {dtype}."
            )
    references = pl.format("frame:{}", pl.int_range(pl.len()))
    return rows.with_columns(references.alias(column) for column in names), rows.select(names)


def _need(rows: pl.DataFrame, parameter: str, column: str, *kinds: type[pl.DataType]) -> pl.Series:
    if column not in rows.columns:
        raise ArgumentError.unknown_value(
            f"{parameter}={column!r}: column not found in the frame", column, rows.columns
        )
    series = rows[column]
    if kinds and not isinstance(series.dtype, kinds):
        names = [kind.__name__ for kind in kinds]
        expected = f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
        raise ArgumentError(f"{parameter}={column!r}: the column must be {expected}, not {series.dtype}.")
    if series.null_count():
        raise ArgumentError(
            f"{parameter}={column!r}: {series.null_count()} of {rows.height} rows are null. Drop or fill them."
        )
    return series


def _input(rows: pl.DataFrame, column: str) -> pl.Series:
    return _need(rows, "input", column, *_TEXT).cast(pl.String)


def _references(rows: pl.DataFrame, references: str | None, choices: str | None, answer: str | None) -> pl.Series:
    if (choices is None) != (answer is None):
        raise ArgumentError(
            "scenario(): choices and answer need each other. Write the columns of the options and of the "
            "correct option: hf.scenario(frame, choices='options', answer='answer')."
        )
    if choices is not None and answer is not None:
        if references is not None:
            raise ArgumentError("scenario(): references excludes choices and answer. Remove one of the two.")
        return _refuse_nulls(_choices(rows, choices, answer), f"choices={choices!r}")
    column = references or "references"
    series = _need(rows, "references", column, *_TEXT, pl.Int64, pl.Int32, pl.List)
    if not isinstance(series.dtype, pl.List):
        series = series.cast(pl.String).reshape((-1, 1)).cast(pl.List(pl.String))
    inner = series.dtype.inner if isinstance(series.dtype, pl.List) else pl.String()
    if isinstance(inner, pl.Struct):
        names = [reference.name for reference in inner.fields]
        if not {"text", "correct"} <= set(names):
            raise ArgumentError(
                f"references={column!r}: the elements must be {{text, correct}}, not {{{', '.join(names)}}}."
            )
        if dict(inner)["correct"] != pl.Boolean:
            raise ArgumentError(f"references={column!r}: correct must be Boolean, not {dict(inner)['correct']}.")
        tags = pl.element().struct.field("tags") if "tags" in names else pl.lit(None)
        reference = _reference(pl.element().struct.field("text"), pl.element().struct.field("correct"), tags)
    elif inner == pl.String:
        reference = _reference(pl.element(), pl.lit(value=True), pl.lit(None))
    else:
        raise ArgumentError(
            f"references={column!r}: the elements of a list must be texts or {{text, correct}}, not {series.dtype}."
        )
    return _refuse_nulls(series.list.eval(reference).cast(pl.List(REFERENCE)), f"references={column!r}")


def _check_turns(rows: pl.DataFrame, turns: str, choices: str | None) -> None:
    series = _need(rows, "turns", turns, pl.List)
    if series.dtype != pl.List(pl.String):
        raise ArgumentError(f"turns={turns!r}: the column must be a list of texts, not {series.dtype}.")
    messages = series.list
    for row in (messages.eval(pl.element().is_null()).list.any() | (messages.len() == 0)).arg_true().head(1):
        raise ArgumentError(f"turns={turns!r}: row {row} must have one or more texts and no null.")
    if choices is not None:
        raise ArgumentError("scenario(): turns excludes choices and answer. Write the options into the messages.")


def _turn_references(rows: pl.DataFrame, references: str | None) -> dict[str, pl.Series]:
    """Return the references of each turn, a list of lists, or nothing without a column of references."""
    column = references or ("references" if "references" in rows.columns else None)
    if column is None:
        return {}
    lists = _need(rows, "references", column, pl.List).rename("references")
    of_turn = lists.explode(empty_as_null=False)
    if not of_turn.len():
        return {}
    if isinstance(of_turn.dtype, pl.List):
        of_turn = of_turn.fill_null([])
    else:
        of_turn = pl.select(
            pl.when(of_turn.is_null())
            .then(pl.lit([], pl.List(pl.String)))
            .otherwise(pl.concat_list(of_turn.cast(pl.String)))
        ).to_series()
    counted = pl.DataFrame({"row": pl.int_range(lists.len(), eager=True), "n": lists.list.len()})
    row = counted.select(pl.col("row").repeat_by("n").explode(empty_as_null=False)).to_series()
    made = _references(pl.DataFrame({column: of_turn}), column, None, None)
    grouped = pl.DataFrame({"row": row, "references": made}).group_by("row").agg("references")
    joined = counted.join(grouped, on="row", how="left", maintain_order="left")["references"]
    return {"references": joined.fill_null([])}


def _refuse_nulls(references: pl.Series, argument: str) -> pl.Series:
    """Raise if the `text` or `correct` of a reference is null."""
    reference = pl.element().struct
    lacking = pl.any_horizontal(reference.field("text").is_null(), reference.field("correct").is_null())
    rows = references.list.eval(lacking).list.any().arg_true()
    if rows.len():
        raise ArgumentError(f"{argument}: row {rows[0]} has a null text or correct. Drop or fill it.")
    return references


def _reference(text: pl.Expr, correct: pl.Expr, tags: pl.Expr) -> pl.Expr:
    return pl.struct(
        text.cast(pl.String).alias("text"),
        correct.cast(pl.Boolean).alias("correct"),
        pl.coalesce(tags.cast(pl.List(pl.String)), pl.lit([], dtype=pl.List(pl.String))).alias("tags"),
    )


def _choices(rows: pl.DataFrame, choices: str, answer: str) -> pl.Series:
    options = _need(rows, "choices", choices, pl.List, pl.Array)
    if options.dtype.inner.is_nested():  # type: ignore[attr-defined]
        raise ArgumentError(f"choices={choices!r}: the column must be a list of texts, not {options.dtype}.")
    right = _need(rows, "answer", answer)
    pairs = pl.DataFrame({"choices": options.cast(pl.List(pl.String)), "answer": right}).with_row_index("row")
    answer_index = _answer_index(pairs, answer)
    wrong = pairs.filter(answer_index.is_null() | (answer_index < 0) | (answer_index >= pl.col("choices").list.len()))
    if wrong.height:
        row = wrong.row(0, named=True)
        raise ArgumentError(
            f"answer={answer!r}: {row['answer']!r} in row {row['row']} isn't one of the {len(row['choices'])} options "
            f"({', '.join(map(str, row['choices']))}). Write the index of the option (from 0), its letter or its text."
        )
    exploded = (
        pairs.lazy()
        .select("row", pl.col("choices").alias("text"), answer_index=answer_index)
        .with_columns(option=pl.int_ranges(pl.col("text").list.len()))
        .explode("text", "option", empty_as_null=True)
        .with_columns(reference=_reference(pl.col("text"), pl.col("option") == pl.col("answer_index"), pl.lit(None)))
    )
    lists = exploded.group_by("row", maintain_order=True).agg("reference").collect()
    return lists["reference"].cast(pl.List(REFERENCE))


def _answer_index(pairs: pl.DataFrame, column: str) -> pl.Expr:
    """Return the index of the right choice; letters are used unless every answer is the text of a choice."""
    dtype = pairs["answer"].dtype
    if dtype.is_integer():
        return pl.col("answer").cast(pl.Int64)
    if dtype not in (pl.String, pl.Categorical) and not isinstance(dtype, pl.Enum):
        raise ArgumentError(f"answer={column!r}: the column must have indices (from 0), letters or texts, not {dtype}.")
    text = pl.col("answer").cast(pl.String)
    if pairs.select(pl.col("choices").list.contains(text).all()).item():
        exploded = pairs.select("row", text.alias("answer"), text_=pl.col("choices")).explode(
            "text_", empty_as_null=True
        )
        indices = (
            exploded.with_columns(index=pl.int_range(pl.len()).over("row"))
            .filter(pl.col("text_") == pl.col("answer"))
            .unique("row", keep="first", maintain_order=True)["index"]
        )
        return pl.lit(indices)
    return text.str.strip_chars().replace_strict(
        list(_LETTERS), range(len(_LETTERS)), default=None, return_dtype=pl.Int64
    )


def _split(rows: pl.DataFrame, column: str | None) -> pl.Series:
    if column is None:
        return pl.repeat("test", rows.height, dtype=pl.String, eager=True)
    series = _need(rows, "split", column, *_TEXT).cast(pl.String)
    unknown = [split for split in series.unique().sort() if split not in SPLITS]
    if unknown:
        raise ArgumentError.unknown_value(f"split={column!r}: invalid split {unknown[0]!r}", unknown[0], SPLITS)
    return series


def _lacks_duckdb_type(dtype: pl.DataType) -> bool:
    """Return whether DuckDB can't read a Polars type, or a type inside it."""
    if isinstance(dtype, pl.Struct):
        return not dtype.fields or any(_lacks_duckdb_type(field.dtype) for field in dtype.fields)  # type: ignore[arg-type]
    if isinstance(dtype, pl.List | pl.Array):
        empty = isinstance(dtype, pl.Array) and 0 in dtype.shape
        return empty or _lacks_duckdb_type(dtype.inner)  # type: ignore[arg-type]
    return isinstance(dtype, pl.Int128 | pl.UInt128 | pl.Float16 | pl.Duration)


def _content(rows: pl.DataFrame) -> dict[str, pl.Series]:
    """Return the column `content`, the parts of an input, if the frame has a list of {type, text, media}."""
    dtype = rows.schema.get("content")
    inner = dtype.inner if isinstance(dtype, pl.List) else None
    if not isinstance(inner, pl.Struct) or not {"type", "text"} <= {field.name for field in inner.fields}:
        return {}
    try:
        return {"content": rows["content"].cast(CONTENT)}
    except pl.exceptions.PolarsError:
        raise ArgumentError(
            f"scenario(frame): column 'content' must be a list of {{type, text, media}}, not {dtype}. If it has "
            "another meaning, rename it."
        ) from None


def _sub_split(rows: pl.DataFrame) -> dict[str, pl.Series]:
    """Return the column `sub_split`, a named share of the split, if the frame has it as text or numbers."""
    if "sub_split" not in rows.columns or rows["sub_split"].dtype.is_nested():
        return {}
    return {"sub_split": rows["sub_split"].cast(pl.String)}


def _ids(rows: pl.DataFrame, column: str) -> pl.Series:
    series = rows[column].cast(pl.String)
    if series.n_unique() != rows.height:
        twice = series.filter(series.is_duplicated())[0]
        raise ArgumentError(f"id={column!r}: ids must be unique, and {twice!r} occurs more than once.")
    return series


def _ordered(table: pl.DataFrame, subsets: Sequence[str]) -> pl.DataFrame:
    """Return the rows by subset and split, with row_index: the position within the subset."""
    split_order = pl.col("split").replace_strict(list(SPLITS), range(len(SPLITS)))
    ordered = table.sort(*subsets, split_order, maintain_order=True)
    index = pl.int_range(pl.len(), dtype=pl.Int64)
    return ordered.with_columns(row_index=index.over(*subsets) if subsets else index)


def _digest(table: pl.DataFrame) -> str:
    plain = table.rechunk()
    buffer = io.BytesIO()
    plain.write_ipc(buffer, compat_level=pl.CompatLevel.oldest())
    return sha256(buffer.getbuffer()).hexdigest()


def _digest_with_images(table: pl.DataFrame, images: pl.DataFrame) -> str:
    """Return the digest of a table and of its images, some rows at a time."""
    state = sha256(_digest(table).encode())
    for rows in images.iter_slices(_IMAGES_AT_ONCE):
        state.update(_digest(rows).encode())
    return state.hexdigest()


def _main(metrics: Sequence[str], *, choice: bool) -> str:
    preferred = "exact_match" if choice else "quasi_exact_match"
    return preferred if preferred in metrics else metrics[0]


def _main_split(table: pl.DataFrame) -> str:
    splits = set(table["split"])
    return next((split for split in ("test", "valid") if split in splits), "train")


def _adapter(
    table: pl.DataFrame, method: str | None, overrides: Mapping[str, Any] | None, *, choice: bool, images: bool
) -> Any:
    pool = (table["split"] == "train").any() and not images  # few-shot examples have no images
    pairs = frozen(
        {
            "method": method or ("multiple_choice_joint" if choice else "generation"),
            "shots": 5 if pool else 0,
            "input_prefix": "Question: ",
            "output_prefix": "Answer: ",
            **(overrides or {}),
        }
    )
    adapter_spec(pairs, where="adapter")
    return pairs


def _chat_adapter(method: str | None, overrides: Mapping[str, Any] | None) -> Any:
    pairs = frozen({"method": method or "chat", "shots": 0, **(overrides or {})})
    adapter_spec(pairs, where="adapter")
    return pairs


def _decoding(*, choice: bool) -> dict[str, Any]:
    return {"max_tokens": 1 if choice else 100, "temperature": 0.0, "stop": ["\n"]}
