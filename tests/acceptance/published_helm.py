"""Small copies of the files of HELM's scenarios; each function has the name of its scenario.

Rows are real if the shared data has them. Other rows have the source's schema and made-up values.
"""

import csv
import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from helmframe.scenarios.catalogue import find_scenario
from tests.acceptance import helm_drawn_sources as drawn
from tests.acceptance import helm_legal_sources as legal
from tests.acceptance.helm_raw_files import in_shares, rows_of
from tests.acceptance.publisher_files import (
    HelmRun,
    Published,
    Rows,
    csv_file,
    gz,
    jsonl,
    parquet,
    tar_file,
    texts,
    with_class_names,
    zip_file,
)

HH = "hf://datasets/Anthropic/hh-rlhf"


def _attempts(data: Path) -> Rows:
    return [
        {"transcript": f"\n\nHuman: {text[:80]}\n\nAssistant: No.", "tags": None, "rating": 4.0, "num_params": "52B"}
        for text in texts(data)[:30]
    ]


def anthropic_hh_rlhf(data: Path) -> Published:
    with gzip.open(data / "raw/hh_rlhf/harmless-base/test.jsonl.gz", "rt", encoding="utf-8") as file:
        real = [json.loads(line) for line in file][:60]
    files: dict[str, bytes] = {}
    rows: dict[str, Rows] = {"train": [], "test": []}
    for number, folder in enumerate(("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled")):
        for split in ("train", "test"):
            # of the real file its own rows; of the others a part of them
            part = real if (folder, split) == ("harmless-base", "test") else real[number : number + 7]
            files[f"{HH}/{folder}/{split}.jsonl.gz"] = gz(jsonl(part))
            rows[split] += [{"dialogue": row["chosen"]} for row in part]
    attempts = _attempts(data)
    files[f"{HH}/red-team-attempts/red_team_attempts.jsonl.gz"] = gz(json.dumps(attempts, indent=1).encode())
    red = [{"dialogue": row["transcript"]} for row in attempts]
    return Published(
        files,
        {"hh_rlhf/hh/train": rows["train"], "hh_rlhf/hh/test": rows["test"], "hh_rlhf/red_team/test": red},
    )


def anthropic_red_team(data: Path) -> Published:
    attempts = _attempts(data)
    packed = gz(json.dumps(attempts, indent=1).encode())
    rows = [{"transcript": row["transcript"]} for row in attempts]
    return Published({f"{HH}/red-team-attempts/red_team_attempts.jsonl.gz": packed}, {"anthropic_red_team/train": rows})


def bbq(data: Path) -> Published:
    base = "https://raw.githubusercontent.com/nyu-mll/BBQ/bea11bd97d79217245b5871acd247b9d6eb24598/data"
    files = {}
    for name in drawn.BBQ:
        real = data / f"raw/bbq/data/{name}.jsonl"
        if real.is_file():
            files[f"{base}/{name}.jsonl"] = real.read_bytes()
            continue
        rows = [json.loads(line) for line in (data / "raw/bbq/data/Religion.jsonl").read_text().splitlines()[:120]]
        files[f"{base}/{name}.jsonl"] = jsonl(row | {"category": name} for row in rows)
    served = {f"/{name}.jsonl": files[f"{base}/{name}.jsonl"] for name in drawn.BBQ}
    return Published(files, runs=[HelmRun("bbq_scenario", "BBQScenario", {"subject": "all"}, files=served)])


GROUPS = ("male", "female", "LGBTQ", "christian", "muslim", "other_religions", "black", "white")


def civil_comments(data: Path) -> Published:
    comments = texts(data)[:90]
    splits: dict[str, Rows] = {"train": [], "val": [], "test": []}
    table: list[list[Any]] = [["", "id", "comment_text", "split", "toxicity", *GROUPS]]
    for number, text in enumerate(comments):
        split = ("train", "val", "test")[number % 3]
        groups = [float(number % (place + 2) == 1) for place in range(len(GROUPS))]
        toxicity = (number % 7) / 6
        table.append([number, 1000 + number, text, split, toxicity, *groups])
        splits[split].append({"comment_text": text, "toxicity": toxicity, **dict(zip(GROUPS, groups, strict=True))})
    address = "hf://datasets/shlomihod/civil-comments-wilds/all_data_with_identities.csv"
    return Published({address: csv_file(table)}, {f"civil_comments/{name}": rows for name, rows in splits.items()})


