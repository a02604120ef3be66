"""A HELM run folder as a scenario and a model that gives HELM's completions back."""

import json
from pathlib import Path
from typing import Any

import polars as pl

import helmframe as hf

MMLU_GPT2 = "mmlu-subject=philosophy,method=multiple_choice_joint,model=openai_gpt2"
MMLU_SMOLLM2 = "mmlu-subject=philosophy,method=multiple_choice_joint,model=huggingface_smollm2"
NARRATIVE_QA = "narrative_qa-model=openai_gpt2"


def requests(run: Path) -> pl.DataFrame:
    """What HELM asked: one row per request, in HELM's order: instance_id, split, input, references, prompt, completion,
    shots (examples left after truncation), prompt_truncated, prompt_tokens (as HELM counted).
    """
    stats = json.loads((run / "per_instance_stats.json").read_text(encoding="utf-8"))
    tokens = {each["instance_id"]: _mean(each["stats"], "num_prompt_tokens") for each in stats}
    return pl.DataFrame([_row(state, tokens) for state in _state(run)["request_states"]])


def stat(run: Path, name: str, split: str) -> float:
    """HELM's mean of a metric over a split."""
    stats = json.loads((run / "stats.json").read_text(encoding="utf-8"))
    return _mean(
        [each for each in stats if each["name"].get("split") == split and "perturbation" not in each["name"]], name
    )


def plan(run: Path) -> hf.Plan:
    """The sentence that asks HELM's instances of the model that answered HELM, without examples."""
    asked = requests(run)
    spec = _state(run)["adapter_spec"]
    recorded = asked.select("instance_id", "completion")
    frame = asked.select("instance_id", "split", "input", "references")
    said = hf.scenario(frame, references="references", id="instance_id", metrics=["exact_match", "f1_score"])
    return said.adapt(method=spec["method"], shots=0).generate(hf.models.replay(recorded), stop=spec["stop_sequences"])


def _state(run: Path) -> Any:
    return json.loads((run / "scenario_state.json").read_text(encoding="utf-8"))


def _row(state: Any, tokens: dict[str, float]) -> dict[str, Any]:
    instance = state["instance"]
    return {
        "instance_id": instance["id"],
        "split": instance["split"],
        "input": instance["input"]["text"],
        "references": [
            {"text": each["output"]["text"], "correct": "correct" in each["tags"]} for each in instance["references"]
        ],
        "prompt": state["request"]["prompt"],
        "completion": state["result"]["completions"][0]["text"],
        "shots": state["num_train_instances"],
        "prompt_truncated": bool(state.get("prompt_truncated")),
        "prompt_tokens": int(tokens[instance["id"]]),
    }


def _mean(stats: list[Any], name: str) -> float:
    (found,) = [each["mean"] for each in stats if each["name"]["name"] == name]
    return float(found)
