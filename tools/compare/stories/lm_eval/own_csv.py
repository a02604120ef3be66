"""Score a model on the questions of a CSV file. Support: built in."""

from typing import Any

from lm_eval import simple_evaluate
from lm_eval.utils import make_table

TASK: dict[str, Any] = {
    "task": "questions",
    "dataset_path": "csv",
    "dataset_kwargs": {"data_files": {"test": "questions.csv"}},
    "test_split": "test",
    "output_type": "generate_until",
    "generation_kwargs": {"until": ["\n"]},
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}",
    "metric_list": [{"metric": "exact_match"}],
}

if __name__ == "__main__":
    from own_function import UserModel

    print(make_table(simple_evaluate(UserModel(), tasks=[TASK])))
