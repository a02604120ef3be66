"""Scenarios whose instances are compared with HELM's: real rows, as its raw files and as a source for a mirror."""

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl

from tests.acceptance import helm_drawn_sources as drawn
from tests.acceptance import helm_legal_sources as legal
from tests.acceptance import helm_long_sources as long
from tests.acceptance.helm_raw_files import in_shares, kept, lines, rows_of, shard, table, written


@dataclass(frozen=True)
class Case:
    """One scenario: what HELM is asked, what it reads, and what our mirror is made of.

    `make` writes both below the folder it is given: HELM's raw files, and the mirror's source in `source`; it gives the
    rest of what `helm_scenario_child` is told.
    """

    name: str
    module: str
    scenario: str
    make: Callable[[Path, Path], dict[str, Any]]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    where: Mapping[str, Any] = field(default_factory=dict)
    layout: str | None = None
    select: str | None = None


def raft(
    data: Path, folder: Path, subset: str = "ade_corpus_v2", fields: Sequence[str] = ("Sentence",), task: str = ""
) -> dict[str, Any]:
    """One subset with the columns of its inputs; `task` are the instructions, whose file HELM can't download."""
    path = kept(rows_of(data, f"raft/{subset}/train-*.parquet"), folder / f"source/raft/{subset}" / shard("train"))
    settings = json.dumps({subset: list(fields)}) + "\n" + json.dumps({subset: task})
    return {
        "files": {"dropbox": written(settings, folder / "settings.json")},
        "tables": {"train": path},
        "labels": ["Label"],
    }


def truthful_qa(data: Path, folder: Path) -> dict[str, Any]:
    frame = rows_of(data, "truthful_qa/generation/validation-*.parquet")
    kept(frame, folder / "source/truthful_qa/generation" / shard("validation"))
    header = ["type", "category", "question", "best_answer", "correct_answers", "incorrect_answers", "source"]
    rows = [
        ["; ".join(value) if isinstance(value, list) else value for value in (row[name] for name in header)]
        for row in frame.iter_rows(named=True)
    ]
    return {"files": {"TruthfulQA": table([header, *rows], folder / "TruthfulQA.csv")}}


def boolq(data: Path, folder: Path) -> dict[str, Any]:
    files = {"boolq_perturbed": written('{"data": [{}]}', folder / "contrast.json")}
    for split, theirs in (("train", "train"), ("validation", "dev")):
        frame = rows_of(data, f"boolq/data/{split}-*.parquet")
        kept(frame, folder / "source/boolq/data" / shard(split))
        files[f"boolq/{theirs}.jsonl"] = lines(frame.to_dicts(), folder / f"{theirs}.jsonl")
    return {"files": files}


def mmlu(data: Path, folder: Path, subjects: Sequence[str] = ("philosophy",)) -> dict[str, Any]:
    splits = (("dev", "dev"), ("validation", "val"), ("test", "test"))
    for subject, (split, theirs) in product(subjects, splits):
        frame = rows_of(data, f"mmlu/{subject}/{split}-*.parquet")
        kept(frame, folder / "source/mmlu" / subject / shard(split))
        rows = [[row["question"], *row["choices"], "ABCD"[row["answer"]]] for row in frame.iter_rows(named=True)]
        table(rows, folder / "raw" / theirs / f"{subject}_{theirs}.csv")
    return {"files": {"hendrycks": str(folder / "raw")}}


def gsm8k(data: Path, folder: Path) -> dict[str, Any]:
    files = {}
    for split in ("train", "test"):
        frame = rows_of(data, f"gsm8k/main/{split}-*.parquet")
        kept(frame, folder / "source/gsm8k/main" / shard(split))
        files[f"{split}.jsonl"] = lines(frame.to_dicts(), folder / f"{split}.jsonl")
    return {"files": files}


def hellaswag(data: Path, folder: Path) -> dict[str, Any]:
    files = {}
    for split, theirs in (("train", "train"), ("validation", "val")):
        frame = rows_of(data, f"hellaswag/data/{split}-*.parquet")
        kept(frame, folder / "source/hellaswag/data" / shard(split))
        rows = [row | {"label": int(row["label"])} for row in frame.to_dicts()]
        files[f"_{theirs}.jsonl"] = lines(rows, folder / f"{theirs}.jsonl")
    return {"files": files}


def openbookqa(data: Path, folder: Path) -> dict[str, Any]:
    for split in ("train", "test"):
        frame = rows_of(data, f"openbookqa/main/{split}-*.parquet")
        kept(frame, folder / "source/openbookqa/main" / shard(split))
        rows = [
            {
                "question": {
                    "stem": row["question_stem"],
                    "choices": [
                        {"label": label, "text": text}
                        for label, text in zip(row["choices"]["label"], row["choices"]["text"], strict=True)
                    ],
                },
                "answerKey": row["answerKey"],
            }
            for row in frame.iter_rows(named=True)
        ]
        lines(rows, folder / "raw/OpenBookQA-V1-Sep2018/Data/Main" / f"{split}.jsonl")
    return {"files": {"OpenBookQA": str(folder / "raw/OpenBookQA-V1-Sep2018")}}


