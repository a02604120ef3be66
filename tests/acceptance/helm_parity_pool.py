"""The run entries of HELM's .conf files whose rows are here, and random entries made of them."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from helmframe._core.specs import SPLITS, Equals
from helmframe.errors import HelmframeError
from helmframe.interop.helm import parse_entry, read_conf
from helmframe.interop.helm.entries import Entry
from helmframe.interop.helm.plans import drafts_of
from helmframe.interop.helm.scenario_lookup import scenario_index
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.load import load
from helmframe.scenarios.mirror import mirror
from tests.acceptance import helm_drawn_sources as drawn
from tests.acceptance import helm_legal_sources as legal
from tests.acceptance import helm_scenario_cases as cases
from tests.acceptance import test_helm_entries as entries
from tests.acceptance.helm_raw_files import kept, lines, rows_of, shard, table, written

SEPARATE = ("multiple_choice_separate_original", "multiple_choice_separate_calibrated")
METHODS = ("multiple_choice_joint", *SEPARATE)
# without synonyms, whose file HELM downloads
AUGMENTATIONS = (
    *("canonical", "robustness", "fairness", "extra_space", "space", "lower", "contract", "filler"),
    *("misspelling_mild", "misspelling_hard", "typo_easy", "typo_hard", "dialect_easy", "dialect_deterministic"),
    *("gender_terms_hard", "gender_pronouns_easy", "gender_pronouns_deterministic"),
    *("person_name_first_deterministic", "person_name_first_hard_dont_preserve_gender", "person_name_last_hard"),
)
WINDOWS = ((100_000, 100_000), (2_048, 2_049), (1_024, 1_024), (700, 701), (400, 400))
# arguments that an entry of the run gets a new value for
REPLACED = ("model", "model_deployment", "data_augmentation", "max_eval_instances", "num_train_trials")
NQ = "nq-dev-{number}.jsonl"


@dataclass(frozen=True)
class Source:
    """Rows of run entries, for HELM's scenario and for ours.

    Args:
        entry: HELM's name of the scenario.
        module: HELM's module of it.
        make: Write HELM's files and the source of the mirror, as in `helm_scenario_cases.Case`.
        mirrors: Our scenarios: name, layout and select of the mirror.
        arguments: The values that the rows are made for, by argument; other entries are outside the pool.
        methods: Whether HELM's run spec takes any method of multiple choice.
    """

    entry: str
    module: str
    make: Callable[[Path, Path], dict[str, Any]]
    mirrors: Sequence[tuple[str, str | None, str | None]]
    arguments: Mapping[str, Sequence[str]] = field(default_factory=dict)
    methods: bool = False

    def has(self, entry: Entry) -> bool:
        """Whether the rows of an entry are here."""
        values = {key: str(value) for key, value in entry.arguments}
        fits = all(values.get(key, "") in allowed for key, allowed in self.arguments.items())
        return entry.name == self.entry and fits


class Draw(NamedTuple):
    """A run entry as text, its rows, its model, and the window: (max_sequence_length, max_request_length)."""

    entry: str
    source: Source
    model: str
    window: tuple[int, int]


def pool(confs: Path) -> tuple[list[tuple[Entry, Source]], int]:
    """Return the distinct entries whose rows are here, and the number of all distinct entries."""
    read = [entry for path in sorted(confs.glob("*.conf")) for entry in read_conf(path)]
    distinct = list(dict.fromkeys(replace(entry, priority=1, groups=()) for entry in read))
    found = [(entry, next((each for each in SOURCES if each.has(entry)), None)) for entry in distinct]
    return [(entry, source) for entry, source in found if source is not None], len(distinct)


def draws(drawable: Sequence[tuple[Entry, Source]], models: Sequence[str], seed: int) -> "Draws":
    """Return an endless draw of entries, each scenario in turn, none twice before all of its scenario are drawn."""
    return Draws(drawable, models, random.Random(seed))


class Draws:
    """Random entries: the scenarios in turn, an entry of each, with random expanders."""

    def __init__(self, drawable: Sequence[tuple[Entry, Source]], models: Sequence[str], random_: random.Random) -> None:
        self._random = random_
        self._models = list(models)
        self._entries: dict[str, list[tuple[Entry, Source]]] = {}
        for entry, source in drawable:
            self._entries.setdefault(entry.name, []).append((entry, source))
        self._turn: list[str] = []

    def next(self) -> Draw:
        if not self._turn:
            self._turn = self._random.sample(sorted(self._entries), len(self._entries))
        entry, source = self._random.choice(self._entries[self._turn.pop()])
        return self._expanded(entry, source)

    def _expanded(self, entry: Entry, source: Source) -> Draw:
        choice = self._random.choice
        values = {key: str(value) for key, value in entry.arguments if key not in REPLACED}
        contrast = dict(entry.arguments).get("data_augmentation") == "contrast_sets"
        shots = choice((None, 0, 1, 3, 5))
        if shots is not None or values.get("max_train_instances") in ("all", "big_bench_few_shot_setting"):
            values["max_train_instances"] = str(shots or 0)
        if source.methods and self._random.random() < 0.7:
            values["method"] = choice(METHODS)
        values["num_train_trials"] = choice("123")
        augmentation = choice(AUGMENTATIONS) if self._random.random() < 0.5 else None
        if contrast or augmentation:
            values["data_augmentation"] = "contrast_sets" if contrast else str(augmentation)
        if self._random.random() < 0.3:
            values["eval_split"] = choice(("test", "valid"))
        model = choice(self._models)
        # first, for HELM's expanders apply in this order, and some of them read the model's tags
        values = {"model": model} | values
        longest, request = WINDOWS[0] if self._random.random() < 0.5 else choice(WINDOWS)
        text = f"{entry.name}:" + ",".join(f"{key}={value}" for key, value in values.items())
        # HELM shortens a prompt forever where the output alone is longer than the window
        more = max_tokens(text)
        return Draw(text, source, model, (longest + more, request + more))


def max_tokens(text: str) -> int:
    """Return the longest output of a run entry, in tokens; 0 where helmframe has no plan for it."""
    try:
        drafts = drafts_of(parse_entry(text), scenario_index())
    except HelmframeError:
        return 0
    limits = [dict(draft.setting.decoding).get("max_tokens") for draft in drafts]
    return max(limit if isinstance(limit, int) else 0 for limit in limits)


def rows(source: Source, data: Path, folder: Path) -> dict[str, Any]:
    """Write the rows of a source below an empty folder and return what HELM's scenario gets; `root` is ours."""
    made = source.make(data, folder)
    for name, layout, select in source.mirrors:
        mirror(name, folder / "root", source=folder / "source", layout=layout, select=select)
    (folder / "root").mkdir(exist_ok=True)
    (folder / "root/tables").symlink_to(data / "tables")
    return {"files": {}, "module": source.module} | made


