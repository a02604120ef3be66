"""Compare two models on the same questions, with the interval of the difference. Support: by hand.

lm-eval compares no models. The samples are joined by document, and the interval is the normal one of paired
differences.
"""

from math import sqrt
from statistics import fmean, stdev

from lm_eval import simple_evaluate
from own_csv import TASK
from own_function import UserModel
from user_model import answer, other_answer

scores = []
for function in (answer, other_answer):
    samples = simple_evaluate(UserModel(function), tasks=[TASK])["samples"]["questions"]
    scores.append({sample["doc_id"]: sample["exact_match"] for sample in samples})
differences = [scores[0][doc] - scores[1][doc] for doc in scores[0]]
mean, error = fmean(differences), stdev(differences) / sqrt(len(differences))
print({"difference": mean, "low": mean - 1.96 * error, "high": mean + 1.96 * error})
