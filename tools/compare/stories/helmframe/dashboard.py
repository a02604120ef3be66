"""Show all results in a table and as a page. Support: built in."""

from own_csv import plan
from user_model import answer, other_answer

results = plan.generate({"first": answer, "second": other_answer}).score()
print(results.table())
results.report("report.html")
