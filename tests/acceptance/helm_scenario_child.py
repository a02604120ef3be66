"""HELM's scenarios in a process of their own, run by the Python of a venv that has crfm-helm; on files it is given.

Reads one JSON line per question and answers with one. {"module", "class", "arguments"} says which scenario; `files`
what it downloads, {part of the URL: path}; `tables` what it loads from the hub, {split: Parquet file}; `labels` the
columns of these that are class numbers there, and `names` those that are numbers in the file too, with the classes'
names. `responses` has the folder whose files the scenario requests one by one; `missing` the packages that it imports
and doesn't need. With `sheets`, its sheets are CSV files; with `sorted`, it lists the files of a folder by name. The
answer is {"instances": [{input, split, sub_split, references}]}, of long inputs with `digests` their sha256.

{"run_spec", "arguments"} asks for the run spec that the function of that name makes.
"""

import dataclasses
import hashlib
import importlib
import json
import os
import shutil
import sys
import tempfile
import traceback
import types
from pathlib import Path
from typing import Any


def main() -> None:
    # HELM prints its own lines on standard output
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        said = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if "module" in said:
                answer = {"instances": instances(said)}
            elif "run_spec" in said:
                answer = run_spec(said["run_spec"], said["arguments"])
        except Exception:  # told to who asked
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


def instances(said: dict[str, Any]) -> list[dict[str, Any]]:
    """What HELM's own scenario makes of the files."""
    module = patched(said)
    scenario = getattr(module, said["class"])(**said["arguments"])
    with tempfile.TemporaryDirectory() as folder:
        made = scenario.get_instances(folder)
    return [
        {
            "input": digest(each.input.text) if said.get("digests") else each.input.messages or each.input.text,
            "split": each.split,
            "sub_split": each.sub_split,
            "references": [[reference.output.text, "correct" in reference.tags] for reference in each.references],
        }
        for each in made
    ]


def patched(said: dict[str, Any]) -> Any:
    """Return the module of a HELM scenario, which reads the given files instead of downloading its own."""
    for name in said.get("missing", ()):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].Document = None  # type: ignore[attr-defined]
    module: Any = importlib.import_module(f"helm.benchmark.scenarios.{said['module']}")

    def downloaded(source_url: str, target_path: str, **_: Any) -> None:
        (path,) = [path for part, path in said["files"].items() if part in source_url]
        target = Path(target_path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if Path(path).is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, target)

    def loaded(*_: Any, split: str | None = None, **__: Any) -> Any:
        datasets: Any = importlib.import_module("datasets")

        found = datasets.DatasetDict(
            {name: datasets.Dataset.from_parquet(path) for name, path in said["tables"].items()}
        )
        for column in said.get("labels", ()):
            found = found.class_encode_column(column)
        for column, names in said.get("names", {}).items():
            found = found.cast_column(column, datasets.ClassLabel(names=names))
        return found[split] if split else found

    module.ensure_file_downloaded = downloaded
    if said.get("sheets"):  # no package for sheets is installed: the file has the same rows as CSV
        module.pd.read_excel = module.pd.read_csv
    if said.get("sorted"):  # the order of a folder's files is that of the disk
        listed = os.listdir
        module.os.listdir = lambda path: sorted(listed(path))
    if "responses" in said:
        module.requests = Responses(Path(said["responses"]))
    if hasattr(module, "datasets"):
        module.datasets.load_dataset = loaded
    module.load_dataset = loaded
    if said["module"] == "entity_matching_scenario":  # the states of its official runs are gone
        states: Any = importlib.import_module(f"helm.benchmark.scenarios.{said['module']}_fixed_random_state")
        states.get_split_to_fixed_random_seed = lambda _: {}
    if hasattr(module, "tiktoken"):  # it is asked for a tokenizer, from the net, and never used
        module.tiktoken.get_encoding = lambda _: None
    return module


class Responses:
    """The part of `requests` that scenarios list and read the files of a GitHub folder with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, url: str, **_: Any) -> Any:
        """Return the response to a request of the list of files, or of a file."""
        name = url.rpartition("/")[2].partition("#")[0]
        listed = "api.github.com" in url
        names = sorted(path.name for path in self.folder.iterdir())
        exists = listed or (self.folder / name).is_file()
        text = (self.folder / name).read_bytes().decode() if exists and not listed else ""
        return types.SimpleNamespace(
            status_code=200 if exists else 404, text=text, json=lambda: [{"name": each} for each in names]
        )


def run_spec(function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """HELM's run spec, before what expanders make of it."""
    functions: Any = importlib.import_module("helm.benchmark.run_specs.classic_run_specs")
    return dataclasses.asdict(getattr(functions, function)(**arguments))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    main()
