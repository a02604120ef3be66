"""Random damage for every reader of foreign input, in child processes that are watched for time and memory.

    python -m tests.fuzz READER COUNT SEED FOLDER

is the child: it feeds COUNT inputs to a reader, which may return or raise a `HelmframeError`. Others are faults.
"""

import json
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import polars as pl
import yaml
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[1]
SECONDS, MEGABYTES = 5.0, 500  # per input
_WALL_SECONDS = 60.0  # after which a child is stopped, on a machine that does much else

# -- damage ------------------------------------------------------------------------------------------------------------

# JSON texts that a value of a document is replaced with.
RAW = [
    "null", "true", "0", "-1", "3", "1e999", "-1e999", "NaN", "9" * 4000, "9" * 5000, str(10**30), "1.5", '""', '"a"',
    '"\\ud800"', '"\\u0000"', '"\\u001b[31m"', '"=1+1"', "[]", "{}", "[[]]", '{"a": 1}', "[1, 2]", '["a"]', "tru", '"a',
    '"' + "a" * 100_000 + '"', '"' + "é" * 50_000 + '"', "[" * 300 + "]" * 300, "[" * 20_000, '{"a":' * 20_000,
    '{"a":' * 900 + "1" + "}" * 900, "[" + "0," * 50_000 + "0]", '"../../etc/passwd"', '"' + "\\n" * 1000 + '"',
]  # fmt: skip
# Bytes that are inserted anywhere.
CHUNKS = [
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\xc3", b"[", b"]", b"{", b"}", b"(", b")", b'"', b"'", b"\\", b",", b":", b"=",
    b"\n", b"\r", b"\t", b"\x1b[31m", b"\xed\xa0\x80", b"&a", b"*a", b"<<: ", b"!!python/name:os.system", b"- ", b"? ",
    b"[" * 20_000, b"(" * 500, b"{" * 300, b"9" * 5000, b"1e999", b"a" * 100_000, b":" * 20_000, b"," * 20_000,
    b"+" * 20_000, b"- " * 500, b"-" * 9_000, b"'" * 9_001, b"%TAG ! x:\n" * 500, "\u202e".encode(), "\u2028".encode(),
]  # fmt: skip
# Values of Python that an argument is replaced with.
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 3, 10**9, 10**18, 2**63, 10**30, 10**4000, -(10**25), 0.5, -1.0, float("nan"),
    float("inf"), 1e308, "", "a", "a" * 100_000, "\ud800", "\0", "\x1b[31m", "=1", "🙂", b"a", [], {}, [[]], [0, 1],
    ["a"], [None],
    {"a": 1}, {1: 2, "1": 3}, {"a": [{"b": []}]}, (), set(), object(), float, [*range(20_000)], [["a", "b"]],
]  # fmt: skip


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Return bytes with some flipped, removed, repeated or inserted."""
    for _ in range(dice.choice((1, 1, 1, 2, 5))):
        at = dice.randrange(len(data) + 1)
        end = min(len(data), at + dice.choice((1, 2, 10, 100, 1000)))
        match dice.randrange(6):
            case 0 if data:
                index = dice.randrange(len(data))
                data = data[:index] + bytes([data[index] ^ 1 << dice.randrange(8)]) + data[index + 1 :]
            case 1:
                data = data[:at]
            case 2:
                data = data[:at] + data[end:]
            case 3:
                data = data[:end] + data[at:end] * dice.choice((1, 3, 100)) + data[end:]
            case 4:
                data = data[:at] + dice.choice(CHUNKS) + data[end:]
            case _:
                data = data[:at] + dice.choice(CHUNKS) + data[at:]
    return data


def swapped(value: Any, dice: random.Random, most: int = 2) -> str:
    """Return a document as JSON, with some of its values replaced, removed, renamed, repeated or moved."""
    value = pickle.loads(pickle.dumps(value))
    raw: dict[str, str] = {}
    for _ in range(dice.randint(1, most)):
        spots = list(_spots(value))
        if not spots:
            break
        container, key = dice.choice(spots)
        match dice.randrange(6):
            case 0 | 1 | 2:
                mark = f"@raw{len(raw)}@"
                raw[json.dumps(mark)] = dice.choice(RAW)
                container[key] = mark
            case 3:
                del container[key]
            case 4 if isinstance(container, dict):
                container[dice.choice(("", "x", "\x1b[31m", "name", str(key) + "s"))] = container.pop(key)
            case 4:
                container.insert(key, container[key])
            case _:
                other, other_key = dice.choice(spots)
                with suppress(KeyError, IndexError):
                    container[key] = pickle.loads(pickle.dumps(other[other_key]))
    text = json.dumps(value, ensure_ascii=dice.random() < 0.5)
    for mark, replacement in raw.items():
        text = text.replace(mark, replacement)
    return text


def _spots(value: Any) -> Iterator[tuple[Any, Any]]:
    stack = [value]
    while stack:
        container = stack.pop()
        keys = container if isinstance(container, dict) else range(len(container))
        for key in list(keys):
            yield container, key
            if isinstance(container[key], dict | list):
                stack.append(container[key])


def damaged_file(name: str, data: bytes, dice: random.Random) -> bytes:
    """Return a file with another structure or damaged bytes, by the format of its name."""
    if dice.random() < 0.35 or name.endswith((".parquet", ".png", ".conf")):
        return damaged(data, dice)
    if name.endswith((".yaml", ".yml")):
        content = yaml.safe_load(data)
        return dice.choice(BOMBS).encode() if dice.random() < 0.1 else swapped(content, dice).encode()
    if name.endswith(".jsonl"):
        lines = data.decode().splitlines()
        index = dice.randrange(len(lines))
        lines[index] = swapped(json.loads(lines[index]), dice)
        return "\n".join(lines).encode("utf-8", "surrogatepass")
    if name.endswith(".eval"):
        return _damaged_archive(data, dice)
    return swapped(json.loads(data), dice).encode("utf-8", "surrogatepass")


def _damaged_archive(data: bytes, dice: random.Random) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as archive, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        names = archive.namelist()
        chosen = dice.choice(names)
        for name in names:
            content = archive.read(name)
            target.writestr(name, damaged_file("x.json", content, dice) if name == chosen else content)
    return buffer.getvalue()


_LEVELS = "".join(f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12))
_MERGES = "".join(f"m{level}: &m{level} {{<<: [{','.join([f'*m{level - 1}'] * 10)}]}}\n" for level in range(1, 12))
BOMBS = [
    "a0: &a0 [x]\n" + _LEVELS,
    "m0: &m0 {k: v}\n" + _MERGES,
    "scenario: &a [*a]\n",
    "&a {a: *a}\n",
    "[" * 20_000,
    "{a: " * 20_000,
    "- " * 20_000,
    "".join(" " * depth + "a:\n" for depth in range(2_000)),
    "? " * 20_000,
    "scenario: " + "9" * 100_000,
    "scenario: " + "1:" * 50_000 + "1",
    "a: 0x" + "f" * 10_000,
    "{" + ",".join(f"{number * (2**61 - 1)}: 1" for number in range(20_000)) + "}",
    "{" + ",".join(f"k{number}: 1" for number in range(100_000)) + "}",
    "%TAG ! x:\n" * 100_000 + "--- a",
    "scenario: 2001-99-99",
    "scenario: !!binary ====",
    "? [a]\n: b",
    "scenario: \x00",
    "a: b: c",
    "\ufeffscenario: sampler",
    "&a " * 10_000 + "b",
]


# -- readers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reader:
    """A reader of foreign input: `make` returns valid files or values, `read` reads input made of them."""

    make: Callable[[Path], Any]
    damage: Callable[[Any, random.Random], Any]
    read: Callable[[Any, Path], object]


def damaged_files(files: dict[str, bytes], dice: random.Random) -> dict[str, bytes]:
    """Return the files of a folder, one of them damaged or, rarely, missing."""
    name = dice.choice(sorted(files))
    if dice.random() < 0.03:
        return {other: data for other, data in files.items() if other != name}
    return {**files, name: damaged_file(name, files[name], dice)}


def _files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def _written(files: dict[str, bytes], folder: Path) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def _results() -> Any:
    import helmframe as hf

    plan = hf.scenario("sampler").where(subject="music").limit(3).perturb("typos")
    return plan.generate(hf.models.oracle()).score()


def _folder_reader(make: Callable[[Path], Path], read: Callable[[Path], object]) -> Reader:
    return Reader(lambda folder: _files(make(folder)), damaged_files, lambda files, at: read(_written(files, at)))


def _used(results: Any) -> None:
    """Read every table of results."""
    results.completions.collect()
    results.scores.collect()
    results.prefixes.collect()
    results.table()
    str(results)


def _read_helm(folder: Path) -> None:
    import helmframe as hf

    _used(hf.read_helm(folder, fresh=True))


def _make_helm(folder: Path) -> Path:
    from tests.interop.helm.runs import TYPOS, state, write_run

    states = [state("id0", "id0"), state("id0", "no", perturbation=TYPOS), state("id1", None), state("id2", "no")]
    run = write_run(folder, states, [1.0, 0.0, 0.0, 1.0])
    (run / "stats.json").write_text(json.dumps([{"name": {"name": "exact_match"}, "count": 1, "sum": 0.5}]))
    return folder


def _read_lm_eval(folder: Path) -> None:
    import helmframe as hf

    _used(hf.read_lm_eval(folder, fresh=True))


def _make_lm_eval(folder: Path) -> Path:
    import helmframe as hf

    questions = hf.scenario("sampler").where(subject="music").limit(2)
    scored = questions.adapt(method="multiple_choice_separate_original").generate(hf.models.oracle()).score()
    scored.to_lm_eval(folder / "scored")
    _results().to_lm_eval(folder / "generated")
    return folder


def _read_inspect(folder: Path) -> None:
    import helmframe as hf

    _used(hf.read_inspect(folder, fresh=True))


def _make_inspect(folder: Path) -> Path:
    message = {
        "role": "assistant",
        "content": [{"type": "text", "text": "2"}, {"type": "reasoning", "reasoning": "hm"}],
    }
    sample = {
        "id": 1, "epoch": 1, "input": [{"role": "user", "content": "1 + 1?"}], "choices": ["1", "2"], "target": ["B"],
        "messages": [{"role": "user", "content": "1 + 1?"}, message],
        "output": {
            "choices": [{"message": message, "stop_reason": "stop"}], "usage": {"input_tokens": 1, "output_tokens": 2},
            "time": 0.5,
        },
        "scores": {"choice": {"value": "C"}, "parts": {"value": {"a": 1, "b": 0.5}}},
    }  # fmt: skip
    header = {
        "eval": {
            "task": "adds", "model": "openai/three", "task_args": {"shots": 2}, "scorers": [{"name": "choice"}],
            "model_generate_config": {"temperature": 0.5},
        }
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    failed = {**sample, "id": 2, "output": {}, "scores": {}, "error": {"message": "timed out"}}
    (folder / "one.json").write_text(json.dumps({**header, "samples": [sample, failed]}))
    with zipfile.ZipFile(folder / "two.eval", "w") as archive:
        archive.writestr("header.json", json.dumps(header))
        archive.writestr("samples/1_epoch_1.json", json.dumps(sample))
        archive.writestr("samples/2_epoch_1.json", json.dumps(failed))
    return folder


def _read_every_eval_ever(folder: Path) -> None:
    import helmframe as hf

    _used(hf.read_every_eval_ever(folder, fresh=True))


def _make_every_eval_ever(folder: Path) -> Path:
    _results().to_every_eval_ever(folder)
    return folder


def _read_run(folder: Path) -> None:
    import helmframe as hf

    _used(hf.load(folder))


def _make_run(folder: Path) -> Path:
    _results().to_parquet(folder / "run")
    return folder / "run"


def _run_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a run without those that only describe it."""
    files = _files(_make_run(folder))
    return {name: data for name, data in files.items() if name not in ("README.md", "schema.json")}


