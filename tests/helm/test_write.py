"""Tables as HELM's run directories."""

import json
from pathlib import Path
from typing import Any

import pytest

import helmframe as hf
from helmframe.errors import StoreError
from tests.helm.runs import TYPOS, state, write_run


def written(results: hf.Results, folder: Path) -> dict[str, Any]:
    """The files of the one run, parsed."""
    results.to_helm(folder)
    (run,) = [each for each in folder.iterdir() if each.name != "prod_env"]
    return {file.stem: json.loads(file.read_text()) for file in run.iterdir()} | {"folder": run.name}


def test_a_run_of_ours_has_helms_five_files(tmp_path: Path) -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(2).perturb("lowercase")
    files = written(plan.generate(hf.models.oracle()).score(), tmp_path / "suite")
    assert files["folder"] == "sampler:subject=music,model=helmframe_oracle"
    assert files["run_spec"]["name"] == files["folder"]
    adapter = files["run_spec"]["adapter_spec"]
    assert (adapter["method"], adapter["model"]) == ("multiple_choice_joint", "helmframe/oracle")
    assert files["scenario"]["name"] == "sampler"
    asked = files["scenario_state"]["request_states"]
    assert [(each["instance"]["id"], "perturbation" in each["instance"]) for each in asked] == [
        *(("id12", False), ("id12", True)),
        *(("id13", False), ("id13", True)),
    ]
    first = asked[0]
    assert list(first["output_mapping"]) == ["A", "B", "C", "D"]
    assert first["request"]["prompt"].endswith("Answer:")
    assert (first["request"]["num_completions"], first["request"]["top_k_per_token"]) == (1, 5)
    assert asked[1]["instance"]["contrast_inputs"] == [first["instance"]["input"]]
    means = {
        (each["name"]["name"], (each["name"].get("perturbation") or {}).get("computed_on")): each.get("mean")
        for each in files["stats"]
    }
    assert means["exact_match", None] == means["exact_match", "worst"] == 1.0
    assert means["num_instances", None] == 2.0
    assert {each["instance_id"] for each in files["per_instance_stats"]} == {"id12", "id13"}


def test_what_we_wrote_is_read_as_it_was(tmp_path: Path) -> None:
    plan = hf.scenario("sampler").where(subject=["music", "biology"]).limit(3).adapt(shots=[0, 2])
    ours = plan.perturb(["typos", "lowercase+space"]).generate(["oracle()", "noisy(accuracy=0.5)"]).score()
    ours.to_helm(tmp_path / "suite")
    again = hf.read_helm(tmp_path / "suite")
    by = ["model", "setting", "perturbation", "part"]
    shown = ["value", "n"]
    one, two = (each.table(by, metrics="exact_match").sort(by).select(*by, *shown) for each in (ours, again))
    assert two.equals(one)
    prompts = [
        each.requests.collect().select("instance_id", *by[:3], "prompt").unique().sort("instance_id", *by[:3], "prompt")
        for each in (ours, again)
    ]
    changed = ours.completions.select("perturbation").unique().collect().height
    assert changed == 3
    assert prompts[0].equals(prompts[1])


def test_worst_cases_are_the_lowest_of_original_and_variants(tmp_path: Path) -> None:
    states = [state("id0", "id0"), state("id0", "no", perturbation=TYPOS), state("id1", "id1")]
    write_run(tmp_path / "helm", states, [1.0, 0.0, 1.0])
    files = written(hf.read_helm(tmp_path / "helm"), tmp_path / "suite")
    said = [each for each in files["stats"] if each["name"]["name"] == "exact_match"]
    variants = [each["name"].get("perturbation") or {} for each in said]
    means = {
        (variant.get("name"), variant.get("computed_on")): each["mean"]
        for variant, each in zip(variants, said, strict=True)
    }
    assert means == {
        (None, None): 1.0,
        ("typos", "perturbed"): 0.0,
        ("typos", "original"): 1.0,
        ("typos", "worst"): 0.0,
        ("robustness", "worst"): 0.5,
        ("fairness", "worst"): 1.0,
    }


def test_models_without_an_organisation_get_one_that_helms_registry_knows(tmp_path: Path) -> None:
    hf.scenario("sampler").where(subject="music").limit(1).generate("oracle()").score().to_helm(tmp_path / "suite")
    said = (tmp_path / "suite" / "prod_env" / "model_deployments.yaml").read_text()
    assert "- name: helmframe/oracle\n" in said
    assert "release_date: 1970-01-01" in (tmp_path / "suite" / "prod_env" / "model_metadata.yaml").read_text()


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    results = hf.scenario("sampler").where(subject="music").limit(1).generate("oracle()").score()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is not empty"):
        results.to_helm(tmp_path)
    with pytest.raises(StoreError, match="file is a file; name a folder"):
        results.to_helm(tmp_path / "file")
