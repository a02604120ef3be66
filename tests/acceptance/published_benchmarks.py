"""Small copies of the files of benchmarks of reasoning, code and chat; each function has the name of its scenario.

Other benchmarks are on the Hub with the rows of the tests that compare their prompts with another tool's.
"""

import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from helmframe.scenarios.catalogue import find_scenario
from tests.acceptance.publisher_files import Published, jsonl, parquet, texts, zip_file
from tests.acceptance.test_benchmarks_chat import CHOICES
from tests.acceptance.test_benchmarks_reasoning import BENCHMARKS


def arc_agi_1(data: Path) -> Published:
    files = sorted((data / "raw/arc_agi_1/data/evaluation").glob("*.json"))[:40]
    folder = "ARC-AGI-master/data"
    packed = {f"{folder}/evaluation/{file.name}": file.read_bytes() for file in files}
    packed[f"{folder}/training/{files[0].name}"] = files[0].read_bytes()
    rows = [json.loads(file.read_bytes()) for file in files]
    return Published(
        {"https://github.com/fchollet/ARC-AGI/archive/HEAD.zip": zip_file(packed)}, {"arc_agi_1/test": rows}
    )


def big_bench_hard(data: Path) -> Published:
    base = "https://raw.githubusercontent.com/suzgunmirac/BIG-Bench-Hard/HEAD"
    files, rows = {}, {}
    for file in sorted((data / "raw/big_bench_hard/bbh").glob("*.json")):
        prompt = (data / f"raw/big_bench_hard/cot-prompts/{file.stem}.txt").read_text(encoding="utf-8")
        content = json.loads(file.read_bytes())
        examples = content["examples"][:20]
        files[f"{base}/bbh/{file.stem}.json"] = json.dumps({**content, "examples": examples}, indent=2).encode()
        files[f"{base}/cot-prompts/{file.stem}.txt"] = prompt.encode()
        cot = prompt.partition("-----\n")[2]
        rows[f"big_bench_hard/{file.stem}/test"] = [{**example, "prompt": cot} for example in examples]
    return Published(files, rows)


def live_code_bench(data: Path) -> Published:
    files, rows = {}, {}
    for release in range(1, 7):
        problems = [
            {
                "question_title": f"Problem {number}", "question_content": text[:200], "platform": "atcoder",
                "question_id": f"abc{number}", "contest_id": "abc", "contest_date": f"2023-0{release}-01T00:00:00",
                "starter_code": "", "difficulty": "easy", "metadata": "{}",
                "public_test_cases": json.dumps([{"input": f"{number}\n", "output": f"{number}", "testtype": "stdin"}]),
                "private_test_cases": "[]",
            }
            for number, text in enumerate(texts(data)[release * 8 : release * 8 + 8])
        ]  # fmt: skip
        name = f"test{release if release > 1 else ''}.jsonl"
        files[f"hf://datasets/livecodebench/code_generation_lite/{name}"] = jsonl(problems)
        rows[f"live_code_bench/v{release}/test"] = [
            {column: value for column, value in problem.items() if column != "contest_id"} for problem in problems
        ]
    return Published(files, rows)


def alpaca_eval(data: Path) -> Published:
    path = data / "raw/alpaca_eval/results/text_davinci_003/model_outputs.json"
    names = ("instruction", "output", "generator", "dataset")
    rows = [{name: row[name] for name in names} for row in json.loads(path.read_bytes())[:40]]
    address = "hf://datasets/tatsu-lab/alpaca_eval/alpaca_eval_gpt4_baseline/eval/0000.parquet"
    return Published({address: parquet(rows)}, {"alpaca_eval/eval": rows})


def arena_hard(data: Path) -> Published:
    """Real questions with made-up responses of the baselines; creative writing has a baseline of its own."""
    files, rows = {}, {}
    for release, models in (
        ("v0.1", ("gpt-4-0314", "gpt-4-0314")),
        ("v2.0", ("o3-mini-2025-01-31", "gemini-2.0-flash-001")),
    ):
        folder = f"hf://datasets/lmarena-ai/arena-hard-auto/data/arena-hard-{release}"
        path = data / f"raw/arena_hard/data/arena-hard-{release}/question.jsonl"
        asked = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        asked = [*asked[:20], *asked[-20:]]
        files[f"{folder}/question.jsonl"] = jsonl(asked)
        for model in models:
            # in another order than the questions
            files[f"{folder}/model_answer/{model}.jsonl"] = jsonl(
                {
                    "uid": row["uid"], "model": model,
                    "messages": [{"role": "user", "content": row["prompt"]},
                                 {"role": "assistant", "content": {"answer": f"{model} on {row['uid']}\n"}}],
                }
                for row in reversed(asked)
            )  # fmt: skip
        rows[f"arena_hard/{release}/test"] = [
            {
                "uid": row["uid"], "category": row["category"], "topic": row.get("cluster", row.get("subcategory")),
                "prompt": row["prompt"], "baseline_model": (model := models[row["category"] == "creative_writing"]),
                "baseline": f"{model} on {row['uid']}\n",
            }
            for row in asked
        ]  # fmt: skip
    return Published(files, rows)


