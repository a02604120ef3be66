"""Small frames for tests: instances, variants and completions from what a test wants to say, the rest filled in."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from helmframe._schema import BLOCK, COMPLETIONS, INSTANCES, REFERENCE, SCORES, VARIANTS, conform

Options = Sequence[tuple[str, bool]]


def instances(
    inputs: Sequence[str | None], references: Sequence[Options] | None = None, **columns: Any
) -> pl.DataFrame:
    """`INSTANCES` with these inputs; `references` are (text, correct) pairs; a column is one value or a list."""
    count = len(inputs)
    ids = [f"id{place}" for place in range(count)]
    made: dict[str, Any] = {
        "scenario": "s",
        "scenario_version": "1",
        "instance_id": ids,
        "row_index": list(range(count)),
        "subset": "",
        "cluster": columns.get("instance_id", ids),
        "split": "test",
        **columns,
    }
    frame = pl.DataFrame({"input": pl.Series(inputs, dtype=pl.String)}).with_columns(
        references=_references(references if references is not None else [[]] * count), **_columns(made)
    )
    return conform(frame, INSTANCES)


def variants(inputs: Sequence[str | None], references: Sequence[Options] | None = None, **columns: Any) -> pl.DataFrame:
    """`VARIANTS` of the unperturbed instances."""
    made: dict[str, Any] = {
        "perturbation": "original",
        "perturbation_seed": 0,
        "perturbed_input": pl.col("input"),
        "perturbed_references": pl.col("references"),
        "changed": False,
        "repeat": 0,
    }
    said = {name: columns.pop(name, value) for name, value in made.items()}
    frame = instances(inputs, references, **columns)
    return conform(frame.with_columns(**_columns(said)), VARIANTS)


def completions(
    texts: Sequence[str | None], references: Sequence[Options] | None = None, **columns: Any
) -> pl.DataFrame:
    """`COMPLETIONS` with these texts, one instance each unless `instance_id` says otherwise."""
    count = len(texts)
    made: dict[str, Any] = {
        "setting": "",
        "trial": 0,
        "head_id": "h",
        "blocks": pl.Series([[]] * count, dtype=pl.List(BLOCK)),
        "choices": pl.Series([None] * count, dtype=pl.List(pl.String)),
        "answer_pattern": None,
        "chat_template": False,
        "decoding": "{}",
        "adapter_id": "a",
        "shot_ids": pl.Series([[]] * count, dtype=pl.List(pl.String)),
        "model": "m",
        "prefix_id": "p",
        "suffix": "",
        "shots_used": 0,
        "prompt_truncated": False,
        "output_index": 0,
        "request_id": b"r",
        **dict.fromkeys(
            [each.name for each in COMPLETIONS.adds if each.name not in ("output_index", "request_id", "completion")]
        ),
        "completion": list(texts),
    }
    said = {name: columns.pop(name, value) for name, value in made.items()}
    frame = variants([""] * count, references, **columns).with_columns(**_columns(said))
    return conform(frame, COMPLETIONS)


def scored(texts: Sequence[str | None], references: Sequence[Options], metric: str, **columns: Any) -> list[float]:
    """The scores of these completions by one metric."""
    from helmframe.metrics.score import score

    frame = score(completions(texts, references, **columns).lazy(), [metric]).collect()
    assert frame.schema == pl.Schema(SCORES.schema)
    return frame["score"].to_list()


def right(*texts: str) -> Options:
    """References that are all correct."""
    return [(text, True) for text in texts]


def _columns(said: dict[str, Any]) -> dict[str, Any]:
    return {name: pl.Series(value) if isinstance(value, list) else _literal(value) for name, value in said.items()}


def _literal(value: Any) -> Any:
    return value if isinstance(value, pl.Series | pl.Expr) else pl.lit(value)


def _references(options: Sequence[Options]) -> pl.Series:
    rows = [[{"text": text, "correct": correct, "tags": []} for text, correct in each] for each in options]
    return pl.Series(rows, dtype=pl.List(REFERENCE))
