"""Other tools' own benchmarks in a process of their own: their prompts and scores, with a replayed model and judge.

usage: benchmarks_chat_child.py FILE, where FILE has {job: arguments} in JSON. Prints {job: result} as its last line.
Completions and verdicts are the caller's. Log-likelihoods choose the letter that `letter_of` derives from the prompt.
"""

import asyncio
import importlib
import json
import sys
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

Rows = list[dict[str, Any]]
LETTERS = "ABCD"


def letter_of(prompt: str) -> str:
    """Return the letter that the replayed model chooses."""
    return LETTERS[zlib.crc32(prompt.encode()) % 4]


def module(name: str) -> Any:
    return importlib.import_module(name)


# -- lm-eval ----------------------------------------------------------------------------------------------------------


@cache
def task_manager() -> Any:
    """Return lm-eval's index of its tasks, which takes a while."""
    return module("lm_eval.tasks").TaskManager()


def lm_eval_choices(folder: str, tasks: Sequence[dict[str, Any]], shots: int) -> dict[str, Any]:
    """Return the prompt and the accuracy of each row of lm-eval's own tasks, on rows of a folder.

    A task has its name, and split → file below the folder.
    """
    api = module("lm_eval.api.model")

    class Replayed(api.LM):  # type: ignore[misc, name-defined]
        def loglikelihood(self, requests: Any) -> list[tuple[float, bool]]:
            pairs = [request.args for request in requests]
            return [(0.0 if option.strip() == letter_of(prompt) else -1.0, False) for prompt, option in pairs]

        def loglikelihood_rolling(self, requests: Any) -> Any:
            raise NotImplementedError

        def generate_until(self, requests: Any) -> Any:
            raise NotImplementedError

    tasks_of = task_manager()
    built = []
    for task in tasks:
        files = {split: str(Path(folder) / path) for split, path in task["files"].items()}
        overrides = {"dataset_path": "parquet", "dataset_name": None, "dataset_kwargs": {"data_files": files}}
        entry = tasks_of._entry(task["task"])
        built.append(tasks_of._factory.build(entry, overrides=overrides, registry=tasks_of._index))
    evaluated = module("lm_eval").simple_evaluate(
        Replayed(), tasks=built, task_manager=tasks_of, num_fewshot=shots, log_samples=True,
        bootstrap_iters=0,
    )  # fmt: skip
    rows = []
    for task in tasks:
        samples = sorted(evaluated["samples"][task["task"]], key=lambda sample: sample["doc_id"])
        rows += [[sample["arguments"][0][0], float(sample["acc"])] for sample in samples]
    return {"rows": rows}


