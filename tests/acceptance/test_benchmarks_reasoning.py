"""Benchmarks of reasoning, knowledge and code: prompts and scores equal those of the tool that each spec follows."""

import ast
import base64
import csv
import gzip
import io
import json
import pickle
import sys
import sysconfig
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from tests.acceptance import eval_peers, helm_peer, helm_run_peer
from tests.acceptance.benchmarks_child import rated
from tests.acceptance.figures import shown

pytestmark = [pytest.mark.slow, pytest.mark.shared]

EVALS = Path(sys.prefix) / ".evals"
PACKAGES = ["inspect-evals==0.26.0", "evalscope==1.14.1", "backoff", "colorlog", "editdistance", "filetype"]
ROWS = 50
Row = dict[str, Any]


@dataclass(frozen=True)
class Subset:
    """The rows of a subset, and the replies to them.

    Args:
        path: The Parquet file below the root, as in the spec.
        rows: The rows of the source.
        replies: One reply for each instance; empty for options that are rated by their likelihood.
        task: The YAML file of lm-eval's task.
        split: The split that lm-eval's task reads.
        more: More rows for lm-eval, by split.
        hidden: Rows of the source that the scenario leaves out; they follow the others.
        schema: The types of columns that Polars doesn't infer.
    """

    path: str
    rows: Sequence[Row]
    replies: Sequence[str] = ()
    task: str = ""
    split: str = "test"
    more: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    hidden: Sequence[Row] = ()
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """A scenario, the tool that it follows, and the names of its metrics there: ours → the tool's."""

    scenario: str
    tool: str
    make: Callable[[Path], Sequence[Subset]]
    metrics: dict[str, str]


def mixed(answers: Sequence[str], forms: Sequence[str]) -> list[str]:
    """Return a reply for each answer, in turn right, wrong and malformed: `{right}` is it, `{wrong}` another one."""
    replies = []
    for number, answer in enumerate(answers):
        others = [other for other in answers if other != answer] or ["0"]
        form = forms[number % len(forms)]
        replies.append(form.replace("{right}", answer).replace("{wrong}", others[number % len(others)]))
    return replies


def lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


AIME = (
    "So we get it.\nANSWER: {right}", "ANSWER: {wrong}", "$$\n\\boxed{{right}}\n$$", "I don't know.", "",
    "It is \\boxed{{right}}.", "**ANSWER: 0{right}.**", "ANSWER: x={right}", "{right}\nor {wrong}",
    "ANSWER: ${right}.00", "ANSWER: {right}\n\n---",
)  # fmt: skip


def aime_2024(raw: Path) -> list[Subset]:
    rows = [
        {
            "ID": f"2024-{row['id']}",
            "Problem": row["problem"],
            "Solution": row["solution"],
            "Answer": int(row["answer"]),
        }
        for row in lines(raw / "aime_2024/data/aime24/test.jsonl")
    ] * 2
    return [Subset("aime_2024/default/train-0.parquet", rows, mixed([str(row["Answer"]) for row in rows], AIME))]


def aime_2025(raw: Path) -> list[Subset]:
    rows = [
        {"id": row["id"], "problem": row["problem"], "answer": row["answer"]}
        for row in lines(raw / "aime_2025/data/aime25/test.jsonl")
    ] * 2
    return [Subset("aime_2025/default/test-0.parquet", rows, mixed([row["answer"] for row in rows], AIME))]


def aime_2026(_: Path) -> list[Subset]:
    rows = [{"id": str(n), "problem": f"Find ${n}^2$.", "answer": str(n * n % 1000)} for n in range(1, ROWS + 1)]
    return [Subset("aime_2026/default/test-0.parquet", rows, mixed([row["answer"] for row in rows], AIME))]


BBH = (
    "First, we look. So the answer is {right}.", "So the answer is {wrong}.", "The answer is {right}.", "",
    "I think so. so the answer is {right}", "It can't be. the answer is {right}. No, the answer is {wrong}.",
    "So the answer is {right}.\n\nQ: more", "So the answer is  {right} .",
)  # fmt: skip


