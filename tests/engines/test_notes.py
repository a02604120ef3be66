"""A model whose completions are mostly empty is reported once a run, in the log, the manifest and the results."""

import logging
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe import _pipeline
from helmframe._plan import Plan
from helmframe.engines.notes import (
    EmptyCompletions,
    EmptyCount,
    cost_notes,
    dollars,
    empty_notes,
    utilization_notes,
)
from helmframe.results import Results
from helmframe.views import live
from tests.models.tiny import gpt2_folder

STORY = "Once upon a time there was a fox who lived in a wood, number"
CONTINUE = "If completions should continue the input, write .adapt(input_suffix=''), or input_suffix: '' under"


def continuation(n: int = 5, **changes: Any) -> Plan:
    """A continuation task whose spec lacks `input_suffix: ""`, so that its prompts end in a newline."""
    frame = pl.DataFrame({"q": [f"{STORY} {number}" for number in range(n)], "a": "x"})
    plan = hf.scenario(frame, input="q", references="a", name="story")
    return plan.adapt(**{"shots": 0, "input_prefix": "", "output_prefix": "", **changes})


def silent(prompt: str) -> str:
    return ""


def nearly_silent(*spoken: int) -> Any:
    """A model that has a completion for the stories of these numbers alone."""

    def answer(prompt: str) -> str:
        return "x" if int(prompt.rsplit(maxsplit=1)[-1]) in spoken else " \n"

    return answer


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "completions are empty" in record.getMessage()]


