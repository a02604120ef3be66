"""Golden hashes of mirrored instances, derived without the mirror.

    python -m tests.acceptance.mirror_golden SHARED_DATA [NAME …]

writes `mirror_golden.json`, or its entries of these scenarios. Instances that HELM samples come from crfm-helm's
scenario classes, which read the same files. All others come from the rows that `published` makes in Python, written as
Parquet.
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.specs import SPLITS, Equals
from helmframe.errors import HelmframeError
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.load import load
from tests.acceptance import helm_peer
from tests.acceptance.published import HelmRun, Published, mirrored_scenarios, published

FILE = Path(__file__).with_suffix(".json")
# The order of wrong references depends on numbers of classes that the rows don't have. HELM samples 30 of many.
UNORDERED = ("lextreme",)
_MOST_WRONG = 30
Golden = dict[str, Any]


def golden(name: str, made: Published, root: str) -> Golden:
    """Return the number and the hashes of a scenario's instances in a root.

    Args:
        name: The name of the scenario.
        made: Its files.
        root: The root.
    """
    if made.runs:
        told = [_ours(name, run, root) for run in made.runs]
        return {"by": "crfm-helm", "instances": sum(map(len, told)), "content": _digest(told)}
    rows = pl.concat(load(find_scenario(name), splits=SPLITS, data=root), how="diagonal_relaxed")
    rows = rows.sort("instance_id")
    content = rows.select("split", "subset", "cluster", "input", "references").to_dicts()
    ids = rows["instance_id"].to_list()
    return {"by": "rows", "instances": rows.height, "ids": _digest(ids), "content": _digest(content)}


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def _ours(name: str, run: HelmRun, root: str) -> list[Any]:
    where = [Equals(column, (value,)) for column, value in run.where.items()]
    frames = load(find_scenario(name), where=where, splits=SPLITS, data=root, compat="helm")
    rows = sorted((row for frame in frames for row in frame.to_dicts()), key=lambda row: int(row["row_index"]))
    ids = [row["instance_id"].rpartition("/")[2] for row in rows]
    if ids == [f"id{number}" for number in range(len(rows))]:
        return [_told(name, row) for row in rows]
    return [[*_told(name, row), own] for row, own in zip(rows, ids, strict=True)]


def _told(name: str, row: Mapping[str, Any]) -> list[Any]:
    """Return input, split and references of an instance of ours or of HELM."""
    references = [list(each.values())[:2] if isinstance(each, dict) else list(each) for each in row["references"]]
    if name in UNORDERED:
        wrong = [reference for reference in references if not reference[1]]
        references = sorted(each for each in references if each[1] or len(wrong) < _MOST_WRONG)
    return [row.get("data_messages") or row["input"], row["split"], row["sub_split"], references]


def _of_helm(name: str, made: Published, peer: helm_peer.Peer) -> Golden:
    told = []
    for run in made.runs:
        with tempfile.TemporaryDirectory() as folder:
            files = {part: _stored(content, Path(folder), part) for part, content in run.files.items()}
            tables = {
                split: _stored(content, Path(folder), f"{split}.parquet") for split, content in run.tables.items()
            }
            question = {"module": run.module, "class": run.scenario, "arguments": dict(run.arguments)}
            answer = peer.ask({**question, **run.more, "files": files, "tables": tables, "names": dict(run.names)})
        assert "error" not in answer, answer["error"]
        told.append([[*_told(name, row), *([row["id"]] if row["id"] else [])] for row in answer["instances"]])
    return {"by": "crfm-helm", "instances": sum(map(len, told)), "content": _digest(told)}


def _stored(content: bytes | Mapping[str, bytes], folder: Path, name: str) -> str:
    path = folder / name.strip("/").replace("/", "_")
    if isinstance(content, bytes):
        path.write_bytes(content)
        return str(path)
    for member, data in content.items():
        (path / member).parent.mkdir(parents=True, exist_ok=True)
        (path / member).write_bytes(data)
    return str(path)


def _of_rows(name: str, made: Published) -> Golden:
    with tempfile.TemporaryDirectory() as root:
        for path, rows in made.rows.items():
            file = Path(root, path if path.endswith(".parquet") else f"{path}-00000-of-00001.parquet")
            file.parent.mkdir(parents=True, exist_ok=True)
            frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows, infer_schema_length=None)
            frame.write_parquet(file)
        return golden(name, made, root)


def main(data: Path, *names: str) -> None:
    """Write the golden hashes of scenarios; default all that a mirror fills by name."""
    packages = ["pandas~=2.0", "datasets", "tiktoken", "transformers"]
    result = json.loads(FILE.read_text(encoding="utf-8")) if names else {}
    failed = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        helm_peer.running("helm_scenario_child.py", {}, Path(folder), packages) as peer,
    ):
        for name in names or mirrored_scenarios():
            made = published(name, data)
            try:
                result[name] = _of_helm(name, made, peer) if made.runs else _of_rows(name, made)
            except (HelmframeError, AssertionError) as error:
                failed[name] = str(error)
            else:
                print(name, result[name]["by"], result[name]["instances"], flush=True)
    FILE.write_text(json.dumps(dict(sorted(result.items())), indent=1) + "\n", encoding="utf-8")
    if failed:
        sys.exit("\n".join(f"{name} has no golden hashes: {problem}" for name, problem in failed.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
