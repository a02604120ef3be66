"""Show all results in a table and as a page. Support: by hand.

lm-eval has no page and no table of several runs. It writes a file per run, and prints a table per run.
"""

import json
from pathlib import Path

from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from own_csv import TASK
from own_function import UserModel
from user_model import answer, other_answer

for name, function in (("first", answer), ("second", other_answer)):
    tracker = EvaluationTracker(output_path=f"runs/{name}")
    results = simple_evaluate(UserModel(function), tasks=[TASK], evaluation_tracker=tracker)
    tracker.save_results_aggregated(results=results, samples=results.pop("samples"))
for file in sorted(Path("runs").rglob("results_*.json")):
    scores = json.loads(file.read_text(encoding="utf-8"))["results"]["questions"]
    print(file.parts[1], scores["exact_match,none"], scores["exact_match_stderr,none"])
