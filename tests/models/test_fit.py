"""Requests as one model gets them: window, template, media, shared prefixes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
import pytest

from helmframe.adapters import adapt, settings
from helmframe.columns import FITTED, PREFIXES, REQUESTS
from helmframe.errors import CapabilityError
from helmframe.models import Model
from helmframe.models.fit import fit
from helmframe.specs import MainScore, ScenarioSpec, frozen
from tests.frames import instances, right, variants

Count = Callable[[Sequence[str]], Sequence[int]]
Chat = Callable[[Sequence[Mapping[str, str]]], str]

TRAIN = instances(["one two", "three four", "five six"], [right("a"), right("b"), right("c")], split="train")
ASKED = variants(["seven eight"], [right("d")])
# without templates each text is `Input: …\nOutput: …\n\n`: 5 words a shot, 4 words the question
QUESTION = "Input: seven eight\nOutput:"


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def model(
    *, window: int | None = None, count: Count | None = words, chat: Chat | None = None, media: bool = False
) -> Model:
    return Model(
        "m",
        "m",
        lambda prompts, _: list(map(str, prompts)),
        str,
        durable=False,
        takes=None,
        window=window,
        count_tokens=count,
        chat=chat,
        media=media,
    )


def fitted(answering: Model, asked: pl.DataFrame = ASKED, train: pl.DataFrame = TRAIN, **said: Any) -> pl.DataFrame:
    """`FITTED` with `prompt`."""
    rows, prefixes = both(answering, asked, train, **said)
    joined = rows.join(prefixes, on="prefix_id", how="left", maintain_order="left", validate="m:1")
    return joined.with_columns(prompt=pl.col("prefix") + pl.col("suffix"))


def both(
    answering: Model, asked: pl.DataFrame = ASKED, train: pl.DataFrame = TRAIN, **said: Any
) -> tuple[pl.DataFrame, pl.DataFrame]:
    max_tokens = said.pop("max_tokens", 10)
    of_adapter = {"sample_train": False, "shots": 3, **said}
    spec = ScenarioSpec("s", "1", "SELECT 1", MainScore("exact_match"), ("exact_match",))
    (setting,) = settings(spec, frozen(of_adapter), frozen({"max_tokens": max_tokens}))
    requests, heads = adapt(asked.lazy(), train, setting)
    return fit(requests.collect(), heads, answering)


# -- without a window ------------------------------------------------------------------------------------------------


def test_without_a_window_every_shot_stays() -> None:
    row = fitted(model()).row(0, named=True)
    assert row["prompt"] == (
        "Input: one two\nOutput: a\n\nInput: three four\nOutput: b\n\nInput: five six\nOutput: c\n\n" + QUESTION
    )
    assert (row["shots_used"], row["prompt_truncated"], row["refused"], row["model"]) == (3, False, None, "m")


def test_the_columns_are_those_of_fitted_and_prefixes() -> None:
    rows, prefixes = both(model(window=100))
    assert {name: rows.schema[name] for name in FITTED.schema} == FITTED.schema
    assert prefixes.schema == PREFIXES.schema


def test_a_window_without_a_counter_is_no_limit() -> None:
    assert fitted(model(window=1, count=None))["shots_used"].to_list() == [3]


def test_no_requests() -> None:
    rows, prefixes = both(model(window=100), ASKED.clear())
    assert (rows.height, prefixes.height) == (0, 0)


def test_the_suffix_is_the_question() -> None:
    assert fitted(model())["suffix"].to_list() == [QUESTION]


# -- the window ------------------------------------------------------------------------------------------------------


# 15 words of shots, 4 of the question, 10 of the answer
@pytest.mark.parametrize(("window", "shots"), [(100, 3), (29, 3), (28, 2), (24, 2), (23, 1), (19, 1), (18, 0), (14, 0)])
def test_shots_are_dropped_until_prompt_and_answer_fit(window: int, shots: int) -> None:
    row = fitted(model(window=window)).row(0, named=True)
    assert (row["shots_used"], row["prompt_truncated"], row["refused"]) == (shots, shots < 3, None)


def test_the_last_shot_is_dropped_first_and_the_question_never() -> None:
    (prompt,) = fitted(model(window=19), instructions="")["prompt"]
    assert prompt == "Input: one two\nOutput: a\n\n" + QUESTION


def test_instructions_stay() -> None:
    (prompt,) = fitted(model(window=15), instructions="Answer.")["prompt"]
    assert prompt == "Answer.\n\n" + QUESTION


def test_a_question_too_long_without_shots_is_refused_and_left_whole() -> None:
    row = fitted(model(window=13)).row(0, named=True)
    assert (row["shots_used"], row["prompt"]) == (0, QUESTION)
    assert row["refused"] == "the prompt is longer than the window of 13 tokens even without examples"


def test_each_row_keeps_what_fits_it() -> None:
    asked = variants(["x", "x " * 6, "x " * 80], [right("d")] * 3)
    rows = fitted(model(window=32), asked)
    assert rows["shots_used"].to_list() == [3, 2, 0]
    assert rows["refused"].is_null().to_list() == [True, True, False]


def test_without_max_tokens_the_prompt_may_fill_the_window() -> None:
    assert fitted(model(window=19), max_tokens=None)["shots_used"].to_list() == [3]


def merging(texts: Sequence[str]) -> list[int]:
    """Words, but a text that has both a shot and the question has four tokens less: they merge where the two meet."""
    return [len(text.split()) - (4 if "seven" in text and "one" in text else 0) for text in texts]


@pytest.mark.parametrize(("window", "shots"), [(25, 3), (24, 2), (20, 2), (19, 1)])
def test_near_the_limit_the_whole_prompt_is_counted(window: int, shots: int) -> None:
    assert fitted(model(window=window, count=merging))["shots_used"].to_list() == [shots]


def starting(texts: Sequence[str]) -> list[int]:
    """Words and a token that starts every text, as tokenizers with a BOS token count."""
    return [len(text.split()) + 1 for text in texts]


@pytest.mark.parametrize(("window", "shots"), [(30, 3), (29, 2), (25, 2), (15, 0)])
def test_a_token_that_starts_every_text_counts_once(window: int, shots: int) -> None:
    row = fitted(model(window=window, count=starting)).row(0, named=True)
    assert (row["shots_used"], row["refused"]) == (shots, None)


def test_far_from_the_limit_only_the_parts_are_counted() -> None:
    seen: list[str] = []

    def noting(texts: Sequence[str]) -> list[int]:
        seen.extend(texts)
        return words(texts)

    asked = variants([f"question {number}" for number in range(50)], [right("d")] * 50)
    fitted(model(window=10_000, count=noting), asked)
    assert len(seen) == 4 + 50  # the head with 0 to 3 shots, and each question


# -- prefixes --------------------------------------------------------------------------------------------------------


def test_requests_of_a_part_and_trial_share_a_prefix() -> None:
    asked = variants(["q1", "q2", "q3"], [right("d")] * 3)
    rows, prefixes = both(model(), asked, trials=1)
    assert rows["prefix_id"].n_unique() == prefixes.height == 1


def test_each_trial_and_number_of_shots_has_a_prefix_of_its_own() -> None:
    asked = variants(["x", "x " * 6], [right("d")] * 2)
    rows, prefixes = both(model(window=32), asked, trials=2, sample_train=True)
    assert rows.select("trial", "shots_used").unique().height == 4
    assert prefixes.height == 4


def test_no_shots_at_all_share_the_empty_prefix() -> None:
    rows, prefixes = both(model(), variants(["q1", "q2"], [right("d")] * 2), shots=0)
    assert prefixes["prefix"].to_list() == [""]
    assert rows["prefix_id"].n_unique() == 1


# -- system and chat templates -----------------------------------------------------------------------------------------


def chat(messages: Sequence[Mapping[str, str]]) -> str:
    return "".join(f"<{each['role']}>{each['content']}</>" for each in messages) + "<assistant>"


def stripping(messages: Sequence[Mapping[str, str]]) -> str:
    return chat([{**each, "content": each["content"].strip()} for each in messages])


def test_without_a_template_the_system_text_is_a_paragraph_before() -> None:
    (prompt,) = fitted(model(), shots=0, system="Be brief.")["prompt"]
    assert prompt == "Be brief.\n\n" + QUESTION


def test_a_template_is_not_applied_unless_asked_for() -> None:
    assert fitted(model(chat=chat), shots=0)["prompt"].to_list() == [QUESTION]


@pytest.mark.parametrize("template", [chat, stripping])
def test_a_template_goes_around_everything(template: Chat) -> None:
    (prompt,) = fitted(model(chat=template), shots=1, chat_template=True)["prompt"]
    assert prompt == f"<user>Input: one two\nOutput: a\n\n{QUESTION}</><assistant>"


def test_the_system_text_is_a_message_of_its_own() -> None:
    (prompt,) = fitted(model(chat=chat), shots=0, system="Be brief.", chat_template=True)["prompt"]
    assert prompt == f"<system>Be brief.</><user>{QUESTION}</><assistant>"


def test_what_the_template_says_before_the_question_is_shared() -> None:
    asked = variants(["q1", "q2"], [right("d")] * 2)
    rows, prefixes = both(model(chat=chat), asked, shots=0, chat_template=True)
    assert prefixes["prefix"].to_list() == ["<user>"]
    assert rows["suffix"].to_list() == ["Input: q1\nOutput:</><assistant>", "Input: q2\nOutput:</><assistant>"]


def test_the_template_counts_in_the_window() -> None:
    def wordy(messages: Sequence[Mapping[str, str]]) -> str:
        return "x " * 6 + messages[-1]["content"] + " y" * 5

    assert fitted(model(window=29, chat=wordy), chat_template=True)["shots_used"].to_list() == [0]
    assert fitted(model(window=30, chat=wordy), chat_template=True)["shots_used"].to_list() == [1]


@pytest.mark.parametrize("template", [lambda messages: "nothing", lambda messages: chat([*messages, *messages])])
def test_a_template_that_does_not_keep_the_text_is_told(template: Chat) -> None:
    with pytest.raises(CapabilityError, match="the chat template of model 'm' does not keep the text"):
        fitted(model(chat=template), chat_template=True)


def test_a_model_without_a_template_says_so() -> None:
    with pytest.raises(CapabilityError, match=r"adapt\(chat_template=True\): model 'm' has no chat template"):
        fitted(model(), chat_template=True)


# -- media -----------------------------------------------------------------------------------------------------------


def with_image() -> pl.DataFrame:
    image = {"type": "image", "text": None, "media": {"name": "cat.png", "data": b"\x89PNG"}}
    asked = variants(["q1", "q2"], [right("d")] * 2)
    return asked.with_columns(content=pl.Series([None, [image]], dtype=REQUESTS.schema["content"]))


def test_a_model_of_text_refuses_other_media_and_names_the_instance() -> None:
    with pytest.raises(CapabilityError, match="model 'm' takes text only, and instance 'id1' of scenario 's'"):
        fitted(model(), with_image())


def test_a_model_of_media_gets_the_blocks_untouched() -> None:
    rows = fitted(model(media=True), with_image(), shots=0)
    assert rows["suffix"].to_list() == ["Input: q1\nOutput:", "Input: q2\nOutput:"]
    assert rows["blocks"].to_list()[1][0]["content"][0]["media"] == {"name": "cat.png", "data": b"\x89PNG"}
