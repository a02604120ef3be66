"""Compare two models on the same questions, with the interval of the difference. Support: by hand.

Inspect compares no models. `samples_df` has both, and the interval is the normal one of paired differences.
"""

import own_function  # noqa: F401 registers the models
from inspect_ai import eval
from inspect_ai.analysis import EvalModel, SampleSummary, samples_df
from own_csv import questions

eval(questions(), model=["user/answer", "user/other_answer"], log_dir="logs", display="none")
samples = samples_df("logs", columns=EvalModel + SampleSummary, quiet=True)
scores = samples.assign(right=samples["score_match"] == "C").pivot(index="id", columns="model", values="right")
differences = scores["user/answer"].astype(float) - scores["user/other_answer"].astype(float)
mean, error = differences.mean(), differences.sem()
print({"difference": mean, "low": mean - 1.96 * error, "high": mean + 1.96 * error})
