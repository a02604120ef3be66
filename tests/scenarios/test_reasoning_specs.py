"""The SELECTs of the reasoning, knowledge and code benchmarks on rows in the layout of their sources."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.load import load, load_train

Rows = Sequence[Mapping[str, Any]]
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """A function that writes rows to a file of the data root."""
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))

    def written(path: str, rows: Rows, **types: Any) -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(rows, schema_overrides=types).write_parquet(file)

    return written


def instances(name: str) -> list[dict[str, Any]]:
    return pl.concat(load(find_scenario(name))).sort("subset", "row_index").to_dicts()


def texts(row: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(reference["text"], reference["correct"]) for reference in row["references"]]


def test_big_bench_hard_takes_its_examples_from_the_prompt_of_the_task(write: Write) -> None:
    cue = "\nA: Let's think step by step."
    prompt = f"Add.\n\nOnly integers.\n\nQ: 1 + 1{cue}\nOne\n\nand one. So the answer is 2.\n\nQ: 2 + 2{cue} Four.\n"
    write(
        "big_bench_hard/adding/test-0.parquet", [{"input": str(n), "target": "7", "prompt": prompt} for n in range(3)]
    )
    pool = load_train(find_scenario("big_bench_hard"))
    assert pool["input"].to_list() == ["1 + 1", "2 + 2"]
    assert [texts(row) for row in pool.to_dicts()] == [
        [("One\n\nand one. So the answer is 2.", True)],
        [("Four.", True)],
    ]
    plan = hf.scenario("big_bench_hard").limit(1)
    shots = f"Q: 1 + 1{cue}\nOne\n\nand one. So the answer is 2.\n\nQ: 2 + 2{cue}\nFour.\n\n"
    assert plan.requests().collect()["prompt"].item() == f"Add.\n\nOnly integers.\n\n{shots}Q: 0{cue}\n"
    assert plan.adapt(shots=0).requests().collect()["prompt"].item() == f"Add.\n\nOnly integers.\n\nQ: 0{cue}\n"
    assert [row["row_index"] for row in instances("big_bench_hard")] == [10, 11, 12]


@pytest.mark.parametrize(
    "choices",
    [["Ann", "Bob"], ["Ann's", 'the "old" man', 'it\'s "new"'], ["a, b", "c: d"], ["back\\slash", "x"], ["é", "日本"]],
)
def test_musr_reads_python_lists(write: Write, choices: list[str]) -> None:
    row = {"narrative": "N.", "question": "Q?", "choices": str(choices), "answer_index": 1, "answer_choice": choices[1]}
    write("musr/default/team_allocation-0.parquet", [row])
    (row,) = instances("musr")
    assert texts(row) == [(choice, index == 1) for index, choice in enumerate(choices)]
    assert row["input"] == "N.\n\nQ?\n\n" + "".join(f"{n} - {choice}\n" for n, choice in enumerate(choices, 1))


def test_drop_lists_numbers_spans_and_dates_once(write: Write) -> None:
    no_date = {"day": "", "month": "", "year": ""}
    answer = {"number": "12", "date": no_date, "spans": []}
    validated = {
        "number": ["12", "", ""],
        "date": [no_date, no_date, {"day": "", "month": "May", "year": "1990"}],
        "spans": [[], ["Ann", "Bob"], []],
    }
    row = {"query_id": "q", "passage": "P.", "question": "Q?", "answer": answer, "validated_answers": validated}
    of_spans = {**row, "answer": {**answer, "number": "", "spans": ["Ann", "Bob"]}}
    write("drop/default/validation-0.parquet", [row, of_spans])
    frame = pl.concat(load(find_scenario("drop"), splits=("valid",))).sort("row_index")
    assert texts(frame.to_dicts()[0]) == [("12", True), ("Ann, Bob", True), ("May 1990", True)]
    assert frame["data_answers"].to_list() == [
        [["12"], ["Ann", "Bob"], ["May 1990"]],
        [["Ann", "Bob"], ["12"], ["May 1990"]],
    ]


def test_mgsm_removes_the_labels_of_its_examples(write: Write) -> None:
    shots = [{"question": "问题：一加一？", "answer": "逐步解答：二。答案是 2。", "answer_number": 2}]
    write("mgsm/zh/train-0.parquet", shots)
    write("mgsm/zh/test-0.parquet", [{"question": "二加二：？", "answer": None, "answer_number": 4}], answer=pl.String)
    prompt = hf.scenario("mgsm").adapt(shots=1).requests().collect()["prompt"].item()
    assert prompt == "问题： 一加一？\n逐步解答: 二。答案是 2。\n\n问题： 二加二：？\n逐步解答:"
    assert [texts(row) for row in instances("mgsm")] == [[("4", True)]]


def test_arc_makes_an_instance_of_each_test_grid(write: Write) -> None:
    pairs = [{"input": [[0, 1]], "output": [[1], [0]]}, {"input": [[2]], "output": [[3]]}]
    write("arc_agi_1/test-0.parquet", [{"train": pairs[:1], "test": pairs}])
    first, second = instances("arc_agi_1")
    assert first["cluster"] == second["cluster"]
    assert (first["input"], texts(first)) == (
        "Example 1:\nInput: [[0, 1]]\nOutput: [[1], [0]]\n\nTest Input: [[0, 1]]",
        [("[[1], [0]]", True)],
    )
    assert texts(second) == [("[[3]]", True)]


def test_hle_leaves_out_questions_with_images(write: Write) -> None:
    columns = {"answer_type": "exactMatch", "raw_subject": "Music", "category": "Other", "answer": "x"}
    rows = [
        {"id": str(n), "question": f"Q{n}", "image": image, **columns} for n, image in enumerate(["", "data:", None])
    ]
    write("hle/data/test-0.parquet", rows)
    assert [row["instance_id"] for row in instances("hle")] == ["0", "2"]
    results = hf.scenario("hle").generate(lambda _: "Explanation: so.\nAnswer: X.\nConfidence: 50%").score()
    assert results.value("quasi_exact_match") == 1.0
    assert results.value("exact_match") == 0.0


def test_mmlu_redux_leaves_out_questions_with_errors(write: Write) -> None:
    rows = [
        {"question": f" Q{n}\n", "choices": list("abcd"), "answer": 1, "error_type": error}
        for n, error in enumerate(["ok", "no_correct_answer", "ok"])
    ]
    write("mmlu_redux/college_physics/test-0.parquet", rows)
    assert [row["input"] for row in instances("mmlu_redux")] == ["Q0", "Q2"]


def test_mbpp_has_three_examples_of_the_split_prompt(write: Write) -> None:
    def row(number: int) -> dict[str, Any]:
        tests = [f"assert f({n}) == {number}" for n in range(4)]
        return {"task_id": number, "text": f"Task {number}.", "code": f"def f(x): return {number}", "test_list": tests}

    write("mbpp/full/prompt-0.parquet", [row(number) for number in range(1, 11)])
    write("mbpp/full/train-0.parquet", [row(number) for number in range(601, 605)])
    write("mbpp/full/test-0.parquet", [row(11)])
    assert load_train(find_scenario("mbpp"))["input"].str.extract(r"Task (\d+)").to_list() == ["2", "3", "4"]
    (instance,) = instances("mbpp")
    assert instance["data_test"] == "assert f(0) == 11\nassert f(1) == 11\nassert f(2) == 11"


def test_live_code_bench_selects_problems_by_date_and_release(write: Write) -> None:
    columns = {"question_title": "t", "platform": "atcoder", "question_id": "q", "difficulty": "easy", "metadata": "{}"}
    cases = {"public_test_cases": "[]", "private_test_cases": "[]"}
    for release, date in (("v1", "2023-09-01"), ("v6", "2025-02-01")):
        row = {"question_content": f"In {date}", "contest_date": f"{date}T00:00:00", "starter_code": ""}
        write(f"live_code_bench/{release}/test-0.parquet", [{**row, **columns, **cases}])
    plan = hf.scenario("live_code_bench")
    late = plan.where(contest_date=hf.between("2025-01-01", "2025-12-31"))
    assert [row["subset"] for row in late.instances().collect().to_dicts()] == ["v6"]
    assert plan.where(release="v1").instances().collect()["data_contest_date"].to_list() == ["2023-09-01"]
