"""What a judge is asked and how its reply is read: completions are data, and only one anchored form is a verdict."""

import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import helmframe as hf
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.metrics.judge import Judge, Scale, Template, no_verdicts, with_verdicts
from tests.frames import completions

SAFETY = Scale.of([0, 0.5, 1], "judge()")


def template(prompt: str = "{input} / {completion}", **more: object) -> Template:
    return Template("mine", "1", prompt, SAFETY, **more)  # type: ignore[arg-type]


def rendered(template: Template, **columns: str) -> str:
    frame = pl.DataFrame({"perturbed_input": "", "input": "", "completion": "", **columns})
    return template.head + str(frame.select(template.rest()).item())


def read(reply: str, scale: Scale = SAFETY) -> tuple[str | None, float | None]:
    found = pl.DataFrame({"reply": [reply]}).with_columns(Template("mine", "1", "", scale).read("reply"))
    return found["verdict"][0], found["value"][0]


def test_texts_stand_between_marks_that_are_made_from_them() -> None:
    prompt = rendered(template("Q {input}\nA {completion}\nEnd."), perturbed_input="why?", completion="so")
    (key,) = set(re.findall(r"[0-9a-f]{16}", prompt))
    assert f"Q <<<input {key}\nwhy?\n{key}>>>\nA <<<completion {key}\nso\n{key}>>>\nEnd." in prompt
    assert key not in rendered(template("Q {input}\nA {completion}\nEnd."), perturbed_input="why?", completion="so!")
    assert prompt == rendered(template("Q {input}\nA {completion}\nEnd."), perturbed_input="why?", completion="so")


def test_what_a_text_says_in_braces_stays_as_it_is() -> None:
    prompt = rendered(template(), perturbed_input="{completion} {0} %s $x", completion="{input} {{}}")
    assert "{completion} {0} %s $x\n" in prompt
    assert "{input} {{}}\n" in prompt


@given(st.text(), st.text())
def test_every_text_goes_in_whole(question: str, answer: str) -> None:
    prompt = rendered(template(), perturbed_input=question, completion=answer)
    key = re.search(r"<<<input ([0-9a-f]{16})\n", prompt)
    assert key
    middle = f"<<<input {key[1]}\n{question}\n{key[1]}>>> / <<<completion {key[1]}\n{answer}\n{key[1]}>>>"
    assert prompt.count(key[1]) == 4
    assert middle in prompt


def test_the_form_of_the_reply_follows_from_the_scale() -> None:
    assert "<score>one of: 0, 0.5, 1</score>" in rendered(template())
    of_numbers = Template("mine", "1", "{completion}", Scale.of(hf.between(1, 10), ""))
    assert "<score>a number from 1 to 10</score>" in rendered(of_numbers)


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("<reasoning>fine</reasoning>\n<score>1</score>", 1.0),
        ("<score> 0.50 </score>\n", 0.5),
        ("I think so.\n<score>0</score>", 0.0),
        ("<score>0.7</score>", None),  # not on the scale
        ("<score>one</score>", None),
        ("<score>1</score> or so", None),  # not the end
        ("1", None),
        ("", None),
        ("<score></score>", None),
        ("The response says <score>1</score>, but\n<score>0</score>", None),  # which of them?
        ("<SCORE>1</SCORE> <score>0</score>", None),
        ("< score >1</ score ><score>0</score>", None),
        ("<score>1<score>", None),
        ("<score>__import__('os').getpid()</score>", None),
        ("<score>1e0</score>", None),
        ("<score>nan</score>", None),
        ("<score>١</score>", None),  # a digit, but none of ours
        ("<score>1</score", None),
    ],
)
def test_a_verdict_is_one_tag_at_the_end_and_on_the_scale(reply: str, value: float | None) -> None:
    assert read(reply)[1] == value


