"""A model whose completions are mostly empty is reported once a run, in the log, the manifest and the results."""

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe import _pipeline
from helmframe._plan import Plan
from helmframe.engines.notes import EmptyCompletions, EmptyCount, empty_notes, unparsed_notes, utilization_notes
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
        return hf.models.Completion("", finish_reason="length")

    (stopped,) = empty_notes(continuation(output_prefix="Answer:").generate(silent).score().manifest)
    assert "ends in " + repr((STORY + " 0\nAnswer:")[-40:]) in stopped
    assert "A stop sequence may end the completion" in stopped
    (limited,) = empty_notes(continuation().generate(at_its_limit).score().manifest)
    assert limited.endswith("Set a larger limit: .generate(…, max_tokens=…).")


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


def letters(n: int = 200) -> Plan:
    frame = pl.DataFrame({"q": [f"Question {number}" for number in range(n)], "o": [["x", "y"]] * n, "a": 0})
    return hf.scenario(frame, input="q", choices="o", answer="a", name="letters").adapt(shots=0).metrics("exact_match")


def by_number(completions: Callable[[int], str]) -> Any:
    def complete(prompt: str) -> str:
        return completions(int(re.findall(r"(?i)question (\d+)", prompt)[-1]))

    return complete


def test_completions_without_an_option_are_counted_over_shards_and_perturbations(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(_pipeline, "SHARD_ROWS", 70)
    monkeypatch.setattr(_pipeline, "FIRST_ROWS", 30)
    model = by_number(lambda number: "(A)" if number < 18 else "no idea" if number == 18 else "A")
    run = letters().perturb("uppercase").generate({"m": model, "numbers": by_number(str)}).submit()
    found = run.wait(60)
    entries = {entry["model"]: entry for entry in found.manifest["unparsed_completions"]}
    assert {name: entries["m"][name] for name in ("labelled", "unparsed", "readable", "limited")} == {
        "labelled": 400, "unparsed": 38, "readable": 36, "limited": 0,
    }  # fmt: skip
    line = "letters × m: 38 of 400 completions name no option; answer_parser='lenient' would read 36: "
    for text in (*unparsed_notes(found.manifest), repr(found), caplog.text, live.run_html(run, None)):
        if "× m:" in text:
            assert line in text.replace("&#x27;", "'")
    assert line in repr(Results.load(found.to_parquet(tmp_path / "run")))
    assert "letters × numbers" not in repr(found)  # no parser reads them; the table counts them
    lenient = repr(found.rescore(answer_parser="lenient"))
    assert "numbers: 400 of 400 completions name no option; the lenient parser reads none of them." in lenient
    assert "letters × m" not in lenient  # 2 of 400 are less than 1 %


def test_few_completions_that_no_parser_reads_are_counted_but_not_reported() -> None:
    found = letters().generate(by_number(lambda number: "no idea" if number == 3 else "A")).score()
    (entry,) = found.manifest["unparsed_completions"]
    assert (entry["unparsed"], entry["readable"]) == (1, 0)
    assert unparsed_notes(found.manifest) == []
    assert "unparsed_completions" not in letters(3).generate(by_number(lambda number: "A")).score().manifest


def test_completions_that_end_at_the_token_limit_have_their_own_advice() -> None:
    def cut(prompt: str) -> hf.models.Completion:
        return hf.models.Completion("The", finish_reason="length")

    plan = letters(5).generate(cut)
    assert unparsed_notes(plan.score().manifest) == []
    (note,) = unparsed_notes(plan.adapt(answer_parser="lenient").score().manifest)
    assert note.endswith("5 end at max_tokens: set a larger limit, .generate(…, max_tokens=…).")


def test_empty_completions_have_one_note() -> None:
    found = letters(5).generate(silent).score()
    assert len(empty_notes(found.manifest)) == 1
    assert unparsed_notes(found.manifest) == []


def test_free_text_and_scored_options_name_no_option() -> None:
    assert "unparsed_completions" not in continuation().generate(lambda prompt: "x").score().manifest
    scored = letters(3).adapt(method="multiple_choice_separate_original").metrics("option_accuracy")
    assert "unparsed_completions" not in scored.generate(hf.models.oracle()).score().manifest
