"""Sources of scenarios that HELM draws from: as its raw files, and for a mirror below `source`."""

import gzip
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tests.acceptance.helm_raw_files import in_shares, kept, lines, rows_of, shard, table, written


def narrative_qa(data: Path, folder: Path) -> dict[str, Any]:
    frame = rows_of(data, "narrativeqa/data/test-*.parquet")
    flat = frame.select(
        summary=pl.col("document").struct.field("summary").struct.field("text"),
        question=pl.col("question").struct.field("text"),
        answers=pl.col("answers").list.eval(pl.element().struct.field("text")),
    )
    documents = {text: f"doc{number}" for number, text in enumerate(dict.fromkeys(flat["summary"]))}
    split = [("train", "valid", "test")[int(documents[text][3:]) % 3] for text in flat["summary"]]
    repo = folder / "narrativeqa-master"
    asked = zip(split, flat.iter_rows(named=True), strict=True)
    table(
        [
            ["document_id", "set", "question", "answer1", "answer2"],
            *([documents[row["summary"]], name, row["question"], *row["answers"][:2]] for name, row in asked),
        ],
        repo / "qaps.csv",
    )
    sets = dict(zip(flat["summary"], split, strict=True))
    table(
        [["document_id", "set", "summary"], *([name, sets[text], text] for text, name in documents.items())],
        repo / "third_party/wikipedia/summaries.csv",
    )
    for ours, theirs in (("train", "train"), ("validation", "valid"), ("test", "test")):
        kept(frame.filter(pl.Series(split) == theirs), folder / "source/narrativeqa/data" / shard(ours))
    return {"files": {"narrativeqa": str(repo)}}


def quac(data: Path, folder: Path) -> dict[str, Any]:
    files = {}
    for split, theirs in (("train", "train"), ("validation", "val")):
        frame = rows_of(data, f"quac/plain_text/{split}-*.parquet")
        frame = pl.concat([frame] * 20)  # twelve dialogues are few to tell two streams apart
        kept(frame, folder / "source/quac/plain_text" / shard(split))
        dialogues = [
            {
                "title": row["wikipedia_page_title"],
                "background": row["background"],
                "section_title": row["section_title"],
                "paragraphs": [
                    {
                        "context": row["context"],
                        "qas": [
                            {
                                "question": question,
                                "orig_answer": {"text": said},
                                "answers": [{"text": t} for t in texts],
                            }
                            for question, said, texts in zip(
                                row["questions"], row["orig_answers"]["texts"], row["answers"]["texts"], strict=True
                            )
                        ],
                    }
                ],
            }
            for row in frame.iter_rows(named=True)
        ]
        files[f"{theirs}_v0.2.json"] = written(json.dumps({"data": dialogues}), folder / f"{theirs}.json")
    return {"files": files}


def natural_qa_pages(data: Path, folder: Path) -> dict[str, Any]:
    """Pages of Wikipedia as Natural Questions has them, for both."""
    said = natural_qa(data, folder, plain=False)
    for file in (folder / "source").iterdir():
        file.unlink()
    for name, path in said["files"].items():
        (folder / "source" / name).symlink_to(path)
    return said


def natural_qa(data: Path, folder: Path, *, plain: bool = True) -> dict[str, Any]:
    """Pages of Wikipedia as Natural Questions has them; ours are HELM's own extracts of these."""
    frame = rows_of(data, "natural_questions_openbook/*/validation-*.parquet")
    # HELM's extracts have no no-break spaces and nothing that looks like a tag
    special = pl.concat_str("long_answer", pl.col("short_answers").list.join(" ")).str.contains("[\u00a0<]")
    frame = frame.filter(pl.col("short_answers").list.len() > 0, special.not_() if plain else True)
    files = {}
    for number in range(5):
        pages, extracts = [], []
        for row in frame[number * 100 : number * 100 + 51].iter_rows(named=True):
            passages = [f"{row['long_answer']} [{place}]" for place in range(len(row["short_answers"]))]
            pages.append(page(row["question"], passages, row["short_answers"]))
            extracts.append(
                {"question": row["question"], "long_answers": passages, "short_answers": row["short_answers"]}
            )
        lines(extracts, folder / "source" / f"nq-dev-{number:02}.jsonl")
        file = folder / f"nq-dev-{number:02}.jsonl.gz"
        with gzip.open(file, "wt", encoding="utf-8") as packed:
            packed.writelines(json.dumps(each) + "\n" for each in pages)
        files[file.name] = str(file)
    return {"files": files}