def test_a_silent_model_is_reported_with_the_end_of_its_first_prompt_and_what_to_write(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    run = continuation().generate({"silent": silent, "good": lambda prompt: "x"}).submit()
    results = run.wait(60)
    end = repr(f"{STORY} 0\n"[-40:])
    (note,) = empty_notes(results.manifest)
    assert note.startswith(
        f"story × silent: 5 of 5 completions are empty. The first of their prompts ends in {end}. {CONTINUE}"
    )
    assert len(end) == 40 + len("''") + len("\\n") - len("\n")
    assert warned(caplog) == [note]
    assert note in repr(results)
    assert note in repr(Results.load(results.to_parquet(tmp_path / "run")))
    report = Path(results.report(tmp_path / "report.html")).read_text(encoding="utf-8")
    assert "5 of 5 completions are empty" in report
    assert "5 of 5 completions are empty" in results._repr_html_()
    assert "5 of 5 completions are empty" in live.run_html(run, None)


def test_without_the_newline_nothing_is_flagged(caplog: pytest.LogCaptureFixture) -> None:
    def completes_open_lines(prompt: str) -> str:
        return "" if prompt.endswith("\n") else "x"

    results = continuation(input_suffix="").generate(completes_open_lines).score()
    assert (empty_notes(results.manifest), warned(caplog)) == ([], [])
    assert "empty_completions" not in results.manifest


@pytest.mark.parametrize(("spoken", "flagged"), [((0, 1), True), ((0, 1, 2), False)])
def test_more_than_half_must_be_empty_where_white_space_counts_as_empty(spoken: tuple[int, ...], flagged: bool) -> None:
    manifest = continuation(6).generate(nearly_silent(*spoken)).score().manifest
    assert bool(empty_notes(manifest)) is flagged
    if flagged:
        assert "4 of 6 completions are empty" in empty_notes(manifest)[0]
        assert manifest["empty_completions"][0]["prompt_end"].endswith("number 2\n")


def test_failed_requests_do_not_count() -> None:
    def answer(prompt: str) -> str:
        number = int(prompt.rsplit(maxsplit=1)[-1])
        if number > 2:
            raise ValueError("no completion")
        return "" if number else "x"

    (note,) = empty_notes(continuation(10).generate(answer).score().manifest)
    assert "2 of 3 completions are empty" in note


def test_counts_are_added_over_shards_and_perturbations(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_pipeline, "SHARD_ROWS", 7)
    monkeypatch.setattr(_pipeline, "FIRST_ROWS", 3)
    results = continuation(40).perturb("lowercase").generate(nearly_silent(0, 1, 39)).score()
    (note,) = empty_notes(results.manifest)
    assert "74 of 80 completions are empty" in note
    assert "number 2\\n'" in note
    assert warned(caplog) == [note]


def test_cached_completions_are_reported_again_by_the_next_run() -> None:
    plan = continuation().generate(hf.model(silent, name="pinned", version="1"))
    assert empty_notes(plan.score().manifest) == empty_notes(plan.score().manifest) != []


def test_several_scenarios_and_models_have_a_line_each(caplog: pytest.LogCaptureFixture) -> None:
    other = hf.scenario(pl.DataFrame({"q": ["a", "b"], "a": "x"}), input="q", references="a", name="other")
    hf.suite(continuation(), other).generate({"silent": silent, "mute": silent}).score()
    starts = [note.partition(":")[0] for note in warned(caplog)]
    assert starts == ["other × mute", "other × silent", "story × mute", "story × silent"]


def test_a_look_into_the_store_does_not_warn_again(caplog: pytest.LogCaptureFixture) -> None:
    run = continuation().generate(silent).submit()
    run.wait(60)
    caplog.clear()
    assert "completions are empty" in repr(run.results())
    assert warned(caplog) == []


def test_the_advice_fits_the_cause() -> None:
    def at_its_limit(prompt: str) -> hf.models.Completion:
        return hf.models.Completion("  ", finish_reason="length")

    def reasoning(prompt: str) -> hf.models.Completion:
        return hf.models.Completion("", finish_reason="length")

    (stopped,) = empty_notes(continuation(output_prefix="Answer:").generate(silent).score().manifest)
    assert "ends in " + repr((STORY + " 0\nAnswer:")[-40:]) in stopped
    assert "A stop sequence may end the completion" in stopped
    (limited,) = empty_notes(continuation().generate(at_its_limit).score().manifest)
    assert limited.endswith("Set a larger limit: .generate(…, max_tokens=…).")
    (starved,) = empty_notes(continuation().generate(reasoning).score().manifest)
    assert "Add head-room: .generate(model, reasoning='low')" in starved


def test_options_that_were_scored_are_no_completions() -> None:
    frame = pl.DataFrame({"q": ["one", "two"], "o": [["", " "]] * 2, "a": [0, 0]})
    plan = hf.scenario(frame, input="q", choices="o", answer="a").adapt(method="multiple_choice_separate_original")
    assert empty_notes(plan.generate(hf.models.oracle()).score().manifest) == []


def test_the_first_empty_completion_is_that_of_the_lowest_shard() -> None:
    counts = EmptyCompletions()
    for shard in (2, 0, 1):
        counts.add({("s", "m"): EmptyCount(10, 9, (shard, f"prompt {shard}", ""))})
    counts.add({("s", "m"): EmptyCount(10, 0, None)})
    assert counts.counts() == {("s", "m"): EmptyCount(40, 27, (0, "prompt 0", ""))}
    assert counts.manifest_entries()[0]["prompt_end"] == "prompt 0"


def test_the_warning_is_in_the_log_of_the_run() -> None:
    run = continuation().generate(silent).submit()
    run.wait(60)
    logged = run.logs().filter(pl.col("message").str.contains("completions are empty", literal=True))
    assert logged["level"].to_list() == [logging.getLevelName(logging.WARNING)]


MUSIC = hf.scenario("sampler").where(subject="music").limit(4).adapt(shots=0)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(gpt2_folder(tmp_path / "bytes"))


def test_a_run_of_a_local_model_says_so_at_its_end_on_its_page_and_in_its_report(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = MUSIC.generate(folder).submit()
    results = run.wait(120)
    (note,) = utilization_notes(results.manifest)
    about = results.manifest["models"]["bytes"]
    assert note.startswith(f"bytes: busy for {about['busy']:.0%} of the {about['waited']:,.1f} s spent waiting")
    assert note.endswith(about["state"])
    assert note in live.run_html(run, None)
    assert note in Path(results.report(tmp_path / "report.html")).read_text(encoding="utf-8")
    MUSIC.generate(folder).score(fresh=True)
    assert "helmframe: bytes: busy " in capsys.readouterr().err


def test_what_a_store_has_makes_nobody_busy(folder: str) -> None:
    plan = MUSIC.generate(folder)
    plan.score()
    assert utilization_notes(plan.score().manifest) == []


def test_a_model_that_tells_nothing_of_how_it_answers_is_in_the_manifest_alone() -> None:
    def slow(prompt: str) -> str:
        time.sleep(0.05)  # so that its share of the time is above 0.5 % on a machine that does much else
        return prompt

    manifest = MUSIC.generate(slow).score().manifest
    assert 0 < manifest["models"]["slow"]["busy"] <= 1
    assert utilization_notes(manifest) == []


def test_a_judge_is_told_of_too(folder: str) -> None:
    judge = hf.judge(folder, "Is {completion} kind? {input}", scale={"yes": 1, "no": 0}, retries=0, max_tokens=2)
    manifest = MUSIC.generate(hf.models.oracle()).metrics(judge).score().manifest
    assert 0 < manifest["judges"]["bytes"]["busy"] <= 1
    (note,) = utilization_notes(manifest)
    assert note.startswith("bytes: busy ")


def test_manifests_of_before_are_read() -> None:
    assert utilization_notes({"models": {"old": {"fingerprint": "f", "note": "", "busy": 0.5}}}) == []


def test_the_cost_of_a_run_is_noted_at_its_end_with_the_source_of_the_prices(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = hf.model(lambda prompt: hf.models.Completion("x", prompt_tokens=1_000_000, output_tokens=0), name="m")
    continuation().generate(model).score(prices={"m": (0.5, 1)})
    assert "helmframe: cost of this run: $2.50 (m; prices: user)\n" in capsys.readouterr().err
    continuation().generate(silent).score()
    assert "cost" not in capsys.readouterr().err


def test_an_unknown_price_is_noted_and_its_cost_is_not_counted() -> None:
    entry = {"prompt": 1, "output": 1, "cached_prompt": None, "source": "litellm 9.9"}
    assert cost_notes({"prices": {"a": entry, "b": entry}, "unpriced": ["c"], "cost": 0.00123}) == [
        "cost of this run: $0.0012 (a, b; prices: litellm 9.9)",
        "price unknown, cost not counted: c. Set prices={'c': (2.5, 10)}.",
    ]
    assert cost_notes({"prices": {"a": entry}, "cost": None}) == cost_notes({}) == []


def test_small_amounts_have_two_digits() -> None:
    amounts = (0, 0.00001, 0.00123, 0.0999, 0.1, 12.345, 1234)
    expected = ["$0.00", "less than $0.0001", "$0.0012", "$0.1", "$0.10", "$12.35", "$1,234.00"]
    assert [dollars(amount) for amount in amounts] == expected