def big_bench_hard(raw: Path) -> list[Subset]:
    subsets = []
    for number, file in enumerate(sorted((raw / "big_bench_hard/bbh").glob("*.json"))):
        examples = json.loads(file.read_text(encoding="utf-8"))["examples"][number : number + 4]
        prompt = (
            (raw / f"big_bench_hard/cot-prompts/{file.stem}.txt").read_text(encoding="utf-8").split("-----\n", 1)[1]
        )
        rows = [{**example, "prompt": prompt} for example in examples]
        forms = BBH[number % len(BBH) :] + BBH
        replies = mixed([row["target"] for row in rows], forms)
        task = f"bbh/cot_fewshot/{file.stem}.yaml"
        subsets.append(Subset(f"big_bench_hard/{file.stem}/test-0.parquet", rows, replies, task))
    return subsets


BBEH = (
    "Step by step. The answer is: {right}", "The answer is: {wrong}", "The answer is: **{right}**.", "I can't say.",
    "The final answer is $\\boxed{{right}}$.", "the answer is {right}", "{right}", "", "The answer is ({right})",
    "The answer is: {right}?", "The answer is: {wrong}. No. The answer is: {right}\nas above",
)  # fmt: skip


def bbeh(raw: Path) -> list[Subset]:
    rows = []
    for task in ("nycc", "disambiguation_qa"):
        file = raw / f"bbeh/bbeh/benchmark_tasks/bbeh_{task}/task.json"
        examples = json.loads(file.read_text(encoding="utf-8"))["examples"][:25]
        rows += [{"task": task.replace("_", " "), **example, "mini": False} for example in examples]
    rows = [{key: row[key] for key in ("task", "input", "target", "mini")} for row in rows]
    return [Subset("bbeh/default/train-0.parquet", rows, mixed([row["target"] for row in rows], BBEH))]


def musr(raw: Path) -> list[Subset]:
    names = {"murder_mystery": "murder_mysteries", "object_placements": "object_placements"}
    subsets = []
    for name, domain in {**names, "team_allocation": "team_allocation"}.items():
        stories = json.loads((raw / f"musr/viewer/small_datasets/small_{name}.json").read_text(encoding="utf-8"))
        rows = [
            musr_row(story["context"], question["question"], question["choices"], question["answer"])
            for story in stories
            for question in story["questions"]
        ]
        options = ["Ada's", 'the "old" one', "both", "it's \"new\", isn't it", "a\\b"]
        rows += [musr_row(f"Story {n}.", "Who?", options[n % 3 :], n % 2) for n in range(8)]
        task = f"leaderboard/musr/musr_{domain}.yaml"
        subsets.append(Subset(f"musr/default/{domain}-0.parquet", rows, (), task, domain))
    return subsets


def musr_row(narrative: str, question: str, choices: Sequence[str], answer: int) -> Row:
    return {
        "narrative": narrative, "question": question, "choices": str(list(choices)), "answer_index": answer,
        "answer_choice": choices[answer],
    }  # fmt: skip


DROP = (
    "{right}", "{wrong}", "the {right}", "{right} in all. That is it.", "", "It is {right}", "{right} and {wrong}",
    "unknown", "{right}.0",
)  # fmt: skip
DATE = {"day": "", "month": "", "year": ""}