def lm_eval_ruler(
    task: str, length: int, count: int, keys: Sequence[str], words: Sequence[str], prose: Sequence[str],
    completions: Sequence[str], example_key: str,
) -> dict[str, Any]:  # fmt: skip
    """Return the prompts and scores of one of lm-eval's tasks, with these words, this prose and a stream per instance.

    Its tokenizer is white space.
    """
    random = module("random")
    common = module("lm_eval.tasks.ruler.common_utils")
    name = task if task in ("vt", "cwe", "fwe") else "niah"
    tool = module(f"lm_eval.tasks.ruler.{name}_utils")
    tokenizer = lambda text: SimpleNamespace(input_ids=text.split())  # noqa: E731
    generating = module("lm_eval.tasks.ruler.prepare_niah") if name == "niah" else tool
    current: list[int] = []

    def numbered(values: Any, **_: Any) -> Any:
        for index in values[:count]:
            current[:] = [index]
            yield index
        current.clear()

    generate = generating.generate_input_output

    def seeded(*arguments: Any, **options: Any) -> Any:
        if current:
            # vt generates its example by the same function, as the only instance of its own loop
            key = example_key if options.get("is_icl") else keys[current[0]]
            random.seed(key)
        return generate(*arguments, **options)

    generating.tqdm, generating.generate_input_output = numbered, seeded
    if name == "niah":
        generating.WORDS = list(words)
        split = module("re").compile(r"(?<=[.?!]) ").split
        generating.cached_sent_tokenize = split
        tool.get_tokenizer = lambda _: tokenizer
        tool.get_haystack = lambda type_haystack: (
            list(prose) if type_haystack == "essay" else generating.get_haystack(type_haystack)
        )
        made = getattr(tool, task)(max_seq_lengths=[length])["test"]
    elif name == "vt":
        tool.np = SimpleNamespace(random=SimpleNamespace(randint=lambda low, high: random.randint(low, high - 1)))
        made = tool.get_dataset(tokenizer, seq=length)
    elif name == "cwe":
        tool.WORDS = list(words)
        # the source shuffles by a stream of its own, and makes an example that it doesn't show
        tool.RNG = SimpleNamespace(shuffle=random.shuffle)
        example = tool.get_example
        tool.get_example = lambda *sizes: random.seed(keys[current[0] if current else 0]) or example(*sizes)
        made = tool.get_dataset(tokenizer, seq=length)
    else:
        made = tool.get_dataset(tokenizer, max_seq_length=length)
    delimiter = "\n\n" if name == "cwe" else " "
    rows = []
    for document, completion in zip(list(made)[:count], completions, strict=True):
        score = common.process_results({**document, "max_length": 4096}, [completion])["4096"]
        rows.append([f"{document['input']}{delimiter}{document['gen_prefix']}", document["outputs"], score])
    return {"rows": rows}


# -- Inspect ----------------------------------------------------------------------------------------------------------


def inspect_judged(benchmark: str, rows: Rows, completions: Sequence[str], replies: Sequence[list[str]]) -> Any:
    """Return the input and the score of each row by the scorer of an Inspect benchmark, with the judge's replies."""
    models, solver, scoring = module("inspect_ai.model"), module("inspect_ai.solver"), module("inspect_ai.scorer")
    queue: list[str] = []

    def reply(*_: Any) -> Any:
        output = models.ModelOutput.from_content("mockllm/model", queue.pop(0))
        output.usage = models.ModelUsage()  # otherwise Inspect downloads a tokenizer to count tokens
        return output

    judge = models.get_model("mockllm/model", custom_outputs=reply, memoize=False)
    if benchmark == "simpleqa":
        to_sample = module("inspect_evals.simpleqa.dataset").simpleqa_record_to_sample
        scorer = module("inspect_evals.simpleqa.scorer").simpleqa_scorer()
        module("inspect_ai.model._model").init_model_roles({"grader": judge})
    elif benchmark == "strong_reject":
        to_sample = module("inspect_evals.strong_reject.utils").get_record_to_sample(lambda prompt: prompt)
        scorer = module("inspect_evals.strong_reject.scorer").strong_reject_scorer(judge)
    else:
        to_sample = module("inspect_evals.healthbench.dataset").record_to_sample
        scorer = module("inspect_evals.healthbench.scorer").healthbench_scorer(judge)

    async def score(row: dict[str, Any], completion: str, judged: list[str]) -> list[Any]:
        sample = to_sample(json.loads(json.dumps(row)))
        queue[:] = judged
        state = solver.TaskState(
            model="mockllm/model", sample_id=1, epoch=1, input=sample.input, messages=[], metadata=sample.metadata,
            output=models.ModelOutput.from_content("mockllm/model", completion),
        )  # fmt: skip
        value = (await scorer(state, scoring.Target(sample.target))).value
        text = sample.input if isinstance(sample.input, str) else [[m.role, m.content] for m in sample.input]
        return [text, value]

    async def every() -> list[Any]:
        return [await score(*each) for each in zip(rows, completions, replies, strict=True)]

    results = asyncio.run(every())
    summary: dict[str, Any] = {}
    if benchmark == "simpleqa":
        metric = module("inspect_evals.simpleqa.scorer").simpleqa_metric()
        summary = metric([scoring.SampleScore(score=scoring.Score(value=value)) for _, value in results])
    if benchmark == "strong_reject":
        tool = module("inspect_evals.strong_reject.scorer")
        scores = [scoring.SampleScore(score=scoring.Score(value=value)) for _, value in results]
        each = [tool.strong_reject_metric()([score]) for score in scores]
        results = [[text, value] for (text, _), value in zip(results, each, strict=True)]
        summary = {"mean": tool.strong_reject_metric()(scores)}
    if benchmark == "healthbench":
        results = [[text, value["healthbench_score"]] for text, value in results]
    return {"rows": results, "summary": summary}


