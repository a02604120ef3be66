"""Sources of HELM's legal classification scenarios: real texts, in the layouts and columns of the hub's data sets."""

from pathlib import Path
from typing import Any

import polars as pl

from tests.acceptance.helm_raw_files import in_shares, kept, rows_of, shard

SPLITS = ("train", "validation", "test")


def texts(data: Path) -> list[str]:
    return rows_of(data, "multi_lexsum/**/test-*.parquet")["summary"].to_list()


def lex_glue(subset: str, columns: dict[str, Any], names: list[str] | None, folder: Path) -> dict[str, Any]:
    shares = in_shares(pl.DataFrame(columns), SPLITS)
    source = folder / "source/lex_glue" / subset
    tables = {split: kept(frame, source / shard(split)) for split, frame in shares.items()}
    return {"files": {}, "tables": tables, "names": {"label": names} if names else {}}


def ecthr(data: Path, folder: Path) -> dict[str, Any]:
    """Facts in paragraphs, and any number of articles, none too."""
    facts = [text.split(". ") for text in texts(data)]
    labels = [[(place * 3 + each) % 10 for each in range(place % 4)] for place in range(len(facts))]
    return lex_glue("ecthr_a", {"text": facts, "labels": labels}, None, folder)


def scotus(data: Path, folder: Path) -> dict[str, Any]:
    said = texts(data)
    columns = {"text": said, "label": [place % 13 for place in range(len(said))]}
    return lex_glue("scotus", columns, [str(number) for number in range(1, 14)], folder)


def case_hold(data: Path, folder: Path) -> dict[str, Any]:
    said = texts(data)
    count = len(said)
    endings = [[f"holding that {said[(place + step) % count][:60]}" for step in range(5)] for place in range(count)]
    columns = {"context": said, "endings": endings, "label": [place % 5 for place in range(count)]}
    return lex_glue("case_hold", columns, [str(number) for number in range(5)], folder)


def multi_eurlex(data: Path, folder: Path) -> dict[str, Any]:
    """Texts in some of four languages, as HELM's are in a dictionary written out, and up to four labels."""
    languages = ("bg", "de", "en", "pl")
    rows = []
    for place, text in enumerate(texts(data)):
        there = {name: f"{name}: {text}" if (place + number) % 3 else None for number, name in enumerate(languages)}
        rows.append({"texts": there, "label": [(place * 5 + each * 3) % 17 for each in range(place % 5)]})
    tables = {}
    for split, share in in_shares(pl.DataFrame({"row": range(len(rows))}), SPLITS).items():
        of_split = [rows[row] for row in share["row"]]
        said = [{"input": str(row["texts"]), "label": row["label"]} for row in of_split]
        numbers = {"label": pl.List(pl.Int64)}
        tables[split] = kept(pl.DataFrame(said, schema_overrides=numbers), folder / f"{split}.parquet")
        mine = [
            {
                "labels": [str(each) for each in row["label"]],
                "languages": [{"language": name, "text": text} for name, text in row["texts"].items()],
            }
            for row in of_split
        ]
        labels = {"labels": pl.List(pl.String)}
        kept(
            pl.DataFrame(mine, schema_overrides=labels),
            folder / "source/lextreme/multi_eurlex_level_2" / shard(split),
        )
    return {"files": {}, "tables": tables}


def argument_mining(data: Path, folder: Path) -> dict[str, Any]:
    names = ["conclusion", "definition", "subsumption", "other"]
    said = texts(data)
    frame = pl.DataFrame({"input": said, "label": [place % 4 for place in range(len(said))]})
    tables = {}
    for split, share in in_shares(frame, SPLITS).items():
        tables[split] = kept(share, folder / f"{split}.parquet")
        mine = share.select("input", labels=pl.concat_list(pl.col("label").replace_strict(dict(enumerate(names)))))
        kept(mine, folder / "source/lextreme/german_argument_mining" / shard(split))
    return {"files": {}, "tables": tables, "names": {"label": names}}