def drop(raw: Path) -> list[Subset]:
    files = ("DROP/drop_contrast_sets_test.json", "test_fixtures/rc/drop.json")
    rows = []
    for number, file in enumerate(files):
        passages = json.loads((raw / "drop" / file).read_text(encoding="utf-8"))
        pairs = [(text["passage"], pair) for text in passages.values() for pair in text["qa_pairs"]]
        rows += [drop_row(passage, pair) for passage, pair in pairs[:: 1 if number else len(pairs) // 40]]
    answers = [
        {"number": "", "date": {"day": "1", "month": "May", "year": ""}, "spans": []},
        {"number": "", "date": {}, "spans": []},
        {"number": "", "date": {}, "spans": ["The Bears", "Lions", "35-yard run"]},
    ]
    validated = [
        {"number": "", "date": {}, "spans": ["Bears", "the Lions"]},
        {"number": "7", "date": {}, "spans": []},
    ]
    for number, answer in enumerate(answers):
        pair = {"query_id": f"q{number}", "question": "Which?", "answer": answer, "validated_answers": validated}
        rows.append(drop_row("Two teams played.", pair))
    texts = [" ".join(row["answer"]["spans"]) or row["answer"]["number"] or "1 May" for row in rows]
    path, replies, more = "drop/default/validation-0.parquet", mixed(texts, DROP), {"train": rows[-1:]}
    return [Subset(path, rows, replies, "drop/default.yaml", "validation", more)]


def drop_row(passage: str, pair: Row) -> Row:
    answers = [
        {"number": given["number"], "date": DATE | given["date"], "spans": given["spans"]}
        for given in (pair["answer"], *pair.get("validated_answers", ()))
    ]
    validated = {key: [answer[key] for answer in answers[1:]] for key in ("number", "date", "spans")}
    return {
        "query_id": pair["query_id"], "passage": passage, "question": pair["question"], "answer": answers[0],
        "validated_answers": validated,
    }  # fmt: skip


MGSM = (
    "Step by step. The answer is {right}.", "{wrong}", "It is ${right}.00", "{right} eggs", "none", "",
    "first {wrong}, then {right}!", "{right} ...", "-{right}", "1,{right}",
)  # fmt: skip
LANGUAGES = ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh")


def mgsm(raw: Path) -> list[Subset]:
    subsets = []
    for number, language in enumerate(LANGUAGES):
        text = (raw / f"mgsm/mgsm/mgsm_{language}.tsv").read_text(encoding="utf-8")
        pairs = [line.split("\t") for line in text.splitlines()[number * 5 : number * 5 + 5]]
        rows = [
            {"question": question, "answer": None, "answer_number": int(answer.replace(",", ""))}
            for question, answer in pairs
        ]
        replies = mixed([str(row["answer_number"]) for row in rows], MGSM[number % len(MGSM) :] + MGSM)
        task = f"mgsm/native_cot/mgsm_native_cot_{language}.yaml"
        path = f"mgsm/{language}/test-0.parquet"
        subsets.append(Subset(path, rows, replies, task, more={"train": rows[:1]}, schema={"answer": pl.String}))
    return subsets


GRIDS = (
    "{right}", "{wrong}", "The output is {right}.", "```json\n{right}\n```", "", "I see no rule.", "[]",
    "First {wrong}, then {right}", "{right}]", "```\nno grid\n```\n{right}",
)  # fmt: skip


def arc_agi_1(raw: Path) -> list[Subset]:
    files = sorted((raw / "arc_agi_1/data/evaluation").glob("*.json"))
    rows = [json.loads(file.read_text(encoding="utf-8")) for file in files[:: len(files) // ROWS][:ROWS]]
    answers = [json.dumps(pair["output"]) for row in rows for pair in row["test"]]
    return [Subset("arc_agi_1/test-0.parquet", rows, mixed(answers, GRIDS))]


def hle(_: Path) -> list[Subset]:
    rows = [
        {
            "id": f"q{n}", "question": f"Which number is the square of {n}?",
            "image": "" if n % 4 else "data:image/png;base64,",
            "answer": str(n * n), "answer_type": "exactMatch", "rationale": "", "raw_subject": "Mathematics",
            "category": "Math", "author_name": "",
        }
        for n in range(ROWS * 2)
    ]  # fmt: skip
    pictures = [row for row in rows if row["image"]]
    rows = [row for row in rows if not row["image"]][:ROWS]
    forms = ("Explanation: easy.\nAnswer: {right}\nConfidence: 90%",)
    replies = mixed([row["answer"] for row in rows], forms)
    return [Subset("hle/data/test-0.parquet", rows, replies, hidden=pictures)]


GPQA = (
    "Step by step.\nANSWER: {right}", "ANSWER: {wrong}", "The answer is ({right}).", "",
    "the best option is $\\boxed{{right}}$.", "{right}", "I can't decide.", "The correct answer is value {right}.",
    "Answer: {wrong}\nNo.\nAnswer: **{right}**", "answer: {right}, as {wrong} is wrong", "({right})",
    "ANSWER: [{right}]",
)  # fmt: skip


def super_gpqa(_: Path) -> list[Subset]:
    rows: list[Row] = [
        {
            "uuid": f"u{n}", "question": f"What is {n} + {n}?",
            "options": [f"value {letter}" for letter in "ABCDEFGHIJ"],
            "answer": f"value {'ABCDEFGHIJ'[n % 10]}", "answer_letter": "ABCDEFGHIJ"[n % 10],
            "discipline": ("Science", "Law", "Literature and Arts")[n % 3], "field": "Mathematics",
            "difficulty": "easy",
        }
        for n in range(ROWS + 10)
    ]  # fmt: skip
    rows = sorted(rows, key=lambda row: row["discipline"])
    return [Subset("super_gpqa/default/train-0.parquet", rows, mixed([row["answer_letter"] for row in rows], GPQA))]


REDUX = (
    "{right}",
    "{wrong}",
    "The answer is {right}.",
    "{right}) because",
    "I don't know",
    "",
    " {right}\n",
    "none of these",
)


def mmlu_redux(raw: Path) -> list[Subset]:
    subsets = []
    for number, file in enumerate(sorted((raw / "mmlu_redux/mmlu_redux").glob("*.csv"))):
        text = file.read_text(encoding="latin-1" if "moral_scenarios" in file.name else "utf-8-sig")
        delimiter = ";" if text.startswith("question;") else ","
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        checked = [row for row in table if row["error_type"].strip().lower() == "ok"]
        row = checked[number % len(checked)]
        rows = [
            {
                "question": row["question"], "choices": ast.literal_eval(row["choices"]), "answer": int(row["answer"]),
                "error_type": "ok",
            }
        ]  # fmt: skip
        subject = file.stem.removeprefix("mmlu_")
        wrong = {"question": "Broken?", "choices": list("abcd"), "answer": 0, "error_type": "wrong_groundtruth"}
        right, other = "ABCD"[rows[0]["answer"]], "ABCD"[rows[0]["answer"] - 1]
        replies = [REDUX[number % len(REDUX)].replace("{right}", right).replace("{wrong}", other)]
        task = f"mmlu-redux/generative/mmlu_{subject}.yaml"
        subsets.append(Subset(f"mmlu_redux/{subject}/test-0.parquet", rows, replies, task, hidden=[wrong]))
    return subsets


def ar_lsat(raw: Path) -> list[Subset]:
    passages = json.loads((raw / "ar_lsat/data/AR_TestData.json").read_text(encoding="utf-8"))
    rows = []
    for passage in passages:
        for question in passage["questions"]:
            choices = [f"({letter}){text}" for letter, text in zip("ABCDE", question["options"], strict=False)]
            query = (
                f"{passage['passage']}\nQ: {question['question']} Answer Choices: {' '.join(choices)}\nA: The answer is"
            )
            rows.append({"query": query, "choices": choices, "gold": ["ABCDE".index(question["answer"])]})
    return [Subset("ar_lsat/default/test-0.parquet", rows[:ROWS], (), "agieval/lsat-ar.yaml")]


def medqa_4options(raw: Path) -> list[Subset]:
    rows = []
    for row in lines(raw / "medqa/data/medqa/test.jsonl")[:ROWS]:
        options = row["options"] if isinstance(row["options"], dict) else ast.literal_eval(row["options"])
        endings = {f"ending{index}": options[letter] for index, letter in enumerate("ABCD")}
        rows.append(
            {"id": str(row["realidx"]), "sent1": row["question"], **endings, "label": "ABCD".index(row["answer_idx"])}
        )
    more = {"train": rows[:1], "validation": rows[:1]}
    return [Subset("medqa_4options/default/test-0.parquet", rows, (), "medqa/medqa.yaml", more=more)]


def humaneval_plus(raw: Path) -> list[Subset]:
    with gzip.open(raw / "humaneval_plus/HumanEvalPlus.jsonl.gz", "rt", encoding="utf-8") as text:
        real = [json.loads(line) for line in text][: ROWS // 2]
    keys = ("task_id", "prompt", "canonical_solution", "entry_point", "test")
    rows = [{key: row[key] for key in keys} for row in real]
    replies = [("    return None\n", "    return (\n", "I can't.")[number % 3] for number in range(len(rows))]
    for n in range(ROWS // 2):
        name = f"third_{n}"
        pairs = [([n], n / 3), ([n + 1], (n + 1) / 3)]
        check = f"    for arguments, wanted in {pairs}:\n        assertion(candidate(*arguments), wanted, 0)\n"
        test = f"{EVAL_PLUS}\ndef check(candidate):\n{check}"
        rows.append(
            {
                "task_id": f"Plus/{n}", "prompt": f'def {name}(x):\n    """Return a third of x."""\n',
                "canonical_solution": "    return x / 3\n", "entry_point": name, "test": test,
            }
        )  # fmt: skip
        bodies = (
            "    return x / 3\n",
            "    return x * 0.33333333\n",
            "    return x * 0.3\n",
            "    return x /\n",
            "    return x / 3\n\ndef g(): 0",
        )
        replies.append(bodies[n % len(bodies)])
    return [Subset("humaneval_plus/default/test-0.parquet", rows, replies, "humaneval/humaneval_plus.yaml")]


EVAL_PLUS = """
import numpy as np

def is_floats(x):
    if isinstance(x, float):
        return True
    if isinstance(x, (list, tuple)):
        return all(isinstance(i, float) for i in x)
    return isinstance(x, np.ndarray) and x.dtype in (np.float64, np.float32)

def assertion(out, exp, atol):
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if out != exp and atol != 0:
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert out == exp
"""


def mbpp(raw: Path) -> list[Subset]:
    real = lines(raw / "mbpp/mbpp/mbpp.jsonl")
    keys = ("task_id", "text", "code", "test_list")
    examples = [{key: row[key] for key in keys} for row in real[:10]]
    rows = [{key: row[key] for key in keys} for row in real if 11 <= row["task_id"] <= 510][: ROWS // 2]
    replies = [("def f(x):\n    return x\n[DONE]\n", "def f(", "I can't.")[number % 3] for number in range(len(rows))]
    for n in range(ROWS // 2):
        rows.append(
            {
                "task_id": 1000 + n, "text": f"Write a function to add {n}.", "code": f"def add(x):\n  return x + {n}",
                "test_list": [f"assert add({x}) == {x + n}" for x in range(3)],
            }
        )  # fmt: skip
        bodies = (
            f"def add(x):\n  return x + {n}\n[DONE]\nmore",
            f"def add(x):\n  return x - {n} - 1",
            "def add(x) return x",
            "",
        )
        replies.append(bodies[n % len(bodies)])
    return [
        Subset("mbpp/full/prompt-0.parquet", examples),
        Subset("mbpp/full/test-0.parquet", rows, replies, "mbpp/mbpp.yaml"),
    ]


def mbpp_plus(raw: Path) -> list[Subset]:
    del raw
    rows, replies = [], []
    for n in range(ROWS):
        inputs, results = [[x] for x in range(20)], [x * n / 7 for x in range(20)]
        calls = "\nfor i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(scale(*inp), exp, 0)\n"
        rows.append(
            {
                "task_id": n, "code": f"def scale(x):\n    return x * {n} / 7", "source_file": "",
                "prompt": f"Write a function to scale by {n}/7.", "test_imports": ["import math"],
                "test_list": [f"assert math.isclose(scale(7), {n})", f"assert scale(0) == {0 * n / 7}"],
                "test": f"{EVAL_PLUS}\ninputs = {inputs}\nresults = {results}\n{calls}",
            }
        )  # fmt: skip
        right = f"def scale(x):\n    return x * {n} / 7\n"
        constant = f"def scale(x):\n    return {n} if x == 7 else 0.0\n"
        bodies = (
            f"Here it is:\n```python\n{right}```\nIt scales.", f"```\n{right}```", f"```python\n{constant}```",
            "```python\ndef scale(x)\n```", f"```python\n{right}", "```python\ndef scale(x):\n    return None\n```",
        )  # fmt: skip
        replies.append(bodies[n % len(bodies)])
    return [Subset("mbpp_plus/default/test-0.parquet", rows, replies)]


def live_code_bench(_: Path) -> list[Subset]:
    rows, replies = [], []
    for n in range(ROWS):
        called = n % 2 == 1
        inputs = [f"{x}\n{n}" for x in range(3)]
        outputs = [f"{x + n}" if called or x else f"{x + n}.0\n" for x in range(3)]
        cases = [
            {"input": given, "output": wanted, "testtype": "functional" if called else "stdin"}
            for given, wanted in zip(inputs, outputs, strict=True)
        ]
        private = json.dumps(cases[1:])
        packed = base64.b64encode(zlib.compress(pickle.dumps(private))).decode()
        starter = "class Solution:\n    def total(self, a: int, b: int) -> int:\n        "
        rows.append(
            {
                "question_title": f"add {n}", "question_content": f"Add two numbers, such as {n} and 1.",
                "platform": "leetcode" if called else "atcoder", "question_id": str(n),
                "contest_date": f"2024-01-{1 + n % 28:02}T00:00:00", "starter_code": starter if called else "",
                "difficulty": "easy", "public_test_cases": json.dumps(cases[:1]),
                "private_test_cases": private if n % 4 == 0 else packed,
                "metadata": json.dumps({"func_name": "total"} if called else {}),
            }
        )  # fmt: skip
        programs = (
            f"{starter}return a + b" if called else "a, b = int(input()), int(input())\nprint(a + b)",
            f"{starter}return a - b" if called else "print(1)",
            f"{starter}return a +" if called else "print(int(input()) + int(input()",
            f"from math import *\n{starter}return (a + b)"
            if called
            else "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
            "def total(a, b):\n    return a + b" if called else "print(sum(int(input()) for _ in range(2)), end='')",
            f"{starter}raise ValueError" if called else "raise ValueError",
        )
        forms = (
            "```python\n{}\n```",
            "Like this:\n```python\n{}\n```\nIt adds.",
            "```\nfirst\n```\nor\n```python\n{}\n```",
            "{}",
            "```python\n{}",
        )
        replies.append(forms[n % len(forms)].replace("{}", programs[n % len(programs)]))
    return [Subset("live_code_bench/v1/test-0.parquet", rows, replies)]


STATED = "regex_match(pattern='the answer is (.*).')"
FLEXIBLE = "regex_match(ignore_punctuation=True, last=True, pattern='-?[$0-9.,]{2,}|-?[0-9]+')"
BY_LIKELIHOOD = {"option_accuracy": "acc,none", "option_accuracy_per_character": "acc_norm,none"}
BENCHMARKS = [
    Benchmark("aime_2024", "Inspect", aime_2024, {"aime_match": "aime_scorer"}),
    Benchmark("aime_2025", "Inspect", aime_2025, {"aime_match": "aime_scorer"}),
    Benchmark("aime_2026", "Inspect", aime_2026, {"aime_match": "aime_scorer"}),
    Benchmark("big_bench_hard", "lm-eval", big_bench_hard, {STATED: "exact_match,get-answer"}),
    Benchmark("bbeh", "Inspect", bbeh, {"bbeh_match": "bbeh_scorer"}),
    Benchmark("musr", "lm-eval", musr, {"option_accuracy_per_character": "acc_norm,none"}),
    Benchmark("drop", "lm-eval", drop, {"drop_f1": "f1,none", "drop_em": "em,none"}),
    Benchmark("mgsm", "lm-eval", mgsm, {FLEXIBLE: "exact_match,flexible-extract"}),
    Benchmark("arc_agi_1", "evalscope", arc_agi_1, {"grid_match": "acc"}),
    Benchmark("hle", "Inspect", hle, {}),
    Benchmark("super_gpqa", "evalscope", super_gpqa, {"super_gpqa_match": "acc"}),
    Benchmark("mmlu_redux", "lm-eval", mmlu_redux, {"choice_match(pattern='([ABCD])')": "exact_match,default"}),
    Benchmark("ar_lsat", "lm-eval", ar_lsat, BY_LIKELIHOOD),
    Benchmark("medqa_4options", "lm-eval", medqa_4options, {"option_accuracy": "acc,none"}),
    Benchmark("humaneval_plus", "lm-eval", humaneval_plus, {"pass": "pass@1,create_test"}),
    Benchmark("mbpp", "lm-eval", mbpp, {"pass": "pass_at_1,none"}),
    Benchmark("mbpp_plus", "evalscope", mbpp_plus, {"pass": "acc"}),
    Benchmark("live_code_bench", "evalscope", live_code_bench, {"live_code_bench_pass": "pass@1"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def raw(shared: Path) -> Path:
    return shared / "raw"


@pytest.fixture(scope="module")
def tools(raw: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Row]:
    """Prompts and scores of the selected benchmarks by the tools, by scenario."""
    folder = tmp_path_factory.mktemp("tools")
    selected = [str(item.name) for item in request.session.items]
    benchmarks = [each for each in BENCHMARKS if any(name.endswith(f"[{each.scenario}]") for name in selected)]
    cases = [case_of(benchmark, benchmark.make(raw), folder) for benchmark in benchmarks]
    (folder / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    eval_peers.asked("benchmarks_child.py", str(folder), python=evals_python())
    answers = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    return {benchmark.scenario: answer for benchmark, answer in zip(benchmarks, answers, strict=True)}


def evals_python() -> str:
    """The Python of a venv with Inspect's evals and evalscope, which sees lm-eval's; made if it isn't there."""
    peers = Path(eval_peers.peers_python()).parents[1]
    python = eval_peers.made_venv(EVALS, ["--no-deps", *PACKAGES])
    site = sysconfig.get_path("purelib", vars={"base": str(EVALS), "platbase": str(EVALS)})
    packages = sysconfig.get_path("purelib", vars={"base": str(peers), "platbase": str(peers)})
    (Path(site) / "peers.pth").write_text(f"{packages}\n", encoding="utf-8")
    return python


def case_of(benchmark: Benchmark, subsets: Sequence[Subset], folder: Path) -> Row:
    """The benchmark for the script that runs the tools."""
    case: Row = {"tool": benchmark.tool, "name": benchmark.scenario}
    if benchmark.tool != "lm-eval":
        (subset,) = subsets
        return {**case, "rows": subset.rows, "replies": subset.replies}
    tasks = []
    for number, subset in enumerate(subset for subset in subsets if subset.task):
        name, data = f"{benchmark.scenario}_{number}", {}
        for split, rows in {**subset.more, subset.split: subset.rows}.items():
            data[split] = str(folder / f"{name}_{split}.jsonl")
            Path(data[split]).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        tasks.append({"name": name, "file": subset.task, "data": data, "replies": list(subset.replies)})
    return {**case, "tasks": tasks}


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.scenario)
def test_3_prompts_and_scores_equal_the_tools(
    benchmark: Benchmark, raw: Path, tools: dict[str, Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hf.configure(allow_code=True)
    subsets = benchmark.make(raw)
    for subset in subsets:
        file = tmp_path / subset.path
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = [*subset.rows, *subset.hidden]
        pl.DataFrame(rows, schema_overrides=subset.schema, infer_schema_length=None).write_parquet(file)
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    theirs = tools[benchmark.scenario]
    plan = hf.scenario(benchmark.scenario)
    requests = in_order(plan.requests().collect(), [subset.path for subset in subsets])
    tasks = [subset for subset in subsets if subset.task or benchmark.tool != "lm-eval"]
    if "reference_index" in requests.columns and requests["reference_index"].null_count() == 0:
        replies = options(benchmark, tasks, requests)
        requests = requests.unique(["subset", "instance_id"], keep="first", maintain_order=True)
    else:
        texts = [reply for subset in tasks for reply in subset.replies]
        assert len(texts) == requests.height
        replies = requests.select("instance_id", completion=pl.Series(texts))
    prompts = requests["prompt"].to_list()
    equal = sum(map(str.__eq__, prompts, theirs["prompts"]))
    shown("3", f"{benchmark.scenario} × {benchmark.tool}, equal prompts", f"{equal}/{len(prompts)}", "all")
    assert len(prompts) >= ROWS
    assert prompts == theirs["prompts"]
    results = plan.metrics(*(benchmark.metrics or ["exact_match"])).generate(hf.models.replay(replies)).score()
    scores = results.scores.collect()
    for ours, name in benchmark.metrics.items():
        by_instance = dict(scores.filter(pl.col("metric") == ours).select("instance_id", "score").iter_rows())
        values = [by_instance[instance] for instance in requests["instance_id"]]
        equal = sum(value == pytest.approx(score) for value, score in zip(values, theirs["scores"][name], strict=True))
        mean = sum(theirs["scores"][name]) / len(values)
        what = f"{benchmark.scenario} × {benchmark.tool}, equal scores of {name} (mean {mean:.2f})"
        shown("3", what, f"{equal}/{len(values)}", "all")
        assert 0 < mean < 1
        assert values == pytest.approx(theirs["scores"][name])


def in_order(requests: pl.DataFrame, paths: Sequence[str]) -> pl.DataFrame:
    """The requests in the order of the files and of their rows."""
    places = {
        subset: next((number for number, path in enumerate(paths) if f"/{subset}/" in path or f"/{subset}-" in path), 0)
        for subset in requests["subset"].unique()
    }
    number = pl.col("subset").replace_strict(places, return_dtype=pl.Int64)
    return requests.sort(number, "row_index", "reference_index", maintain_order=True)


def options(benchmark: Benchmark, subsets: Sequence[Subset], requests: pl.DataFrame) -> pl.DataFrame:
    """Replies with the log-probabilities by which the tool rates the options."""
    numbers = [(number, row) for number, subset in enumerate(subsets) for row in range(len(subset.rows))]
    instances = requests["instance_id"].unique(maintain_order=True).to_list()
    keys = dict(zip(instances, numbers, strict=True))
    logprobs = [
        rated(f"{benchmark.scenario}_{keys[instance][0]}", keys[instance][1], option)
        for instance, option in requests.select("instance_id", "reference_index").iter_rows()
    ]
    return requests.select(
        "instance_id", "reference_index", completion="continuation", logprob=pl.Series(logprobs, dtype=pl.Float64)
    )


def test_3_big_code_bench_has_helms_prompts(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del raw
    rows = [
        {
            "task_id": f"BigCodeBench/{n}", "complete_prompt": "", "doc_struct": "{}",
            "instruct_prompt": f"Write a function that returns {n}.\nYou should write code.",
            "canonical_solution": f"    return {n}", "code_prompt": "def task_func():\n", "entry_point": "task_func",
            "test": "import unittest", "libs": "['pandas']",
        }
        for n in range(ROWS)
    ]  # fmt: skip
    file = tmp_path / "big_code_bench/data/v0.1.3-0.parquet"
    file.parent.mkdir(parents=True)
    pl.DataFrame(rows).write_parquet(file)
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    python = eval_peers.made_venv(helm_run_peer.HELM_RUN, ["crfm-helm==0.5.16"])
    question = {
        "entry": "bigcodebench:version=v0.1.3", "module": "bigcodebench_scenario", "window": [1_000_000, 1_000_000],
        "files": {}, "tables": {"v0.1.3": str(file)},
    }  # fmt: skip
    with helm_peer.running("helm_scenario_child.py", {}, tmp_path, python=python) as peer:
        answer = peer.ask(question)
    assert "error" not in answer, answer["error"]
    plan = hf.scenario("big_code_bench").where(release="v0.1.3")
    prompts = plan.requests().collect().sort("row_index")["prompt"].to_list()
    theirs = [request[2] for request in answer["requests"]]
    equal = sum(map(str.__eq__, prompts, theirs))
    shown("3", "big_code_bench × HELM, equal prompts", f"{equal}/{len(prompts)}", "all")
    assert prompts == theirs