def code_apps(data: Path) -> Published:
    files, rows = {}, {}
    for split in ("train", "test"):
        problems: Rows = []
        for number, text in enumerate(texts(data)[:12]):
            tests = json.dumps({"inputs": [f"{number}\n"], "outputs": [f"{number}\n"]})
            problems.append(
                {
                    "id": number, "question": text, "starter_code": "def f(x):\n" if number % 3 == 0 else "",
                    "solutions": json.dumps([f"print({number})\n", "pass"]) if number % 4 else "",
                    "input_output": tests if number % 4 != 2 else "", "difficulty": "interview", "url": "",
                }
            )  # fmt: skip
        files[f"hf://datasets/codeparrot/apps/{split}.jsonl"] = jsonl(problems)
        needed = "solutions" if split == "train" else "input_output"
        rows[f"apps/{split}"] = [
            {
                "question": row["question"], "starter_code": row["starter_code"], "input_output": row["input_output"],
                "solutions": json.loads(row["solutions"]) if row["solutions"] else None,
            }
            for row in problems
            if row[needed]
        ]  # fmt: skip
    return Published(files, rows)


def _copyright(data: Path, tags: Mapping[str, str]) -> Published:
    files, rows = {}, {}
    for number, (tag, key) in enumerate(tags.items()):
        pairs = {text[:40]: text[40:200] for text in texts(data)[number : number + 6]}
        content = json.dumps({"data": pairs, "metadata": {"tag": tag, "count": len(pairs)}}, indent=2)
        files[f"https://drive.google.com/uc?export=download&id={key}"] = content.encode()
        rows[f"copyright/{tag}/test"] = [{"prefix": prefix, "text": text} for prefix, text in pairs.items()]
    return Published(files, rows)


# HELM, copyright_scenario.py
BOOKS = {
    "pilot": "1NwzDx19uzIwBuw7Lq5CSytG7jIth2wJ-",
    "n_books_1000-extractions_per_book_1-prefix_length_5": "16nQD8Nq3ma4K2EZLXHcahG9fcBDxS-zB",
    "n_books_1000-extractions_per_book_1-prefix_length_25": "108sZcMjzY7mvyy1p5Rw62_A8A1I2zM2S",
    "n_books_1000-extractions_per_book_1-prefix_length_125": "10uC4jM6tgI1pgtq--07FFHQ2Te7-SXGA",
    "n_books_1000-extractions_per_book_3-prefix_length_5": "1byrafXv2iULcZArxguJZp2LyFxswX7fN",
    "n_books_1000-extractions_per_book_3-prefix_length_25": "13QOKOd5Fpu5cVu1HRBYxzRcQzwhcPhjD",
    "n_books_1000-extractions_per_book_3-prefix_length_125": "1Y6QvYStCJVanHaI67Pxep3HakWL2cIRP",
    "popular_books-prefix_length_5.json": "11f5aB8IO_iseVdolvW_D3aZ9xeiLCAuv",
    "popular_books-prefix_length_10.json": "1oG9dMz1WiJZiuoXqw4ahFf1HmKWQtwJh",
    "popular_books-prefix_length_25.json": "1dN208HdBD6koaOHQlSDPkOnBrY3-9AfE",
    "popular_books-prefix_length_50.json": "1W_8C6QnISfFkc0tZtKdXKNhoTfgSCrbP",
    "popular_books-prefix_length_125.json": "1RT29rRKNNXKgZBhXNbqevLwR440g44it",
    "popular_books-prefix_length_250.json": "1KcQ3EJGAZO6fSqYXRH5eK122h1hUKZTp",
    "oh_the_places": "1KXqhO14HmCGQ67tuu2ECGbTGloTkBvzt",
}

PROGRAMS = {
    "prompt_num_line_1-min_lines_20.json": "1OLFyW5u7govgIw3ztsZ_5yYV0YpGzi-3",
    "prompt_num_line_5-min_lines_20.json": "1YbDvyAv9hT0BaZ5LV6Y-Y8tGezrBnBAT",
    "prompt_num_line_10-min_lines_20.json": "1Y5piYwil7T6n8toT_-d7NWqVZHh9NVxJ",
}


