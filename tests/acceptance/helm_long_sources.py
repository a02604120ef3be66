"""Sources of HELM's long-context scenarios: real paragraphs, in the layouts of the data sets that hold them."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from tests.acceptance.helm_raw_files import kept, rows_of, shard, written


def paragraphs(data: Path) -> list[dict[str, Any]]:
    """Questions, each with its paragraph of Wikipedia and its answers; no paragraph twice."""
    frame = rows_of(data, "natural_questions_openbook/*/validation-*.parquet")
    return frame.unique("context", keep="first", maintain_order=True).to_dicts()


def hotpotqa(data: Path, folder: Path) -> dict[str, Any]:
    """Ten paragraphs for each question, far more than fit into a context in all."""
    rows = paragraphs(data)
    raw = []
    for place, row in enumerate(rows):
        around = [rows[(place + 37 * step) % len(rows)] for step in range(10)]
        # as HotpotQA has them: [title, sentences]
        context = [[each["title"], [f"{part} " for part in each["context"].split(". ")]] for each in around]
        raw.append({"question": row["question"], "answer": row["answers"][0], "context": context})
    table = [
        row | {"context": {"title": [t for t, _ in row["context"]], "sentences": [s for _, s in row["context"]]}}
        for row in raw
    ]
    kept(pl.DataFrame(table), folder / "source/hotpot_qa/distractor" / shard("validation"))
    return {"files": {"hotpot_dev": written(json.dumps(raw), folder / "hotpot.json")}, "digests": True}


def squad(data: Path, folder: Path) -> dict[str, Any]:
    """Articles of thirty paragraphs; every third question has no answer there."""
    articles: list[dict[str, Any]] = []
    table = []
    for place, row in enumerate(paragraphs(data)):
        title = f"Article {place // 30}"
        if place % 30 == 0:
            articles.append({"title": title, "paragraphs": []})
        qas = []
        for number in range(2):
            texts = [] if (place + number) % 3 == 2 else row["answers"]
            question = f"{row['question']}, {number}"
            qas.append(
                {"question": question, "answers": [{"text": each} for each in texts], "is_impossible": not texts}
            )
            table.append({"title": title, "context": row["context"], "question": question, "answers": {"text": texts}})
        articles[-1]["paragraphs"].append({"context": row["context"], "qas": qas})
    # of rows that all have no answer the type of an answer could not be told
    answers = pl.Struct({"text": pl.List(pl.String)})
    kept(
        pl.DataFrame(table, schema_overrides={"answers": answers}),
        folder / "source/squad_v2/squad_v2" / shard("validation"),
    )
    return {"files": {"dev-v2.0": written(json.dumps({"data": articles}), folder / "squad.json")}, "digests": True}


def novels(data: Path, words: int) -> list[str]:
    """Three texts, the second with more words than fit."""
    texts = [row["context"] for row in paragraphs(data)]
    return [" \n".join(texts[start : start + count]) for start, count in ((0, 100), (100, words // 50), (50, 300))]


def novels_asked(data: Path, folder: Path) -> dict[str, Any]:
    rows = [
        {"id": place, "context": text, "input": f"Who is it, in part {place}?", "answer": ["b"], "options": [*"abcd"]}
        for place, text in enumerate(novels(data, 131_072))
    ]
    path = kept(pl.DataFrame(rows), folder / "source/infinite_bench/longbook_choice_eng" / shard("test"))
    return {"files": {}, "tables": {"longbook_choice_eng": path}}


def novels_told(data: Path, folder: Path) -> dict[str, Any]:
    rows = [
        {
            "id": place,
            "context": text,
            "input": "Summarize the book.",
            "answer": ["A story.", "Another."],
            "options": [""],
        }
        for place, text in enumerate(novels(data, 131_072))
    ]
    path = kept(pl.DataFrame(rows), folder / "source/infinite_bench/longbook_sum_eng" / shard("test"))
    return {"files": {}, "tables": {"longbook_sum_eng": path}}


def conversations(data: Path, folder: Path) -> dict[str, Any]:
    rows = []
    for text in novels(data, 131_072):
        said = [{"role": "user", "content": "Write a story."}, {"role": "assistant", "content": text}]
        said.append({"role": "user", "content": "Say the first story again."})
        rows.append({"prompt": json.dumps(said), "answer": f"x1{text[:50]}", "random_string_to_prepend": "x1"})
    path = kept(pl.DataFrame(rows), folder / "source/mrcr/8needle.parquet")
    return {"files": {}, "tables": {"train": path}}
