"""The instances of a scenario as frames: the first stage of every plan."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, TypedDict

import polars as pl

from helmframe._core.safe_text import get_logger
from helmframe._core.specs import SPLITS, Between, Condition, Equals, Expression, Sample, ScenarioSpec, Sql
from helmframe._schema import CONVERSATION, INSTANCES, TURN, conform, source_column, with_source_columns
from helmframe.config import data_root
from helmframe.errors import (
    ArgumentError,
    NoInstancesError,
    RepeatedKeyError,
    SourceBrokenError,
    SourceError,
    SourceMissingError,
)
from helmframe.scenarios.query import TURN_INPUTS, TURN_REFERENCES, Query, open_query, with_default_subsets
from helmframe.scenarios.sources import advice
from helmframe.scenarios.validation import unknown_value, values

if TYPE_CHECKING:
    from helmframe.scenarios.images import ImageReader

_MOST_BYTES = 64 << 20
# A scenario in a bucket of at most these bytes is read whole to count its requests.
_SMALL_BYTES = 8 << 20
# Counts are estimated from a row group; from two if the first has few rows; from enough rows of larger ones.
_FEW_ROWS, _ENOUGH_ROWS = 1_000, 4_000
_TURNS = 8  # of a conversation, to estimate the rows of a frame
# Seconds between attempts to resume reading: long enough for a server to restart.
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)

logger = get_logger("helmframe.scenarios")


class Selection(TypedDict):
    """A selection of instances: the arguments that `load`, `keys`, `count` and `spans` share."""

    where: tuple[Condition, ...]
    sample: Sample | None
    splits: tuple[str, ...]
    data: str | None
    compat: str | None


def load(
    spec: ScenarioSpec,
    *,
    where: Sequence[Condition] = (),
    sample: Sample | None = None,
    splits: Sequence[str] = ("test",),
    data: str | None = None,
    compat: str | None = None,
    rows: int = 20_000,
    first: int | None = None,
    only: pl.DataFrame | None = None,
    images: "ImageReader | None" = None,
    most: int | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield the instances of these splits that meet the conditions, in frames.

    A conversation of several turns is one row for conditions, samples and keys. The yielded frames have one row per
    turn, and all turns of a conversation are in one frame.

    Args:
        spec: The scenario.
        where: The conditions, applied before `sample`. DuckDB's scan applies equalities, ranges and SQL, and equalities
            over columns of the path restrict the listing of files. `pl.Expr` conditions are applied after the scan.
        sample: The sample: at most n instances per subset.
        splits: Some of train, valid and test.
        data: The root of the rows, instead of the configured one.
        compat: The rules of ids and references. "helm" numbers instances as HELM does, from 0 in each subset, train
            first, over the rows that meet the conditions on HELM's parameters; references are those of HELM's
            instances.
        rows: The most rows of one frame, which also has at most about 64 MB. Long conversations may have more.
        first: The most rows of the first frame; default `rows`.
        only: The rows of `keys` to load; default all.
        images: The reader of the scenario's images; default a new one.
        most: The most rows to read, in source order; default all. Not for a sample or `only`.

    Yields:
        Non-empty frames of `INSTANCES` and the scenario's own columns, by subset and row_index, or in HELM's order for
        a sample of order "helm".

    Raises:
        ArgumentError: No instance matches. The message lists near values.
        SourceError: The rows can't be read. The message has scenario and address.
    """
    _check_splits(splits)
    if spec.images and images is None:
        from helmframe.scenarios.images import ImageReader  # late: most scenarios have no images

        images = ImageReader(spec, data)
    any_rows = False
    height, first_height = (max(1, number // (_TURNS if spec.turns else 1)) for number in (rows, first or rows))
    read = partial(_read, spec, where, sample, splits, data, compat, only, most)
    for frame in _shards(_resuming(read), height, first_height):
        any_rows = True
        yield _split_turns(spec, images.described(frame) if images is not None else frame)
    if not any_rows and not (sample and sample.n == 0) and only is None:
        raise _nothing_matches(spec, where, splits, data)


def load_train(
    spec: ScenarioSpec, *, where: Sequence[Condition] = (), data: str | None = None, compat: str | None = None
) -> pl.DataFrame:
    """Return the pool of few-shot examples, by subset and row_index; it may be empty.

    Only equalities and ranges over the subset columns restrict it: a condition on the questions must not change their
    examples. With compat "helm", conditions over HELM's parameters restrict it too.

    Returns:
        `INSTANCES` of split train, and the scenario's own columns.
    """
    columns = spec.narrowing_columns if compat else {"subset", *spec.subsets}
    narrowing = [
        condition
        for condition in with_default_subsets(spec, where)
        if isinstance(condition, Equals | Between) and condition.column in columns
    ]
    numbers = _numbers(spec, where, data, compat)
    with open_query(spec, narrowing, ("train",), data, compat=compat) as query:
        pool = pl.concat(_instances(query, (), numbers)).sort("subset", "row_index")
    _check_unique(spec, pool)
    return pool


def keys(
    spec: ScenarioSpec,
    *,
    where: Sequence[Condition] = (),
    sample: Sample | None = None,
    splits: Sequence[str] = ("test",),
    data: str | None = None,
    compat: str | None = None,
) -> pl.DataFrame:
    """Return the keys of the instances that `load` yields; texts are read only if a condition needs them.

    Returns:
        subset, row_index, instance_id, split, cluster; one row for all turns of a conversation.

    Raises:
        ArgumentError: No instance matches. The message lists near values.
        SourceError: The rows can't be read. The message has scenario and address.
    """
    rows = _chosen(spec, where, sample, splits, data, compat, "cluster")
    if rows.is_empty() and not (sample and sample.n == 0):
        raise _nothing_matches(spec, where, splits, data)
    return rows


def _split_turns(spec: ScenarioSpec, rows: pl.DataFrame) -> pl.DataFrame:
    """Return one row per turn of each conversation; rows of a scenario without turns are returned as they are.

    Args:
        spec: The scenario.
        rows: `INSTANCES` of conversations, with the messages and references of all turns.

    Returns:
        `TURNS`: the rows with the id, input and references of the turn. The cluster is the conversation, unless the
        scenario has other clusters.

    Raises:
        SourceBrokenError: A conversation has no turn, a null message, references of more turns than messages, or
            content parts.
    """
    if not spec.turns:
        return rows
    if rows["content"].count():
        raise SourceBrokenError(
            f"scenario {spec.scenario!r}: column 'content' isn't supported in a scenario with turns. Remove it."
        )
    messages, references = pl.col(TURN_INPUTS).list, pl.col(TURN_REFERENCES).list
    is_null = messages.eval(pl.element().is_null()).list.any()
    invalid = (messages.len().fill_null(0) == 0) | is_null | (references.len() > messages.len())
    for instance_id in rows.filter(invalid)["instance_id"].head(1):
        raise SourceBrokenError(
            f"scenario {spec.scenario!r}: conversation {instance_id!r} is invalid. It must have one or more messages, "
            "no null, and references of these messages only."
        )
    each = rows.with_columns(pl.int_ranges(1, messages.len() + 1).alias(TURN)).explode(TURN)
    number = pl.col(TURN)
    of_turn = each.with_columns(
        pl.col("instance_id").alias(CONVERSATION),
        instance_id=pl.concat_str("instance_id", pl.lit("/turn"), number.cast(pl.String)),
        input=messages.get(number - 1),
        references=references.get(number - 1, null_on_oob=True).fill_null([]).cast(INSTANCES.schema["references"]),
    )
    return of_turn.drop(TURN_INPUTS, TURN_REFERENCES, source_column(spec.turns), strict=False)


def count(
    spec: ScenarioSpec,
    *,
    where: Sequence[Condition] = (),
    sample: Sample | None = None,
    splits: Sequence[str] = ("test",),
    data: str | None = None,
    compat: str | None = None,
) -> pl.DataFrame:
    """Count the instances that `load` yields by subset and split; texts are read only if a condition needs them.

    Raises:
        SourceError: The rows can't be read. The message has scenario and address.
    """
    rows = _chosen(spec, where, sample, splits, data, compat, *((TURN_INPUTS,) if spec.turns else ()))
    n = pl.col(TURN_INPUTS).list.len().sum() if spec.turns else pl.len()
    order = pl.col("split").replace_strict(list(SPLITS), range(len(SPLITS)))
    return rows.group_by("subset", "split").agg(n=n.cast(pl.Int64)).sort("subset", order)


def first_rows(
    spec: ScenarioSpec,
    *,
    where: Sequence[Condition] = (),
    sample: Sample | None = None,  # noqa: ARG001 - a key of `Selection`
    splits: Sequence[str] = ("test",),
    data: str | None = None,
    compat: str | None = None,
) -> int | None:
    """Return the number of rows in the first row groups of a large scenario in a bucket or on the Hub.

    None for other scenarios, whose rows can all be read.

    Raises:
        SourceError: The rows can't be read. The message has scenario and address.
    """
    if spec.frame is not None or spec.generated:
        return None
    with open_query(spec, with_default_subsets(spec, where), splits, data, compat=compat) as query:
        groups = query.first_row_groups() if query.is_remote else []
        if not groups or sum(size for _, size in groups) * query.n_files <= _SMALL_BYTES:
            return None
        first, *further = [rows for rows, _ in groups]
        return min(first if first >= _FEW_ROWS else first + sum(further[:1]), _ENOUGH_ROWS)


def _chosen(
    spec: ScenarioSpec,
    where: Sequence[Condition],
    sample: Sample | None,
    splits: Sequence[str],
    data: str | None,
    compat: str | None,
    *more: str,
) -> pl.DataFrame:
    """Return the keys of the selected instances: subset, row_index, instance_id, split, and more columns."""
    _check_splits(splits)
    numbers = _numbers(spec, where, data, compat)
    with open_query(spec, with_default_subsets(spec, where), splits, data, compat=compat) as query:
        rows = _candidates(query, where, sample, numbers, *more)
    _check_unique(spec, rows)
    if not sample:
        return rows
    chosen = draw_sample(rows.sort("subset", "row_index"), sample, spec.scenario)
    return rows.join(chosen, on=["subset", "row_index"], how="semi", maintain_order="left")


def _resuming(read: Callable[[], Iterator[pl.DataFrame]]) -> Iterator[pl.DataFrame]:
    """Yield the frames of a reader; if the server fails midway, resume at the next row once it is back.

    Before the first row, nothing is retried: the address may be wrong, and the error is raised at once.
    """
    n_rows, waits = 0, list(WAITS)
    while True:
        skipped = 0
        try:
            for frame in read():
                repeated = min(n_rows - skipped, frame.height)
                skipped += repeated
                fresh = frame.slice(repeated)
                n_rows, skipped = n_rows + fresh.height, skipped + fresh.height
                waits = list(WAITS) if fresh.height else waits
                yield fresh
            return
        except SourceError as error:
            # its subclasses are not transient: the file is missing, denied or broken
            if type(error) is not SourceError or not n_rows or not waits:
                raise
            logger.warning("%s Retrying in %.1f s from row %s.", error, waits[0], f"{n_rows:,}")
        time.sleep(waits.pop(0))


def _read(
    spec: ScenarioSpec,
    where: Sequence[Condition],
    sample: Sample | None,
    splits: Sequence[str],
    data: str | None,
    compat: str | None,
    only: pl.DataFrame | None,
    most: int | None,
) -> Iterator[pl.DataFrame]:
    numbers = _numbers(spec, where, data, compat)
    with open_query(spec, with_default_subsets(spec, where), splits, data, compat=compat) as query:
        if only is not None:
            query.restrict(only)
            yield from _matching(_instances(query, where, numbers), only.select("subset", "row_index"))
            return
        if sample:
            yield from _sampled(query, where, sample, numbers)
            return
        if most is not None:
            with query.in_order():
                yield from _instances(query, where, numbers, f"LIMIT {most}")
            return
        # reads the keys of all rows at once, so only if the streamed keys don't prove that they are unique
        check = partial(_chosen, spec, where, None, splits, data, compat)
        if query.names_instances:
            check()
        yield from _ascending(_instances(query, where, numbers), check)


def _numbers(
    spec: ScenarioSpec, where: Sequence[Condition], data: str | None, compat: str | None
) -> pl.DataFrame | None:
    """Return the numbers that HELM gives the instances of its run: subset, row_index, number.

    HELM filters by the parameters of a run first, then numbers train, valid and test together. The result is None if
    ids have other numbers: without HELM's rules, for frames, and if the spec's SELECT has instance_id.
    """
    if not compat or spec.frame is not None:
        return None
    narrowing = [
        condition
        for condition in with_default_subsets(spec, where)
        if (isinstance(condition, Equals | Between) and condition.column in spec.narrowing_columns)
        or (isinstance(condition, Sql) and condition.narrows)
    ]
    with open_query(spec, narrowing, SPLITS, data) as query:
        if query.names_instances:
            return None
        keys = query.frame("subset, row_index")
    return keys.sort("subset", "row_index").with_columns(number=pl.int_range(pl.len(), dtype=pl.Int64).over("subset"))


def _renumbered(rows: pl.DataFrame, numbers: pl.DataFrame | None) -> pl.DataFrame:
    """Return the rows with HELM's numbers in instance_id, and in the cluster of an instance without a cluster."""
    if numbers is None:
        return rows
    names = ["subset", "row_index"]
    start = pl.when(pl.col("subset") == "").then(pl.lit("id")).otherwise(pl.col("subset") + "/id")
    numbered = rows.join(numbers, on=names, how="left", maintain_order="left", validate="m:1")
    number = start + pl.col("number").cast(pl.String)
    new = {"instance_id": number}
    if "cluster" in rows.columns:
        is_itself = pl.col("cluster") == pl.col("instance_id")
        new["cluster"] = pl.when(is_itself).then(number).otherwise("cluster")
    return numbered.with_columns(**new).drop("number")


def _check_splits(splits: Sequence[str]) -> None:
    for split in splits:
        if split not in SPLITS:
            raise ArgumentError.unknown_value(f"splits={split!r}", split, SPLITS)
    if not splits:
        raise ArgumentError(f"splits=(): splits must have at least one of {', '.join(SPLITS)}.")


def _instances(
    query: Query, where: Sequence[Condition], numbers: pl.DataFrame | None, tail: str = ""
) -> Iterator[pl.DataFrame]:
    """Yield the instances in small frames, in source order; at least one frame, which may be empty."""
    expressions = [condition.expr for condition in where if isinstance(condition, Expression)]
    for frame in query.stream(query.instances, tail):
        named = frame.with_columns(scenario=pl.lit(query.spec.scenario), scenario_version=pl.lit(query.spec.version))
        instances = _renumbered(conform(named, INSTANCES, f"scenario {query.spec.scenario!r}"), numbers)
        yield _copied(_met(instances, expressions)) if expressions else instances


def _met(instances: pl.DataFrame, expressions: Sequence[pl.Expr]) -> pl.DataFrame:
    try:
        names = [name for expression in expressions for name in expression.meta.root_names()]
        rows = with_source_columns(instances.lazy(), names).filter(*expressions)
        return rows.select(instances.columns).collect(engine="in-memory")
    except pl.exceptions.PolarsError as error:
        texts = ", ".join(map(str, expressions))
        problem = f"where({texts}): the expression must be true or false for each instance"
        raise ArgumentError(f"{problem}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    """Return the first line of an error as a sentence."""
    return str(error).strip().partition("\n")[0].rstrip(".") + "."


def _keys(query: Query, where: Sequence[Condition], numbers: pl.DataFrame | None, *more: str) -> pl.DataFrame:
    """Return subset, row_index, instance_id, split and more columns of the instances that meet the conditions."""
    keys = ("subset", "row_index", "instance_id", "split", *more)
    if any(isinstance(condition, Expression) for condition in where):
        return pl.concat(frame.select(keys) for frame in _instances(query, where, numbers))
    return _renumbered(query.frame(", ".join(keys)), numbers)


def _candidates(
    query: Query, where: Sequence[Condition], sample: Sample | None, numbers: pl.DataFrame | None, *more: str
) -> pl.DataFrame:
    """Return `_keys` of the instances that a sample may contain; those beyond a limit are not read."""
    expressions = any(isinstance(condition, Expression) for condition in where)
    if sample and sample.order == "first" and sample.n and not expressions:
        first = query.first_keys(", ".join(("subset", "row_index", "instance_id", "split", *more)), sample.n)
        if first is not None:
            return _renumbered(first, numbers)
    return _keys(query, where, numbers, *more)


def _ascending(frames: Iterable[pl.DataFrame], otherwise: Callable[[], object]) -> Iterator[pl.DataFrame]:
    """Yield the frames; call `otherwise` once if row_index does not ascend within each subset."""
    highest: dict[str, int] = {}
    ascending = True
    index = pl.col("row_index")
    for frame in frames:
        if ascending and not _continues(frame, highest):
            ends = frame.group_by("subset").agg(index.min().alias("low"), index.max().alias("high"), n=index.n_unique())
            ascending = ends["n"].sum() == frame.height and all(
                low > highest.get(subset, -1) for subset, low in ends.select("subset", "low").iter_rows()
            )
            highest |= dict(ends.select("subset", "high").iter_rows())
            if not ascending:
                otherwise()
        yield frame


def _continues(frame: pl.DataFrame, highest: dict[str, int]) -> bool:
    """Return whether a frame has one subset whose row_index ascends from the highest so far, which is then replaced.

    This is the usual case, and costs a tenth of a group_by.
    """
    subset, index = frame["subset"], frame["row_index"]
    if not frame.height or not (subset == subset[0]).all() or index[0] <= highest.get(subset[0], -1):
        return False
    if not (index.head(-1) < index.tail(-1)).all():
        return False
    highest[subset[0]] = index[-1]
    return True


def _check_unique(spec: ScenarioSpec, keys: pl.DataFrame) -> None:
    """Raise if two instances have one key.

    Args:
        spec: The scenario.
        keys: subset, row_index and instance_id.

    Raises:
        RepeatedKeyError: Two rows have the same row_index within their subset, or the same instance_id.
    """
    for columns, shown in ((["subset", "row_index"], "row_index"), (["instance_id"], "instance_id")):
        repeated = keys.filter(keys.select(columns).is_duplicated())
        if repeated.is_empty():
            continue
        counts = repeated.group_by(columns, maintain_order=True).len()
        subset = f" of subset {counts['subset'][0]!r}" if shown == "row_index" and spec.subsets else ""
        examples = ", ".join(f"{value!r} ({n} rows)" for value, n in counts.select(shown, "len").head(3).iter_rows())
        number = "Number the rows: row_number() OVER () - 1 AS row_index"
        remedy = number if shown == "row_index" else "Remove instance_id from the SELECT"
        raise RepeatedKeyError.at(
            spec.origin or f"scenario {spec.scenario!r}",
            "instances",
            f"{shown} must be unique, but {counts.height:,} values repeat{subset}: {examples}. "
            f"{remedy}, or select one row for each {shown}.",
        )


def _sampled(
    query: Query, where: Sequence[Condition], sample: Sample, numbers: pl.DataFrame | None
) -> Iterator[pl.DataFrame]:
    keys = _candidates(query, where, sample, numbers)
    _check_unique(query.spec, keys)
    chosen = draw_sample(keys.sort("subset", "row_index"), sample, query.spec.scenario)
    query.restrict(chosen)
    matches = _matching(_instances(query, where, numbers), chosen)
    if sample.order == "helm":
        # in the order of the draw, subset by subset; a sample is small, so all of it fits in memory
        yield pl.concat(matches).sort("position").drop("position")
    else:
        yield from (frame.drop("position") for frame in matches)


def _matching(frames: Iterable[pl.DataFrame], chosen: pl.DataFrame) -> Iterator[pl.DataFrame]:
    left = chosen.height
    for frame in frames:
        matched = frame.join(chosen, on=["subset", "row_index"], how="inner", maintain_order="left", validate="1:1")
        yield _copied(matched)
        left -= matched.height
        if left == 0:
            return


def _copied(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows in memory of their own: texts of Polars are views that hold a whole frame in memory."""
    return pl.DataFrame(rows.to_arrow(compat_level=pl.CompatLevel.oldest()), schema=rows.schema)


def _shards(frames: Iterable[pl.DataFrame], rows: int, first: int) -> Iterator[pl.DataFrame]:
    """Yield the rows in frames of at most `rows` rows (the first: `first`) and about 64 MB; none is empty."""
    pieces: list[pl.DataFrame] = []
    height, size, most = 0, 0, first
    for frame in frames:
        start = 0
        while start < frame.height:
            piece = frame.slice(start, most - height)
            start += piece.height
            pieces.append(piece)
            height += piece.height
            size += int(piece.estimated_size())
            if height == most or size >= _MOST_BYTES:
                yield pl.concat(pieces, rechunk=True)
                pieces, height, size, most = [], 0, 0, rows
    if pieces:
        yield pl.concat(pieces, rechunk=True)


def _nothing_matches(
    spec: ScenarioSpec, where: Sequence[Condition], splits: Sequence[str], data: str | None
) -> NoInstancesError | SourceMissingError:
    for condition in where:
        if isinstance(condition, Equals):
            column_values = [str(value) for value in values(spec, condition.column, data)]
            unknown = [value for value in condition.values if str(value) not in column_values]
            if unknown:
                return unknown_value(spec, condition.column, unknown[0], column_values)
    splits_present = sorted(set(count(spec, splits=SPLITS, data=data)["split"]), key=SPLITS.index)
    if not set(splits_present) & set(splits):
        requested = " or ".join(splits)
        problem = f"scenario {spec.scenario!r} has no {requested} instances. Its splits: {', '.join(splits_present)}."
        if spec.frame is not None or not set(splits) & set(spec.split_names.values()):
            return NoInstancesError(problem)
        # the spec declares the split, but the root has no rows of it
        root = data or data_root() or str(dict(spec.hub).get("rows", ""))
        return SourceMissingError(f"{problem}\n{advice(root)}")
    return NoInstancesError(
        f"where(…): no instance of scenario {spec.scenario!r} in split {' or '.join(splits)} meets all conditions. "
        "Remove one."
    )


ORDERS = ("keyed", "first", "helm", "chosen")


def draw_sample(keys: pl.DataFrame, sample: Sample, scenario: str) -> pl.DataFrame:
    """Return the keys of the instances in a sample, at most `sample.n` per subset.

    Order "keyed" takes the instances with the smallest keyed hashes, which depend on no other instance; "first" takes
    the first by row_index; "helm" samples as HELM does; "chosen" takes the sample's own instances.

    Args:
        keys: subset, row_index, instance_id; subsets together, row_index ascending within each.
        sample: The number of instances per subset, and the order.
        scenario: The scenario's name, a part of the keyed hash.

    Returns:
        subset, row_index and `position`, the order of the sample: by row_index, for "helm" as drawn.

    Raises:
        ArgumentError: The order is unknown, n is negative, or a chosen instance is missing.

    Source: helm/benchmark/runner.py `downsample_eval_instances`, for "helm".
    """
    if sample.order not in ORDERS:
        raise ArgumentError.unknown_value(f"sample(order={sample.order!r})", sample.order, ORDERS)
    if sample.n < 0:
        raise ArgumentError(f"sample(n={sample.n}): n must be an integer ≥ 0.")
    if sample.order == "helm":
        return _draw_as_helm(keys, sample.n)
    if sample.order == "chosen":
        return _draw_chosen(keys, sample, scenario)
    if sample.order == "keyed":
        keys = _smallest(keys, sample, scenario)
    chosen = keys.group_by("subset", maintain_order=True).head(sample.n)
    return chosen.select("subset", "row_index").with_row_index("position")


def _draw_chosen(keys: pl.DataFrame, sample: Sample, scenario: str) -> pl.DataFrame:
    ids = dict(sample.instances).get(scenario)
    if ids is None:
        raise ArgumentError(
            f"sample(like=…): no instance of scenario {scenario!r} was chosen, but of: "
            f"{', '.join(dict(sample.instances))}. Sample this scenario in a plan of its own."
        )
    chosen = keys.filter(pl.col("instance_id").is_in(list(ids)))
    if chosen.height < len(ids):
        missing = sorted(set(ids) - set(chosen["instance_id"]))
        raise ArgumentError(
            f"sample(like=…): this plan lacks {len(missing):,} of the {len(ids):,} instances chosen from {scenario!r}, "
            f"such as {missing[0]!r}. Use the conditions and the data of the earlier run."
        )
    return chosen.select("subset", "row_index").with_row_index("position")


def _smallest(keys: pl.DataFrame, sample: Sample, scenario: str) -> pl.DataFrame:
    # hashlib's hash: those of Polars and DuckDB may change between versions
    start = blake2b(f"{sample.seed}\0{scenario}\0".encode(), digest_size=8)

    def hashed(instance_id: str) -> int:
        state = start.copy()
        state.update(instance_id.encode())
        return int.from_bytes(state.digest(), "big")

    order = pl.Series("order", [hashed(instance_id) for instance_id in keys["instance_id"]], dtype=pl.UInt64)
    rank = pl.col("order").rank("ordinal").over("subset")
    return keys.with_columns(order).filter(rank <= sample.n)


def _draw_as_helm(keys: pl.DataFrame, n: int) -> pl.DataFrame:
    import numpy as np

    drawn = [
        subset[np.random.RandomState(0).choice(subset.height, n, replace=False)] if subset.height > n else subset
        for subset in keys.select("subset", "row_index").partition_by("subset", maintain_order=True)
    ]
    return pl.concat([keys.select("subset", "row_index").clear(), *drawn]).with_row_index("position")
