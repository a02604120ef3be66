"""Checks 1 and 2 of the metrics, as far as they are about log-probabilities: HELM's recorded runs."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.metrics.score import score
from tests.acceptance.figures import shown
from tests.demo import demo_model
from tests.frames import completions
from tests.metrics.options import of_set
from tests.parity import replayed

ROBUST = f"{replayed.MMLU_SMOLLM2},data_augmentation=robustness"
RUNS = [replayed.MMLU_GPT2, replayed.MMLU_SMOLLM2, ROBUST, replayed.NARRATIVE_QA]
OF_TEXTS = ["logprob", "max_prob", "num_perplexity_tokens", "num_bytes"]
OF_SETS = ["perplexity", "bits_per_byte", "logprob_per_byte"]
LIMIT = 1e-9


@pytest.mark.model
def test_2_a_space_after_the_cue_does_not_make_options_certain() -> None:
    """The tokens of "Answer: " and "Lyra" are those of "Answer:" and " Lyra", and as likely; none is certain."""
    plan = hf.scenario("sampler").limit(2).adapt(method="multiple_choice_separate_original", shots=0)
    asked = plan.generate(str(demo_model()))
    usual, spaced = (
        each.score().completions.sort("row_index", "reference_index").collect()
        for each in (asked, asked.adapt(cue_space="space"))
    )
    assert usual["continuation"].to_list() == [f" {each}" for each in spaced["continuation"]]
    assert spaced["logprob"].max() < 0  # type: ignore[operator]
    words = usual["continuation"].str.contains(r"^ \p{L}")
    apart = (usual["logprob"] - spaced["logprob"]).filter(words).abs().max()
    shown("2", f"{words.sum()} options that are words, after a cue with a space and before: nats apart", apart, 1e-4)
    assert words.sum() > 10
    assert apart < 1e-4  # type: ignore[operator]


@pytest.mark.shared
@pytest.mark.parametrize("name", OF_TEXTS)
def test_2_per_instance_stats_of_recorded_runs(shared: Path, name: str) -> None:
    equal = total = 0
    for run in RUNS:
        rows, stats = recorded(shared / "helm_runs" / run)
        ours = score(rows.lazy(), [name]).collect()["score"]
        theirs = pl.Series([each[name] for each in stats], dtype=pl.Float64)
        equal += int(((ours - theirs).abs() <= LIMIT).sum())
        total += len(theirs)
    shown("2", f"{name}: scores of recorded runs that equal HELM's", f"{equal}/{total}", "all")
    assert equal == total == 165


@pytest.mark.shared
@pytest.mark.parametrize("name", OF_SETS)
def test_2_stats_of_recorded_runs(shared: Path, name: str) -> None:
    equal = total = 0
    for run in RUNS:
        rows, _ = recorded(shared / "helm_runs" / run)
        for stat in json.loads((shared / "helm_runs" / run / "stats.json").read_text(encoding="utf-8")):
            said = stat["name"]
            # HELM's stats over the worst of several perturbations are means of other numbers
            if said["name"] != name or said.get("perturbation", {}).get("computed_on"):
                continue
            ours = of_set(rows.filter(pl.col("split") == said["split"], pl.col("perturbation") == "original"), name)
            equal += ours is not None and abs(ours - stat["mean"]) <= LIMIT
            total += 1
    shown("2", f"{name}: stats of recorded runs that equal HELM's", f"{equal}/{total}", "all")
    assert equal == total >= 5


def recorded(run: Path) -> tuple[pl.DataFrame, list[dict[str, float]]]:
    """The completions of a run, and HELM's stats of each, by name."""
    states = json.loads((run / "scenario_state.json").read_text(encoding="utf-8"))["request_states"]
    stats = json.loads((run / "per_instance_stats.json").read_text(encoding="utf-8"))
    by_key = {
        (each["instance_id"], _perturbation(each)): {stat["name"]["name"]: stat["sum"] for stat in each["stats"]}
        for each in stats
    }
    answers = [state["result"]["completions"][0] for state in states]
    tokens = [[token["logprob"] for token in answer["tokens"]] for answer in answers]
    frame = completions(
        [answer["text"] for answer in answers],
        [[]] * len(states),
        instance_id=[state["instance"]["id"] for state in states],
        split=[state["instance"]["split"] for state in states],
        perturbation=[_perturbation(state["instance"]) for state in states],
        logprob=[answer["logprob"] for answer in answers],
        token_logprobs=pl.Series(tokens, dtype=pl.List(pl.Float64)),
    )
    keys = frame.select("instance_id", "perturbation").rows()
    return frame, [by_key[key] for key in keys]


def _perturbation(of: dict[str, Any]) -> str:
    found: str = of.get("perturbation", {}).get("name", "original")
    return found
