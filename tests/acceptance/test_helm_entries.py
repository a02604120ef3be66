"""Run entries build HELM's requests: its own run specs, scenarios, perturbations and adapters, on real rows."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

import helmframe as hf
from helmframe._plan import Plan
from helmframe.models.model import Completion, Model, Tokens
from helmframe.models.windows import windows
from helmframe.scenarios.mirror import mirror
from tests.acceptance import byte_tokens, eval_peers, helm_drawn_sources, helm_peer, helm_run_peer, helm_scenario_cases
from tests.acceptance.figures import equal_to_helm
from tests.acceptance.helm_raw_files import in_shares, kept, rows_of, shard, written

pytestmark = pytest.mark.shared

Make = Callable[[Path, Path], dict[str, Any]]
ORIGINAL, CALIBRATED = "multiple_choice_separate_original", "multiple_choice_separate_calibrated"
# HELM's LSAT question types, by the words of the third tag
TYPES = {
    "grouping": ("in/out grouping", "distribution grouping"),
    "ordering": ("simple ordering", "relative ordering", "complex ordering"),
    "assignment": ("determined assignment", "undetermined assignment"),
}


class Case(NamedTuple):
    """A run entry, the scenario of ours and HELM's module, what writes the rows, and the window in bytes."""

    entry: str
    scenario: str
    module: str
    make: Make
    window: int = 100_000
    layout: str | None = None
    select: str | None = None


def babi(data: Path, folder: Path) -> dict[str, Any]:
    """Real stories as HELM's files have them, one question to a story."""
    rows = pl.concat(rows_of(data, f"babi_qa/all/{split}-*.parquet") for split in ("train", "test"))
    number = pl.int_range(pl.len()).over("task") % 10
    splits = {
        "train": rows.filter(number == 0),
        "validation": rows.filter(number == 1),
        "test": rows.filter(number.is_in([2, 3])),
    }
    for split, frame in splits.items():
        kept(frame, folder / "source/babi_qa/all" / shard(split))
        for task in range(1, 21):
            stories = [story(row) for row in frame.filter(task=task).iter_rows(named=True)]
            name = f"qa{task}_{'valid' if split == 'validation' else split}.txt"
            written("".join(stories), folder / "raw/en-valid" / name)
    return {"files": {"tasks_1-20": str(folder / "raw")}}


def story(row: dict[str, Any]) -> str:
    facts = [line for line in row["passage"].split("\n") if line]
    lines = [*facts, f"{row['question']}\t{row['answer']}\t1"]
    return "".join(f"{number} {line}\n" for number, line in enumerate(lines, 1))


def lsat(data: Path, folder: Path) -> dict[str, Any]:
    """AR-LSAT whole."""
    files = {}
    for name, split in (("Training", "train"), ("Development", "validation"), ("Test", "test")):
        path = data / f"raw/ar_lsat/data/AR_{name}Data.json"
        files[f"AR_{name}Data"] = str(path)
        passages = json.loads(path.read_text(encoding="utf-8"))
        rows = [
            {
                "passage": passage["passage"],
                **{key: question[key] for key in ("question", "options", "answer")},
                "task": task_of(question["tags"]),
            }
            for passage in passages
            for question in passage["questions"]
        ]
        kept(pl.DataFrame(rows), folder / "source/lsat_qa" / shard(split))
    return {"files": files}


def task_of(tags: list[str]) -> str | None:
    words = tags[2].replace("grouping (distribution)", "distribution grouping")
    if words in ("", "miscellaneous"):
        return "miscellaneous"
    return next((task for task, types in TYPES.items() if words in types), None)


def boolq(data: Path, folder: Path) -> dict[str, Any]:
    """BoolQ with its real contrast sets."""
    made = helm_scenario_cases.boolq(data, folder)
    rows = rows_of(data, "boolq/contrast_sets/contrast-*.parquet")
    kept(rows, folder / "root/boolq/contrast_sets" / shard("contrast"))
    sets = [
        {
            "question": row["question"],
            "answer": str(row["answer"]).upper(),
            "perturbed_questions": [
                {"perturbed_q": question, "answer": str(answer).upper()}
                for question, answer in zip(row["perturbed_questions"], row["perturbed_answers"], strict=True)
            ],
        }
        for row in rows.iter_rows(named=True)
    ]
    contrast = written(json.dumps({"data": [{}, *sets]}), folder / "contrast.json")
    return {"files": {**made["files"], "boolq_perturbed": contrast}}