def mmlu(data: Path, folder: Path) -> dict[str, Any]:
    return cases.mmlu(data, folder, sorted(path.name for path in (data / "scenarios/mmlu").iterdir()))


def raft(data: Path, folder: Path, subset: str) -> dict[str, Any]:
    """A subset with our instructions, for HELM's file is gone."""
    columns = [name for name in rows_of(data, f"raft/{subset}/train-*.parquet").columns if name not in ("Label", "ID")]
    cases.raft(data, folder, subset, columns)
    row = first_row("raft", subset, folder)
    fields = [line.partition(": ")[0] for line in row["input"].split("\n")]
    fields = [name for name in dict.fromkeys(fields) if name in columns]
    return cases.raft(data, folder, subset, fields, row["data_task"])


def legalbench(data: Path, folder: Path) -> dict[str, Any]:
    """A task with our instructions, for HELM downloads its own."""
    cases.legalbench(data, folder)
    return cases.legalbench(data, folder, first_row("legalbench", "corporate_lobbying", folder)["data_task"])


def first_row(name: str, subset: str, folder: Path) -> dict[str, Any]:
    """Return our first instance of a subset, which is mirrored for it."""
    mirror(name, folder / "root", source=folder / "source")
    where = [Equals("subset", (subset,))]
    frames = load(find_scenario(name), where=where, splits=SPLITS, data=str(folder / "root"))
    return next(iter(frames)).row(0, named=True)