def _damaged_run(files: dict[str, bytes], dice: random.Random) -> dict[str, bytes]:
    """Return the folder of a run with damage, or with another manifest or other columns that its checksums match."""
    from helmframe.store.parts import encode, sealed
    from helmframe.store.runs import _digest

    if dice.random() < 0.3:
        return damaged_files(dict(files), dice)
    content = json.loads(files["manifest.json"])
    files = dict(files)
    if dice.random() < 0.4:
        name = dice.choice([name for name in files if name.endswith(".parquet")])
        frame = pl.read_parquet(files.pop(name))
        column = dice.choice(frame.columns)
        dtype = dice.choice([pl.String, pl.Int8, pl.Float64, pl.List(pl.Int64), None])
        changed = frame.drop(column) if dtype is None else frame.with_columns(pl.lit(None, dtype=dtype).alias(column))
        data = encode(changed)
        new = sealed(name.rpartition("-")[0], data)
        files[new] = data
        content["parts"][new] = content["parts"].pop(name)
    else:
        with suppress(ValueError, RecursionError):
            content = json.loads(swapped({key: value for key, value in content.items() if key != "checksum"}, dice))
    if isinstance(content, dict):
        content.pop("checksum", None)
        with suppress(RecursionError):
            content["checksum"] = _digest(content)
    with suppress(RecursionError):
        files["manifest.json"] = json.dumps(content).encode()
    return files