def copyright_text(data: Path) -> Published:
    return _copyright(data, BOOKS)


def copyright_code(data: Path) -> Published:
    return _copyright(data, PROGRAMS)


def disinformation_reiteration(data: Path) -> Published:
    rows = [
        {"thesis": text[:50], "headlines": [text[50:90], text[90:120], text[120:150]],
         "topic": ("climate", "covid")[number % 2], "split": ("train", "valid")[number % 3 == 0]}
        for number, text in enumerate(texts(data)[:24])
    ]  # fmt: skip
    address = "https://drive.google.com/uc?export=download&id=1uVJbsgPCHFAvH43I6SVvU3Ayo8dh-y_N"
    return Published({address: jsonl(rows)}, {"disinformation/reiteration/rows": rows})


def disinformation_wedging(data: Path) -> Published:
    actions = ("vote_democrat", "vote_republican", "no_vote", "none")
    raw = [
        {"targeted_group": "readers", "targeted_action": actions[number % 4], "prompt": f"{text[:90]}\n\nReason 1:"}
        for number, text in enumerate(texts(data)[:24])
    ]
    address = "https://drive.google.com/uc?export=download&id=1kWB3_F4Tobc_oVGC_T-a5DHEh-AB4GTc"
    rows = [{key: row[key] for key in ("prompt", "targeted_action")} for row in raw]
    return Published({address: jsonl(raw)}, {"disinformation/wedging/rows": rows})


HELM_FILES = "https://storage.googleapis.com/crfm-helm-public/source_datasets/scenarios/entity_data_imputation"


def entity_data_imputation(data: Path) -> Published:
    path = "entity_data_imputation/Restaurant"
    frame = pl.concat([rows_of(data, f"{path}/train-*.parquet"), rows_of(data, f"{path}/test-*.parquet")])
    # of a row with more commas than columns HELM can't tell the columns
    frame = frame.filter(~pl.any_horizontal(pl.all().str.contains('[",]')))
    names = ("name", "addr", "city", "phone", "type")
    attributes = "".join(f"@attribute {name} string\n" for name in (*names, "class"))
    table = "".join(
        ", ".join(f'"{row[name]}"' for name in names) + f", '{number}'\n"
        for number, row in enumerate(frame.iter_rows(named=True))
    )
    arff = f"@relation restaurants\n\n{attributes}\n@data\n{table}"
    products = [["id", "name", "description", "manufacturer", "price"]]
    for number, text in enumerate(texts(data)[:80]):
        products.append(
            [str(number), text[:30], "" if number % 9 == 4 else text[30:90], f"Maker {number % 7}",
             "" if number % 5 == 0 else f"${number}.00"]
        )  # fmt: skip
    both = {"Abt.csv": b"id,name,description,price\n", "Buy.csv": csv_file(products)}
    files = {
        f"{HELM_FILES}/Abt-Buy.zip": zip_file(both),
        f"{HELM_FILES}/restaurant.tar.gz": tar_file(
            {"restaurant/fz.arff": arff.encode(), "restaurant/fz-nophone.arff": b"@relation\n"}
        ),
    }
    folders = {"Buy": {"Abt-Buy": both}, "Restaurant": {"restaurant": {"fz.arff": arff.encode()}}}
    runs = [
        HelmRun("entity_data_imputation_scenario", "EntityDataImputationScenario", where, where, folder)
        for where, folder in (({"dataset": name}, folder) for name, folder in folders.items())
    ]
    return Published(files, runs=runs)


MATCHED = {
    "Beer": "Structured/Beer/beer", "Abt_Buy": "Textual/Abt-Buy/abt_buy",
    "Dirty_iTunes_Amazon": "Dirty/iTunes-Amazon/dirty_itunes_amazon",
}  # fmt: skip