def mmlu_pro(data: Path, folder: Path) -> dict[str, Any]:
    """Questions of MMLU in the form of MMLU-Pro, with reasoning."""
    frame = rows_of(data, "mmlu/philosophy/test-*.parquet").select(
        "question",
        options="choices",
        answer=pl.col("answer").replace_strict(dict(enumerate("ABCD")), return_dtype=pl.String),
        category=pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("law")).otherwise(pl.lit("computer science")),
        cot_content=pl.lit("A: Let's think step by step."),
    )
    frame = (
        frame.filter(pl.col("options").list.n_unique() == 4)
        .with_row_index("question_id")
        .cast({"question_id": pl.Int64})
    )
    tables = {}
    for split, rows in in_shares(frame, ("validation", "test")).items():
        tables[split] = kept(rows, folder / "source/mmlu_pro/data" / shard(split))
    return {"files": {}, "tables": tables}


CASES = [
    *(
        Case(f"mmlu:subject=philosophy,method={method}", "mmlu", "mmlu_scenario", helm_scenario_cases.mmlu)
        for method in (ORIGINAL, CALIBRATED)
    ),
    *(
        Case(
            f"mmlu:subject=philosophy,max_train_instances=2,method={method}", "mmlu", "mmlu_scenario",
            helm_scenario_cases.mmlu, window,
        )
        for method in (ORIGINAL, CALIBRATED)
        for window in (400, 120, 60)
    ),
    *(
        Case(
            f"truthful_qa:task=mc_single,method={method}", "truthful_qa", "truthful_qa_scenario",
            helm_scenario_cases.truthful_qa,
        )
        for method in (ORIGINAL, CALIBRATED)
    ),
    *(
        Case(f"bbq:subject={subject},method={method}", "bbq", "bbq_scenario", helm_drawn_sources.bbq)
        for subject, method in (("all", ORIGINAL), ("Religion", CALIBRATED))
    ),
    Case("bbq:subject=all,data_augmentation=lower", "bbq", "bbq_scenario", helm_drawn_sources.bbq),
    *(
        Case(f"lsat_qa:task={task}{more}", "lsat_qa", "lsat_qa_scenario", lsat)
        for task, more in (
            ("grouping", ""), ("ordering", ",num_train_trials=3"), ("all", ""), ("assignment", f",method={ORIGINAL}"),
            ("miscellaneous", ""), ("ordering", ",data_augmentation=typo_easy"),
        )
    ),
    *(
        Case(f"babi_qa:task={task}{more}", "babi_qa", "babi_qa_scenario", babi)
        for task, more in (
            (15, ""), (19, ",num_train_trials=2"), ("all", ",max_eval_instances=100"),
            (15, ",data_augmentation=typo_easy"), (3, ",data_augmentation=lower"),
        )
    ),
    Case(
        "civil_comments:demographic=female,data_augmentation=typo_easy,max_eval_instances=50", "civil_comments",
        "civil_comments_scenario", helm_scenario_cases.civil_comments,
    ),
    *(
        Case(f"boolq:{more}", "boolq", "boolq_scenario", boolq, window)
        for more, window in (
            ("only_contrast=True,data_augmentation=typo_easy", 100_000),
            ("only_contrast=True,data_augmentation=contrast_sets", 100_000),
            ("data_augmentation=lower,max_eval_instances=50", 100_000),
            ("max_eval_instances=100", 2_000),
            ("max_eval_instances=100", 500),
        )
    ),
    Case(
        "narrative_qa:data_augmentation=extra_space", "narrative_qa", "narrativeqa_scenario",
        helm_drawn_sources.narrative_qa,
    ),
    *(
        Case(f"blimp:phenomenon=ellipsis,method={method}", "blimp", "blimp_scenario", helm_scenario_cases.blimp)
        for method in ("multiple_choice_joint", CALIBRATED)
    ),
    *(
        Case(
            f"blimp:phenomenon={phenomenon},max_eval_instances=100", "blimp", "blimp_scenario",
            helm_scenario_cases.blimp,
        )
        for phenomenon in ("ellipsis", "quantifiers", "binding")
    ),
    Case("mmlu_pro:subject=law,max_train_instances=5", "mmlu_pro", "mmlu_pro_scenario", mmlu_pro),
    Case(
        "mmlu_pro:subject=computer_science,max_train_instances=3,num_train_trials=2", "mmlu_pro", "mmlu_pro_scenario",
        mmlu_pro,
    ),
    *(
        Case(f"{entry}{switches}", name, f"{name}_scenario", make)
        for entry, name, make in (
            ("mmlu_pro:subject=law", "mmlu_pro", mmlu_pro), ("gpqa:subset=main", "gpqa", helm_drawn_sources.gpqa),
        )
        for switches in (
            ",use_few_shot=true", ",use_few_shot=true,use_chain_of_thought=false", ",use_chain_of_thought=false",
            ",use_few_shot=true,max_train_instances=1,num_train_trials=2",
        )
    ),
    Case(
        "summarization_xsum:temperature=0.3,device=cpu", "summarization_xsum_unsampled", "summarization_scenario",
        helm_scenario_cases.summarization_xsum,
    ),
    Case(
        "commonsense:dataset=openbookqa,method=multiple_choice_joint,output_format_instructions=openbookqa",
        "openbookqa", "commonsense_scenario", helm_scenario_cases.openbookqa,
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[helm_peer.Peer]:
    """crfm-helm with all that its run specs import."""
    python = eval_peers.made_venv(helm_run_peer.HELM_RUN, ["crfm-helm==0.5.16"])
    with helm_peer.running("helm_scenario_child.py", {}, tmp_path_factory.mktemp("helm"), python=python) as peer:
        yield peer


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.entry}-{case.window}")
def test_requests_of_an_entry_equal_helms(
    helm: helm_peer.Peer, case: Case, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = case.make(shared, tmp_path)
    window = [case.window, case.window]
    helms = helm.ask({"entry": case.entry.removesuffix(":"), "module": case.module, "window": window, **files})
    assert "error" not in helms, helms["error"]
    root = tmp_path / "root"
    mirror(case.scenario, root, source=tmp_path / "source", layout=case.layout, select=case.select)
    monkeypatch.setenv("HELMFRAME_DATA", str(root))
    plan = hf.entry(case.entry)
    assert isinstance(plan, Plan)
    ours = Counter(requests(plan, case.window))
    theirs = Counter(map(tuple, helms["requests"]))
    equal = (ours & theirs).total()
    equal_to_helm(number_of(case), f"requests of {case.entry}, window {case.window}", equal, theirs.total())
    assert theirs
    assert ours == theirs


def number_of(case: Case) -> str:
    """Return the number of `figures.COMPARED` that the case belongs to."""
    if case.window < 100_000:
        return "11"
    if "blimp" in case.entry and "max_eval_instances" in case.entry:
        return "4"
    if "separate" in case.entry:
        return "2"
    if case.scenario in ("babi_qa", "lsat_qa", "civil_comments") or "only_contrast" in case.entry:
        return "3"
    return "5" if case.scenario in ("bbq", "boolq", "narrative_qa") else "12"


def requests(plan: Plan, window: int) -> list[tuple[Any, ...]]:
    """Return instance id, perturbation, prompt, truncated option, whether it was cut, and the number of examples."""
    tokens = Tokens(byte_tokens.encode, byte_tokens.decode, lambda: "")
    model = Model(
        "bytes", "bytes", lambda prompts, _: ["" for _ in prompts], str, durable=False, takes=None, window=window,
        tokens=tokens, count_tokens=lambda texts: [len(byte_tokens.encode(text)) for text in texts],
        loglikelihood=scored,
    )  # fmt: skip
    frame = plan.generate(model).requests().collect()
    frame = frame.filter(pl.col("changed") | (pl.col("perturbation") == "original"))
    prompt = pl.concat_str("prompt", pl.col("continuation").fill_null(""))
    perturbation = pl.col("perturbation").str.split("(").list.first()
    names = [pl.col("instance_id").str.split("/").list.last(), perturbation]
    option = pl.when("prompt_truncated").then("continuation").alias("option")
    return frame.select(*names, prompt.alias("prompt"), option, "prompt_truncated", "shots_used").rows()


def scored(pairs: Any, _: Any) -> list[Completion]:
    return [Completion(pair.continuation, logprob=-1.0) for pair in pairs]


@pytest.mark.parametrize("window", [(64, 64), (64, 65), (300, 300), (300, 301), (33, 33)], ids=str)
def test_windows_equal_helms_for_any_limit_of_requests(
    helm: helm_peer.Peer, shared: Path, window: tuple[int, int]
) -> None:
    passages = rows_of(shared, "boolq/data/validation-*.parquet")["passage"].head(40).to_list()
    texts = [*passages, "é" * 100, "日本語" * 40, "", "a"]
    helms = helm.ask({"texts": texts, "window": list(window)})
    assert "error" not in helms, helms["error"]
    tokens = Tokens(byte_tokens.encode, byte_tokens.decode, lambda: byte_tokens.PREFIX)
    ours = [
        [[part.context + part.continuation, part.num_conditioning_tokens] for part in windows(text, tokens, *window)]
        for text in texts
    ]
    equal = sum(one == other for one, other in zip(ours, helms["windows"], strict=True))
    equal_to_helm("11", f"windows of texts, {window}", equal, len(texts))
    assert ours == helms["windows"]
