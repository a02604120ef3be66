"""Benchmarks of chat, safety, languages and long contexts: prompts and scores equal those of the defining tool.

The model and the judge are replayed: both sides get the same completions and verdicts.
"""

import csv
import io
import json
import random
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.metrics.ifeval import instructions
from helmframe.metrics.score import score
from helmframe.scenarios.haystacks import RULER, ruler_key, ruler_prose, ruler_rows, ruler_words
from tests.acceptance import eval_peers, helm_peer
from tests.acceptance.benchmarks_chat_child import LETTERS, letter_of
from tests.acceptance.figures import shown
from tests.acceptance.helm_raw_files import kept, rows_of
from tests.demo import ROOT
from tests.frames import completions as completions_frame
from tests.judges import completion_in
from tests.metrics.ifeval.test_instructions import CASES

pytestmark = [pytest.mark.shared, pytest.mark.slow]

N = 50
Rows = list[dict[str, Any]]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    return tmp_path


def peer(folder: Path, **jobs: dict[str, Any]) -> dict[str, Any]:
    """What the other tools give for the jobs, each with the name of its function."""
    file = folder / "jobs.json"
    file.write_text(json.dumps(jobs), encoding="utf-8")
    packages = f"{eval_peers.benchmarks_folder()}:{ROOT}"
    found: dict[str, Any] = eval_peers.asked("benchmarks_chat_child.py", str(file), said={"PYTHONPATH": packages})
    return found


def equal(scenario: str, tool: str, what: str, pairs: Sequence[tuple[object, object]]) -> None:
    """Print the scenario, the tool, and how many of the pairs are equal; all must be."""
    count = sum(ours == theirs for ours, theirs in pairs)
    shown("3", f"{scenario} × {tool}, {what}", f"{count}/{len(pairs)}", "all")
    assert [pair for pair in pairs if pair[0] != pair[1]] == []
    assert pairs


def replayed(plan: hf.Plan, reply: Callable[[str], str], *metrics: object) -> pl.DataFrame:
    """The rows of a plan whose model is a function of the prompt, in the order of the source."""
    order = plan.instances().collect().select("instance_id", "subset", "row_index")
    rows = plan.generate({"replayed": reply}).metrics(*metrics).score().rows()
    joined = rows.join(order, on="instance_id", how="inner", validate="1:1").sort("subset", "row_index")
    assert joined.height == rows.height
    return joined


# -- options, by lm-eval ----------------------------------------------------------------------------------------------


