"""Random run entries of HELM's .conf files by a real `helm-run` and by helmframe: requests and statistics compared.

`python -m tests.acceptance.helm_parity --seed 20 --entries 60` prints equal/total by adapter method and writes each
difference to a file.
"""

import argparse
import json
import os
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helmframe._plan import Plan, spec_of
from helmframe.errors import HelmframeError
from helmframe.interop.helm import parse_entry
from helmframe.interop.helm.metric_specs import BASIC_STATISTICS, CLASSES, metrics_of
from helmframe.interop.helm.plans import drafts_of
from helmframe.interop.helm.scenario_lookup import scenario_index
from helmframe.metrics.protocol import METRICS
from helmframe.models.model import Completion, Model, Tokens
from tests.acceptance import eval_peers, hashed_model, helm_parity_pool, helm_peer, helm_run_peer
from tests.acceptance.helm_parity_pool import Draw
from tests.acceptance.test_equal_to_helm_runs import (
    BY_OPTION,
    CALIBRATION,
    LANGUAGE,
    equal,
    of_instances,
    of_sets,
    run_folders,
)

SEED = 20
INSTANCES = 40
KINDS = ("prompts", "per-instance statistics", "statistics")
# `to_helm` computes these itself
BOOKS = ("num_references", "num_train_instances", "prompt_truncated", "num_prompt_tokens", "num_output_tokens")
# what a clock measures, or a model of HELM's hardware estimates
MEASURED = re.compile(r"inference_\w*runtime|training_\w+|batch_size")
# HELM's draws of an entry that HELM itself can't run are replaced, at most this many in all per entry
ATTEMPTS = 3


