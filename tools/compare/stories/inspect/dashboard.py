"""Show all results in a table and as a page. Support: built in."""

import own_function  # noqa: F401 registers the models
from inspect_ai import eval
from inspect_ai.analysis import evals_df
from inspect_ai.log import bundle_log_dir
from own_csv import questions

eval(questions(), model=["user/answer", "user/other_answer"], log_dir="logs", display="none")
print(evals_df("logs", quiet=True)[["model", "score_match_accuracy", "score_match_stderr"]])
bundle_log_dir("logs", "site")