def _read_store(folder: Path) -> None:
    """Read the completions of a store whose files are damaged; damaged parts are set aside."""
    import helmframe as hf

    os.environ["HELMFRAME_STORE"] = str(folder)
    plan = hf.scenario("sampler").where(subject="music").limit(3)
    plan.generate(hf.model(_upper, name="upper", version="1")).score().table()


def _make_store(folder: Path) -> Path:
    _read_store(folder / "store")
    return folder / "store"


def _upper(prompt: str) -> str:
    return prompt.upper()[:20]


def _read_spec(folder: Path) -> None:
    import helmframe as hf

    for file in folder.rglob("spec.yaml"):
        hf.scenario(file).limit(1).instances().collect()


def _make_spec(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"q": ["1?", "2?"], "a": ["1", "2"], "subject": ["x", "y"], "row_index": [0, 0]}).write_parquet(
        folder / "test-0.parquet"
    )
    spec = {
        "scenario": "toy", "version": "1", "source": {"rows": f"{folder}/{{split}}-*.parquet"}, "subsets": ["subject"],
        "splits": {"test": "test"},
        "instances": "SELECT row_index, subject, split, q AS input, [{'text': a, 'correct': true}] AS references "
        "FROM rows",
        "adapter": {"method": "generation", "shots": 0, "input_prefix": "Q: "}, "decoding": {"max_tokens": 5},
        "metrics": ["exact_match"], "main": {"metric": "exact_match", "split": "test", "mean": "macro"},
        "description": "A toy.",
    }  # fmt: skip
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    return folder