def blimp(data: Path, folder: Path) -> dict[str, Any]:
    for name in sorted(path.name for path in (data / "scenarios" / "blimp").iterdir()):
        frame = rows_of(data, f"blimp/{name}/train-*.parquet")
        kept(frame, folder / "source/blimp" / name / shard("train"))
        lines(frame.to_dicts(), folder / "raw/data" / f"{name}.jsonl")
    return {"files": {"blimp": str(folder / "raw")}}


def summarization_xsum(data: Path, folder: Path) -> dict[str, Any]:
    """Real articles, some of them short, with line ends and wide spaces between words."""
    frame = rows_of(data, "xsum/default/test-*.parquet").with_columns(
        document=pl.when(pl.int_range(pl.len()) % 3 == 0)
        .then(pl.col("document").str.head(600))
        .otherwise(pl.col("document").str.replace(" ", "  \n", n=1))
    )
    splits = in_shares(frame, ("train", "validation", "test"))
    for split, rows in splits.items():
        kept(rows, folder / "source/xsum/default" / shard(split))
    file = folder / "xsum.pk"
    file.write_bytes(pickle.dumps({split: rows.to_dicts() for split, rows in splits.items()}))
    return {"files": {"xsum": str(file)}}


def civil_comments(data: Path, folder: Path) -> dict[str, Any]:
    """Beginnings of sentences as comments, with their own toxicity; some of them about each group."""
    frame = rows_of(data, "real_toxicity_prompts/default/train-*.parquet").select(
        comment_text=pl.col("prompt").struct.field("text"),
        toxicity=pl.col("prompt").struct.field("toxicity").fill_null(0.0),
        **{
            name: (pl.int_range(pl.len()) % number == 1).cast(pl.Float64)
            for number, name in enumerate(
                ("female", "male", "LGBTQ", "christian", "muslim", "other_religions", "black", "white"), 2
            )
        },
    )
    splits = in_shares(frame, ("train", "val", "test"))
    for split, rows in splits.items():
        kept(rows, folder / "source/civil_comments" / shard(split))
    whole = pl.concat([rows.with_columns(split=pl.lit(name)) for name, rows in splits.items()]).with_row_index()
    whole.write_csv(folder / "all.csv")
    return {"files": {"all_data_with_identities": str(folder / "all.csv")}}


def legalbench(data: Path, folder: Path, task: str = "") -> dict[str, Any]:
    """The examples of a task, of which the test rows are nowhere at hand, as both; `task` are its instructions."""
    frame = rows_of(data, "legalbench/corporate_lobbying/train-*.parquet")
    path = folder / "source/legalbench/corporate_lobbying"
    tables = {split: kept(frame, path / shard(split)) for split in ("train", "test")}
    fields = {
        "Official title of bill": "bill_title", "Official summary of bill": "bill_summary",
        "Company name": "company_name", "Company business description": "company_description",
    }  # fmt: skip
    said = (list(fields.items()), task, "answer", "Label", 0)
    settings = "\n".join(json.dumps({"corporate_lobbying": each}) for each in said)
    return {"files": {"helm_prompt_settings": written(settings, folder / "settings.jsonl")}, "tables": tables}


def xstest(data: Path, folder: Path) -> dict[str, Any]:
    path = next((data / "scenarios/xstest").rglob("*.parquet"))
    frame = pl.read_parquet(path)
    kept(frame, folder / "source" / path.relative_to(data / "scenarios"))
    return {"files": {}, "tables": {"test": str(path)}}