@dataclass
class Parity:
    """What was compared so far.

    Args:
        counts: (method, kind) → equal and unequal rows.
        differences: One line per unequal row.
        failed: Entries that HELM can't run, with its error.
        skipped: Metrics that were left out of HELM's runs → runs.
        entries: The number of entries that were compared.
    """

    counts: dict[tuple[str, str], Counter[bool]] = field(default_factory=lambda: defaultdict(Counter))
    differences: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    entries: int = 0

    def share(self, kind: str) -> float:
        """Return the share of equal rows of a kind."""
        total = sum((count for (_, each), count in self.counts.items() if each == kind), Counter[bool]())
        return total[True] / total.total()

    def lines(self) -> Iterator[str]:
        """Yield equal/total by adapter method, then over all."""
        for kind in KINDS:
            rows = {method: count for (method, each), count in self.counts.items() if each == kind}
            for method, count in sorted(rows.items()):
                yield f"{kind}, {method}: {count[True]:,}/{count.total():,}"
            total = sum(rows.values(), Counter[bool]())
            yield f"{kind}, all: {total[True]:,}/{total.total():,} ({total[True] / max(total.total(), 1):.3%})"

    def compare(self, entry: str, method: str, kind: str, helms: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
        """Count the rows of a kind, by their keys; both sides are JSON values or statistics."""
        for key in dict.fromkeys([*helms, *ours]):
            one, two = helms.get(key), ours.get(key)
            same = one is not None and two is not None and (one == two or (kind != KINDS[0] and equal(one, two)))
            self.counts[method, kind][same] += 1
            if not same:
                self.differences.append(
                    f"{entry}\n  {kind}: {key}\n    HELM {shortened(one)}\n    ours {shortened(two)}"
                )


def shortened(value: Any) -> str:
    if isinstance(value, dict) and "count" in value:
        value = {name: value.get(name) for name in ("count", "sum", "min", "max")}
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 400 else f"{text[:200]} … {text[-200:]}"


def run(seed: int, entries: int, data: Path, folder: Path, parity: Parity, log: Any = print) -> Parity:
    """Compare random entries.

    Args:
        seed: Of the draw.
        entries: The number of entries that HELM runs.
        data: The shared test data.
        folder: An empty folder.
        parity: Gets the counts.
        log: Called with each line of progress.
    """
    drawable, total = helm_parity_pool.pool(data / "helm_conf")
    log(f"seed {seed}: {entries} entries of {len(drawable):,} whose rows are here; HELM's .conf files have {total:,}")
    python = eval_peers.made_venv(helm_run_peer.HELM_RUN, ["crfm-helm==0.5.16"])
    with helm_peer.running("helm_parity_child.py", {}, folder, python=python) as peer:
        models = peer.ask({"tables": str(data / "tables")})["models"]
        drawing = helm_parity_pool.draws(drawable, models, seed)
        for number in range(entries * ATTEMPTS):
            if parity.entries == entries:
                break
            draw = drawing.next()
            path = folder / str(number)
            path.mkdir()
            began = time.monotonic()
            rows = helm_parity_pool.rows(draw.source, data, path)
            helms = peer.ask(
                {
                    **{name: value for name, value in rows.items() if name != "root"},
                    "entry": draw.entry,
                    "model": draw.model,
                    "window": draw.window,
                    "instances": INSTANCES,
                    "output": str(path / "helm"),
                }
            )
            error = helms.get("error") or ("" if requests(Path(helms["run"])) else "no instances")
            if error:
                parity.failed.append(f"{draw.entry}: {error.strip().splitlines()[-1]}")
                log(f"  HELM can't run {parity.failed[-1]}")
                continue
            parity.skipped.update(helms["skipped"])
            compare_run(draw, Path(helms["run"]), path, parity)
            parity.entries += 1
            log(f"  {parity.entries}: {draw.entry} window {draw.window}: {time.monotonic() - began:.1f} s")
    return parity


def compare_run(draw: Draw, helms: Path, path: Path, parity: Parity) -> None:
    """Run an entry here and compare it with HELM's run directory."""
    spec = json.loads((helms / "run_spec.json").read_text(encoding="utf-8"))
    method = str(spec["adapter_spec"]["method"])
    label = f"{draw.entry} window {draw.window}"
    os.environ["HELMFRAME_DATA"] = str(path / "root")
    ours = path / "ours"
    try:
        (draft,) = drafts_of(parse_entry(draw.entry), scenario_index(), defaults={"max_eval_instances": INSTANCES})
        plan = draft.without_models().plan().generate(model(draw))
        plan.metrics(*metrics(plan, spec["metric_specs"], method)).score().to_helm(ours)
    except HelmframeError as error:
        parity.differences.append(f"{label}\n  helmframe can't run it: {type(error).__name__}: {error}")
        for kind, read in READ.items():
            parity.counts[method, kind][False] += len(read(helms))
        return
    for kind, read in READ.items():
        mine = {key: row for folder in run_folders(ours) for key, row in read(folder).items()}
        theirs = read(helms)
        if kind != KINDS[0]:
            # helmframe may have more metrics, HELM may not
            names = {row["name"]["name"] for row in theirs.values()}
            mine, theirs = (
                {key: row for key, row in rows.items() if row["name"]["name"] in names and not measured(row)}
                for rows in (mine, theirs)
            )
        parity.compare(label, method, kind, theirs, mine)


def measured(row: Mapping[str, Any]) -> bool:
    return MEASURED.match(row["name"]["name"]) is not None


def requests(run: Path) -> dict[str, Any]:
    """Return the requests of a scenario state by instance, perturbation, trial, reference and number among these."""
    seen: Counter[str] = Counter()
    rows = {}
    for state in json.loads((run / "scenario_state.json").read_text(encoding="utf-8"))["request_states"]:
        instance, request = state["instance"], state["request"]
        key = json.dumps(
            [
                instance["id"],
                instance.get("perturbation", {}).get("name"),
                state["train_trial_index"],
                state.get("reference_index"),
                state.get("request_mode"),
            ]
        )
        settings = ("prompt", "temperature", "num_completions", "max_tokens", "stop_sequences", "echo_prompt")
        rows[f"{key} {seen[key]}"] = {
            **{name: request.get(name) for name in settings},
            "num_train_instances": state["num_train_instances"],
            "prompt_truncated": state["prompt_truncated"],
            "num_conditioning_tokens": state.get("num_conditioning_tokens", 0),
        }
        seen[key] += 1
    return rows


def run_statistics(run: Path) -> dict[str, Any]:
    return without_paths(of_sets(run / "stats.json"))


def instance_statistics(run: Path) -> dict[str, Any]:
    return without_paths(of_instances(run / "per_instance_stats.json"))


def without_paths(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Return statistics by keys without the paths of word tables that HELM writes into its perturbations."""
    return {re.sub(r'"\w+_file_path": "[^"]*", ', "", key): row for key, row in rows.items()}


READ = dict(zip(KINDS, (requests, instance_statistics, run_statistics), strict=True))


def metrics(plan: Plan, specs: Sequence[Mapping[str, Any]], method: str) -> list[str]:
    """Return the plan's own metrics and those that HELM computes beside them in a run of this method."""
    own = [str(each) for each in spec_of(plan).metrics or spec_of(plan).scenarios[0].metrics]
    if method in BY_OPTION:
        beside: Sequence[str] = BY_OPTION[method]
    elif method == "language_modeling":
        beside = LANGUAGE
    else:
        beside = (*metrics_of(specs, method), *(name for name in BASIC_STATISTICS if name not in BOOKS), *CALIBRATION)
    names = [name for name in dict.fromkeys([*own, *beside]) if name not in CLASSES["ToxicityMetric"]]
    return [name for name in names if name in METRICS or re.split(r"[(@]", name)[0] in METRICS]


def model(draw: Draw) -> Model:
    """Return the model of hashed_model.py with HELM's name and the window of the draw."""
    window, longest = draw.window
    tokens = Tokens(hashed_model.encode, hashed_model.decode, lambda: hashed_model.PREFIX)
    return Model(
        draw.model, "hashed", completed, str, durable=False, takes=None, window=window, max_request_length=longest,
        tokens=tokens, count_tokens=lambda texts: [len(hashed_model.pieces(text)) for text in texts],
        loglikelihood=scored, sees_rows=True,
    )  # fmt: skip


def completed(rows: Sequence[Any], decoding: Mapping[str, Any]) -> list[Completion]:
    stop = decoding.get("stop") or []
    stops = [stop] if isinstance(stop, str) else list(stop)
    limit = int(decoding.get("max_tokens") or 100)
    answers = []
    for row in rows:
        text = hashed_model.completion(row["prompt"], row["output_index"], limit, stops)
        scores = hashed_model.logprobs(text, row["output_index"], row["prompt"])
        answers.append(
            Completion(
                text,
                finish_reason="length" if len(scores) >= limit else "stop",
                prompt_tokens=len(hashed_model.pieces(row["prompt"])),
                output_tokens=len(scores),
            ).with_logprobs(scores)
        )
    return answers


def scored(rows: Sequence[Any], _: Mapping[str, Any]) -> list[Completion]:
    """Return the log-probabilities of continuations: those of the whole text's tokens that hold some of it."""
    answers = []
    for row in rows:
        text = row["prompt"] + row["continuation"]
        end, before, inside = 0, 0, []
        for piece, score in zip(hashed_model.pieces(text), hashed_model.logprobs(text, 0, text), strict=True):
            end += len(piece)
            if end > len(row["prompt"]):
                inside.append(score)
            else:
                before += 1
        # as HELM's client reports an echoed prompt
        answer = Completion(
            row["continuation"], finish_reason="length", prompt_tokens=before, output_tokens=len(inside)
        )
        answers.append(answer.with_logprobs(inside))
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--entries", type=int, default=60)
    parser.add_argument("--data", type=Path, required=True, help="the shared test data")
    parser.add_argument("--differences", type=Path, default=Path("build/parity.txt"), help="the file of differences")
    arguments = parser.parse_args()
    began = time.monotonic()
    parity = Parity()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"HELMFRAME_STORE": f"{folder}/store", "HELMFRAME_PROGRESS": "0"}
        run(arguments.seed, arguments.entries, arguments.data.absolute(), Path(folder), parity)
    print(*parity.lines(), sep="\n")
    print(f"{parity.entries} entries, seed {arguments.seed}, {time.monotonic() - began:.0f} s")
    print(f"runs without a metric that needs a server: {dict(parity.skipped)}")
    print(f"entries that HELM can't run: {len(parity.failed)}")
    arguments.differences.parent.mkdir(parents=True, exist_ok=True)
    arguments.differences.write_text("\n".join(parity.differences), encoding="utf-8")
    print(f"{len(parity.differences)} differences: {arguments.differences}")


if __name__ == "__main__":
    main()