def _read_plan(folder: Path) -> None:
    import helmframe as hf

    for file in folder.rglob("plan.yaml"):
        hf.Plan.from_yaml(file).limit(1).requests().head(1).collect()
    for file in folder.rglob("suite.yaml"):
        hf.suite(file)


def _make_plan(folder: Path) -> Path:
    plan = {
        "scenario": "sampler", "where": [{"subject": "music"}, "length(input) < 5000"], "limit": 2,
        "perturb": {"variants": ["typos(prob=0.1)", "lowercase"], "seeds": 2}, "adapt": {"shots": [0, 1], "trials": 2},
        "generate": {"model": {"a": "noisy(accuracy=0.5)"}, "temperature": 0.5, "n": 2, "stop": ["\n"]},
        "metrics": ["exact_match", "exact_match@2"],
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    suite = {"description": "Two.", "each": {"generate": "echo()"}, "plans": [plan, {"scenario": "everyday"}]}
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    return folder


def _read_task(folder: Path) -> None:
    import helmframe as hf

    for file in folder.rglob("task.yaml"):
        hf.scenario(f"lm_eval:{file}").instances().collect()


def _make_task(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"question": "1 + 1?", "choices": ["1", "2"], "answer": 1},
        {"question": "2?", "choices": ["2"], "answer": 0},
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = {
        "task": "toy", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": f"{folder}/rows.jsonl"}},
        "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "Q: {{question}}\nA:",
        "doc_to_choice": "choices", "doc_to_target": "{{answer}}", "num_fewshot": 0,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}], "metadata": {"version": 1},
    }  # fmt: skip
    (folder / "base.yaml").write_text(yaml.safe_dump(task))
    (folder / "task.yaml").write_text(yaml.safe_dump({"include": "base.yaml", **task}))
    return folder


def _read_eval_yaml(folder: Path) -> None:
    import helmframe as hf

    hf.scenario(f"hf:{folder}").instances().collect()


def _make_eval_yaml(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"question": ["1 + 1?"], "answer": ["2"], "level": [1]}).write_parquet(folder / "test-0.parquet")
    content = {
        "name": "Toy", "evaluation_framework": "inspect-ai",
        "tasks": [
            {
                "id": "text", "field_spec": {"input": "question", "target": "answer", "metadata": ["level"]},
                "solvers": [{"name": "prompt_template", "args": {"template": "Q: {prompt}"}}, {"name": "generate"}],
                "scorers": [{"name": "match", "args": {"numeric": True}}], "epochs": 2, "split": "test",
            }
        ],
    }  # fmt: skip
    (folder / "eval.yaml").write_text(yaml.safe_dump(content))
    return folder