def entity_matching(data: Path) -> Published:
    files, runs = {}, []
    for dataset, address in MATCHED.items():
        sides: dict[str, dict[tuple[Any, ...], int]] = {"left": {}, "right": {}}
        frames = {
            theirs: rows_of(data, f"entity_matching/{dataset}/{ours}-*.parquet").head(400)
            for ours, theirs in (("train", "train"), ("validation", "valid"), ("test", "test"))
        }
        names = [name.removeprefix("left_") for name in frames["test"].columns if name.startswith("left_")]
        members = {}
        for split, frame in frames.items():
            pairs = []
            for row in frame.iter_rows(named=True):
                keys = [
                    seen.setdefault(tuple(row[f"{side}_{name}"] for name in names), len(seen))
                    for side, seen in sides.items()
                ]
                pairs.append([*keys, row["label"]])
            members[f"{split}.csv"] = csv_file([["ltable_id", "rtable_id", "label"], *pairs])
        for side, file in (("left", "tableA.csv"), ("right", "tableB.csv")):
            table = [["id", *names], *([number, *row] for row, number in sides[side].items())]
            members[file] = csv_file(table)
        url = f"http://pages.cs.wisc.edu/~anhai/data1/deepmatcher_data/{address}_exp_data.zip"
        files[url] = zip_file({f"exp_data/{name}": content for name, content in members.items()})
        where = {"dataset": dataset}
        folder = {"deepmatcher": members}
        runs.append(HelmRun("entity_matching_scenario", "EntityMatchingScenario", where, where, folder))
    return Published(files, runs=runs)


def grammar(data: Path) -> Published:
    """Return a grammar with rules of its own, in HELM's form, and what it generates."""
    del data
    text = """\
rules:
- category: Root
  tags: [first, own]
  expansions:
    # a comment
    - text: Write to ${Person} about ${Topic}.
    - text: "Say \\"hello\\": ${Person} & co"

- category: Person
  expansions:
    - text: a friend
    - text: my ${Relative}

- category: Relative
  tags: [family]
  expansions:
    - text: aunt
    - text: cousin’s dog

- category: Topic
  expansions:
    - text: work

- category: Root
  expansions:
    - text: What is 2 + 2?
"""
    people: tuple[tuple[str, list[str]], ...] = (
        ("a friend", []),
        ("my aunt", ["family"]),
        ("my cousin’s dog", ["family"]),
    )
    own = ["first", "own"]
    rows = [{"prompt": f"Write to {person} about work.", "tags": own + more} for person, more in people]
    rows += [{"prompt": f'Say "hello": {person} & co', "tags": own + more} for person, more in people]
    rows.append({"prompt": "What is 2 + 2?", "tags": []})
    address = "https://raw.githubusercontent.com/stanford-crfm/helm/main/src/helm/benchmark/scenarios"
    return Published({f"{address}/best_chatgpt_prompts.yaml": text.encode()}, {"grammar/test": rows})


def harm_bench(data: Path) -> Published:
    path = "data/behavior_datasets/harmbench_behaviors_text_all.csv"
    content = (data / "raw/harmbench" / path).read_bytes()
    columns = ("Behavior", "FunctionalCategory", "SemanticCategory", "ContextString", "BehaviorID")
    raw = csv.DictReader(io.StringIO(content.decode(), newline=""))
    rows = [{name: row[name] or None for name in columns} for row in raw]
    address = "https://raw.githubusercontent.com/centerforaisafety/HarmBench/8e1604d1171fe8a48d8febecd22f600e462bdcdd"
    return Published({f"{address}/{path}": content}, {"harm_bench/test": rows})


def _infinite_bench(data: Path, task: str, rows: Callable[[str, int], dict[str, Any]]) -> Published:
    novels = [" \n".join(texts(data)[start : start + 30]) for start in range(0, 120, 30)]
    raw = [{"id": number, "context": text} | rows(text, number) for number, text in enumerate(novels)]
    names = ("context", "input", "answer", *(["options"] if task == "longbook_choice_eng" else []))
    kept = [{name: row[name] for name in names} for row in raw]
    address = f"hf://datasets/xinrongzhang2022/InfiniteBench/{task}.jsonl"
    return Published({address: jsonl(raw)}, {f"infinite_bench/{task}/test": kept})


