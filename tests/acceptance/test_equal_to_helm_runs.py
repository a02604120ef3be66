"""HELM's runs, recorded and fresh: reading and writing keeps every statistic, and `rescore` computes HELM's values."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal

import helmframe as hf
from tests.acceptance.figures import equal_to_helm, shown
from tests.acceptance.helm_fresh_runs import fresh_runs

pytestmark = pytest.mark.shared

FIELDS = ("count", "sum", "sum_squared", "min", "max", "mean", "variance")
TABLES = ("completions", "scores", "prefixes", "helm_stats")
BASIC = ("exact_match", "quasi_exact_match", "prefix_exact_match", "quasi_prefix_exact_match", "f1_score", "max_prob")
LANGUAGE = ("logprob", "num_bytes", "num_perplexity_tokens", "perplexity", "bits_per_byte", "logprob_per_byte")
CALIBRATION = (
    *("ece_10_bin", "ece_1_bin", "selective_cov_acc_area", "selective_acc@10"),
    *("platt_coef", "platt_intercept", "platt_ece_10_bin", "platt_ece_1_bin"),
)
CLASSES = ("classification_macro_f1", "classification_micro_f1")
# Of several outputs HELM scores the likeliest; the others of its statistics are of the first.
SEVERAL = ("logprob", "num_bytes", "num_perplexity_tokens", "monte_carlo_entropy", "self_bleu")
BY_OPTION = {
    "multiple_choice_separate_original": ("option_accuracy_per_token", "option_max_prob", "predicted_index"),
    "multiple_choice_separate_calibrated": (
        *("option_accuracy_calibrated", "option_max_prob(by='calibrated')"),
        "predicted_index(by='calibrated')",
    ),
}


@pytest.fixture(scope="module")
def fresh(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh_runs(tmp_path_factory.mktemp("helm"), shared / "tables" / "person_names.txt")


@pytest.mark.parametrize(("kind", "runs"), [("recorded", 4), ("fresh", 20)])
def test_3_reading_writing_and_reading_again_keeps_every_statistic(
    kind: str, runs: int, shared: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = shared / "helm_runs" if kind == "recorded" else request.getfixturevalue("fresh")
    first = hf.read_helm(source)
    assert first.manifest["skipped"] == []
    first.to_helm(tmp_path / "suite")
    second = hf.read_helm(tmp_path / "suite")
    for name in TABLES:
        one, two = (getattr(each, name).collect() for each in (first, second))
        columns = [each for each in one.columns if not one[each].dtype.is_nested()]
        assert_frame_equal(one.sort(columns, nulls_last=True), two.sort(columns, nulls_last=True))
        shown("3", f"{kind} runs: rows of {name} equal after writing and reading", two.height, one.height)
    folders = run_folders(source)
    assert len(folders) == runs
    for file, statistics in (("stats.json", of_sets), ("per_instance_stats.json", of_instances)):
        total: Counter[bool] = Counter()
        for folder in folders:
            helms, ours = statistics(folder / file), statistics(tmp_path / "suite" / run_name(folder) / file)
            assert set(ours) == set(helms), folder.name
            total.update(equal(each, ours[key]) for key, each in helms.items())
        equal_to_helm("10", f"{kind} runs: statistics of {file}", total[True], total.total())
        assert total[False] == 0


def test_3_statistics_computed_from_recorded_scores_are_those_that_helm_recorded(shared: Path, tmp_path: Path) -> None:
    source = shared / "helm_runs"
    first = hf.read_helm(source)
    replace(first, helm_stats=first.helm_stats.clear()).to_helm(tmp_path / "suite")
    total: Counter[bool] = Counter()
    for folder in run_folders(source):
        helms, ours = of_sets(folder / "stats.json"), of_sets(tmp_path / "suite" / run_name(folder) / "stats.json")
        assert set(ours) == set(helms), folder.name
        total.update(equal(each, ours[key]) for key, each in helms.items())
    shown("3", "recorded runs: statistics computed from scores that are HELM's", f"{total[True]}/{total.total()}", 557)
    assert total == {True: 557}


def test_3_statistics_computed_from_scores_are_those_that_helm_recorded(fresh: Path, tmp_path: Path) -> None:
    by_name: Counter[str] = Counter()
    unequal: Counter[str] = Counter()
    for number, folder in enumerate(run_folders(fresh)):
        results = hf.read_helm(folder)
        suite = tmp_path / str(number)
        results.rescore(*metrics_of(folder)).to_helm(suite)
        helms, ours = of_sets(folder / "stats.json"), of_sets(suite / run_name(folder) / "stats.json")
        assert set(ours) <= set(helms), folder.name
        for key, each in ours.items():
            by_name[json.loads(key)["name"]] += 1
            unequal[json.loads(key)["name"]] += not equal(helms[key], each)
    for name, count in sorted(by_name.items()):
        item = "13" if name.startswith(("platt_", "monte_carlo_entropy")) else "10"
        equal_to_helm(item, f"{name}: statistics of rescored runs", count - unequal[name], count)
    assert unequal.total() == 0
    assert {*BASIC, *LANGUAGE, *CALIBRATION, *CLASSES, *SEVERAL, "predicted_index"} <= set(by_name)


def test_1_bits_per_byte_of_fresh_runs_is_helms(fresh: Path) -> None:
    (folder,) = [
        each for each in run_folders(fresh) if "language_modeling" in each.name and "perturbed" not in each.name
    ]
    stats = of_sets(folder / "stats.json").values()
    helms = {each["name"]["split"]: each["mean"] for each in stats if each["name"]["name"] == "bits_per_byte"}
    results = hf.read_helm(folder)
    assert set(helms) == {"valid", "test"}
    for how, scored in (("read", results), ("rescored", results.rescore("bits_per_byte"))):
        for split, value in helms.items():
            ours = scored.value("bits_per_byte", split=split)
            equal = ours == pytest.approx(value, abs=1e-9)
            equal_to_helm("1", f"bits_per_byte of {split}, {how}: {ours:.9f} {value:.9f}", int(equal), 1)
            assert equal


def metrics_of(folder: Path) -> tuple[str, ...]:
    """The metrics of ours that HELM computes in a run."""
    spec = json.loads((folder / "run_spec.json").read_text())["adapter_spec"]
    method = spec["method"]
    if method == "language_modeling":
        return LANGUAGE
    if method in BY_OPTION:
        return BY_OPTION[method]
    if spec["num_outputs"] > 1:
        return SEVERAL
    return (*BASIC, *LANGUAGE, *CALIBRATION, *(CLASSES if method == "generation" else ()))


def run_folders(suite: Path) -> list[Path]:
    return sorted(file.parent for file in suite.glob("*/run_spec.json"))


def run_name(folder: Path) -> str:
    name: str = json.loads((folder / "run_spec.json").read_text())["name"]
    return name.replace("/", "_")


def of_sets(file: Path) -> dict[str, dict[str, Any]]:
    return {json.dumps(each["name"], sort_keys=True): each for each in json.loads(file.read_text())}


def of_instances(file: Path) -> dict[str, dict[str, Any]]:
    """The statistics by instance, perturbation, trial, number of the element among these, and name."""
    seen: Counter[str] = Counter()
    return dict(_of_instances(json.loads(file.read_text()), seen))


def _of_instances(elements: list[dict[str, Any]], seen: Counter[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for element in elements:
        key = json.dumps(
            [element["instance_id"], element.get("perturbation"), element["train_trial_index"]], sort_keys=True
        )
        for each in element["stats"]:
            named = f"{key} {json.dumps(each['name'], sort_keys=True)}"
            yield f"{named} {seen[named]}", each
            seen[named] += 1


def equal(helms: dict[str, Any], ours: dict[str, Any]) -> bool:
    """Whether two statistics agree in each of HELM's fields, to 1e-9 of the value."""
    pairs = [(helms.get(name), ours.get(name)) for name in FIELDS]
    return all(
        one == other or (one is not None and other is not None and abs(one - other) <= 1e-9 * max(1.0, abs(one)))
        for one, other in pairs
    )