def _read_conf(folder: Path) -> None:
    from helmframe.interop.helm import plans_of, read_conf

    for file in folder.rglob("*.conf"):
        plans_of(read_conf(file), models=["echo()"], skipped=[])


def _make_conf(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = 'entries: [\n  {description: "sampler:subject=music,model=text", priority: 1, groups: ["a"]}\n'
    text += '  {description: "sampler:subject=biology,model=text,data_augmentation=typos", priority: 2}\n]\n'
    (folder / "run.conf").write_text(text)
    return folder


# -- readers of values -------------------------------------------------------------------------------------------------

CALLS = [
    "typos(prob=.1)", "typos(prob=[.1, .2])+lowercase", "canonical", "person_name(race='white')", "iou_set_match(k=1)",
    "exact_match@5", "noisy(accuracy=0.6, seed=1)", "oracle()", "http(url='http://127.0.0.1:9/v1', name='a')",
    "judge(model='echo()', template='safety')", "precise(0.03)", "decided('a', 'b', ci=0.9)", "1 - accuracy / 4",
    "regex_match(pattern='(a|b)')", "local(model='./none', dtype='bfloat16')", "batch(model='openai:gpt-4.1')",
    "vllm:org/name", "litellm:a/b",
]  # fmt: skip
HOSTILE_TEXTS = [
    "a" * 10**6, "a:" + "," * 10**5, "(" * 10**5, "f(" + "[" * 5_000, "f(a=" + "-" * 9_000 + "1)", "f(a=1e999)",
    "f(a=" + "9" * 5000 + ")", "f(a=" + "9" * 4000 + ")", "f(a=" + "1+" * 5_000 + "1)", "\0", "f(a='\ud800')",
    "f(a=b'a')", "f(a={[]: 1})",
    "f(a={**b})", "f(*a)", "f(a=1, a=2)", "typos+" * 1_500, "'" * 9_999, "\\'" * 5_000, " " * 10**6,
    "f(" + "a=1," * 3_000 + ")", "typos(prob=[" + ".1," * 4_000 + "])", "\x1b[31m", "a" * 300 + ".yaml", "~" * 10**5,
    "a/" * 5_000, "mmlu:" + "a=1," * 10**4, "mmlu:subject=" + "(" * 10**5, ":" * 10**6, "not " * 2_000 + "a",
    "lambda: " * 500 + "1", "f(a=" + "(" * 199 + ")" * 199 + ")",
]  # fmt: skip


def _damaged_text(texts: Sequence[str], dice: random.Random) -> str:
    if dice.random() < 0.25:
        return dice.choice(HOSTILE_TEXTS)
    return damaged(dice.choice(texts).encode(), dice).decode("utf-8", dice.choice(("replace", "surrogateescape")))


def _read_call(text: str, _: Path) -> None:
    import helmframe as hf
    from helmframe.early_stopping.rules import parse_until
    from helmframe.errors import HelmframeError
    from helmframe.metrics.judge import Formula

    plan = hf.scenario("sampler").where(subject="music").limit(1)
    for read in (
        lambda: plan.perturb(text).variants().collect(),
        lambda: plan.metrics(text),
        lambda: hf.model(text),
        lambda: parse_until(text),
        lambda: Formula(text).value({"accuracy": pl.lit(1.0)}),
        lambda: hf.scenario(text),
    ):
        with suppress(HelmframeError):
            read()


ENTRIES = [
    "sampler:subject=music,model=text", "mmlu:subject=philosophy,max_train_instances=all",
    "sampler:subject=music,data_augmentation=typos(prob=.1),model=noisy(accuracy=0.6, seed=1)",
    "narrative_qa:model=org/name,num_outputs=2,stop=hash,temperature=0.5", "bbq:subject=all",
]  # fmt: skip


def _read_entry(text: str, _: Path) -> None:
    import helmframe as hf

    hf.entry(text, model=hf.models.echo())


def _arguments(names: Sequence[str], dice: random.Random) -> dict[str, Any]:
    chosen = dice.sample(names, dice.randint(1, 3))
    values = [dice.choice(VALUES) for _ in chosen]
    return {
        name: [value, dice.choice(VALUES)] if dice.random() < 0.2 else value
        for name, value in zip(chosen, values, strict=True)
    }


def _read_arguments(arguments: dict[str, Any], _: Path) -> None:
    import helmframe as hf
    from helmframe.errors import HelmframeError

    adapt = {key.removeprefix("adapt."): value for key, value in arguments.items() if key.startswith("adapt.")}
    generate = {key: value for key, value in arguments.items() if not key.startswith("adapt.")}
    plan = hf.scenario("sampler").where(subject="music").limit(1)
    with suppress(HelmframeError):
        plan.adapt(**adapt).requests().head(1).collect()
    with suppress(HelmframeError):
        str(plan.generate(hf.models.echo(), **generate))


def _argument_names() -> list[str]:
    from dataclasses import fields

    from helmframe._core.specs import AdapterSpec
    from helmframe.models.protocol import DECODING

    return [*(f"adapt.{entry.name}" for entry in fields(AdapterSpec)), *DECODING, "n", "reasoning", "json_schema"]


def _odd_frame(_: Any, dice: random.Random) -> tuple[Any, dict[str, Any]]:
    """Return a frame of odd columns, and arguments of `hf.scenario` that name them."""
    import datetime
    from decimal import Decimal

    makers: list[Callable[[], Any]] = [
        lambda: pl.Series(["a", "b"]),
        lambda: pl.Series(["test", "train"]),
        lambda: pl.Series([["a", "b"], ["c"]]),
        lambda: pl.Series([[], ["c"]], dtype=pl.List(pl.String)),
        lambda: pl.Series([[{"text": "a", "correct": True}], []]),
        lambda: pl.Series([{"text": "a"}, None]),
        lambda: pl.Series([Decimal("1.5"), None]),
        lambda: pl.Series([1, 2], dtype=pl.Int128),
        lambda: pl.Series([1, 2], dtype=pl.UInt64),
        lambda: pl.Series([datetime.timedelta(1), None]),
        lambda: pl.Series([datetime.date(2020, 1, 1), None]),
        lambda: pl.Series([datetime.time(1), None]),
        lambda: pl.Series([object(), object()], dtype=pl.Object),
        lambda: pl.Series([b"\xff\xfe", b""]),
        lambda: pl.Series(["a", "b"], dtype=pl.Categorical),
        lambda: pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])),
        lambda: pl.Series([None, None]),
        lambda: pl.Series([float("nan"), float("inf")]),
        lambda: pl.Series([[[["a"]]], [[[]]]]),
        lambda: pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2)),
        lambda: pl.Series(["\0", "\x1b[31m"]),
        lambda: pl.Series(["a" * 10**6, "🙂"]),
        lambda: pl.Series([True, False]),
        lambda: pl.Series([0, 1]),
    ]
    names = [
        "input",
        "references",
        "split",
        "content",
        "sub_split",
        "id",
        "subset",
        "x",
        "Input",
        "data_x",
        "row_index",
    ]
    names += ["", " ", 'a"b', "a;b", "\x1b[31m", "é", "instance_id", "scenario", "a" * 5_000]
    columns = {name: dice.choice(makers)() for name in dice.sample(names, dice.randint(1, 6))}
    if dice.random() < 0.7:
        columns |= {"input": pl.Series(["a", "b"]), "references": dice.choice(makers[:5])()}
    frame: Any = pl.DataFrame(columns)
    if dice.random() < 0.2:
        frame = frame.lazy().with_columns(pl.col(frame.columns[0]).cast(pl.Int8))
    elif dice.random() < 0.2 and not {pl.Object, pl.Int128} & {dtype.base_type() for dtype in frame.schema.values()}:
        import pyarrow as pa

        table = frame.to_arrow()
        frame = pa.Table.from_arrays(
            [*table.columns, table.column(0)], names=[*table.column_names, table.column_names[0]]
        )
    parameters = ["input", "references", "choices", "answer", "turns", "id", "subset", "cluster", "split", "images"]
    parameters += ["name", "method", "adapter", "decoding", "metrics", "main"]
    arguments = {
        name: dice.choice([*columns, *columns, "input", dice.choice(VALUES)])
        for name in dice.sample(parameters, dice.choice((0, 0, 1, 2, 4)))
    }
    return frame, arguments


