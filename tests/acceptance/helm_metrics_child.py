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
from pathlib import Path
from typing import Any


def main() -> None:
    # HELM and NLTK print their own lines on standard output
    answers, sys.stdout = sys.stdout, sys.stderr
    warnings.simplefilter("ignore")
    write_sentence_model()
    module = importlib.import_module("helm.benchmark.metrics.evaluate_reference_metrics")
    word_tokenize = module.word_tokenize
    pairs: list[tuple[str, str]] = []
    for line in sys.stdin:
        said = json.loads(line)
        if "pairs" in said:
            pairs = [(gold, output) for gold, output in said["pairs"]]
            answer: dict[str, Any] = {"pairs": len(pairs)}
        else:
            name = said["name"]
            unsplit = name.endswith("_unsplit")
            tokenize = partial(word_tokenize, preserve_line=True) if unsplit else word_tokenize
            module.word_tokenize = tokenize  # type: ignore[attr-defined]
            name = name.removesuffix("_unsplit")
            rouge = name.startswith("rouge_")
            function = module.get_rouge_function(f"rouge{name[6:].upper()}") if rouge else getattr(module, name)
            for gold, output in pairs[:50]:  # what is compiled at the first pair is not counted
                function(gold, output)
            start, clock = time.process_time(), time.perf_counter()
            scores = [float(function(gold, output)) for gold, output in pairs]
            seconds, wall = time.process_time() - start, time.perf_counter() - clock
            answer = {"seconds": seconds, "wall": wall, "scores": scores}
        print(json.dumps(answer), file=answers, flush=True)


def write_sentence_model() -> None:
    """Write NLTK's English sentence model, which HELM would download, into the working directory."""
    nltk, punkt = importlib.import_module("nltk"), importlib.import_module("punkt")
    theirs = importlib.import_module("nltk.tokenize.punkt")
    model, parameters = punkt.load_model("english"), theirs.PunktParameters()
    for name in ("abbrev_types", "collocations", "sent_starters"):
        setattr(parameters, name, set(getattr(model, name)))
    parameters.ortho_context.update({word: int(context) for word, context in model.ortho_context.items()})
    folder = Path("nltk_data").absolute()
    english = folder / "tokenizers" / "punkt_tab" / "english"
    english.parent.mkdir(parents=True)
    nltk.data.path.insert(0, str(folder))
    theirs.save_punkt_params(parameters, str(english))


if __name__ == "__main__":
    main()