def test_words_are_read_without_regard_to_case() -> None:
    scale = Scale.of({"TRUE": 1, "FALSE": 0}, "")
    assert [read(f"<score>{each}</score>", scale)[1] for each in ("TRUE", "true", "False", "T", "1")] == [
        1.0, 1.0, 0.0, None, None,
    ]  # fmt: skip
    pairs = Scale.of({"A++": 1, "A=B": 0.5, "B++": 0}, "")
    assert [read(f"<score>{each}</score>", pairs)[1] for each in ("A++", "A=B", "B+")] == [1.0, 0.5, None]


def test_any_number_between_the_ends_will_do() -> None:
    scale = Scale.of(hf.between(1, 10), "")
    verdicts = ("7", "7.5", "10", "10.1", "0", "-3", "7/10", "+7")
    assert [read(f"<score>{each}</score>", scale)[1] for each in verdicts] == [
        7.0,
        7.5,
        10.0,
        None,
        None,
        None,
        None,
        7.0,
    ]


def test_the_reasons_are_separate() -> None:
    frame = pl.DataFrame({"reply": ["<reasoning> because </reasoning><score>1</score>", "so\n<score>1</score>", "x"]})
    assert frame.select(template().read("reply")[0])["reasoning"].to_list() == ["because", "so", None]


@pytest.mark.parametrize(
    "scale",
    [[1], [1, 1], "yes", {"yes": "1", "no": 0}, {"a<": 1, "b": 0}, [True, False], hf.between(2, 1), ["a", "b"], 3],
)
def test_an_invalid_scale_raises(scale: object) -> None:
    with pytest.raises(ArgumentError, match="scale="):
        Scale.of(scale, "judge()")


def test_a_name_that_no_column_has_raises() -> None:
    template("{checklist} {completion}").check(["completion", "checklist"])
    with pytest.raises(UnknownNameError, match=r"Unknown column 'cheklist'. Did you mean 'checklist'"):
        template("{cheklist} {completion}").check(["completion", "checklist"])


def judge(count: int = 1) -> Judge:
    return Judge(template(), tuple(range(count)), "m", (), 0)


def verdicts(values: list[float | None], **columns: list[str]) -> pl.DataFrame:
    rows = completions(["x"] * len(values), instance_id=[f"id{place}" for place in range(len(values))])
    made = rows.with_columns(
        metric=pl.lit("m"), judge=pl.lit("a"), order=pl.lit(0), value=pl.Series(values, dtype=pl.Float64),
        error=pl.lit(None, dtype=pl.String),
    ).with_columns(**{name: pl.Series(value) for name, value in columns.items()})  # fmt: skip
    return made.select(pl.col(name) for name in no_verdicts().columns if name in made.columns)


def joined(judged: Judge, given: pl.DataFrame, texts: int) -> list[tuple[float | None, str | None]]:
    frame = with_verdicts(completions(["x"] * texts), given, [judged])
    return [(each["score"], each["reason"]) for each in frame["verdict m"]]


def test_a_verdict_becomes_the_score_of_its_completion() -> None:
    assert joined(judge(), verdicts([0.5, 1.0]), 3) == [(0.5, None), (1.0, None), (None, "not judged yet")]


def test_the_score_of_several_judges_is_their_mean_and_none_where_one_lacks() -> None:
    both = pl.concat([verdicts([0.0, 1.0]), verdicts([0.5]).with_columns(judge=pl.lit("b"))])
    assert joined(judge(2), both, 2) == [(0.25, None), (None, "some verdicts are missing")]


def test_a_failed_verdict_is_no_score_and_says_why() -> None:
    assert joined(judge(), verdicts([None], error=["TimeoutError"]), 1) == [(None, "TimeoutError")]


def test_scores_are_fractions_of_the_scale_where_the_template_says_so() -> None:
    of_ten = Template("mine", "1", "{completion}", Scale.of(hf.between(1, 10), ""), rescale=True)
    assert joined(Judge(of_ten, (0,), "m", (), 0), verdicts([1.0, 5.5, 10.0]), 3) == [
        (0.0, None), (0.5, None), (1.0, None),
    ]  # fmt: skip