def health_bench(data: Path) -> Published:
    files, rows = {}, {}
    for number, (name, subset) in enumerate(
        (("2025-05-07-06-14-12_oss_eval", "full"), ("hard_2025-05-08-21-00-10", "hard"),
         ("consensus_2025-05-09-20-00-46", "consensus"))
    ):  # fmt: skip
        talks = [
            {
                "prompt_id": f"{subset}-{place}",
                "prompt": [{"role": role, "content": text[start : start + 60]}
                           for start, role in ((0, "user"), (60, "assistant"), (120, "user"))[2 - place % 2 * 2 :]],
                "rubrics": [{"criterion": text[30:90], "points": (5, -8, 2)[item], "tags": [f"axis:{item}"]}
                            for item in range(1 + place % 3)],
                "example_tags": ["theme:hedging"],
            }
            for place, text in enumerate(texts(data)[number * 9 : number * 9 + 9])
        ]  # fmt: skip
        address = "https://openaipublic.blob.core.windows.net/simple-evals/healthbench"
        files[f"{address}/{name}.jsonl"] = jsonl({**talk, "canary": "none"} for talk in talks)
        rows[f"health_bench/{subset}/test"] = talks
    return Published(files, rows)


def ifbench(data: Path) -> Published:
    """Real prompts; the names of two arguments differ in nothing but case, and DuckDB renames the second."""
    path = data / "raw/ifbench/data/IFBench_test.jsonl"
    raw = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()][:60]
    (kind,) = re.findall(r"STRUCT\((.*)\)\[\]", str(dict(find_scenario("ifbench").columns)["kwargs"]))
    kinds = {"VARCHAR": pl.String, "DOUBLE": pl.Float64, "BIGINT": pl.Int64}
    types = {name: kinds[dtype] for name, dtype in (pair.split() for pair in kind.split(", "))}

    def frame(renamed: Mapping[str, str]) -> pl.DataFrame:
        names = {name: renamed.get(name, name) for name in types}
        fields = pl.Struct({names[name]: dtype for name, dtype in types.items()})
        rows = [
            {**row, "kwargs": [{names[name]: given.get({"n_1": "n"}.get(name, name)) for name in types}
                               for given in row["kwargs"]]}
            for row in raw
        ]  # fmt: skip
        return pl.DataFrame(rows, schema_overrides={"kwargs": pl.List(fields)}, strict=False)

    address = "hf://datasets/allenai/IFBench_test/default/train/0000.parquet"
    return Published({address: parquet(frame({"n_1": "n"}))}, {"ifbench/default/train": frame({})})


def _csv_of_raw(data: Path, path: str, address: str, target: str) -> Published:
    content = (data / "raw" / path).read_bytes()
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    return Published({address: content}, {target: rows})


def simple_qa(data: Path) -> Published:
    name = "simple_qa_test_set.csv"
    address = f"https://openaipublic.blob.core.windows.net/simple-evals/{name}"
    return _csv_of_raw(data, f"simpleqa/{name}", address, "simple_qa/test")


def strong_reject(data: Path) -> Published:
    path = "strongreject/data/behavior_datasets/strongreject_dataset.csv"
    address = (
        "https://raw.githubusercontent.com/alexandrasouly/strongreject/3432b2d696b428f242bd507df96d80f686571d5e"
        "/strongreject_dataset/strongreject_dataset.csv"
    )
    return _csv_of_raw(data, path, address, "strong_reject/test")


def write_benchmark(name: str, data: Path, root: Path) -> bool:
    """Write the rows of a benchmark on the Hub in the layout of its spec; return whether this module has them.

    Args:
        name: The name of the scenario.
        data: The folder of the shared data.
        root: The root to write to.
    """
    for benchmark in BENCHMARKS:
        if benchmark.scenario == name:
            for subset in benchmark.make(data / "raw"):
                rows = [*subset.rows, *subset.hidden]
                file = root / subset.path
                file.parent.mkdir(parents=True, exist_ok=True)
                pl.DataFrame(rows, schema_overrides=subset.schema, infer_schema_length=None).write_parquet(file)
            return True
    for scenario, make, *_ in CHOICES:
        if scenario == name:
            make(data, root)
            return True
    return False