def twitter_aae(data: Path, folder: Path) -> dict[str, Any]:
    """Beginnings of articles as tweets."""
    texts = rows_of(data, "bold/default/train-*.parquet")["prompts"].list.first().to_list()
    files = {}
    for number, name in enumerate(("aa", "white")):
        part = [f"{text} {'…' * (place % 3)}" for place, text in enumerate(texts[number::2][:300])]
        kept(pl.DataFrame({"text": part}), folder / f"source/twitter_aae/{name}" / shard("test"))
        files[f"{name}_tweets"] = table([[text] for text in part], folder / f"{name}.csv")
    return {"files": files}


def the_pile(data: Path, folder: Path) -> dict[str, Any]:
    """Long and short texts in the three subsets of which HELM takes all documents."""
    texts = rows_of(data, "xsum/default/test-*.parquet")["document"].to_list()
    documents = []
    for number, name in enumerate(PILE):
        part = [text[: 100 + 37 * (place % 90)] for place, text in enumerate(texts[number::3][:120])]
        kept(pl.DataFrame({"text": part}), folder / f"source/the_pile/{name}" / shard("test"))
        documents += [{"text": text, "meta": {"pile_set_name": name}} for text in part]
    return {"files": {"pile/test.jsonl": lines(documents, folder / "pile.jsonl")}}


def med_qa(data: Path, folder: Path) -> dict[str, Any]:
    """Test questions of MedQA as all splits."""
    frame = pl.read_ndjson(data / "raw/medqa/data/medqa/test.jsonl").select("question", "options", "answer_idx")
    raw = folder / "raw/data_clean/questions/US/4_options"
    for number, (split, theirs) in enumerate((("train", "train"), ("dev", "dev"), ("test", "test"))):
        part = frame[number::3]
        kept(part, folder / "source/med_qa/default" / shard(split))
        lines(part.to_dicts(), raw / f"phrases_no_exclude_{theirs}.jsonl")
    return {"files": {"drive.google": str(folder / "raw")}}


def pubmed_qa(data: Path, folder: Path) -> dict[str, Any]:
    frame = rows_of(data, "pubmed_qa/pqa_labeled/train-*.parquet")
    kept(frame, folder / "source/pubmed_qa/pqa_labeled" / shard("train"))
    examples = {
        str(row["pubid"]): {
            "QUESTION": row["question"],
            "CONTEXTS": row["context"]["contexts"],
            "LABELS": row["context"]["labels"],
            "final_decision": row["final_decision"],
        }
        for row in frame.iter_rows(named=True)
    }
    return {"files": {"ori_pqal": written(json.dumps(examples), folder / "pqal.json")}}


def generated(data: Path, folder: Path) -> dict[str, Any]:
    """Rows that both generate."""
    del data, folder
    return {}


def mirrored(*names: str) -> list[tuple[str, str | None, str | None]]:
    return [(name, None, None) for name in names]


