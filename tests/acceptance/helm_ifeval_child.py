"""HELM's IFEval metric in a process of its own, run by the Python of a venv that has crfm-helm.

Reads one JSON line per question and answers with one. {"seed"} sets langdetect's seed, null for none. {"rows"}, a list
of [prompt, response, instruction ids, arguments], is answered by {"scores"}.
"""

import importlib
import json
import sys
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any


def main() -> None:
    # HELM prints its own lines on standard output
    answers, sys.stdout = sys.stdout, sys.stderr
    if find_spec("immutabledict") is None:  # HELM reads its dictionaries only
        sys.modules["immutabledict"] = SimpleNamespace(immutabledict=dict)  # type: ignore[assignment]
    # a file beside this one, which is run on its own
    importlib.import_module("helm_metrics_child").write_sentence_model()
    metric = importlib.import_module("helm.benchmark.metrics.ifeval_metrics").IFEvalMetric()
    factory = importlib.import_module("langdetect").DetectorFactory
    for line in sys.stdin:
        question = json.loads(line)
        if "rows" in question:
            answer: dict[str, Any] = {"scores": [score(metric, *row) for row in question["rows"]]}
        else:
            factory.seed = question["seed"]
            answer = {}
        print(json.dumps(answer), file=answers, flush=True)


def score(metric: Any, prompt: str, response: str, ids: list[str], arguments: list[dict[str, Any]]) -> float:
    instance = SimpleNamespace(
        input=SimpleNamespace(text=prompt), extra_data={"instruction_ids": ids, "instruction_kwargs": arguments}
    )
    result = SimpleNamespace(completions=[SimpleNamespace(text=response)])
    (stat,) = metric.evaluate_generation(None, SimpleNamespace(instance=instance, result=result), None, "")
    return float(stat.mean)


if __name__ == "__main__":
    main()