def _read_frame(value: tuple[Any, dict[str, Any]], _: Path) -> None:
    import helmframe as hf

    frame, arguments = value
    hf.scenario(frame, **arguments).instances().collect()


APPS = [
    {"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [3, 7]},
    {"inputs": ["1\n2\n", "3"], "outputs": ["3\n", "4"]},
]


def _read_apps(text: str, _: Path) -> None:
    from helmframe.metrics.code import _cases, _live_cases

    _cases(text)
    _live_cases(text)


def _read_request(text: bytes, _: Path) -> None:
    """Send a request to the viewer, as its server does."""
    from helmframe._core.yaml import decode_json

    try:
        request = decode_json(text)
    except ValueError:
        return
    if isinstance(request, dict):
        json.dumps(_viewer().respond(request))


def _viewer() -> Any:
    from helmframe.views.viewer import Viewer

    if not _viewers:
        _viewers.append(Viewer.of(_results()))
    return _viewers[0]


_viewers: list[Any] = []
REQUESTS: list[dict[str, Any]] = [
    {"id": 1, "method": "open", "params": {}},
    {"id": 2, "method": "runs", "params": {}},
    {
        "id": 3,
        "method": "page",
        "params": {"page": 0, "filters": {"metric": "", "low": 0.0, "high": 1, "find": "1", "order": "lowest"}},
    },
    {"id": 4, "method": "instance", "params": {"row": 1, "filters": {"metric": "exact_match", "model": None}}},
]


def _damaged_json(values: Sequence[Any], dice: random.Random) -> str:
    value = dice.choice(values)
    if dice.random() < 0.3:
        return damaged(json.dumps(value).encode(), dice).decode("utf-8", "replace")
    return swapped(value, dice, most=4)


READERS: dict[str, Reader] = {
    "HELM runs": _folder_reader(_make_helm, _read_helm),
    "lm-eval logs": _folder_reader(_make_lm_eval, _read_lm_eval),
    "Inspect logs": _folder_reader(_make_inspect, _read_inspect),
    "Every Eval Ever": _folder_reader(_make_every_eval_ever, _read_every_eval_ever),
    "run folders": Reader(_run_files, _damaged_run, lambda files, at: _read_run(_written(files, at))),
    "store": _folder_reader(_make_store, _read_store),
    "spec YAML": _folder_reader(_make_spec, _read_spec),
    "plan YAML": _folder_reader(_make_plan, _read_plan),
    "lm-eval tasks": _folder_reader(_make_task, _read_task),
    "eval.yaml": _folder_reader(_make_eval_yaml, _read_eval_yaml),
    ".conf": _folder_reader(_make_conf, _read_conf),
    "calls": Reader(lambda _: CALLS, _damaged_text, _read_call),
    "run entries": Reader(lambda _: ENTRIES, _damaged_text, _read_entry),
    "adapt, decoding": Reader(lambda _: _argument_names(), _arguments, _read_arguments),
    "frames": Reader(lambda _: None, _odd_frame, _read_frame),
    "APPS tests": Reader(lambda _: APPS, _damaged_json, _read_apps),
    "viewer requests": Reader(
        lambda _: REQUESTS, lambda values, dice: _damaged_json(values, dice).encode("utf-8", "replace"), _read_request
    ),
}


# -- the child ---------------------------------------------------------------------------------------------------------


def child(name: str, count: int, seed: int, folder: Path) -> None:
    """Feed inputs to a reader, and print the counts as JSON; the input that is being read is in `current`."""
    warnings.simplefilter("ignore")
    from helmframe.errors import HelmframeError

    os.environ["HELMFRAME_STORE"] = str(folder / "store")
    os.environ["HELMFRAME_PROGRESS"] = "0"
    reader = READERS[name]
    valid = reader.make(folder / "valid")
    report: dict[str, Any] = {"inputs": 0, "typed": 0, "untyped": [], "hangs": []}
    for number in range(3):  # packages are imported, and caches filled
        with suppress(Exception):
            reader.read(reader.damage(valid, random.Random(number)), folder / "inputs" / f"warm-{number}")
    (folder / "start").write_text(str(_rss()))

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(st.randoms(use_true_random=True))
    def feed(dice: random.Random) -> None:
        if report["inputs"] >= count:
            return
        state = dice.getstate()
        value = reader.damage(valid, dice)
        (folder / "current").write_bytes(pickle.dumps(state))
        target = folder / "inputs" / str(report["inputs"])
        report["inputs"] += 1
        started = time.process_time()
        try:
            reader.read(value, target)
        except HelmframeError as error:
            report["typed"] += 1
            if len(str(error)) > 5_000 or any(len(line) > 500 for line in str(error).split("\n")):
                report["untyped"].append(f"{type(error).__name__} with a message of {len(str(error)):,} characters")
        except Exception:
            report["untyped"].append(traceback.format_exc()[-3000:])
        if time.process_time() - started > SECONDS:
            report["hangs"].append(repr(value)[:300])
        _removed(target)
        (folder / "report.json").write_text(json.dumps(report))

    feed()


def _rss() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _removed(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(folder.parents[1] / "store" / "imported", ignore_errors=True)


# -- the parent --------------------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """The counts of a reader: inputs, those that raised a typed error, faults with examples, and growth in MB."""

    reader: str
    inputs: int
    typed: int
    untyped: list[str]
    hangs: list[str]
    megabytes: float


@dataclass
class _Watched:
    """A child that is watched: its largest memory, and why it was stopped."""

    largest: int = 0
    stopped: str = ""
    start: int = field(default=0)


def fuzz(name: str, count: int, folder: Path, seed: int = 0) -> Outcome:
    """Feed inputs to a reader in children; one that hangs, dies or takes too much memory is counted and replaced."""
    done = typed = 0
    untyped: list[str] = []
    hangs: list[str] = []
    largest = 0.0
    while done < count:
        home = folder / f"{name.replace(' ', '_').replace('.', '')}-{done}"
        home.mkdir(parents=True)
        command = [sys.executable, "-m", "tests.fuzz", name, str(count - done), str(seed + done), str(home)]
        with (home / "output").open("wb") as output:
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env=_environment())
            watched = _watch(process, home)
        report = home / "report.json"
        counts: dict[str, Any] = (
            json.loads(report.read_text())
            if report.is_file()
            else {"inputs": 0, "typed": 0, "untyped": [], "hangs": []}
        )
        typed += counts["typed"]
        untyped += counts["untyped"]
        hangs += counts["hangs"]
        largest = max(largest, (watched.largest - watched.start) / 2**20 if watched.start else 0.0)
        done += counts["inputs"]
        if process.returncode != 0:
            done += 1
            tail = (home / "output").read_text(errors="replace")[-2000:]
            problem = watched.stopped or f"the child ended with status {process.returncode}: {tail}"
            (hangs if watched.stopped.startswith("hang") else untyped).append(problem)
            if not report.is_file() and not (home / "start").is_file():
                break  # the child can't start
        elif counts["inputs"] == 0:
            break
    return Outcome(name, done, typed, untyped, hangs, largest)


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HELMFRAME_", "AWS_", "HF_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "2"}