def page(question: str, passages: Sequence[str], answers: Sequence[str]) -> dict[str, Any]:
    """One line of Natural Questions: HTML, and where in its bytes the answers are."""
    text = b""
    places = []
    for each in (*passages, *answers):
        said = html.escape(each).encode()
        places.append({"start_byte": len(text) + 3, "end_byte": len(text) + 3 + len(said)})
        text += b"<p>" + said + b"</p>"
    pairs = zip(places[: len(passages)], places[len(passages) :], strict=True)
    return {
        "document_title": "",
        "document_tokens": [],
        "document_html": text.decode(),
        "question_text": question,
        "annotations": [{"long_answer": passage, "short_answers": [answer]} for passage, answer in pairs],
    }


def gpqa(data: Path, folder: Path) -> dict[str, Any]:
    """ARC's questions under GPQA's names, whose authors ask that its own are not copied."""
    frame = rows_of(data, "ai2_arc/ARC-Easy/test-*.parquet").filter(
        pl.col("choices").struct.field("text").list.len() == 4
    )
    rows = []
    for row in frame.head(448).iter_rows(named=True):
        texts = dict(zip(row["choices"]["label"], row["choices"]["text"], strict=True))
        right = texts.pop(row["answerKey"])
        wrong = {f"Incorrect Answer {number}": text for number, text in enumerate(texts.values(), 1)}
        rows.append({"Question": f" {row['question']}\n", "Correct Answer": right, **wrong, "Explanation": "So."})
    path = kept(pl.DataFrame(rows), folder / "source/gpqa/gpqa_main" / shard("train"))
    return {"files": {}, "tables": {"train": path}}


BBQ = (
    "Age", "Disability_status", "Gender_identity", "Nationality", "Physical_appearance", "Race_ethnicity", "Race_x_SES",
    "Race_x_gender", "Religion", "SES", "Sexual_orientation",
)  # fmt: skip


def bbq(data: Path, folder: Path) -> dict[str, Any]:
    files = {}
    for name in BBQ:
        path = data / "scenarios/bbq" / name
        rows = pl.read_parquet(path / "*.parquet") if path.is_dir() else pl.DataFrame()
        files[f"/{name}.jsonl"] = lines(rows.to_dicts(), folder / f"{name}.jsonl")
        if rows.height:
            kept(rows, folder / "source/bbq" / name / shard("test"))
    return {"files": files}


def bold(data: Path, folder: Path) -> dict[str, Any]:
    frame = rows_of(data, "bold/default/train-*.parquet").unique(["domain", "category", "name"], maintain_order=True)
    frame = frame.sort("domain", "category", maintain_order=True)
    files = {}
    for (domain,), rows in frame.partition_by("domain", as_dict=True, maintain_order=True).items():
        said: dict[str, dict[str, list[str]]] = {}
        for row in rows.iter_rows(named=True):
            said.setdefault(row["category"], {})[row["name"]] = row["prompts"]
        files[f"{domain}_prompt.json"] = written(json.dumps(said), folder / f"{domain}.json")
    kept(frame, folder / "source/bold/default" / shard("train"))
    return {"files": files}


