"""Compare two models on the same questions, with the interval of the difference. Support: by hand.

HELM compares no models. The scores per instance are joined by id, and the interval is the normal one of paired
differences.
"""

import json
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

import own_csv
import own_function

own_csv.run(*(f"user/{name}" for name in own_function.FUNCTIONS))
scores = []
for name in own_function.FUNCTIONS:
    file = Path(f"benchmark_output/runs/v1/questions:model=user_{name}/per_instance_stats.json")
    rows = json.loads(file.read_text(encoding="utf-8"))
    scores.append(
        {
            row["instance_id"]: stat["sum"]
            for row in rows
            for stat in row["stats"]
            if stat["name"]["name"] == "exact_match"
        }
    )
differences = [scores[0][instance] - scores[1][instance] for instance in scores[0]]
mean, error = fmean(differences), stdev(differences) / sqrt(len(differences))
print({"difference": mean, "low": mean - 1.96 * error, "high": mean + 1.96 * error})
