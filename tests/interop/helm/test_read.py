"""HELM's run directories as tables."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._pipeline import plan_tasks
from helmframe._plan import spec_of
from helmframe.errors import SourceBrokenError, SourceError, SourceMissingError
from tests.interop.helm.runs import TYPOS, state, write_run
from tests.listening import serving_files
from tests.s3_server import BUCKET, S3Server


def test_a_run_of_a_scenario_that_is_not_ours_is_its_own(tmp_path: Path) -> None:
    write_run(tmp_path, [state("id0", "id0"), state("id1", "wrong answer")], [1.0, 0.0])
    results = hf.read_helm(tmp_path)
    rows = results.completions.collect()
    assert rows.select("scenario", "subset", "instance_id", "model", "split").rows() == [
        ("facts", "seas", "seas/id0", "org/one", "test"),
        ("facts", "seas", "seas/id1", "org/one", "test"),
    ]
    assert rows.select("input", "completion", "logprob", "output_tokens", "finish_reason", "latency").row(1) == (
        *("What is id1?", "wrong answer"),
        *(-1.0, 2, "length", 0.5),
    )
    assert rows["references"].to_list()[0] == [
        {"text": "id0", "correct": True, "tags": []},
        {"text": "no", "correct": False, "tags": []},
    ]
    assert results.requests.collect()["prompt"].to_list() == ["Q: What is id0?\nA:", "Q: What is id1?\nA:"]
    assert results.value("exact_match") == 0.5
    assert results.manifest["scenarios"]["facts"]["description"] == "Facts about the sea."


def test_a_scenario_that_is_ours_has_our_name_subset_and_adapter(shared: Path) -> None:
    results = hf.read_helm(shared / "helm_runs")
    assert {(each["scenario"], each["subset"], each["model"]) for each in results.manifest["runs"]} == {
        ("mmlu", "philosophy", "huggingface/smollm2_base"),
        ("mmlu", "philosophy", "openai/gpt2"),
        ("narrative_qa", "", "openai/gpt2"),
    }
    settings = plan_tasks(spec_of(hf.scenario("mmlu")), models=[hf.models.oracle()])[0].settings
    rows = results.completions.filter(pl.col("scenario") == "mmlu")
    assert rows.select(pl.col("decoding").unique()).collect().item() == settings[0].decoding_json
    assert set(rows.collect().get_column("data_subject")) == {"philosophy"}


def test_variants_have_our_names_and_those_left_out_are_unchanged(tmp_path: Path) -> None:
    states = [state("id0", "id0"), state("id0", "no", perturbation=TYPOS), state("id1", "id1")]
    write_run(tmp_path, states, [1.0, 0.0, 1.0])
    results = hf.read_helm(tmp_path)
    named = "typos(compat='helm', prob=0.5)"
    shown = results.completions.select("instance_id", "perturbation", "changed", "perturbed_input", "input").collect()
    assert shown.rows() == [
        ("seas/id0", "original", False, "What is id0?", "What is id0?"),
        ("seas/id0", named, True, "Waht is id0?", "What is id0?"),
        ("seas/id1", "original", False, "What is id1?", "What is id1?"),
        ("seas/id1", named, False, "What is id1?", "What is id1?"),
    ]
    assert results.scores.select("perturbation", "changed", "score").collect().rows() == [
        *(("original", False, 1.0), (named, True, 0.0)),
        *(("original", False, 1.0), (named, False, 1.0)),
    ]
    assert results.robustness(definition="helm", metrics="exact_match")[
        "worst"
    ].drop_nulls().unique().sort().to_list() == [
        *(0.0, 0.5),
    ]


def test_runs_of_the_same_name_are_distinguished_by_setting(tmp_path: Path) -> None:
    for name in (
        "a:model=org_one",
        "a:model=org_one,max_train_instances=0",
        "a:model=org_one,data_augmentation=typo_hard",
    ):
        write_run(tmp_path, [state("id0", "id0")], [1.0], name=name)
    settings = [each["setting"] for each in hf.read_helm(tmp_path).manifest["runs"]]
    assert sorted(settings) == ["data_augmentation=none", "data_augmentation=typo_hard", "max_train_instances=0"]


def test_a_failed_request_is_a_row_with_its_error(tmp_path: Path) -> None:
    write_run(tmp_path, [state("id0", None), state("id1", "id1")], [0.0, 1.0])
    assert hf.read_helm(tmp_path).errors()["error"].to_list() == ["HelmError: too many requests"]


def test_options_scored_one_by_one_have_the_logprob_of_the_option(tmp_path: Path) -> None:
    tokens = [
        {"text": each, "logprob": number} for each, number in (("Q:", -9.0), (" ?", -9.0), (" id", -0.25), ("0", -0.5))
    ]
    result = {"success": True, "completions": [{"text": "Q: ? id0", "logprob": -18.75, "tokens": tokens}]}
    write_run(
        tmp_path,
        [state("id0", "", reference_index=0, request_mode="original", result=result)],
        [1.0],
        method="multiple_choice_separate_original",
        output_prefix=" ",
    )
    row = hf.read_helm(tmp_path).completions.collect().row(0, named=True)
    assert (row["continuation"], row["completion"], row["logprob"], row["output_tokens"]) == (" id0", " id0", -0.75, 2)
    assert (row["reference_index"], row["request_mode"]) == (0, "original")
    assert hf.read_helm(tmp_path).metric_names == ["option_accuracy_per_token"]


def window(instance: str, tokens: list[str], conditioning: int) -> dict[str, Any]:
    """A request state of language modelling, whose n-th token has the log-probability -n."""
    scored = [{"text": text, "logprob": -float(index)} for index, text in enumerate(tokens)]
    result = {"success": True, "completions": [{"text": "".join(tokens), "logprob": -1.0, "tokens": scored}]}
    prompt = {"request": {"model": "org/one", "prompt": "".join(tokens)}}
    return state(instance, "", result=result, num_conditioning_tokens=conditioning, **prompt)


def test_bits_per_byte_of_language_modelling_leaves_out_the_conditioning_tokens(tmp_path: Path) -> None:
    windows = [window("id0", ["<s>", "The", " sea"], 1), window("id0", [" sea", " is", " wide", "."], 2)]
    write_language_run(tmp_path, windows)
    results = hf.read_helm(tmp_path)
    shown = results.completions.select("window_index", "completion", "continuation", "logprob", "token_logprobs")
    assert shown.collect().rows() == [
        (0, "The sea", "The sea", -3.0, [-1.0, -2.0]),
        (1, " wide.", " wide.", -5.0, [-2.0, -3.0]),
    ]
    expected = 8 / 13 / math.log(2)
    assert results.value("bits_per_byte") == pytest.approx(expected)
    assert results.rescore("bits_per_byte").value("bits_per_byte") == pytest.approx(expected)


def test_an_empty_first_token_of_language_modelling_is_no_conditioning_token(tmp_path: Path) -> None:
    write_language_run(tmp_path, [window("id0", ["", "<s>", "The", " sea"], 1)])
    assert hf.read_helm(tmp_path).completions.collect()["completion"].to_list() == ["The sea"]


def test_byte_tokens_are_read_as_their_characters(tmp_path: Path) -> None:
    tokens = ["<s>", "a", r"bytes:\xe2\x80", r"bytes:\x99", "s", r"bytes:\xc3"]
    write_language_run(tmp_path, [window("id0", tokens, 1)])
    (completion,) = hf.read_helm(tmp_path).completions.collect()["completion"]
    # HELM counts the bytes of a character that the window cuts, so each has one byte here too
    assert completion == "a’s?"


def test_each_window_of_a_text_has_its_own_statistics(tmp_path: Path) -> None:
    windows = [window("id0", ["<s>", "The", " sea"], 1), window("id0", [" sea", " is", " wide", "."], 2)]
    write_language_run(tmp_path, windows)
    scores = hf.read_helm(tmp_path).scores.collect()
    assert scores.select("window_index", "metric", "score").rows() == [(0, "num_bytes", 7.0), (1, "num_bytes", 6.0)]


def write_language_run(folder: Path, windows: list[dict[str, Any]]) -> Path:
    """A run of HELM's language modelling, its windows with 7 and 6 bytes."""
    run = write_run(folder, windows, [7.0, 6.0][: len(windows)], metric="num_bytes", method="language_modeling")
    spec = json.loads((run / "run_spec.json").read_text())
    metric = "helm.benchmark.metrics.language_modeling_metrics.LanguageModelingMetric"
    spec["metric_specs"] = [{"class_name": metric, "args": {"names": []}}]
    (run / "run_spec.json").write_text(json.dumps(spec))
    return run


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        (
            "scenario_state.json",
            '{"request_states": [{"instance": {"id": "id0"',
            "isn't complete JSON: the file ends too early",
        ),
        (
            "scenario_state.json",
            '{"request_states": [{"instance": {"id": "id0"}}]}',
            "isn't in HELM's format: KeyError",
        ),
        ("scenario_state.json", '{"request_states": []}', "has no request states"),
        ("per_instance_stats.json", '[{"instance_id": "id0"}]', "element 0 isn't in HELM's format"),
        ("run_spec.json", "{}", "isn't a run spec in HELM's format"),
        ("run_spec.json", "<html>", "run_spec.json isn't valid JSON"),
    ],
)
def test_a_broken_run_is_skipped_with_a_warning(tmp_path: Path, file: str, text: str, reason: str) -> None:
    write_run(tmp_path, [state("id0", "id0")], [1.0], name="whole:model=org_one")
    broken = write_run(tmp_path, [state("id0", "id0")], [1.0], name="broken:model=org_one")
    (broken / file).write_text(text)
    results = hf.read_helm(tmp_path)
    assert results.completions.collect().height == results.scores.collect().height == 1
    (skipped,) = results.manifest["skipped"]
    assert skipped["scenario"] == "broken:model=org_one"
    assert reason in skipped["reason"]
    with pytest.raises((SourceBrokenError, SourceError), match=r"none of the runs at .* can be read\. The first: "):
        hf.read_helm(broken)