def infinite_bench_en_mc(data: Path) -> Published:
    def row(text: str, number: int) -> dict[str, Any]:
        options = [text[start : start + 12] for start in (0, 40, 80, 120)]
        return {"input": f"Who is it, in part {number}?", "answer": [options[number % 4]], "options": options}

    return _infinite_bench(data, "longbook_choice_eng", row)


def infinite_bench_en_sum(data: Path) -> Published:
    return _infinite_bench(
        data,
        "longbook_sum_eng",
        lambda text, _: {"input": "Summarize the book.", "answer": [text[:60]], "options": []},
    )


def koala(data: Path) -> Published:
    rows = [{"id": f"koala_{number}", "prompt": text[:90]} for number, text in enumerate(texts(data)[:20], 1)]
    address = "https://raw.githubusercontent.com/arnav-gudibande/koala-test-set/main/koala_test_set.jsonl"
    return Published({address: jsonl(rows)}, {"koala/test": [{"prompt": row["prompt"]} for row in rows]})


def legal_support(data: Path) -> Published:
    frame = rows_of(data, "legal_support/*/test-*.parquet")
    members, rows = {}, {}
    for number, split in enumerate(("train", "dev", "test")):
        part = frame[number::3].to_dicts()
        members[f"legal_support/{split}.jsonl"] = jsonl(
            {
                "context": row["legal-claim"],
                "citation_a": {"identifier": "", "parenthetical": row["legal_conclusion_a"]},
                "citation_b": {"identifier": "", "parenthetical": row["legal_conclusion_b"]},
                "label": row["correct_choice"],
            }
            for row in part
        )
        names = ("legal-claim", "legal_conclusion_a", "legal_conclusion_b", "correct_choice")
        rows[f"legal_support/default/{split}"] = [{name: row[name] for name in names} for row in part]
    address = "https://docs.google.com/uc?export=download&id=1PVoyddrCHChMxYrLhsI-zu7Xzs5S8N77"
    return Published({address: zip_file(members)}, rows)


LMENTRY = "https://raw.githubusercontent.com/aviaefrat/lmentry/463763dc681f827bcaddb381ff00e96eb998cf13/data"

# task → the names of its files after its own (HELM, lm_entry_scenario.py)
SUBTASKS = {
    "all_words_from_category": ("", "_0_distractors", "_1_distractors", "_2_distractors"),
    "any_words_from_category": ("", "_3_distractors", "_4_distractors", "_5_distractors"),
    "first_alphabetically": (
        "", "_consecutive_first_letter", "_different_first_letter", "_far_first_letter", "_same_first_letter",
    ),
    "less_letters": ("", "_length_diff_1", "_length_diff_3plus"),
    "more_letters": ("", "_length_diff_1", "_length_diff_3plus"),
    "rhyming_word": ("", "_orthographically_different", "_orthographically_similar"),
    **dict.fromkeys(
        ("bigger_number", "smaller_number", "homophones", "least_associated_word", "most_associated_word",
         "first_letter", "last_letter", "first_word", "last_word", "word_before", "word_after"), ("",),
    ),
}  # fmt: skip


def lm_entry(data: Path) -> Published:
    del data
    files: dict[str, bytes] = {}
    rows: dict[str, Rows] = {}
    for task, endings in SUBTASKS.items():
        for ending in endings:
            examples = {}
            for number in range(6):
                metadata, options, answer = _entry(task, number + len(ending))
                text = f"Q: What of {task}{ending}, {number}?\nA:" if number % 2 else f"Write {number}:\n"
                examples[str(number + 1)] = {"input": text, "metadata": metadata | {"template_id": 0}}
                rows.setdefault(f"lm_entry/{task}/test", []).append(
                    {"input": text, "options": options, "answer": answer}
                )
            content = {"settings": {"name": task + ending}, "examples": examples}
            files[f"{LMENTRY}/{task}{ending}.json"] = json.dumps(content, indent=2).encode()
    return Published(files, rows)


