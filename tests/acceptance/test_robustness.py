"""Robustness and fairness: HELM's numbers of a recorded run, and what noise alone does to each definition."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import helmframe as hf
from helmframe.stats import helm_definition, robustness, worst_at_k
from tests.acceptance.figures import shown
from tests.parity import replayed

RUN = f"{replayed.MMLU_SMOLLM2},data_augmentation=robustness"
MIX = "mild_mix(compat='helm')"
HIGHER = {"exact_match": True}
FRACTIONS = ["exact_match"]


@pytest.mark.shared
def test_2_the_recorded_run_replayed_gives_helms_numbers(shared: Path) -> None:
    hf.configure(data=shared)  # the word tables of mild_mix
    asked, completions = recorded(shared / "helm_runs" / RUN)
    metrics = ["exact_match", "quasi_exact_match", "prefix_exact_match", "quasi_prefix_exact_match"]
    plan = hf.scenario(asked, references="references", id="instance_id", metrics=metrics).perturb(
        "mild_mix", compat="helm"
    )
    plan = plan.adapt(method="multiple_choice_joint", shots=0).generate(hf.models.replay(completions), stop=["\n"])
    results = plan.score()
    table = results.robustness(definition="helm")
    row = table.filter(metric="exact_match", perturbation=MIX).row(0, named=True)
    shown("2", "original, perturbed, worst", (row["original"], row["perturbed"], row["worst"]), "0.28, 0.30, 0.26")
    assert (row["original"], row["perturbed"], row["worst"]) == (
        pytest.approx(0.28),
        pytest.approx(0.3),
        pytest.approx(0.26),
    )

    ours = numbers(pl.concat([table, results.fairness(definition="helm")]))
    theirs = [each for each in published(shared / "helm_runs" / RUN) if each[0] in metrics]
    same = sum(ours[each[:3]] == pytest.approx(each[3], abs=1e-12) for each in theirs)
    shown("2", "equal rows of the metrics replayed", f"{same}/{len(theirs)}", "all")
    assert same == len(theirs) == 4 * 6


@pytest.mark.shared
def test_2_every_row_of_helms_stats_follows_from_its_instances(shared: Path) -> None:
    run = shared / "helm_runs" / RUN
    table = helm_definition(instance_scores(run), [], families={MIX: ["robustness"]})
    ours = numbers(table)
    theirs = published(run)
    families = [each for each in theirs if each[1] in ("robustness", "fairness")]
    same = sum(ours.get(each[:3]) == pytest.approx(each[3], rel=1e-12, abs=1e-12) for each in families)
    shown("2", "equal robustness and fairness rows of stats.json", f"{same}/{len(families)}", "all")
    assert same == len(families) == 50

    # what HELM derives of whole sets (perplexity, …) has no score of an instance, and no worst
    of_instances = [each for each in theirs if each[:3] in ours]
    same = sum(ours[each[:3]] == pytest.approx(each[3], rel=1e-12, abs=1e-12) for each in of_instances)
    shown("2", "equal rows of stats.json with scores of instances", f"{same}/{len(of_instances)}", "all")
    derived = {each[0] for each in theirs if each[:3] not in ours}
    assert same == len(of_instances)
    assert derived == {"perplexity", "bits_per_byte", "logprob_per_byte", "num_instances"}


@pytest.mark.simulation
def test_6_noise_alone_is_no_drop_but_lowers_the_worst() -> None:
    runs, instances, variants = 2_000, 311, 4
    table = robustness(simulated(runs, instances, variants), ["run"], higher_is_better=HIGHER, fractions=FRACTIONS)
    every = table.filter(perturbation="all")
    covers = every.filter((pl.col("change_low") <= 0) & (pl.col("change_high") >= 0)).height / every.height
    worst = every["worst"].sum() / every.height
    shown("6", "share of 2,000 runs whose change's interval covers 0", covers, "0.94–0.96")
    shown("6", "plain worst case over 4 variants, of a model at 0.70", round(worst, 4), "0.7⁵ = 0.168")
    assert every.height == runs
    assert 0.94 <= covers <= 0.96
    assert worst == pytest.approx(0.7**5, abs=0.003)


@pytest.mark.simulation
@pytest.mark.parametrize(
    ("difficulty", "theory"),
    [
        pytest.param("equal", 0.7**4, id="fresh noise per prompt"),
        # E p⁴ of Beta(.7, .3): mean .7, correlation .5
        pytest.param("beta", (0.7 * 1.7 * 2.7 * 3.7) / (1 * 2 * 3 * 4), id="instances of unequal difficulty"),
    ],
)
def test_6_worst_at_4_from_8_seeds_is_unbiased(difficulty: str, theory: float) -> None:
    random = np.random.default_rng(6)
    n = 200_000
    p = np.full(n, 0.7) if difficulty == "equal" else random.beta(0.7, 0.3, n)
    frames = [frame(random.random(n) < p, perturbation="typos", perturbation_seed=seed) for seed in range(8)]
    row = worst_at_k(pl.concat(frames), [], 4, higher_is_better=HIGHER, fractions=FRACTIONS).row(0, named=True)
    shown("6", f"worst@4 from 8 seeds, {difficulty}", round(row["value"], 4), f"{theory:.4f} ± 0.003")
    assert row["value"] == pytest.approx(theory, abs=0.003)


@pytest.mark.simulation
def test_6_one_of_these_runs_from_end_to_end() -> None:
    questions = [f"Question number {place} about the history of music?" for place in range(600)]
    rows = pl.DataFrame({"q": questions, "a": ["yes"] * 600})
    plan = (
        hf.scenario(rows, input="q", references="a").metrics("exact_match").generate(hf.models.noisy(0.7, by="prompt"))
    )
    row = plan.perturb("typos(prob=0.5)", seeds=4).score().robustness().filter(perturbation="all").row(0, named=True)
    change = f"{row['change']:.3f} [{row['change_low']:.3f}, {row['change_high']:.3f}]"
    shown("6", "end to end: change; worst of 4 variants", f"{change}; {row['worst']:.3f}", "covers 0; 0.168 ± 0.046")
    assert row["change_low"] <= 0 <= row["change_high"]
    # three standard errors
    assert row["worst"] == pytest.approx(0.7**5, abs=3 * (0.168 * 0.832 / 600) ** 0.5)

    at_k = plan.perturb("typos(prob=0.5)", seeds=8).score().worst_case(k=4).row(0, named=True)
    shown("6", "end to end: worst@4 from 8 seeds", f"{at_k['value']:.3f} ± {at_k['stderr']:.3f}", "0.240 ± 3 errors")
    assert at_k["value"] == pytest.approx(0.7**4, abs=3 * at_k["stderr"])

    steady = plan.generate(hf.models.noisy(0.7, by="instance")).perturb("typos(prob=0.5)", seeds=4).score()
    row = steady.robustness().filter(perturbation="all").row(0, named=True)
    assert (row["change"], row["worst"]) == (0.0, row["original"])


def recorded(run: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The instances of a recorded run, and what was answered to each of them and of their perturbed copies."""
    states = json.loads((run / "scenario_state.json").read_text(encoding="utf-8"))["request_states"]
    instances = [
        {
            "instance_id": state["instance"]["id"],
            "split": state["instance"]["split"],
            "input": state["instance"]["input"]["text"],
            "references": [
                {"text": each["output"]["text"], "correct": "correct" in each["tags"]}
                for each in state["instance"]["references"]
            ],
        }
        for state in states
        if "perturbation" not in state["instance"]
    ]
    completions = [
        {
            "instance_id": state["instance"]["id"],
            "perturbation": MIX if "perturbation" in state["instance"] else "original",
            "completion": state["result"]["completions"][0]["text"],
        }
        for state in states
    ]
    return pl.DataFrame(instances), pl.DataFrame(completions)