def ceval(data: Path, root: Path) -> list[dict[str, Any]]:
    tasks = []
    with zipfile.ZipFile(data / "raw/ceval/evaluation/ceval/ceval.zip") as archive:
        for subject in ("accountant", "civil_servant"):
            files = {}
            for split in ("dev", "val"):
                text = archive.read(f"{split}/{subject}_{split}.csv").decode()
                rows = [{"explanation": "", **row, "id": int(row["id"])} for row in csv.DictReader(io.StringIO(text))]
                file = f"ceval/{subject}/{split}-0.parquet"
                kept(pl.DataFrame(rows[: N // 2]), root / file)
                files[split] = file
            tasks.append({"task": f"ceval-valid_{subject}", "files": files})
    return tasks


def cmmlu(data: Path, root: Path) -> list[dict[str, Any]]:
    tasks = []
    for subject in ("agronomy", "world_religions"):
        files = {}
        for split in ("dev", "test"):
            frame = pl.read_csv(data / f"raw/cmmlu/data/{split}/{subject}.csv", infer_schema=False)
            file = f"cmmlu/{subject}/{split}-0.parquet"
            kept(frame.head(N // 2).select("Question", *LETTERS, "Answer"), root / file)
            files[split] = file
        tasks.append({"task": f"cmmlu_{subject}", "files": files})
    return tasks


def mmlu(data: Path, split: str, n: int) -> pl.DataFrame:
    return rows_of(data, f"mmlu/philosophy/{split}-*.parquet").head(n)


def mmmlu(data: Path, root: Path) -> list[dict[str, Any]]:
    # lm-eval strips white space from questions, HELM doesn't
    frame = mmlu(data, "test", N).select(
        Question=pl.col("question").str.strip_chars(),
        **{letter: pl.col("choices").list.get(index) for index, letter in enumerate(LETTERS)},
        Answer=pl.col("answer").replace_strict(list(range(4)), list(LETTERS), return_dtype=pl.String),
        Subject=pl.lit("philosophy"),
    )
    kept(frame, root / "mmmlu/DE_DE/test-0.parquet")
    return [{"task": "mmmlu_de_de_philosophy", "files": {"test": "mmmlu/DE_DE/test-0.parquet"}}]


def global_mmlu(data: Path, root: Path) -> list[dict[str, Any]]:
    files = {}
    for split in ("dev", "test"):
        frame = mmlu(data, split, N).select(
            sample_id=pl.format("philosophy/{}/{}", pl.lit(split), pl.int_range(pl.len())),
            subject=pl.lit("philosophy"),
            subject_category=pl.lit("Humanities"),
            question="question",
            **{f"option_{name}": pl.col("choices").list.get(index) for index, name in enumerate("abcd")},
            answer=pl.col("answer").replace_strict(list(range(4)), list(LETTERS), return_dtype=pl.String),
            cultural_sensitivity_label=pl.lit("CA"),
        )
        files[split] = f"global_mmlu/de/{split}-0.parquet"
        kept(frame, root / files[split])
    return [{"task": "global_mmlu_full_de_philosophy", "files": files}]


def long_bench_v2(data: Path, root: Path) -> list[dict[str, Any]]:
    """Questions of MMLU after a text of 200 lines, in the schemas of LongBench v2 and of lm-eval's copy."""
    rows = []
    for index, row in enumerate(mmlu(data, "test", N).iter_rows(named=True)):
        rows.append(
            {
                "_id": f"q{index}", "domain": "Single-Document QA", "sub_domain": "Academic", "difficulty": "hard",
                "length": ("short", "medium", "long")[index % 3], "question": f"{row['question']} ",
                **{f"choice_{letter}": row["choices"][number] for number, letter in enumerate(LETTERS)},
                "answer": LETTERS[row["answer"]], "context": "\n".join(f"Line {index} {line}." for line in range(200)),
            }
        )  # fmt: skip
    frame = pl.DataFrame(rows)
    kept(frame, root / "long_bench_v2/train-0.parquet")
    choices = pl.concat_list(pl.col(f"choice_{letter}") for letter in LETTERS)
    kept(frame.with_columns(choices=choices), root / "lm_eval/train-0.parquet")
    return [{"task": "longbench2_academic_single", "files": {"train": "lm_eval/train-0.parquet"}}]


LM_EVAL_MMMLU = {
    "input_prefix": "", "shots": 0,
    "instructions": "The following are multiple choice questions (with answers) about {subject} ({language}).",
}  # fmt: skip


# scenario, rows, condition, changes of the adapter, examples
CHOICES: list[tuple[str, Callable[[Path, Path], Any], dict[str, Any], dict[str, Any], int]] = [
    ("ceval", ceval, {"split": "valid"}, {}, 5),
    ("ceval", ceval, {"split": "valid"}, {"shots": 0}, 0),
    ("cmmlu", cmmlu, {}, {}, 5),
    ("cmmlu", cmmlu, {}, {"shots": 0}, 0),
    ("mmmlu", mmmlu, {"locale": "DE_DE"}, LM_EVAL_MMMLU, 0),
    ("global_mmlu", global_mmlu, {"language": "de"}, {}, 5),
    ("global_mmlu", global_mmlu, {"language": "de"}, {"shots": 0}, 0),
    ("long_bench_v2", long_bench_v2, {}, {}, 0),
]


def test_options_equal_lm_evals(shared: Path, root: Path) -> None:
    jobs = {
        f"{name} {shots}": {
            "function": "lm_eval_choices", "folder": str(root), "tasks": make(shared, root), "shots": shots,
        }
        for name, make, _, _, shots in CHOICES
    }  # fmt: skip
    theirs = peer(root, **jobs)
    for name, _, where, adapt, shots in CHOICES:
        plan = hf.scenario(name).where(**where)
        ours = replayed(plan.adapt(**adapt) if adapt else plan, letter_of, "exact_match")
        expected = dict(theirs[f"{name} {shots}"]["rows"])
        assert ours.height == N
        assert 0 < ours["exact_match"].sum() < N
        equal(name, "lm-eval", f"prompts, {shots} examples", [(text in expected, True) for text in ours["prompt"]])
        pairs = [(value, expected[text]) for text, value in ours.select("prompt", "exact_match").iter_rows()]
        equal(name, "lm-eval", f"scores, {shots} examples", pairs)


def test_mmmlu_equals_helm(shared: Path, root: Path) -> None:
    (task,) = mmmlu(shared, root)
    question = {
        "entry": "mmmlu:locale=DE_DE,subject=philosophy", "module": "mmmlu_scenario", "window": [10**6] * 2,
        "files": {}, "tables": {"test": str(root / task["files"]["test"])},
    }  # fmt: skip
    with helm_peer.running("helm_scenario_child.py", {}, root, ["datasets"]) as helm:
        requests = helm.ask(question)["requests"]
    plan = hf.scenario("mmmlu", compat="helm").where(locale="DE_DE", subject="philosophy")
    ours = replayed(plan, letter_of, "exact_match")
    equal("mmmlu", "crfm-helm", "prompts", list(zip(ours["prompt"], [request[2] for request in requests], strict=True)))
    ids = [name.rpartition("/")[2] for name in ours["instance_id"]]
    equal("mmmlu", "crfm-helm", "ids", list(zip(ids, [request[0] for request in requests], strict=True)))


# -- RULER, by lm-eval ------------------------------------------------------------------------------------------------


def test_ruler_equals_lm_evals(root: Path) -> None:
    rows, said, jobs = {}, {}, {}
    for task in RULER:
        rows[task] = ruler_rows(task, "4096")[:N]
        answers = [row["target"].split("\n") for row in rows[task]]
        # all outputs, the first of them, none, and one in capitals with control characters around it
        said[task] = [
            [" and ".join(answer), answer[0], "", f"\x00{answer[0].upper()}\t"][index % 4]
            for index, answer in enumerate(answers)
        ]
        jobs[task] = {
            "function": "lm_eval_ruler", "task": task, "length": 4096, "count": N, "words": ruler_words(),
            "prose": ruler_prose(), "completions": said[task], "example_key": ruler_key(task, 4096, -1),
            "keys": [ruler_key(task, 4096, index) for index in range(N)],
        }  # fmt: skip
    theirs = peer(root, **jobs)
    for task in RULER:
        expected = theirs[task]["rows"]
        by_prompt = dict(zip((row["input"] for row in rows[task]), said[task], strict=True))
        plan = hf.scenario(f"ruler_{task}").where(f"row_index < {N}")
        ours = replayed(plan, by_prompt.__getitem__, "ruler_string_match_all")
        name, values = f"ruler_{task}", ours["ruler_string_match_all"]
        equal(name, "lm-eval", "prompts", list(zip(ours["prompt"], [row[0] for row in expected], strict=True)))
        outputs = [row["target"].split("\n") for row in rows[task]]
        equal(name, "lm-eval", "outputs", list(zip(outputs, [row[1] for row in expected], strict=True)))
        equal(name, "lm-eval", "scores", list(zip(values, [row[2] for row in expected], strict=True)))


# -- IFBench, by evalscope --------------------------------------------------------------------------------------------


def ifbench_rows(data: Path) -> tuple[Rows, list[str]]:
    """The 300 prompts with the completion of a model, and with one that is cut, empty or another prompt's."""
    folder = data / "raw/ifbench/data"
    rows = [json.loads(line) for line in (folder / "IFBench_test.jsonl").read_text(encoding="utf-8").splitlines()]
    outputs = [json.loads(line) for line in (folder / "sample_output.jsonl").read_text(encoding="utf-8").splitlines()]
    by_prompt = {output["prompt"]: output["response"] for output in outputs}
    first = [by_prompt.get(row["prompt"], "No response.") for row in rows]
    second = [
        ("", text[:300], outputs[index % len(outputs)]["response"])[index % 3] for index, text in enumerate(first)
    ]
    return [*rows, *rows], [*first, *second]


def source_arguments(name: str) -> dict[str, Any]:
    """The arguments of a case by their names in IFBench."""
    arguments, _, _ = CASES[name]
    named = {{"number": "N", "sentence": "n", "position": "m"}.get(key, key): value for key, value in arguments.items()}
    keywords = named.pop("keywords", [])
    return named | {f"keyword{number}": keyword for number, keyword in enumerate(keywords, 1)}


def test_ifbench_equals_its_own_code(shared: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(eval_peers.benchmarks_folder()))  # emoji and syllapy
    rows, said = ifbench_rows(shared)
    # NLTK's tagger is a download
    keep = [index for index, row in enumerate(rows) if "words:start_verb" not in row["instruction_id_list"]]
    for name, (_, right, wrong) in CASES.items():
        for text in (*right, *wrong):
            if text != text.strip():  # helmframe removes white space at the ends
                continue
            keep.append(len(rows))
            rows.append({"key": "x", "prompt": "x", "instruction_id_list": [name], "kwargs": [source_arguments(name)]})
            said.append(text)
    rows, said = [rows[index] for index in keep], [said[index] for index in keep]
    job = {
        "function": "evalscope_ifbench", "rows": rows, "completions": said, "stop_words": instructions._STOP_WORDS,
    }  # fmt: skip
    theirs = peer(root, job=job)["job"]["rows"]
    kept_rows = [{**row, "key": f"k{index}"} for index, row in enumerate(rows)]
    names = sorted({name for row in kept_rows for kwargs in row["kwargs"] for name in kwargs})
    fields = {
        name: next((type(k[name]) for r in kept_rows for k in r["kwargs"] if k.get(name) is not None), str)
        for name in names
    }
    types = {float: pl.Float64, int: pl.Int64, str: pl.String}
    struct = pl.Struct({("n_1" if name == "n" else name): types.get(fields[name], pl.String) for name in names})
    columns = {
        "key": [row["key"] for row in kept_rows],
        "prompt": [row["prompt"] for row in kept_rows],
        "instruction_id_list": [row["instruction_id_list"] for row in kept_rows],
        "kwargs": [
            [
                {("n_1" if name == "n" else name): k.get(name) for name in names if types.get(fields[name])}
                for k in row["kwargs"]
            ]
            for row in kept_rows
        ],
    }
    kept(
        pl.DataFrame(columns, schema_overrides={"kwargs": pl.List(struct)}, strict=False),
        root / "ifbench/default/train-0.parquet",
    )
    metrics = ["ifeval_prompt_strict", "ifeval_prompt_loose", "ifeval_strict_accuracy", "ifeval_loose_accuracy"]
    instances = hf.scenario("ifbench").instances().collect().sort("row_index")
    prompts = list(zip(instances["input"], [row["prompt"] for row in rows], strict=True))
    equal("ifbench", "evalscope", "prompts", prompts)
    frame = completions_frame(said).with_columns(
        instances["data_instruction_id_list"].alias("instruction_id_list"), instances["data_kwargs"].alias("kwargs")
    )
    ours = score(frame.lazy(), metrics).collect()
    for metric, key in zip(
        metrics, ("prompt_level_strict", "prompt_level_loose", "inst_level_strict", "inst_level_loose"), strict=True
    ):
        values = ours.filter(pl.col("metric") == metric)["score"]
        assert values.null_count() == 0
        pairs = [(value, row[key]) for value, row in zip(values, theirs, strict=True) if row is not None]
        equal("ifbench", "evalscope", key, pairs)
        assert 0 < values.sum() < len(values)


# -- judges, by Inspect -----------------------------------------------------------------------------------------------


def tagged(
    plan: hf.Plan, said: Sequence[str], judge: Callable[[str], str], *templates: Any
) -> tuple[pl.DataFrame, hf.Results]:
    """The rows and results of a plan with these completions in its order, judged by a function of the prompt."""
    prompts = plan.generate({"m": lambda prompt: prompt}).requests().collect().sort("subset", "row_index")["prompt"]
    assert prompts.n_unique() == len(said)
    by_prompt = dict(zip(prompts, said, strict=True))
    judges = [hf.judge(judge, template, name=name, **more) for template, name, more in templates]
    results = plan.generate({"m": by_prompt.__getitem__}).metrics(*judges).score()
    return results.rows().join(pl.DataFrame({"prompt": prompts}).with_row_index(), on="prompt").sort("index"), results


def csv_rows(file: Path) -> Rows:
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))[:N]


GRADES = ("CORRECT", "INCORRECT", "NOT_ATTEMPTED")


def test_simple_qa_equals_inspect(shared: Path, root: Path) -> None:
    rows = csv_rows(shared / "raw/simpleqa/simple_qa_test_set.csv")
    kept(pl.DataFrame(rows), root / "simple_qa/test-0.parquet")
    said = [
        (row["answer"], "Somebody else", "", "I don't know")[index % 4] + f" r{index}" for index, row in enumerate(rows)
    ]
    grades = {text: GRADES[zlib.crc32(text.encode()) % 3] for text in said}
    replies = [["ABC"[GRADES.index(grades[text])]] for text in said]
    job = {"function": "inspect_judged", "benchmark": "simpleqa", "rows": rows, "completions": said, "replies": replies}
    theirs = peer(root, job=job)["job"]

    def judge(prompt: str) -> str:
        return f"<score>{grades[completion_in(prompt)]}</score>"

    attempted = {"scale": {"CORRECT": 1, "INCORRECT": 1, "NOT_ATTEMPTED": 0}}
    ours, results = tagged(
        hf.scenario("simple_qa"), said, judge, ("simple_qa", "right", {}), ("simple_qa", "attempted", attempted)
    )
    equal("simple_qa", "Inspect", "prompts", list(zip(ours["prompt"], [row[0] for row in theirs["rows"]], strict=True)))
    grades_of = [row[1] for row in theirs["rows"]]
    equal(
        "simple_qa",
        "Inspect",
        "correct",
        list(zip(ours["right"], [each["correct"] for each in grades_of], strict=True)),
    )
    attempts_of = [1 - each["not_attempted"] for each in grades_of]
    equal("simple_qa", "Inspect", "attempted", list(zip(ours["attempted"], attempts_of, strict=True)))
    correct, attempts = results.value("right"), results.value("attempted")
    # the F-score is the harmonic mean of correct and of correct given attempted
    pairs = [
        (round(value, 9), round(theirs["summary"][name], 9))
        for name, value in (
            ("correct", correct), ("attempted", attempts), ("correct_given_attempted", correct / attempts),
            ("f_score", 2 * correct / (1 + attempts)),
        )
    ]  # fmt: skip
    equal("simple_qa", "Inspect", "summary", pairs)


def test_strong_reject_equals_inspect(shared: Path, root: Path) -> None:
    rows = csv_rows(shared / "raw/strongreject/data/behavior_datasets/strongreject_dataset.csv")
    kept(pl.DataFrame(rows), root / "strong_reject/test-0.parquet")
    said = [f"{('I cannot help.', 'Sure:', '')[index % 3]} r{index}" for index in range(N)]
    stream = random.Random(0)
    rated = {text: (stream.randint(0, 1), stream.randint(1, 5), stream.randint(1, 5)) for text in said}
    replies = [
        ["#overall_reasoning x\n#scores\n1.a x\n1.b {}\n2.a x\n2.b {}\n3.a x\n3.b {}".format(*rated[text])]
        for text in said
    ]
    job = {
        "function": "inspect_judged",
        "benchmark": "strong_reject",
        "rows": rows,
        "completions": said,
        "replies": replies,
    }
    theirs = peer(root, job=job)["job"]

    def judge(prompt: str) -> str:
        names = ("refusal", "convincingness", "specificity")
        values = zip(names, rated[completion_in(prompt)], strict=True)
        return "\n".join(f"<{name}>{value}</{name}>" for name, value in values)

    ours, results = tagged(hf.scenario("strong_reject"), said, judge, ("strong_reject", "harm", {}))
    equal(
        "strong_reject",
        "Inspect",
        "prompts",
        list(zip(ours["prompt"], [row[0] for row in theirs["rows"]], strict=True)),
    )
    equal(
        "strong_reject", "Inspect", "scores", list(zip(ours["harm"], [row[1] for row in theirs["rows"]], strict=True))
    )
    mean = round(results.value("harm"), 9)
    equal("strong_reject", "Inspect", "mean", [(mean, round(theirs["summary"]["mean"], 9))])


def health_rows() -> Rows:
    """Conversations and rubrics in the schema of HealthBench."""
    stream = random.Random(1)
    return [
        {
            "prompt_id": f"p{index}",
            "prompt": [
                *([{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}] if index % 2 else []),
                {"role": "user", "content": f"Question {index}?"},
            ],
            "rubrics": [
                {"criterion": f"Criterion {number} of {index}", "tags": ["axis:accuracy"],
                 "points": 5 if number == 0 else stream.choice((-8, -2, 3, 7))}
                for number in range(stream.randint(1, 6))
            ],
            "example_tags": ["theme:hedging"],
        }
        for index in range(N)
    ]  # fmt: skip


def test_health_bench_equals_inspect(root: Path) -> None:
    rows = health_rows()
    kept(pl.DataFrame(rows), root / "health_bench/full/test-0.parquet")
    said = [f"{('Rest.', 'See a doctor.', 'Xyz')[index % 3]} r{index}" for index in range(N)]

    def met(completion: str, criterion: str) -> bool:
        return zlib.crc32(f"{completion}{criterion}".encode()) % 2 == 0

    replies = [
        [json.dumps({"explanation": "x", "criteria_met": met(text, rubric["criterion"])}) for rubric in row["rubrics"]]
        for row, text in zip(rows, said, strict=True)
    ]
    job = {
        "function": "inspect_judged",
        "benchmark": "healthbench",
        "rows": rows,
        "completions": said,
        "replies": replies,
    }
    theirs = peer(root, job=job)["job"]["rows"]

    def judge(prompt: str) -> str:
        return f"<score>{str(met(completion_in(prompt), completion_in(prompt, 'criterion'))).lower()}</score>"

    ours, _ = tagged(hf.scenario("health_bench"), said, judge, ("health_bench", "points", {}))
    messages = hf.scenario("health_bench").instances().collect().sort("row_index")["data_messages"].to_list()
    sent = [[[turn["role"], turn["content"]] for turn in conversation] for conversation in messages]
    equal("health_bench", "Inspect", "prompts", list(zip(sent, [row[0] for row in theirs], strict=True)))
    pairs = [(round(value, 9), round(row[1], 9)) for value, row in zip(ours["points"], theirs, strict=True)]
    equal("health_bench", "Inspect", "scores", pairs)
    assert min(ours["points"]) < 0 < max(ours["points"])


# -- pairs, by evalscope ----------------------------------------------------------------------------------------------

VERDICTS = {"A++": "A>>B", "A+": "A>B", "A=B": "A=B", "B+": "B>A", "B++": "B>>A"}


def pairs_of(said: Sequence[str], labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """For each completion the verdict with the baseline first, and the one with the completion first."""
    stream = random.Random(2)
    return {text: (stream.choice(labels), stream.choice(labels)) for text in said}


def pair_judge(verdicts: dict[str, tuple[str, str]]) -> Callable[[str], str]:
    def judge(prompt: str) -> str:
        first, second = completion_in(prompt, "first"), completion_in(prompt, "second")
        return f"<score>{verdicts[first][1] if first in verdicts else verdicts[second][0]}</score>"

    return judge


def test_alpaca_eval_equals_evalscope(shared: Path, root: Path) -> None:
    file = shared / "raw/alpaca_eval/results/text_davinci_003/model_outputs.json"
    rows = json.loads(file.read_text(encoding="utf-8"))[:N]
    columns = ("instruction", "output", "generator", "dataset")
    kept(pl.DataFrame(rows).select(columns), root / "alpaca_eval/eval-0.parquet")
    said = [f"{('Yes.', 'No.', '')[index % 3]} r{index}" for index in range(N)]
    verdicts = pairs_of(said, ("A", "B"))
    letters = {"A": "m", "B": "M"}
    job = {
        "function": "evalscope_pairs", "benchmark": "alpaca_eval", "rows": rows,
        "verdicts": [[letters[verdict] for verdict in verdicts[text]] for text in said],
    }  # fmt: skip
    theirs = peer(root, job=job)["job"]["rows"]
    ours, _ = tagged(hf.scenario("alpaca_eval"), said, pair_judge(verdicts), ("alpaca_eval", "wins", {}))
    equal("alpaca_eval", "evalscope", "prompts", list(zip(ours["prompt"], [row[0] for row in theirs], strict=True)))
    equal("alpaca_eval", "evalscope", "scores", list(zip(ours["wins"], [row[2] for row in theirs], strict=True)))


@pytest.mark.parametrize("release", ["v0.1", "v2.0"])
def test_arena_hard_equals_evalscope(release: str, shared: Path, root: Path) -> None:
    file = shared / f"raw/arena_hard/data/arena-hard-{release}/question.jsonl"
    questions = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:N]]
    rows = [
        {"uid": row["uid"], "category": row["category"], "topic": "x", "prompt": row["prompt"], "baseline_model": "b",
         "baseline": f"Baseline {index}"}
        for index, row in enumerate(questions)
    ]  # fmt: skip
    kept(pl.DataFrame(rows), root / f"arena_hard/{release}/test-0.parquet")
    said = [f"{('Yes.', 'No.', '')[index % 3]} r{index}" for index in range(N)]
    verdicts = pairs_of(said, list(VERDICTS))
    job = {
        "function": "evalscope_pairs", "benchmark": "arena_hard",
        "rows": [{"question": row["prompt"], "prediction": row["baseline"], "capability": "x"} for row in rows],
        "verdicts": [[VERDICTS[verdict] for verdict in verdicts[text]] for text in said],
    }  # fmt: skip
    theirs = peer(root, job=job)["job"]
    plan = hf.scenario("arena_hard").where(release=release)
    ours, results = tagged(plan, said, pair_judge(verdicts), ("arena_hard", "wins", {}))
    equal(
        "arena_hard",
        "evalscope",
        f"prompts of {release}",
        list(zip(ours["prompt"], [row[0] for row in theirs["rows"]], strict=True)),
    )
    values = dict(zip(VERDICTS, (1, 0.75, 0.5, 0.25, 0), strict=True))
    expected = [(values[own] + 1 - values[base]) / 2 for base, own in (verdicts[text] for text in said)]
    assert ours["wins"].to_list() == expected
    win_rate = results.verdicts.select(win_rate_of_leaderboard()).collect().item()
    equal("arena_hard", "evalscope", f"win rate of {release}", [(round(win_rate, 3), round(theirs["win_rate"], 3))])


def win_rate_of_leaderboard() -> pl.Expr:
    """The win rate of the leaderboard from verdicts: a clear verdict counts three times, a tie half."""
    value = pl.col("value")
    weight = pl.when(value.is_in([0.0, 1.0])).then(3).otherwise(1)
    won = pl.when(value > 0.5).then(1.0).when(value < 0.5).then(0.0).otherwise(0.5)
    return (weight * won).sum() / weight.sum()
