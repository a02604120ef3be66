"""What the draw of in-context examples adds to a variance: trials are crossed with instances, not nested in them."""

import polars as pl

from helmframe.stats.cluster_index import ClusterIndex, stable_sum, sum_by
from helmframe.stats.encoded_rows import EncodedRows, Flags, Floats, lengths


def trial_cells(rows: EncodedRows, nest: ClusterIndex, mask: Flags, value: Floats) -> pl.DataFrame:
    """Per stratum, cluster and trial the sum of the instances' means, by how many trials the instances have.

    It does not fold: a row for each cluster and trial is kept, where each instance is one for each instance.

    Args:
        rows: with trial in its cells.
        nest: of the rows that are `mask`.
        mask: which rows have a value.
        value: of those rows.

    Returns:
        stratum, cluster (its name), trial, trials (how many), total and size (instances).
    """
    import numpy as np

    instance = np.repeat(np.arange(len(nest.of_instance)), lengths(nest.of_instance, len(nest.order)))
    of_cluster = np.repeat(np.arange(len(nest.of_cluster)), lengths(nest.of_cluster, len(nest.of_instance)))
    answers = pl.LazyFrame(
        {
            "instance": instance,
            "trial": rows.cells["trial"][rows.cell[mask][nest.order]],
            "value": value[nest.order],
            "many": np.ones(len(nest.order), dtype=np.int64) if nest.many is None else nest.many[nest.order],
        }
    )
    cells = sum_by(answers, ["instance", "trial"], "value", many=pl.col("many").sum()).with_columns(
        mean=pl.col("total") / pl.col("many"),
        place=pl.lit(pl.Series(of_cluster)).gather("instance"),
        trials=pl.len().over("instance").cast(pl.Int64),
    )
    by_trial = sum_by(cells, ["place", "trial", "trials"], "mean", size=pl.len().cast(pl.Float64)).collect()
    cluster = by_trial["place"].to_numpy()
    return by_trial.select(
        pl.Series("stratum", nest.stratum_of_cluster[cluster], dtype=pl.Int64),
        rows.names["cluster"][nest.unit[cluster]].alias("cluster"),
        "trial", "trials", "total", "size",
    )  # fmt: skip


def trial_components(cells: pl.DataFrame) -> pl.DataFrame:
    """Per stratum the variance of the mean over trials, and the share of it that mere residuals would give.

    Args:
        cells: `trial_cells` of all chunks.
    """
    n_trials = pl.col("trial").n_unique().over("stratum")
    size = pl.col("size").sum().over("stratum", "trial")
    trial_mean = stable_sum(pl.col("total")).over("stratum", "trial") / size
    shifted = (pl.col("total") - trial_mean * pl.col("size")) / size
    number, clusters = pl.col("trial").n_unique(), pl.col("cluster").n_unique()
    enough, average = pl.when((number > 1) & (clusters > 1)), stable_sum(pl.col("trial_mean")) / pl.len()
    return (
        # mean squares need whole rows: an instance that failed in one trial says nothing about the trials
        cells.lazy()
        .filter(pl.col("trials") == n_trials)
        .group_by("stratum", "cluster", "trial")
        .agg(stable_sum(pl.col("total")), pl.col("size").sum())
        .with_columns(trial_mean=trial_mean, shifted=shifted)
        .with_columns(rest=pl.col("shifted") - (stable_sum(pl.col("shifted")) / pl.len()).over("stratum", "cluster"))
        .group_by("stratum")
        .agg(
            # each trial's mean stands once per cluster
            v_trial=enough.then(
                stable_sum((pl.col("trial_mean") - average) ** 2) / (clusters * (number - 1.0) * number)
            ),
            v_rest=enough.then(
                stable_sum(pl.col("rest") ** 2) * clusters / ((clusters - 1.0) * (number - 1.0) * number),
            ),
            df_trial=enough.then(number - 1.0),
            df_rest=enough.then((number - 1.0) * (clusters - 1.0)),
        )
        .collect()
    )
