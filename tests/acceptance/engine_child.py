"""One plan on the demo model, as a user's process: loads, runs, scores.

usage: python -m tests.acceptance.engine_child MODEL mmlu|hellaswag N, with HELMFRAME_DATA and HELMFRAME_STORE set.
Prints, as its last line, {"n": instances scored, "seconds": of the plan, once the model is loaded, "values": of each
instance, the log-probability of each option or the answer}.
"""

import json
import sys
import time

import helmframe as hf
from helmframe.models import local


def main(folder: str, name: str, n: int) -> None:
    model = local(folder)
    model.generate(["What is"], {"max_tokens": 1})
    started = time.perf_counter()
    plan = hf.scenario(name)
    if name == "mmlu":
        plan = plan.where(subject="philosophy")
    results = plan.limit(n).generate(model).score()
    seconds = time.perf_counter() - started
    frame = results.completions.sort("row_index", "reference_index").collect()
    shown = "logprob" if name == "hellaswag" else "completion"
    values: dict[str, list[object]] = {}
    for instance, value in frame.select("instance_id", shown).iter_rows():
        values.setdefault(instance, []).append(value)
    print(json.dumps({"n": results.table()["n"][0], "seconds": seconds, "values": list(values.values())}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