def instance_scores(run: Path) -> pl.DataFrame:
    """HELM's statistics of each instance as scores."""
    rows = [
        (each["instance_id"], MIX if "perturbation" in each else "original", stat["name"]["name"], stat["mean"])
        for each in json.loads((run / "per_instance_stats.json").read_text(encoding="utf-8"))
        for stat in each["stats"]
        if "mean" in stat
    ]
    columns = pl.DataFrame(rows, schema=["instance_id", "perturbation", "metric", "score"], orient="row")
    return frame(
        columns["score"], **{name: columns[name] for name in ("instance_id", "perturbation", "metric")}
    ).with_columns(changed=pl.col("perturbation") == MIX)


def published(run: Path) -> list[tuple[str, str, str, float]]:
    """HELM's aggregated statistics: metric, perturbation, what it is computed on, mean."""
    found = []
    for stat in json.loads((run / "stats.json").read_text(encoding="utf-8")):
        perturbation: dict[str, Any] = stat["name"].get("perturbation", {"name": "original", "computed_on": "original"})
        name = MIX if perturbation["name"] == "mild_mix" else perturbation["name"]
        if "mean" in stat:
            found.append((stat["name"]["name"], name, perturbation["computed_on"], float(stat["mean"])))
    return found


def numbers(table: pl.DataFrame) -> dict[tuple[str, str, str], float]:
    """The numbers of a table by HELM's definition, in the same words."""
    return {
        (row["metric"], row["perturbation"], on): row[on]
        for row in table.iter_rows(named=True)
        for on in ("original", "perturbed", "worst")
        if row[on] is not None
    }


def simulated(runs: int, instances: int, variants: int) -> pl.DataFrame:
    """Scores of a model that is right 7 times in 10, whatever it is asked."""
    random = np.random.default_rng(2_000)
    run = pl.Series("run", np.repeat(np.arange(runs), instances))
    ids = pl.Series([f"id{place}" for place in range(instances)] * runs)
    names = ["original", *(f"variant {place}" for place in range(variants))]
    return pl.concat(
        frame(random.random(runs * instances) < 0.7, instance_id=ids, perturbation=name, run=run) for name in names
    )


def frame(score: Any, **columns: Any) -> pl.DataFrame:
    """`SCORES` with these scores, one instance each."""
    made: dict[str, Any] = {
        "scenario": "s", "subset": "", "instance_id": pl.int_range(pl.len()).cast(pl.String), "split": "test",
        "perturbation": "original", "perturbation_seed": 0, "changed": True, "setting": "", "trial": 0, "model": "m",
        "output_index": 0, "parsed": True, "truncated": False, "metric": "exact_match", **columns,
    }  # fmt: skip
    said = {name: value if isinstance(value, pl.Series | pl.Expr) else pl.lit(value) for name, value in made.items()}
    base = pl.DataFrame({"score": pl.Series(score).cast(pl.Float64)})
    return base.with_columns(**said).with_columns(cluster=pl.col("instance_id"))
