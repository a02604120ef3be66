"""HELM's metric functions in a process of their own, run by the Python of a venv that has crfm-helm.

Reads one JSON line per question and answers with one: {"pairs": [[gold, output], ...]} sets the pairs; {"name"} scores
all of them once, and the answer is {"seconds", "wall", "scores"}: the processor's seconds, and the clock's.
"""

import importlib
import json
import sys
import time
import warnings
from functools import partial
from typing import Any


def main() -> None:
    # HELM and NLTK print their own lines on standard output
    answers, sys.stdout = sys.stdout, sys.stderr
    warnings.simplefilter("ignore")
    module = importlib.import_module("helm.benchmark.metrics.evaluate_reference_metrics")
    # without the model that tells sentences apart, which NLTK downloads
    module.word_tokenize = partial(module.word_tokenize, preserve_line=True)  # type: ignore[attr-defined]
    pairs: list[tuple[str, str]] = []
    for line in sys.stdin:
        said = json.loads(line)
        if "pairs" in said:
            pairs = [(gold, output) for gold, output in said["pairs"]]
            answer: dict[str, Any] = {"pairs": len(pairs)}
        else:
            name = said["name"]
            rouge = name.startswith("rouge_")
            function = module.get_rouge_function(f"rouge{name[6:].upper()}") if rouge else getattr(module, name)
            for gold, output in pairs[:50]:  # what is compiled at the first pair is not counted
                function(gold, output)
            start, clock = time.process_time(), time.perf_counter()
            scores = [float(function(gold, output)) for gold, output in pairs]
            seconds, wall = time.process_time() - start, time.perf_counter() - clock
            answer = {"seconds": seconds, "wall": wall, "scores": scores}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
