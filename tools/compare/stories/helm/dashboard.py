"""Show all results in a table and as a page. Support: built in.

`helm-summarize` writes the tables as a schema specifies them, and `helm-server` shows them in a browser.
"""

import json
import subprocess
import sys
from pathlib import Path

import own_csv
import own_function

SCHEMA = """
metrics:
- {name: exact_match, display_name: Exact match, description: Equal texts}
perturbations: []
metric_groups:
- {name: accuracy, display_name: Accuracy, metrics: [{name: "${main_name}", split: "${main_split}"}]}
run_groups:
- name: questions
  display_name: Questions
  description: Sums of two numbers
  metric_groups: [accuracy]
  environment: {main_name: exact_match, main_split: test}
  taxonomy: {task: sums, what: numbers, who: none, when: none, language: English}
"""

own_csv.run(*(f"user/{name}" for name in own_function.FUNCTIONS))
Path("schema.yaml").write_text(SCHEMA, encoding="utf-8")
summarize = Path(sys.executable).with_name("helm-summarize")
subprocess.run([summarize, "--suite", "v1", "--schema-path", "schema.yaml"], check=True)
for file in Path("benchmark_output/runs/v1/groups").glob("questions*.json"):
    content = json.loads(file.read_text(encoding="utf-8"))
    for table in content if isinstance(content, list) else [content]:
        for row in table["rows"]:
            print(*(cell.get("value") for cell in row))