PILE = ("Ubuntu IRC", "BookCorpus2", "PhilPapers")
RAFT = (
    *("ade_corpus_v2", "banking_77", "neurips_impact_statement_risks", "one_stop_english", "overruling"),
    *("semiconductor_org_types", "systematic_review_inclusion", "tai_safety_research", "terms_of_service"),
    *("tweet_eval_hate", "twitter_complaints"),
)
LEX_GLUE = {"ecthr_a": legal.ecthr, "scotus": legal.scotus, "case_hold": legal.case_hold}
LEXTREME = {"multi_eurlex_level_2": legal.multi_eurlex, "german_argument_mining": legal.argument_mining}
WMT = "wmt14/{language_pair}/{split}-*.parquet"
SOURCES = (
    Source("mmlu", "mmlu_scenario", mmlu, mirrored("mmlu"), methods=True),
    *(
        Source("raft", "raft_scenario", partial(raft, subset=name), mirrored("raft"), {"subset": [name]})
        for name in RAFT
    ),
    Source("babi_qa", "babi_qa_scenario", entries.babi, mirrored("babi_qa")),
    Source(
        "bbq", "bbq_scenario", drawn.bbq, mirrored("bbq"), {"subject": ["all"]}, methods=True,
    ),
    Source("blimp", "blimp_scenario", cases.blimp, mirrored("blimp"), methods=True),
    Source("bold", "bold_scenario", drawn.bold, mirrored("bold")),
    Source("boolq", "boolq_scenario", entries.boolq, mirrored("boolq")),
    Source("civil_comments", "civil_comments_scenario", cases.civil_comments, mirrored("civil_comments")),
    Source(
        "commonsense", "commonsense_scenario", cases.hellaswag, mirrored("hellaswag", "hellaswag_joint"),
        {"dataset": ["hellaswag"]}, methods=True,
    ),
    Source(
        "commonsense", "commonsense_scenario", cases.openbookqa, mirrored("openbookqa", "openbookqa_separate"),
        {"dataset": ["openbookqa"]}, methods=True,
    ),
    Source("dyck_language", "dyck_language_scenario", generated, []),
    Source(
        "entity_data_imputation", "entity_data_imputation_scenario", drawn.entity_data_imputation,
        [("entity_data_imputation", "{dataset}.parquet", None)], {"dataset": ["Restaurant"]},
    ),
    Source(
        "entity_matching", "entity_matching_scenario", drawn.entity_matching, mirrored("entity_matching"),
        {"dataset": ["Beer"]},
    ),
    Source("gpqa", "gpqa_scenario", drawn.gpqa, mirrored("gpqa"), {"subset": ["gpqa_main", "main"]}),
    Source("gsm", "gsm_scenario", cases.gsm8k, mirrored("gsm8k")),
    Source(
        "legalbench", "legalbench_scenario", legalbench, mirrored("legalbench"),
        {"subset": ["corporate_lobbying"]},
    ),
    *(
        Source("lex_glue", "lex_glue_scenario", make, mirrored("lex_glue"), {"subset": [name]})
        for name, make in LEX_GLUE.items()
    ),
    *(
        Source("lextreme", "lextreme_scenario", make, mirrored("lextreme"), {"subset": [name]})
        for name, make in LEXTREME.items()
    ),
    Source("lsat_qa", "lsat_qa_scenario", entries.lsat, mirrored("lsat_qa"), methods=True),
    Source(
        "math", "math_scenario", drawn.math, mirrored("math_regular"), {"use_official_examples": ["True"]},
    ),
    Source(
        "math", "math_scenario", drawn.math, mirrored("math_chain_of_thought"), {"use_chain_of_thought": ["True"]},
    ),
    Source("med_qa", "med_qa_scenario", med_qa, mirrored("med_qa")),
    Source("mmlu_pro", "mmlu_pro_scenario", entries.mmlu_pro, mirrored("mmlu_pro")),
    Source("narrative_qa", "narrativeqa_scenario", drawn.narrative_qa, mirrored("narrative_qa")),
    Source(
        "natural_qa", "natural_qa_scenario", drawn.natural_qa,
        [("natural_qa_closedbook", NQ, "SELECT question, short_answers AS answer FROM rows")],
        {"mode": ["closedbook"]},
    ),
    Source(
        "natural_qa", "natural_qa_scenario", drawn.natural_qa,
        [("natural_qa_openbook_longans", NQ, "SELECT question, short_answers, long_answers FROM rows")],
        {"mode": ["openbook_longans"]},
    ),
    Source("pubmed_qa", "pubmed_qa_scenario", pubmed_qa, mirrored("pubmed_qa")),
    Source("quac", "quac_scenario", drawn.quac, mirrored("quac")),
    Source(
        "real_toxicity_prompts", "real_toxicity_prompts_scenario", drawn.real_toxicity_prompts,
        mirrored("real_toxicity_prompts"),
    ),
    Source(
        "summarization_xsum_sampled", "summarization_scenario", cases.summarization_xsum,
        mirrored("summarization_xsum"),
    ),
    Source("synthetic_reasoning", "synthetic_reasoning_scenario", generated, []),
    Source("synthetic_reasoning_natural", "synthetic_reasoning_natural_scenario", generated, []),
    Source("the_pile", "the_pile_scenario", the_pile, mirrored("the_pile"), {"subset": PILE}),
    Source("truthful_qa", "truthful_qa_scenario", cases.truthful_qa, mirrored("truthful_qa"), methods=True),
    Source("twitter_aae", "twitter_aae_scenario", twitter_aae, mirrored("twitter_aae")),
    Source("wmt_14", "wmt_14_scenario", drawn.wmt_14, [("wmt_14", WMT, None)], {"language_pair": ["fr-en"]}),
    Source(
        "wmt_14", "wmt_14_scenario", drawn.wmt_14, [("wmt_14_from_english", WMT, None)], {"language_pair": ["en-fr"]},
    ),
)  # fmt: skip