def _entry(task: str, number: int) -> tuple[dict[str, Any], list[str], str]:
    """Return the metadata of an example, and its options and answer as HELM reads them."""
    words = [f"word{number + place}" for place in range(3)]
    if task == "all_words_from_category":
        distractors = number % 3
        metadata = {"category": "x", "category_words": words, "num_distractors": distractors}
        return metadata, ["yes", "no"], "no" if distractors else "yes"
    if task == "any_words_from_category":
        present = words[: number % 3]
        return {"category_words": present, "distractors": words}, ["yes", "no"], "yes" if present else "no"
    if task.endswith("_number"):
        pair = [str(number), str(number + 3)]
        return {"n1": number, "n2": number + 3, "answer": number + 3}, pair, pair[1]
    if task in ("first_alphabetically", "less_letters", "more_letters"):
        return {"word1": words[0], "word2": words[1], "answer": words[0]}, words[:2], words[0]
    if task in ("homophones", "rhyming_word"):
        return {"query": "q", "answer": words[0], "distractor": words[1]}, words[:2], words[0]
    if task.endswith("_associated_word"):
        return {"answer": words[0], "distractors": words[1:]}, words, words[0]
    return {"sentence": "A b c.", "answer": words[0]}, words[:1], words[0]


LSAT = {
    "": "miscellaneous", "miscellaneous": "miscellaneous", "in/out grouping": "grouping",
    "grouping (distribution)": "grouping", "simple ordering": "ordering", "relative ordering": "ordering",
    "complex ordering": "ordering", "determined assignment": "assignment", "undetermined assignment": "assignment",
}  # fmt: skip


def lsat_qa(data: Path) -> Published:
    base = "https://raw.githubusercontent.com/zhongwanjun/AR-LSAT/0597abb6bd2b110a4b41dc98cf31998cc109ab04/data"
    files, rows = {}, {}
    for name, split in (("Training", "train"), ("Development", "validation"), ("Test", "test")):
        content = (data / f"raw/ar_lsat/data/AR_{name}Data.json").read_bytes()
        files[f"{base}/AR_{name}Data.json"] = content
        rows[f"lsat_qa/{split}"] = [
            {
                "passage": passage["passage"],
                **{key: question[key] for key in ("question", "options", "answer")},
                "task": LSAT.get(question["tags"][2]),
            }
            for passage in json.loads(content)
            for question in passage["questions"]
        ]
    return Published(files, rows)


def natural_qa_openbook_longans(data: Path) -> Published:
    frame = rows_of(data, "natural_questions_openbook/*/validation-*.parquet")
    base = "https://storage.googleapis.com/natural_questions/v1.0/dev"
    files = {}
    for number in range(5):
        part = frame[number * 60 : number * 60 + 51].iter_rows(named=True)
        pages = []
        for row in part:
            passages = [f"{row['long_answer']} [{place}]" for place in range(len(row["short_answers"]))]
            pages.append(drawn.page(row["question"], passages, row["short_answers"]))
        files[f"{base}/nq-dev-{number:02}.jsonl.gz"] = gz(jsonl(pages))
    served = {address.rpartition("/")[2]: content for address, content in files.items()}
    run = HelmRun("natural_qa_scenario", "NaturalQAScenario", {"mode": "openbook_longans"}, files=served)
    return Published(files, runs=[run])


def self_instruct(data: Path) -> Published:
    raw = [
        {
            "id": f"user_oriented_task_{number}", "motivation_app": "Wikipedia", "instruction": text[:60],
            "instances": [{"input": text[60:120] if place else "", "output": text[120:180]}
                          for place in range(1 + number % 2)],
        }
        for number, text in enumerate(texts(data)[:20])
    ]  # fmt: skip
    rows = [{name: row[name] for name in ("instruction", "instances")} for row in raw]
    address = "https://raw.githubusercontent.com/yizhongw/self-instruct/main/human_eval"
    return Published({f"{address}/user_oriented_instructions.jsonl": jsonl(raw)}, {"self_instruct/test": rows})


PILE = {
    "github": "Github", "arxiv": "ArXiv", "wikipedia": "Wikipedia (en)", "opensubtitles": "OpenSubtitles",
    "openwebtext2": "OpenWebText2", "gutenberg": "Gutenberg (PG-19)", "dm-mathematics": "DM Mathematics",
    "enron": "Enron Emails", "pubmed-abstracts": "PubMed Abstracts", "youtubesubtitles": "YoutubeSubtitles",
    "hackernews": "HackerNews", "commoncrawl": "Pile-CC", "europarl": "EuroParl", "uspto": "USPTO Backgrounds",
    "freelaw": "FreeLaw", "nih-exporter": "NIH ExPorter", "stackexchange": "StackExchange",
    "pubmed-central": "PubMed Central",
}  # fmt: skip


