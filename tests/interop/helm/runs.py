"""Small run directories as HELM writes them."""

import json
from pathlib import Path
from typing import Any

ADAPTER = {
    "method": "generation",
    "instructions": "",
    "input_prefix": "Q: ",
    "output_prefix": "A: ",
    "max_train_instances": 0,
    "num_outputs": 1,
    "num_train_trials": 1,
    "model": "org/one",
    "model_deployment": "org/one",
    "temperature": 0.0,
    "max_tokens": 5,
    "stop_sequences": ["\n"],
}
TYPOS = {"name": "typos", "robustness": True, "fairness": False, "computed_on": "perturbed", "prob": 0.5}


def state(instance: str, answer: str | None, **more: Any) -> dict[str, Any]:
    """A request state; without an answer the request failed."""
    perturbation = more.pop("perturbation", None)
    said: dict[str, Any] = {
        "input": {"text": f"What is {instance}?" if perturbation is None else f"Waht is {instance}?"},
        "references": [{"output": {"text": instance}, "tags": ["correct"]}, {"output": {"text": "no"}, "tags": []}],
        "split": "test",
        "id": instance,
    }
    if perturbation is not None:
        said |= {"perturbation": perturbation}
    result = {"success": answer is not None, "embedding": [], "completions": [], "cached": False, "request_time": 0.5}
    if answer is None:
        result["error"] = "too many requests"
    else:
        tokens = [{"text": each, "logprob": -0.5} for each in answer.split()]
        result["completions"] = [
            {"text": answer, "logprob": -1.0, "tokens": tokens, "finish_reason": {"reason": "length"}}
        ]
    request = {"model": "org/one", "model_deployment": "org/one", "prompt": f"Q: {said['input']['text']}\nA:"}
    return {
        "instance": said,
        "train_trial_index": 0,
        "request": request,
        "result": result,
        "num_train_instances": 0,
        "prompt_truncated": False,
        "num_conditioning_tokens": 0,
    } | more


def write_run(
    folder: Path,
    states: list[dict[str, Any]],
    scores: list[float],
    *,
    name: str = "facts:topic=seas,model=org_one",
    metric: str = "exact_match",
    **adapter: Any,
) -> Path:
    """The five files but stats.json, which is made of the others."""
    run = folder / name
    run.mkdir(parents=True)
    spec = {
        "name": name,
        "scenario_spec": {"class_name": "helm.benchmark.scenarios.facts.Facts", "args": {"topic": "seas"}},
        "adapter_spec": ADAPTER | adapter,
        "metric_specs": [
            {
                "class_name": "helm.benchmark.metrics.basic_metrics.BasicGenerationMetric",
                "args": {"names": ["exact_match"]},
            }
        ],
        "groups": ["facts"],
    }
    per_instance = [
        {
            "instance_id": each["instance"]["id"],
            **({"perturbation": each["instance"]["perturbation"]} if "perturbation" in each["instance"] else {}),
            "train_trial_index": each["train_trial_index"],
            "stats": [{"name": {"name": metric, "split": "test"}, "count": 1, "sum": score}],
        }
        for each, score in zip(states, scores, strict=True)
    ]
    for file, said in (
        ("run_spec.json", spec),
        ("scenario.json", {"name": "facts", "description": "Facts about the sea."}),
        ("scenario_state.json", {"adapter_spec": spec["adapter_spec"], "request_states": states}),
        ("per_instance_stats.json", per_instance),
    ):
        (run / file).write_text(json.dumps(said), encoding="utf-8")
    return run


def stat_of(name: str, values: list[float], **more: Any) -> dict[str, Any]:
    """An element of stats.json: a statistic over these values."""
    total, squared = sum(values), sum(each * each for each in values)
    mean = total / len(values)
    sums = {"count": len(values), "sum": total, "sum_squared": squared, "min": min(values), "max": max(values)}
    variance = max(squared / len(values) - mean * mean, 0.0)
    return {"name": {"name": name, "split": "test", **more}, **sums, "mean": mean, "variance": variance}
