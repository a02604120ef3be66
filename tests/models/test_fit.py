"""Requests as one model gets them: window, template, media, shared prefixes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from helmframe._core.specs import MainScore, ScenarioSpec, frozen
from helmframe._schema import FITTED, PREFIXES, REQUESTS
from helmframe.adapters.adapt import adapt, settings
from helmframe.errors import CapabilityError
from helmframe.models import Model
from helmframe.models.fit import fit
from helmframe.models.model import Tokens
from tests.frames import instances, right, variants

Count = Callable[[Sequence[str]], Sequence[int]]
Chat = Callable[[Sequence[Mapping[str, str]]], str]

TRAIN = instances(["one two", "three four", "five six"], [right("a"), right("b"), right("c")], split="train")
ASKED = variants(["seven eight"], [right("d")])
# without templates each text is `Input: …\nOutput: …\n\n`: 5 words a shot, 4 words the question
QUESTION = "Input: seven eight\nOutput:"
SEPARATE: dict[str, Any] = {"method": "multiple_choice_separate_original", "shots": 0, "input_prefix": "Input: "}


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
    assert (row["shots_used"], row["prompt_truncated"], row["refused"]) == (shots, False, None)


def test_a_limit_of_requests_replaces_the_window() -> None:
    rows = [fitted(replace(model(window=28), max_request_length=most)).row(0, named=True) for most in (29, 28, 23)]
    assert [row["shots_used"] for row in rows] == [3, 2, 1]


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


def test_a_template_is_applied_on_request_only() -> None:
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
def test_a_template_that_changes_the_text_raises(template: Chat) -> None:
    with pytest.raises(CapabilityError, match="The chat template of model 'm' drops the text"):
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
    with pytest.raises(CapabilityError, match="Model 'm' takes text only, and instance 'id1' of scenario 's'"):
        fitted(model(), with_image())


def test_a_model_of_media_gets_the_blocks_untouched() -> None:
    rows = fitted(model(media=True), with_image(), shots=0)
    assert rows["suffix"].to_list() == ["Input: q1\nOutput:", "Input: q2\nOutput:"]
    assert rows["blocks"].to_list()[1][0]["content"][0]["media"] == {"name": "cat.png", "data": b"\x89PNG"}


# -- log-probabilities, conversations, substitutions, cuts -----------------------------------------------------------


def scoring(**said: Any) -> Model:
    return replace(model(**said), loglikelihood=lambda prompts, _: list(map(str, prompts)))


def test_a_model_without_log_probabilities_raises() -> None:
    with pytest.raises(
        CapabilityError, match=r"Model 'm' doesn't compute log-probabilities .* scenario 's' needs.*loglikelihood"
    ):
        fitted(model(), method="multiple_choice_separate_original")


def test_the_continuation_counts_in_the_window() -> None:
    asked = variants(["seven eight"], [[("nine ten", True)]])
    # 3 words the question and its option, 4 a shot
    said: dict[str, Any] = {"method": "multiple_choice_separate_original", "output_suffix": "\n"}
    found = [fitted(scoring(window=window), asked, **said) for window in (16, 15, 7, 4, 3)]
    assert [each["shots_used"][0] for each in found] == [3, 3, 1, 0, 0]
    assert [each["refused"][0] is None for each in found] == [True, True, True, True, False]


def test_turns_are_messages_and_dropped_as_pairs() -> None:
    said: dict[str, Any] = {"shots_as": "turns", "chat_template": True, "instructions": "Go.", "max_tokens": 0}
    (whole,) = fitted(model(chat=as_lines), **said)["prompt"]
    assert whole == (
        "user: Go.\n\nInput: one two\nOutput:|assistant: a|user: Input: three four\nOutput:|assistant: b|"
        "user: Input: five six\nOutput:|assistant: c|user: Input: seven eight\nOutput:|assistant:"
    )
    (row,) = fitted(model(chat=as_lines, window=13), **said).to_dicts()
    assert (row["shots_used"], row["prompt_truncated"]) == (1, False)
    assert row["prompt"].count("assistant: ") == 1


def test_a_conversation_goes_through_the_template_as_it_is() -> None:
    asked = talk([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}])
    (row,) = fitted(model(chat=as_lines), asked, ASKED.clear(), method="chat", shots=0).to_dicts()
    assert row["prompt"] == "user: Hi|assistant: Yes?|user: seven eight|assistant:"
    assert row["chat_template"] is True


def test_a_conversation_without_template_is_a_dialogue() -> None:
    asked = talk([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}])
    (row,) = fitted(model(), asked, ASKED.clear(), method="chat", shots=0, system="S").to_dicts()
    assert row["prompt"] == "S\n\nUser: Hi\n\nAssistant: Yes?\n\nUser: seven eight\n\nAssistant:"
    assert row["chat_template"] is False


def test_conversations_and_single_messages_stay_in_order() -> None:
    asked = pl.concat([talk([{"role": "user", "content": "Hi"}]), talk([]).with_columns(instance_id=pl.lit("id1"))])
    rows = fitted(model(chat=as_lines), asked, ASKED.clear(), method="chat", shots=0)
    assert rows["prompt"].to_list() == ["user: Hi|user: seven eight|assistant:", "user: seven eight|assistant:"]


def test_a_conversation_too_long_is_refused() -> None:
    asked = talk([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}])
    (row,) = fitted(model(chat=as_lines, window=5), asked, ASKED.clear(), method="chat", shots=0).to_dicts()
    assert "longer than the window of 5 tokens" in row["refused"]


def test_substitutions_see_the_whole_prompt() -> None:
    (text,) = fitted(model(), shots=1, substitutions=[["\n", "<br>\n"], ["<br>\n<br>\n", "<p>"]])["prompt"]
    assert text == "Input: one two<br>\nOutput: a<p>Input: seven eight<br>\nOutput:"


def test_prompts_with_substitutions_share_a_start() -> None:
    asked = variants(["seven eight", "nine"], [right("d"), right("e")])
    rows, prefixes = both(model(), asked, substitutions=[["\n", ";"]])
    assert rows["prefix_id"].n_unique() == 1
    assert prefixes["prefix"].to_list() == [
        "Input: one two;Output: a;;Input: three four;Output: b;;Input: five six;Output: c;;"
    ]


def test_a_start_that_a_substitution_changes_at_its_end_is_not_shared() -> None:
    (row,) = fitted(model(), shots=1, substitutions=[["a\n\nInput", "-"]]).to_dicts()
    assert row["prompt"] == "Input: one two\nOutput: -: seven eight\nOutput:"
    assert row["suffix"] == row["prompt"]


def test_substituted_prompts_lose_examples_too() -> None:
    rows = fitted(model(window=24), substitutions=[["\n", "\n"]])
    plain = fitted(model(window=24))
    assert rows["prompt"].to_list() == plain["prompt"].to_list()
    assert rows["shots_used"].to_list() == plain["shots_used"].to_list() == [2]


def test_a_prompt_is_cut_at_its_end_by_truncation_end() -> None:
    (row,) = fitted(model(window=13), instructions="Go on", truncation="right").to_dicts()
    assert (row["prompt"], row["refused"], row["prompt_truncated"]) == ("Go on\n\nInput: ", None, True)


def test_a_prompt_that_fits_is_not_cut() -> None:
    assert fitted(model(window=100), truncation="right")["prompt"].to_list() == fitted(model())["prompt"].to_list()


def test_an_option_is_refused_by_default() -> None:
    rows = fitted(scoring(window=2), variants(["a b c"], [right("d")]), **SEPARATE)
    assert rows.select("continuation", "prompt_truncated").row(0) == (" d", False)
    assert rows["refused"][0] is not None


@pytest.mark.parametrize(
    ("window", "context", "scored"),
    [
        (7, "Input: a b c\nOutput:", " d e"),
        (6, "Input: a b c\n", "Output: d "),
        (5, "Input: a b ", "c\nOutput: "),
        (2, "", "Input: a "),
        (1, "", "Input: "),
    ],
)
def test_truncation_cuts_into_an_option_and_scores_the_last_tokens(window: int, context: str, scored: str) -> None:
    texts = {"input_suffix": "\n", "output_prefix": "Output: ", "truncation": "right"}
    rows = fitted(scoring(window=window), variants(["a b c"], [right("d e")]), **SEPARATE | texts)
    (row,) = rows.select("prompt", "continuation", "refused", "prompt_truncated").rows()
    assert row == (context, scored, None, window < 7)


def test_a_tokenizer_splits_a_truncated_option_at_its_tokens() -> None:
    characters = Tokens(lambda text: [*map(ord, text)], lambda ids: "".join(map(chr, ids)), lambda: "")
    model_of_characters = replace(scoring(window=15, count=lambda texts: [*map(len, texts)]), tokens=characters)
    rows = fitted(model_of_characters, variants(["a b c"], [right("dog")]), **SEPARATE, truncation="right")
    assert rows.select("prompt", "continuation").row(0) == ("Input: a b ", "c do")


def as_lines(turns: Sequence[Mapping[str, str]]) -> str:
    return "|".join(f"{each['role']}: {each['content']}" for each in turns) + "|assistant:"


def talk(earlier: list[dict[str, str]]) -> pl.DataFrame:
    """A conversation whose last message is the input."""
    said = [*earlier, {"role": "user", "content": "seven eight"}]
    return ASKED.with_columns(data_messages=pl.lit(pl.Series([said])))
