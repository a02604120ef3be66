"""Resume a run that was killed: run this file again. Support: built in."""

import own_function  # noqa: F401 registers the model
from inspect_ai import eval_set
from own_csv import questions

success, logs = eval_set(questions(), log_dir="logs", model="user/answer", display="none")
print(logs[0].results.completed_samples)