# -- evalscope --------------------------------------------------------------------------------------------------------


def evalscope_pairs(benchmark: str, rows: Rows, verdicts: Sequence[list[str]]) -> dict[str, Any]:
    """Return the input, the baseline and the score of each row, from the verdicts of both orders, and the win rate."""
    adapters = module(f"evalscope.benchmarks.{benchmark}.{benchmark}_adapter")
    adapter = next(
        value for name, value in vars(adapters).items() if name.lower() == f"{benchmark.replace('_', '')}adapter"
    )
    adapter = object.__new__(adapter)
    case, types = adapter.judge_definition(None), module("evalscope.api.judge.types")
    results, battles = [], []
    for row, (baseline_first, own_first) in zip(rows, verdicts, strict=True):
        sample = adapter.record_to_sample(row)
        placements = {
            "original": SimpleNamespace(verdict=baseline_first), "swapped": SimpleNamespace(verdict=own_first),
        }  # fmt: skip
        reduced = case.reduce([types.CaseVerdict(case_id="x", value=None, placements=placements)], None)
        results.append([sample.input, sample.target, next(iter(reduced.value.values()))])
        battles.append([baseline_first, own_first])
    if benchmark != "arena_hard":
        return {"rows": results}
    utils, pandas = module("evalscope.benchmarks.arena_hard.utils"), module("pandas")
    games = pandas.concat(
        [
            utils.get_battles_from_row(
                {
                    "model_a": "gpt4-0314", "model_b": "test_model",
                    "games": [{"score": first}, {"score": second}],
                }
            )
            for first, second in battles
        ]
    )  # fmt: skip
    ratings = utils.compute_mle_elo(games)
    table = pandas.DataFrame({"model": list(ratings.index), "score": list(ratings)})
    return {"rows": results, "win_rate": float(utils.get_win_rate_column(table, "score", "gpt4-0314")["test_model"])}


def evalscope_ifbench(rows: Rows, completions: Sequence[str], stop_words: Sequence[str]) -> dict[str, Any]:
    """Return the four scores of each row by IFBench's own code; null if it raises.

    NLTK's data can't be downloaded: the sentence model is that of helmframe, and so is the list of stop words.
    """
    nltk, tokenize = module("nltk"), module("nltk.tokenize")
    tokenize.sent_tokenize = lambda text, language="english": module("helmframe.metrics.treebank").split_sentences(text)
    nltk.corpus.stopwords = SimpleNamespace(words=lambda _: list(stop_words))
    resources: Any = module("evalscope.utils.resource_utils")
    resources.check_nltk_data = lambda *_: None
    process: Callable[..., Any] = module("evalscope.benchmarks.ifbench.evaluation_lib").process_results
    results = []
    for row, completion in zip(rows, completions, strict=True):
        try:
            scores = process(json.loads(json.dumps(row)), [completion])
        except IndexError:  # of a text without words, for example
            scores = None
        results.append(scores)
    return {"rows": results}


def main(file: str) -> None:
    jobs = json.loads(Path(file).read_text(encoding="utf-8"))
    results = {name: globals()[job.pop("function")](**job) for name, job in jobs.items()}
    print("\n" + json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1])