def _watch(process: "subprocess.Popen[bytes]", home: Path) -> _Watched:
    """Wait for a child, and stop it if an input takes too long or too much memory."""
    watched = _Watched()
    while process.poll() is None:
        time.sleep(0.02)
        with suppress(OSError, ValueError, IndexError):
            rss = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * resource.getpagesize()
            if not watched.start:
                watched.start = int((home / "start").read_text())
            watched.largest = max(watched.largest, rss)
            current = home / "current"
            if watched.start and rss - watched.start > MEGABYTES << 20:
                watched.stopped = f"more than {MEGABYTES} MB"
            elif current.is_file() and time.time() - current.stat().st_mtime > _WALL_SECONDS:
                watched.stopped = f"hang: more than {_WALL_SECONDS:g} s"
        if watched.stopped:
            process.send_signal(signal.SIGKILL)
            process.wait()
    return watched


def shown(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as a table."""
    lines = [f"{'reader':<20} {'inputs':>7} {'typed':>7} {'untyped':>8} {'hangs':>6} {'MB':>6}"]
    lines += [
        f"{each.reader:<20} {each.inputs:>7,} {each.typed:>7,} {len(each.untyped):>8} {len(each.hangs):>6} "
        f"{each.megabytes:>6.0f}"
        for each in outcomes
    ]
    columns = [(each.inputs, each.typed, len(each.untyped), len(each.hangs)) for each in outcomes]
    inputs, typed, untyped, hangs = (sum(column) for column in zip(*columns, strict=True))
    largest = max(each.megabytes for each in outcomes)
    return "\n".join([*lines, f"{'all':<20} {inputs:>7,} {typed:>7,} {untyped:>8} {hangs:>6} {largest:>6.0f}"])


if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