LONG = {"max_num_words": 131_072}
NQ = "nq-dev-{number}.jsonl"
CASES = (
    Case("narrative_qa", "narrativeqa_scenario", "NarrativeQAScenario", drawn.narrative_qa),
    Case("quac", "quac_scenario", "QuACScenario", drawn.quac),
    Case(
        "natural_qa_closedbook", "natural_qa_scenario", "NaturalQAScenario", drawn.natural_qa, {"mode": "closedbook"},
        layout=NQ, select="SELECT question, short_answers AS answer FROM rows",
    ),
    Case(
        "natural_qa_openbook_longans", "natural_qa_scenario", "NaturalQAScenario", drawn.natural_qa,
        {"mode": "openbook_longans"},
        layout=NQ, select="SELECT question, short_answers, long_answers FROM rows",
    ),
    *(
        Case(
            f"natural_qa_{mode}", "natural_qa_scenario", "NaturalQAScenario", drawn.natural_qa_pages, {"mode": mode},
            layout=f"{NQ}.gz",
        )
        for mode in ("closedbook", "openbook_longans")
    ),
    Case("gpqa", "gpqa_scenario", "GPQAScenario", drawn.gpqa, {"subset": "gpqa_main"}),
    Case("bbq", "bbq_scenario", "BBQScenario", drawn.bbq, {"subject": "all"}),
    Case("bbq", "bbq_scenario", "BBQScenario", drawn.bbq, {"subject": "Religion"}, {"subject": "Religion"}),
    Case("bold", "bold_scenario", "BOLDScenario", drawn.bold, {"subject": "all"}),
    Case("bold", "bold_scenario", "BOLDScenario", drawn.bold, {"subject": "race"}, {"subject": "race"}),
    Case(
        "real_toxicity_prompts", "real_toxicity_prompts_scenario", "RealToxicityPromptsScenario",
        drawn.real_toxicity_prompts,
    ),
    Case(
        "math_regular", "math_scenario", "MATHScenario", drawn.math,
        {"subject": "geometry", "level": "3", "use_official_examples": True}, {"subject": "geometry", "level": "3"},
    ),
    Case(
        "math_chain_of_thought", "math_scenario", "MATHScenario", drawn.math,
        {"subject": "algebra", "level": "2", "use_chain_of_thought": True}, {"subject": "algebra", "level": "2"},
    ),
    Case(
        "wmt_14", "wmt_14_scenario", "WMT14Scenario", drawn.wmt_14, {"source_language": "fr", "target_language": "en"},
        layout="wmt14/{language_pair}/{split}-*.parquet",
    ),
    Case(
        "wmt_14_from_english", "wmt_14_scenario", "WMT14Scenario", drawn.wmt_14,
        {"source_language": "en", "target_language": "fr"},
        layout="wmt14/{language_pair}/{split}-*.parquet",
    ),
    Case(
        "entity_matching", "entity_matching_scenario", "EntityMatchingScenario", drawn.entity_matching,
        {"dataset": "Beer"},
    ),
    Case(
        "entity_data_imputation", "entity_data_imputation_scenario", "EntityDataImputationScenario",
        drawn.entity_data_imputation, {"dataset": "Restaurant"}, layout="{dataset}.parquet",
    ),
    Case("raft", "raft_scenario", "RAFTScenario", raft, {"subset": "ade_corpus_v2"}),
    Case("truthful_qa", "truthful_qa_scenario", "TruthfulQAScenario", truthful_qa, {"task": "mc_single"}),
    Case("boolq", "boolq_scenario", "BoolQScenario", boolq),
    Case("mmlu", "mmlu_scenario", "MMLUScenario", mmlu, {"subject": "philosophy"}),
    Case("gsm8k", "gsm_scenario", "GSM8KScenario", gsm8k),
    Case("hellaswag", "commonsense_scenario", "HellaSwagScenario", hellaswag),
    Case("openbookqa", "commonsense_scenario", "OpenBookQA", openbookqa),
    *(
        Case("blimp", "blimp_scenario", "BLiMPScenario", blimp, {"phenomenon": name}, {"phenomenon": name})
        for name in ("ellipsis", "quantifiers", "binding")
    ),
    Case(
        "summarization_xsum", "summarization_scenario", "SummarizationScenario", summarization_xsum,
        {"dataset_name": "xsum-sampled", "sampling_min_length": 50, "sampling_max_length": 150, "doc_max_length": 512},
    ),
    Case(
        "summarization_xsum_unsampled", "summarization_scenario", "SummarizationScenario", summarization_xsum,
        {"dataset_name": "xsum", "sampling_min_length": 50, "sampling_max_length": 150, "doc_max_length": 512},
    ),
    Case(
        "civil_comments", "civil_comments_scenario", "CivilCommentsScenario", civil_comments, {"demographic": "female"},
        {"demographic": "female"},
    ),
    Case(
        "legalbench", "legalbench_scenario", "LegalBenchScenario", legalbench, {"subset": "corporate_lobbying"},
    ),
    Case("xstest", "xstest_scenario", "XSTestScenario", xstest),
    *(
        Case("lex_glue", "lex_glue_scenario", "LexGLUEScenario", make, {"subset": subset}, {"subset": subset})
        for subset, make in (("ecthr_a", legal.ecthr), ("scotus", legal.scotus), ("case_hold", legal.case_hold))
    ),
    *(
        Case("lextreme", "lextreme_scenario", "LEXTREMEScenario", make, {"subset": subset}, {"subset": subset})
        for subset, make in (
            ("multi_eurlex_level_2", legal.multi_eurlex), ("german_argument_mining", legal.argument_mining)
        )
    ),
    Case(
        "ruler_hotpotqa", "ruler_qa_scenarios", "RULERHotpotQAScenario", long.hotpotqa, LONG,
        layout="hotpot_qa/distractor/{split}-*.parquet",
    ),
    Case(
        "ruler_squad", "ruler_qa_scenarios", "RULERSQuADScenario", long.squad, LONG,
        layout="squad_v2/squad_v2/{split}-*.parquet",
    ),
    Case("infinite_bench_en_mc", "infinite_bench_en_mc_scenario", "InfiniteBenchEnMCScenario", long.novels_asked, LONG),
    Case(
        "infinite_bench_en_sum", "infinite_bench_en_sum_scenario", "InfiniteBenchEnSumScenario", long.novels_told, LONG,
    ),
    Case("openai_mrcr", "openai_mrcr_scenario", "OpenAIMRCRScenario", long.conversations, {"needles": 8} | LONG),
)  # fmt: skip