def the_pile(data: Path) -> Published:
    files, rows = {}, {}
    for number, (theirs, ours) in enumerate(PILE.items()):
        part = [{"text": text[:120]} for text in texts(data)[number * 8 : number * 8 + 5]]
        files[f"hf://datasets/lighteval/pile_helm/{theirs}/test-00000-of-00001.parquet"] = parquet(part)
        rows[f"the_pile/{ours}/test"] = part
    return Published(files, rows)


def twitter_aae(data: Path) -> Published:
    base = "https://worksheets.codalab.org/rest/bundles/0x31485f8c37ad481fb9f4e9bf7ccff6e5/contents/blob"
    files, rows = {}, {}
    for number, name in enumerate(("aa", "white")):
        tweets = [text[:80] for text in texts(data)[number::2][:25]]
        files[f"{base}/{name}_tweets.csv"] = csv_file([[text] for text in tweets])
        rows[f"twitter_aae/{name}/test"] = [{"text": text} for text in tweets]
    return Published(files, rows)


def vicuna(data: Path) -> Published:
    path = data / "raw/mt_bench/fastchat/llm_judge/data/vicuna_bench/question.jsonl"
    raw = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    raw = [{"question_id": row["question_id"], "text": row["turns"][0], "category": row["category"]} for row in raw]
    address = "https://raw.githubusercontent.com/lm-sys/FastChat/v0.2.5/fastchat/eval/table/question.jsonl"
    rows = [{name: row[name] for name in ("text", "category")} for row in raw]
    return Published({address: jsonl(raw)}, {"vicuna/test": rows})


def wikifact(data: Path) -> Published:
    (entry,) = find_scenario("wikifact").download
    subjects: Any = dict(entry.values)["subject"]
    files, rows = {}, {}
    for number, subject in enumerate(subjects):
        for split in ("train", "test"):
            facts = [
                {
                    "question": f"{text[:40]} ({split}) is",
                    "references": [text[40:50], f" {text[50:60]}"][: 1 + place % 2],
                }
                for place, text in enumerate(texts(data)[number : number + 4])
            ]
            files[f"hf://datasets/lighteval/wikifact/{subject}/{split}.jsonl"] = jsonl(facts)
            rows[f"wikifact/{subject}/{split}"] = [
                {"template": row["question"], "result_names": [row["references"]]} for row in facts
            ]
    return Published(files, rows)


CLASSES = {
    "brazilian_court_decisions_judgment": ["no", "partial", "yes"],
    "brazilian_court_decisions_unanimity": ["unanimity", "not-unanimity", "not_determined"],
    "german_argument_mining": ["conclusion", "definition", "subsumption", "other"],
    "greek_legal_code_chapter": ["ΝΟΜΟΣ", "ΑΡΧΕΣ", "ΔΙΚΗ"],
    "greek_legal_code_subject": ["ΠΡΟΣΩΠΑ", "ΠΡΑΓΜΑΤΑ"],
    "greek_legal_code_volume": ["ΕΝΑ", "ΔΥΟ", "ΤΡΙΑ", "ΤΕΣΣΕΡΑ"],
    "swiss_judgment_prediction": ["dismissal", "approval"],
    "online_terms_of_service_unfairness_levels": ["untagged", "clearly_fair", "potentially_unfair"],
}

TOPICS = ("online_terms_of_service_clause_topics", "covid19_emergency_event")

EURLEX = ("multi_eurlex_level_1", "multi_eurlex_level_2", "multi_eurlex_level_3")

# subset → the number of names of entities (HELM, lextreme_scenario.py)
ENTITIES = {"greek_legal_ner": 17, "legalnero": 11, "lener_br": 13, "mapa_coarse": 13, "mapa_fine": 45}


