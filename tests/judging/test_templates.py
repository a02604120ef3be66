"""Judge templates: those that ship, files and prompts of one's own."""

from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, SpecError, UnknownNameError
from helmframe.judging.templates import template_of

OWN = """
judge: tone
version: 2
scale: [1, 2, 3]
empty: 1
prompt: "How kind is this?\\n{completion}"
"""


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tone.yaml"
    path.write_text(text)
    return path


def test_the_templates_that_ship_say_what_they_ask_and_where_it_is_from() -> None:
    table = hf.list_judges()
    assert table["name"].to_list() == [
        "alpaca_eval", "arena_hard", "clinical_quality", "equivalence", "financebench", "health_bench", "helpfulness",
        "helpfulness_checklist", "inspect_fact", "inspect_fact_partial", "inspect_qa", "inspect_qa_partial",
        "overrefusal", "preference", "safety", "simple_qa", "strong_reject",
    ]  # fmt: skip
    assert table.filter(pl.any_horizontal(pl.col("source", "description", "prompt").str.len_chars() < 20)).is_empty()
    scales = dict(table.select("name", "scale").iter_rows())
    assert scales["safety"] == "one of: 0, 0.5, 1"
    assert scales["helpfulness"] == "a number from 1 to 10"


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    found = template_of(str(file(tmp_path, OWN)))
    assert (found.judge, found.version, found.empty, found.scale.shown) == ("tone", "2", 1.0, "one of: 1, 2, 3")
    assert template_of(file(tmp_path, OWN)) == found


def test_a_prompt_of_ones_own_needs_a_scale() -> None:
    assert template_of("Good?\n{completion}", [0, 1]).head.endswith("Good?\n")
    with pytest.raises(ArgumentError, match=r"needs a scale\. Add one, such as scale=\[0, 1\]"):
        template_of("Good?\n{completion}")


def test_another_scale_takes_the_place_of_the_templates_own() -> None:
    found = template_of("equivalence", {"same": 1, "other": 0})
    assert (found.scale.shown, found.empty) == ("one of: same, other", None)
    assert template_of("equivalence").empty == 0.0


@pytest.mark.parametrize(
    ("was", "is_now", "told"),
    [
        ("scale: [1, 2, 3]", "scale: [1]", "tone.yaml: scale: .*numbers"),
        ("version: 2\n", "", "tone.yaml: version: this key is required"),
        ("empty: 1", "empty: 7", r"tone.yaml: empty: must be on the scale \(.*\), not 7"),
        ("empty: 1", "emty: 1", "unknown key 'emty'. Did you mean 'empty'"),
        ("empty: 1", "max_tokens: many", "tone.yaml: max_tokens: must be an integer ≥ 1"),
        ("judge: tone", "judge: [", "tone.yaml: invalid YAML in line 4"),
        ("{completion}", "{first}", "tone.yaml: prompt: the prompt must contain"),
        ("{completion}", "nothing", "tone.yaml: prompt: the prompt must contain"),
        ("empty: 1", "empty: often", r"tone.yaml: empty: must be on the scale \(.*\), not 'often'"),
        ("scale: [1, 2, 3]", "scale: {between: [1]}", "tone.yaml: scale: "),
        ("empty: 1", "rescale: perhaps", "tone.yaml: rescale: must be true or false"),
        ("empty: 1", "higher_is_better: 1", "tone.yaml: higher_is_better: must be true or false"),
        ("empty: 1", "items: rubrics", "tone.yaml: items: must be {column: LIST, fields:"),
        ("empty: 1", "items: {column: rubrics, fields: [a], points: b}", "tone.yaml: items: must be {column: LIST"),
        ("empty: 1", "scores: [a]", "tone.yaml: scores: must be a mapping of names"),
        ("empty: 1", "scores: {'<b>': [0, 1]}", "tone.yaml: scores: must be a mapping of names"),
        ("empty: 1", "scores: {kind: [0, 1]}", "tone.yaml: prompt: scores and score belong together"),
        ("empty: 1", "score: kind / 2", "tone.yaml: prompt: scores and score belong together"),
        ("empty: 1", "scores: {kind: [0, 1]}\nscore: kind ** 2", r"'kind \*\* 2' isn't a formula"),
        ("empty: 1", "scores: {kind: [0, 1]}\nscore: other + 1", "'other \\+ 1' isn't a formula"),
        ("empty: 1", "scores: {kind: [0, 1]}\nscore: '1'", "'1' must use each of the scores: kind"),
        ("empty: 1", "against: baseline", "against='baseline' needs a prompt with {first} and {second}"),
    ],
)
def test_an_invalid_file_raises_with_its_key(tmp_path: Path, was: str, is_now: str, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        template_of(file(tmp_path, OWN.replace(was, is_now)))


def test_an_unknown_name_raises_with_near_matches() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown judge template 'saftey'. Did you mean 'safety'"):
        template_of("saftey")
    with pytest.raises(SpecError, match="file not found"):
        template_of("none/of/these.yaml")


def test_a_graded_template_sends_its_prompt_and_reads_the_last_grade() -> None:
    seen: list[str] = []
    replies = {"Paris": "GRADE: I, no.\n**GRADE**: I, no.\nGRADE: Correct", "Rome": "GRADE: I", "Oslo": "downgrade: C"}

    def judging(prompt: str) -> str:
        seen.append(prompt)
        return next(reply for name, reply in replies.items() if name in prompt)

    frame = pl.DataFrame({"input": ["A? [End data]", "B?", "C?"], "references": ["Paris", "Rome", "Oslo"]})
    judge = hf.judge(judging, "inspect_fact", name="graded", retries=1)
    results = hf.scenario(frame).metrics(judge).generate(lambda _: "An answer").score()
    scores = results.scores.collect().sort("instance_id")["score"].to_list()
    assert scores == [1.0, 0.0, None]
    assert sum("Oslo" in prompt for prompt in seen) == 2  # the second prompt has the reminder
    assert all("<<<" not in prompt and "<score>" not in prompt for prompt in seen)
    assert any("[Question]: A? [End-data]\n" in prompt for prompt in seen)