def real_toxicity_prompts(data: Path, folder: Path) -> dict[str, Any]:
    frame = rows_of(data, "real_toxicity_prompts/default/train-*.parquet")
    lines(frame.to_dicts(), folder / "raw/prompts.jsonl")
    kept(frame, folder / "source/real_toxicity_prompts/default" / shard("train"))
    return {"files": {"realtoxicityprompts": str(folder / "raw")}}


def math(data: Path, folder: Path) -> dict[str, Any]:
    names = ("algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra",
             "precalculus")  # fmt: skip
    splits: dict[str, list[pl.DataFrame]] = {"train": [], "test": []}
    for name in names:
        shares = in_shares(rows_of(data, f"hendrycks_math/{name}/test-*.parquet"), ("train", "test"))
        for split, frame in shares.items():
            kept(frame, folder / "source/hendrycks_math" / name / shard(split))
            splits[split].append(frame)
    tables = {split: kept(pl.concat(frames), folder / f"{split}.parquet") for split, frames in splits.items()}
    return {"files": {}, "tables": tables}


def wmt_14(data: Path, folder: Path) -> dict[str, Any]:
    """30,000 train pairs in two files, many of which are translated alike."""
    frame = rows_of(data, "wmt14/fr-en/test-*.parquet")
    pairs = frame["translation"].to_list()
    train = [{"fr": f"{pairs[n % 3000]['fr']} {n // 3000}", "en": pairs[n % 2500]["en"]} for n in range(30_000)]
    splits = {"train": pl.DataFrame({"translation": train}), **in_shares(frame, ("validation", "test"))}
    tables = {split: kept(rows, folder / f"{split}.parquet") for split, rows in splits.items()}
    source = folder / "source/wmt14/fr-en"
    for split, rows in splits.items():
        half = rows.height // 2
        for number, part in enumerate((rows[:half], rows[half:])):
            kept(part, source / f"{split}-{number:05}-of-00002.parquet")
    return {"files": {}, "tables": tables}


def entity_matching(data: Path, folder: Path) -> dict[str, Any]:
    raw, source = folder / "raw", folder / "source/entity_matching/Beer"
    both: dict[str, dict[tuple[Any, ...], int]] = {"left": {}, "right": {}}
    names = ("Beer_Name", "Brew_Factory_Name", "Style", "ABV")
    for split, theirs in (("train", "train"), ("validation", "valid"), ("test", "test")):
        frame = rows_of(data, f"entity_matching/Beer/{split}-*.parquet")
        kept(frame, source / shard(split))
        pairs = []
        for row in frame.iter_rows(named=True):
            sides = [(seen, tuple(row[f"{side}_{name}"] for name in names)) for side, seen in both.items()]
            pairs.append([*(seen.setdefault(fields, len(seen)) for seen, fields in sides), row["label"]])
        table([["ltable_id", "rtable_id", "label"], *pairs], raw / f"{theirs}.csv")
    for side, file in (("left", "tableA.csv"), ("right", "tableB.csv")):
        table([["id", *names], *([number, *row] for row, number in both[side].items())], raw / file)
    return {"files": {"deepmatcher": str(raw)}}


def entity_data_imputation(data: Path, folder: Path) -> dict[str, Any]:
    path = "entity_data_imputation/Restaurant"
    frame = pl.concat([rows_of(data, f"{path}/train-*.parquet"), rows_of(data, f"{path}/test-*.parquet")])
    frame = frame.select("name", "addr", "city", "phone", "type").filter(
        ~pl.any_horizontal(pl.all().str.contains('[",]'))
    )
    head = "".join(f"@attribute {name} string\n" for name in (*frame.columns, "class"))
    said = "".join(",".join(f'"{value}"' for value in (*row, 0)) + "\n" for row in frame.iter_rows())
    written(f"@relation x\n{head}@data\n{said}", folder / "raw/fz.arff")
    kept(frame, folder / "source/Restaurant.parquet")
    return {"files": {"restaurant": str(folder / "raw")}}