def lextreme(data: Path) -> Published:
    files, runs = {}, []
    for subset in (*CLASSES, *TOPICS, *EURLEX, *ENTITIES):
        names = CLASSES.get(subset)
        frame = _lextreme_rows(subset, [text[:300] for text in texts(data)[:120]])
        tables = {split: parquet(rows) for split, rows in in_shares(frame, legal.SPLITS).items()}
        address = f"hf://datasets/joelniklaus/lextreme/{subset}"
        for split, content in tables.items():
            labelled = with_class_names(content, {"label": names}) if names else content
            files[f"{address}/{split}/0000.parquet"] = labelled
        where = {"subset": subset}
        classes = {"label": names} if names else {}
        runs.append(HelmRun("lextreme_scenario", "LEXTREMEScenario", where, where, tables=tables, names=classes))
    return Published(files, runs=runs)


def _lextreme_rows(subset: str, passages: Sequence[str]) -> pl.DataFrame:
    if subset in CLASSES:
        labels: list[Any] = [number % len(CLASSES[subset]) for number in range(len(passages))]
        return pl.DataFrame({"input": passages, "label": labels})
    several = [[(number * 5 + place * 3) % 8 for place in range(number % 4)] for number in range(len(passages))]
    if subset in EURLEX:
        translations = [
            {name: f"{name}: {text}" if (number + place) % 3 else None for place, name in enumerate(("bg", "de", "en"))}
            for number, text in enumerate(passages)
        ]
        rows = {"input": list(map(str, translations)), "label": several}
    elif subset in ENTITIES:
        words = [text.split()[:6] for text in passages]
        rows = {
            "input": words,
            "label": [[(number * place) % ENTITIES[subset] for place in range(len(part))]
                      for number, part in enumerate(words)],
        }  # fmt: skip
    else:
        rows = {"input": passages, "label": several}
    return pl.DataFrame(rows, schema_overrides={"label": pl.List(pl.Int64)})


def wikitext_103(data: Path) -> Published:
    """Articles of WikiText as the Hub stores them: a row for each line, and empty texts for empty lines."""
    articles = []
    for number, text in enumerate(texts(data)[:12]):
        lines = [" \n", f" = Article {number} = \n", " \n"]
        for place, part in enumerate(text.split(". ")[:4]):
            lines += [f" {part} . \n", " \n", f" = = Section {place} = = \n", " \n", f" = Odd {place} = \n"]
        articles.append([*lines, " = = = Last = = = \n"])
    stored = [{"text": "" if line == " \n" else line} for article in articles for line in article]
    address = "hf://datasets/Salesforce/wikitext/wikitext-103-raw-v1/test-00000-of-00001.parquet"
    return Published(
        {address: parquet(stored)}, {"wikitext_103/test": [{"text": "".join(lines)} for lines in articles]}
    )


def multilexsum_legal_summarization(data: Path) -> Published:
    files, rows = {}, {}
    frame = rows_of(data, "multi_lexsum/**/test-*.parquet").head(90)
    for split, part in in_shares(frame, legal.SPLITS).items():
        # a third of the lawsuits has no short summary
        short = pl.when(pl.int_range(pl.len()) % 3 == 1).then(None).otherwise("summary")
        long = pl.col("document").alias("summary/long")
        stored = part.select(pl.col("summary").str.head(8).alias("id"), long, short.alias("summary/short"))
        address = f"hf://datasets/allenai/multi_lexsum/v20220616/{split}/0000.parquet"
        files[address] = parquet(stored)
        rows[f"multi_lexsum/default/{split}"] = stored.select(document="summary/long", summary="summary/short")
    return Published(files, rows)


def raft(data: Path) -> Published:
    """Tasks of RAFT; the Hub stores the number of a label, and 0 for none."""
    files, rows = {}, {}
    for subset in sorted(path.name for path in (data / "scenarios/raft").iterdir()):
        frame = rows_of(data, f"raft/{subset}/train-*.parquet")
        classes = {label: number for number, label in enumerate(sorted(set(frame["Label"])), 1)}
        stored = frame.with_columns(pl.col("Label").replace_strict(classes, return_dtype=pl.Int64))
        content = with_class_names(parquet(stored), {"Label": ["Unlabeled", *classes]})
        files[f"hf://datasets/ought/raft/{subset}/train/0000.parquet"] = content
        rows[f"raft/{subset}/train"] = frame
    return Published(files, rows)
