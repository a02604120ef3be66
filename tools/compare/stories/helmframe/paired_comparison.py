"""Compare two models on the same questions, with the interval of the difference. Support: built in."""

from own_csv import plan
from user_model import answer, other_answer

print(plan.generate({"first": answer, "second": other_answer}).score().compare("model"))
