"""Forty mistakes that users make: each is a name and a function that raises."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

import helmframe as hf

Mistake = Callable[[Path], Any]
ROWS = pl.DataFrame({"q": ["a?", "b?"], "a": ["x", "y"], "n": [1, 2]})


def _plan() -> hf.Plan:
    return hf.scenario("sampler").where(subject="music").limit(2)


def _results() -> hf.Results:
    return _plan().perturb("typos").generate(hf.models.oracle()).score()


def _file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _spec(folder: Path, **changes: str) -> Path:
    fields = {
        "scenario": "own", "version": "1", "source": '{rows: "{data}/own/{split}-*.parquet"}', "splits": "{test: test}",
        "instances": """|
  SELECT row_index, split, q AS input, [{'text': a, 'correct': true}] AS "references" FROM rows""",
        "metrics": "[exact_match]", "main": "{metric: exact_match}",
    } | changes  # fmt: skip
    (folder / "own").mkdir(exist_ok=True)
    ROWS.write_parquet(folder / "own" / "test-0.parquet")
    return _file(folder, "own.yaml", "".join(f"{key}: {value}\n" for key, value in fields.items()))


def _rows_of(folder: Path, **changes: str) -> pl.DataFrame:
    return hf.scenario(_spec(folder, **changes), data=folder).instances().collect()


def _raises(prompt: str) -> str:
    raise ValueError("no such prompt")


MISTAKES: dict[str, Mistake] = {
    # names
    "scenario": lambda _: hf.scenario("mmul"),
    "perturbation": lambda _: _plan().perturb("typo"),
    "metric": lambda _: _plan().metrics("exact_mach"),
    "suite": lambda _: hf.suite("lit"),
    "judge": lambda _: hf.judge(hf.models.oracle(), "safty"),
    "table": lambda _: hf.schema("score"),
    "run": lambda _: hf.run("20200101-000000-abcdef"),
    "entry": lambda _: hf.entry("mmul:subject=anatomy"),
    "column": lambda _: _plan().where(subjekt="music"),
    "value of a column": lambda _: _plan().where(subject="musik").instances().collect(),
    "metric of results": lambda _: _results().value("f1"),
    "perturbation of results": lambda _: _results().value(perturbation="typo"),
    "argument of a perturbation": lambda _: hf.perturbations.typos(probability=0.1),
    "field of the adapter": lambda _: _plan().adapt(instruction="Be brief."),  # type: ignore[call-arg]
    "option of generate": lambda _: _plan().generate(hf.models.oracle(), temprature=0.0),
    # values
    "sample": lambda _: _plan().sample(0),
    "seeds": lambda _: _plan().perturb("typos", seeds=0),
    "probability": lambda _: hf.perturbations.typos(prob=3),
    "temperature": lambda _: _plan().generate(hf.models.oracle(), temperature="hot"),  # type: ignore[arg-type]
    "between": lambda _: _plan().where(row_index=hf.between(3, 1)),
    "SQL": lambda _: _plan().where("length(input) <<< 3").instances().collect(),
    "until": lambda _: _plan().generate(hf.models.oracle()).score(until=0.05),  # type: ignore[arg-type]
    "max_cost without prices": lambda _: _plan().generate(hf.models.oracle()).score(max_cost=1.0),
    "resume": lambda _: _plan().generate(hf.models.oracle()).score(resume="20200101-000000-abcdef"),
    # models
    "no model": lambda _: _plan().score(),
    "not a model": lambda _: _plan().generate(3),
    "folder of a model": lambda folder: _plan().generate(folder / "checkpoint"),
    "server": lambda _: _plan().generate("http://localhost:1/v1"),
    "key": lambda _: hf.models.http("http://localhost:1/v1", "m", key_env="sk-0123"),
    "too few outputs": lambda _: _plan().metrics("exact_match@5").generate(hf.models.oracle()).score(),
    # data
    "column of a frame": lambda _: hf.scenario(ROWS, input="question", references="a"),
    "type of a column": lambda _: hf.scenario(ROWS, input="n", references="a"),
    "frame": lambda _: hf.scenario([{"q": "a?"}], input="q", references="a"),
    "null": lambda _: hf.scenario(pl.DataFrame({"q": ["a", None], "a": ["x", "y"]}), input="q", references="a"),
    "spec without rows": lambda folder: hf.scenario(_spec(folder), data=folder / "elsewhere").instances().collect(),
    "spec that isn't YAML": lambda folder: hf.scenario(_file(folder, "own.yaml", "scenario: [")),
    "key of a spec": lambda folder: _rows_of(folder, metric="exact_match"),
    "SELECT of a spec": lambda folder: _rows_of(
        folder, instances="SELECT row_index, split, question AS input FROM rows"
    ),
    "bucket": lambda _: hf.scenario("mmlu", data="gs3://bucket").instances().collect(),
    "results": lambda folder: hf.load(folder / "nothing"),
    "comparison": lambda _: hf.compare(_results(), 3),  # type: ignore[arg-type]
    "gate": lambda _: _results().gate(at_least=0.5, at_most=0.6),
    "export": lambda folder: _results().to_parquet(_file(folder, "file.txt", "")),
    "configure": lambda _: hf.configure(s3_endpoint="minio:9000"),
}
