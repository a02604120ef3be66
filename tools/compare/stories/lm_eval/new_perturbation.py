"""Add a perturbation and measure its effect. Support: by hand.

lm-eval has no perturbations. A second task changes its documents, and the difference of the two scores is the effect.
"""

from datasets import Dataset
from lm_eval import simple_evaluate
from own_csv import TASK
from own_function import UserModel


def shouting(rows: Dataset) -> Dataset:
    """Convert the questions to capitals."""
    return rows.map(lambda row: {"question": row["question"].upper()})


shouted = {**TASK, "task": "questions_shouted", "process_docs": shouting}
scores = simple_evaluate(UserModel(), tasks=[TASK, shouted])["results"]
original, changed = (scores[name]["exact_match,none"] for name in ("questions", "questions_shouted"))
print({"original": original, "shouting": changed, "change": changed - original})