def test_a_folder_without_runs_raises(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match="Write the path of a run directory"):
        hf.read_helm(tmp_path)


def test_tables_are_cached_until_the_files_change(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs", [state("id0", "id0")], [1.0])
    first = hf.read_helm(tmp_path / "runs")
    assert hf.read_helm(tmp_path / "runs").path == first.path
    assert hf.read_helm(tmp_path / "runs", fresh=True).path != first.path
    (run / "scenario.json").write_text('{"name": "facts", "description": "Other."}')
    assert hf.read_helm(tmp_path / "runs").manifest["scenarios"]["facts"]["description"] == "Other."


def test_a_fresh_reading_is_the_newest_though_a_clock_was_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "runs", [state("id0", "id0")], [1.0])
    now = time.time_ns
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: now() + 86_400 * 10**9)
        first = hf.read_helm(tmp_path / "runs")
    fresh = hf.read_helm(tmp_path / "runs", fresh=True)
    assert fresh.path != first.path
    assert hf.read_helm(tmp_path / "runs").path == fresh.path


def test_a_reading_that_is_damaged_in_the_store_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_run(tmp_path / "runs", [state("id0", "id0")], [1.0])
    first = hf.read_helm(tmp_path / "runs")
    part = next(Path(str(first.path)).glob("scores/*/*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    again = hf.read_helm(tmp_path / "runs")
    assert again.path != first.path
    assert again.value("exact_match") == 1.0
    assert part.name in caplog.text


def test_a_long_run_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helmframe.interop.helm.state_reader.ROWS", 3)
    write_run(tmp_path, [state(f"id{each}", f"id{each}") for each in range(10)], [1.0] * 10)
    results = hf.read_helm(tmp_path)
    assert results.completions.collect()["instance_id"].to_list() == [f"seas/id{each}" for each in range(10)]
    assert results.value("exact_match") == 1.0


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """A URL below which a suite and a release are."""
    root = tmp_path / "served"
    name = "facts:topic=seas,model=org_one"
    run = write_run(root / "runs" / "v1", [state("id0", "id0")], [1.0], name=name)
    (run.parent / "run_specs.json").write_text(json.dumps([json.loads((run / "run_spec.json").read_text())]))
    (root / "releases" / "r1").mkdir(parents=True)
    (root / "releases" / "r1" / "runs_to_run_suites.json").write_text(json.dumps({name: "v1"}))
    with serving_files(root) as address:
        yield address


@pytest.mark.parametrize("place", ["runs/v1", "runs/v1/facts:topic=seas,model=org_one", "releases/r1"])
def test_a_suite_a_run_and_a_release_are_read_from_a_url(served: str, place: str) -> None:
    assert hf.read_helm(f"{served}/{place}").value("exact_match") == 1.0


def test_a_url_without_runs_raises(served: str) -> None:
    with pytest.raises(SourceMissingError, match="No HELM run found at http"):
        hf.read_helm(f"{served}/runs/v2")


@pytest.mark.shared
def test_a_suite_is_read_from_a_bucket(s3: S3Server, tmp_path: Path) -> None:
    run = write_run(tmp_path, [state("id0", "id0")], [1.0])
    s3.filesystem().put(str(run), f"{BUCKET}/benchmark_output/runs/v1/", recursive=True)
    assert hf.read_helm(f"s3://{BUCKET}/benchmark_output/runs/v1").value("exact_match") == 1.0
