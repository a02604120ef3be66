"""Tasks in Inspect with its mock model and as plans: prompts, scores and aggregates, as JSON.

Data sets of the Hub are replaced by a few rows in their schema; nothing else of Inspect is.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import inspect_ai
import yaml
from inspect_ai._eval.loader import load_tasks
from inspect_ai.dataset import MemoryDataset
from inspect_ai.model import ModelOutput, ModelUsage, get_model

import helmframe as hf
from tests.prompts import prompts_of

HERE = Path(__file__).parent
RUNS = 3
LETTERS = "ABCDE"


def options(n: int) -> list[str]:
    return [f"{word} {n}" for word in ("red", "green", "blue", "white", "black")]


def rows_of(path: str) -> list[dict[str, Any]]:
    """Return rows in the schema of a data set."""
    make: dict[str, Any] = {
        "allenai/ai2_arc": lambda n: {
            "id": f"q{n}", "question": f"Question {n}?", "answerKey": LETTERS[n % 4],
            "choices": {"text": options(n)[:4], "label": list(LETTERS[:4])},
        },
        "google/boolq": lambda n: {"question": f"is it {n}", "passage": f"Passage {n} {{x}}.", "answer": n % 2 == 0},
        "tau/commonsense_qa": lambda n: {
            "id": f"c{n}", "question": f"Where is {n}?", "question_concept": "place", "answerKey": LETTERS[n % 5],
            "choices": {"text": options(n), "label": list(LETTERS)},
        },
        "Rowan/hellaswag": lambda n: {
            "ctx": f"Somebody {n}", "endings": options(n)[:4], "label": str(n % 4), "source_id": f"s{n}",
        },
        "allenai/winogrande": lambda n: {
            "sentence": f"The {n} is too _ for it.", "option1": f"big {n}", "option2": "small",
            "answer": str(1 + n % 2),
        },
        "ehovy/race": lambda n: {
            "article": f"Article {n // 2}.", "question": f"Why {n}?", "options": options(n)[:4],
            "answer": LETTERS[n % 4],
        },
        "truthfulqa/truthful_qa": lambda n: {
            "question": f"True {n}?",
            "mc1_targets": {"choices": options(n), "labels": [1, 0, 0, 0, 0]},
            "mc2_targets": {"choices": options(n), "labels": [1, 1, 0, 0, n % 2]},
        },
        "google-research-datasets/paws": lambda n: {
            "id": n, "sentence1": f"A {n} is B.", "sentence2": "B is {A}.", "label": n % 2,
        },
        "openai/gsm8k": lambda n: {"question": f"Add {n} and 1,200.", "answer": f"{n}+1200\n#### {n + 1200:,}"},
        "TAUR-Lab/MuSR": lambda n: {
            "narrative": f"Night {n}.", "question": "Who?", "choices": str(options(n)[:3]), "answer_index": n % 3,
            "answer_choice": options(n)[n % 3],
        },
        "cais/wmdp": lambda n: {"question": f"Which {n}?", "choices": options(n)[:4], "answer": n % 4},
        "rajpurkar/squad_v2": lambda n: {
            "id": f"s{n}", "title": "T", "context": f"The tower {n} is tall.", "question": f"How tall is {n}?",
            "answers": {"text": [] if n % 3 == 0 else [f"the tower {n}", "tall"], "answer_start": []},
        },
        "hub/multilingual_gsm_symbolic": lambda n: {
            "question": f"Count {n}.", "target": str(n), "answer": f"It is {n}.", "language": "eng", "source_id": n,
        },
        "hub/mmlu_pro": lambda n: {"question": f"What is {n}?", "answer": LETTERS[n % 5], "options": options(n)},
        "hub/evasionbench": lambda n: {
            "question": f"How was {n}?", "answer": f"Fine {n}, {{thanks}}.", "eva4b_label_letter": LETTERS[n % 3],
            "choices": ["direct", "intermediate", "evasive"],
        },
        "hub/gpqa": lambda n: {
            "Question": f"Hard {n}?", "Correct Answer": f"right {n}",
            **{f"Incorrect Answer {k}": f"wrong {k} of {n}" for k in (1, 2, 3)},
        },
    }  # fmt: skip
    return [make[path](n) for n in range(10)]


def load_dataset(path: str, **_: Any) -> Any:
    return datasets.Dataset.from_list(rows_of(path))


def variants(targets: list[str]) -> list[str]:
    """Return completions: right ones in several forms, wrong ones and malformed ones."""
    first, joined = targets[0], ", ".join(targets)
    return [
        f"ANSWER: {joined}", f"So it is {first}.", first, "ANSWER: A", "", f"#### {first}\n",
        f"I think.\n\nANSWER: **{first}**.", f"Answer : ({first})", "I don't know", f"\\boxed{{{first}}}",
        f"ANSWER: Z\nThen ANSWER: {first}", f"{first.upper()} or ${first}.00", "yes", f"ANSWER: {''.join(targets)}",
        f"**{first}**, not 7", f"the {first} of the city", "ANSWER: B,", "ANSWER: A and C", "½ 1,234.50 三",
        f"${first}$",
    ]  # fmt: skip


def inspect_scores(task: Any, replies: dict[Any, list[str]], logs: str) -> tuple[Any, int]:
    """Return the log of Inspect's run, and the number of requests whose prompt isn't one of ours."""
    seen: Counter[Any] = Counter()
    missed = 0

    def reply(messages: Any, *_: Any) -> ModelOutput:
        nonlocal missed
        key = tuple((message.role, message.text) for message in messages)
        seen[key] += 1
        missed += key not in replies
        text = replies[key][seen[key] - 1] if key in replies else "another prompt"
        output = ModelOutput.from_content("mockllm", text)
        output.usage = ModelUsage()  # else the mock model downloads a tokenizer to count tokens
        return output

    model = get_model("mockllm/model", custom_outputs=reply, memoize=False)
    (log,) = inspect_ai.eval(task, model=model, log_dir=logs, display="none", max_samples=1)
    assert log.status == "success", log.error.message
    return log, missed


def number(value: Any) -> float:
    return float({"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}.get(value, value))


def compare(name: str, plan: hf.Plan, load: Any, logs: str) -> dict[str, Any]:
    """Return the numbers of equal and all prompts, scores and aggregates of a task."""
    counts: Counter[str] = Counter()
    requests = plan.requests().collect()
    conversations = prompts_of(plan)
    for run in range(RUNS):
        task = load()
        samples = {str(n + 1 if sample.id is None else sample.id): sample for n, sample in enumerate(task.dataset)}
        epochs = task.epochs or 1
        replies: dict[Any, list[str]] = {}
        texts: dict[str, list[str]] = {}
        for row, (request, turns) in enumerate(zip(requests.iter_rows(named=True), conversations, strict=True)):
            target = samples[request["instance_id"]].target
            listed = variants([target] if isinstance(target, str) else list(target))
            chosen = [listed[(row + run * 4 + 7 * epoch) % len(listed)] for epoch in range(epochs)]
            replies[tuple(turns)] = texts[request["prompt"]] = chosen
        log, missed = inspect_scores(task, replies, logs)
        counts["prompts"] += len(conversations)
        counts["prompts_equal"] += len(conversations) - missed
        called: Counter[str] = Counter()

        def answer(prompt: str, texts: Any = texts, called: Any = called) -> str:
            called[prompt] += 1
            return str(texts[prompt][called[prompt] - 1])

        results = plan.generate(answer).score()
        _count(counts, log, results, epochs)
    return {"task": name, **counts}


def _count(counts: Counter[str], log: Any, results: hf.Results, epochs: int) -> None:
    scorers = list(log.samples[0].scores)
    reducers = list(dict.fromkeys(score.reducer for score in log.results.scores))
    names = results.metric_names
    plain = names[-len(scorers) :]
    table = results.scores.collect()
    for scorer, metric in zip(scorers, plain, strict=True):
        ours: dict[str, list[float]] = {}
        for instance, score in table.filter(metric=metric).select("instance_id", "score").iter_rows():
            ours.setdefault(instance, []).append(score)
        theirs: dict[str, list[float]] = {}
        for sample in log.samples:
            theirs.setdefault(str(sample.id), []).append(number(sample.scores[scorer].value))
        for instance, values in theirs.items():
            counts["scores"] += 1
            counts["scores_equal"] += sorted(ours[instance]) == sorted(values)
    for entry in log.results.scores:
        aggregates = [metric.value for key, metric in entry.metrics.items() if key in ("accuracy", "mean", "all")]
        place = scorers.index(entry.name) if entry.name in scorers else 0
        metric = plain[place]
        if epochs > 1 and [reducer for reducer in reducers if reducer not in (None, "mean")]:
            metric = names[reducers.index(entry.reducer) * len(scorers) + place]
        for value in aggregates:
            counts["aggregates"] += 1
            counts["aggregates_equal"] += abs(results.value(metric) - value) < 1e-9


def inspect_loader(spec: str, arguments: dict[str, Any]) -> Any:
    return lambda: load_tasks([spec], arguments)[0]


def main(folder: str, hub: str) -> None:
    datasets.load_dataset = load_dataset
    shuffle = MemoryDataset.shuffle_choices
    MemoryDataset.shuffle_choices = lambda self, seed=0: shuffle(self, seed)  # ours has this seed
    tables = []
    evals = [
        "arc_easy", "arc_challenge", "boolq", "commonsense_qa", "hellaswag", "winogrande", "race_h", "truthfulqa",
        "paws", "gsm8k", "musr", "wmdp_bio", "squad", "truthfulqa(target='mc2')", "gsm8k(fewshot=0)",
    ]  # fmt: skip
    for name in evals:
        plan = hf.scenario(f"inspect:inspect_evals/{name}")
        task, _, arguments = name.partition("(")
        values = dict([("target", "mc2")] if "mc2" in arguments else [("fewshot", 0)] if arguments else [])
        tables.append(compare(name, plan, inspect_loader(f"inspect_evals/{task}", values), folder))
    file = HERE / "inspect_task_file.py"
    own = [
        "match_numeric", "match_locations", "reasoning", "letters", "patterns", "words", "examples", "messages",
        "several_correct", "several_correct_reasoning", "many_options", "option_letters", "epochs_mode", "epochs_pass",
        "by_group", "mathematics",
    ]  # fmt: skip
    for name in own:
        plan = hf.scenario(f"inspect:{file}@{name}", trust_remote_code=True)
        tables.append(compare(name, plan, inspect_loader(f"{file}@{name}", {}), folder))
    for name, source, task_id in [
        ("multilingual_gsm_symbolic", "multilingual_gsm_symbolic/eval.yaml", "original_eng"),
        ("mmlu_pro", "euroeval_test_copies/mmlu_pro.yaml", ""),
        ("evasionbench", "euroeval_test_copies/evasionbench.yaml", ""),
        ("gpqa", "euroeval_test_copies/gpqa.yaml", "diamond"),
    ]:
        place = Path(folder) / name
        text = (Path(hub) / source).read_text(encoding="utf-8")
        entry = next(task for task in yaml.safe_load(text)["tasks"] if not task_id or task["id"] == task_id)
        rows = place if entry["config"] == "default" else place / entry["config"]
        rows.mkdir(parents=True)
        (place / "eval.yaml").write_text(text, encoding="utf-8")
        datasets.Dataset.from_list(rows_of(f"hub/{name}")).to_parquet(rows / f"{entry['split']}-00000.parquet")
        local = str(place / "eval.yaml")
        setattr(huggingface_hub, "hf_hub_download", lambda local=local, **_: local)  # noqa: B010
        plan = hf.scenario(f"hf:{place}#{task_id}" if task_id else f"hf:{place}")
        spec = f"hf/hub/{name}/{task_id}" if task_id else f"hf/hub/{name}"
        tables.append(compare(f"hf:{name}", plan, inspect_loader(spec, {}), folder))
    print(json.dumps(tables))


if __name__ == "__main__":
    main(*sys.argv[1:])
