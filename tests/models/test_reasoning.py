"""Reasoning: head-room in max_tokens, its default, its switches, and starved completions that are generated again."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._plan import Plan
from helmframe.engines.notes import empty_notes, rerun_notes
from helmframe.errors import ArgumentError, CapabilityError
from helmframe.models import Completion, Model
from helmframe.models.reasoning import as_sent, head_room, server_fields, template_reasons, template_variables
from tests.models import tiny

# A template as Qwen3's: it thinks unless it is switched off.
HYBRID = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: "
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
MUSIC = hf.scenario("sampler").where(subject="music").adapt(shots=0)


class Thinker:
    """A model whose reasoning needs a number of tokens, by the number of the question; it counts its calls."""

    def __init__(self, needs: Sequence[int], *, shows: bool = True) -> None:
        self.needs, self.shows = needs, shows
        self.limits: list[int] = []
        self.received: list[Mapping[str, Any]] = []

    def generate(self, prompts: list[str], max_tokens: int = 1, **decoding: Any) -> list[Completion]:
        self.limits += [max_tokens] * len(prompts)
        self.received.append(decoding)
        return [self._completion(prompt, max_tokens) for prompt in prompts]

    def _completion(self, prompt: str, max_tokens: int) -> Completion:
        needed = self.needs[int(prompt.rsplit("number ", 1)[-1].split(maxsplit=1)[0])]
        reasoning = "Well, " if self.shows else None
        if max_tokens <= needed:
            return Completion("", reasoning=reasoning, finish_reason="length", output_tokens=max_tokens)
        return Completion("B", reasoning=reasoning, finish_reason="stop", output_tokens=needed + 1)


def numbered(count: int) -> Plan:
    frame = pl.DataFrame(
        {"q": [f"number {number} ?" for number in range(count)], "o": [["x", "y"]] * count, "a": [1] * count}
    )
    return hf.scenario(frame, input="q", choices="o", answer="a", name="numbers").adapt(shots=0)


def row_of(results: Any) -> dict[str, Any]:
    row: dict[str, Any] = results.table(metrics="exact_match").row(0, named=True)
    return row


# -- head-room ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reasoning", "room"), [("low", 2048), ("medium", 8192), ("high", 24576), (500, 500), (0, 0), (False, 0), (None, 0)]
)
def test_a_level_or_a_number_is_head_room(reasoning: Any, room: int) -> None:
    decoding = {"max_tokens": 1, "stop": ["\n"], "reasoning": reasoning}
    assert head_room(decoding) == room
    assert as_sent(decoding)["max_tokens"] == 1 + room
    assert ("stop" in as_sent(decoding)) is (room == 0)


@pytest.mark.parametrize("max_tokens", [None, 0])
def test_no_limit_and_a_limit_of_zero_get_no_head_room(max_tokens: int | None) -> None:
    assert as_sent({"max_tokens": max_tokens, "reasoning": "low"})["max_tokens"] == max_tokens


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "reasoning must be 'low', 'medium', 'high', a number of tokens ≥ 0, or False"),
        (-1, "a number of tokens ≥ 0"),
        (0.5, "a number of tokens ≥ 0"),
        ("lo", "Did you mean 'low'"),
        (["low", "lo"], "Did you mean 'low'"),
    ],
)
def test_another_value_is_an_error(value: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        MUSIC.generate(hf.models.oracle(), reasoning=value)


def test_a_model_without_max_tokens_has_no_room() -> None:
    def short(prompt: str) -> str:
        return "A"

    with pytest.raises(CapabilityError, match="doesn't support reasoning"):
        MUSIC.generate(short, reasoning="low")


def test_reasoning_is_part_of_a_plan_and_its_yaml() -> None:
    plan = MUSIC.generate(hf.models.oracle(), reasoning=[512, "low"])
    assert Plan.from_yaml(plan.to_yaml()) == plan
    assert [json.loads(text) for text in plan.requests().collect()["decoding"].unique().sort()] == [
        {"max_tokens": 1, "reasoning": "low", "stop": ["\n"], "temperature": 0.0},
        {"max_tokens": 1, "reasoning": 512, "stop": ["\n"], "temperature": 0.0},
    ]


# -- starved completions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shows", [True, False])
def test_without_head_room_starved_completions_are_counted_and_explained(
    shows: bool, caplog: pytest.LogCaptureFixture
) -> None:
    model = Thinker([500] * 6, shows=shows)
    results = numbered(6).generate({"m": model}).score()
    row = row_of(results)
    assert (row["value"], row["n_unparsed"], row["n_starved"]) == (0.0, 6, 6)
    (note,) = empty_notes(results.manifest)
    assert note == (
        "numbers × m: 6 of 6 completions are empty because the model used max_tokens for reasoning. Add head-room: "
        ".generate(model, reasoning='low'), or reasoning=4096 for 4,096 tokens."
    )
    assert note in [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert note in repr(results)
    assert "starved" in repr(results)
    assert model.limits == [1] * 6


def test_only_starved_completions_are_generated_again_with_twice_the_head_room() -> None:
    model = Thinker([500, 3000, 500, 9000, 500])
    results = numbered(5).generate({"m": model}, reasoning="low").score()
    assert model.limits == [2049] * 5 + [4097] * 2
    assert all("stop" not in decoding for decoding in model.received)
    row = row_of(results)
    assert (row["value"], row["n"], row["n_starved"]) == (0.8, 5, 1)
    assert results.manifest["counts"]["generated"] == 5
    assert results.manifest["counts"]["rerun"] == 2
    assert results.manifest["reasoning"] == [
        {"scenario": "numbers", "model": "m", "completions": 5, "starved": 1, "rerun": 2, "room": 4096}
    ]
    (note,) = rerun_notes(results.manifest)
    assert note.startswith("numbers × m: 2 of 5 completions were empty after reasoning.")
    assert "reasoning used max_tokens and 4,096 tokens of head-room" in empty_notes(results.manifest)[0]
    assert "reasoning=8192" in empty_notes(results.manifest)[0]
    rows = results.completions.collect().sort("row_index")
    assert rows["completion"].to_list() == ["B", "B", "B", "", "B"]
    rooms = [json.loads(text).get("head_room") for text in rows["decoding"]]
    assert rooms == [None, 4096, None, 4096, None]


def test_a_second_attempt_is_cached_and_the_starved_completion_does_not_come_back() -> None:
    model = Thinker([500, 3000, 9000])
    plan = numbered(3).generate(hf.model(model, name="pinned", version="1"), reasoning=2048)
    first = plan.score().table()
    sent = len(model.limits)
    assert sent == 5
    assert plan.score().table().equals(first)
    assert plan.score().completions.collect()["cached"].all()
    assert len(model.limits) == sent
    plan.score(fresh=True)
    assert len(model.limits) == 2 * sent


def test_a_second_attempt_is_resumed_for_a_model_without_a_version() -> None:
    model = Thinker([500, 3000])
    plan = numbered(2).generate({"m": model}, reasoning="low")
    run = plan.score().manifest
    sent = len(model.limits)
    again = Thinker([500, 3000])
    results = numbered(2).generate({"m": again}, reasoning="low").score(resume="last")
    assert (sent, again.limits) == (3, [])
    assert results.manifest["resumed"] is not None
    assert results.manifest["reasoning"] == run["reasoning"]


@pytest.mark.parametrize(("most", "rerun"), [(3, 0), (4, 1), (5, 2)])
def test_second_attempts_count_as_requests(most: int, rerun: int) -> None:
    model = Thinker([3000, 500, 3000])
    results = numbered(3).generate({"m": model}, reasoning="low").score(max_requests=most)
    assert len(model.limits) == most
    row = row_of(results)
    assert (row["n"], row["n_starved"], results.manifest["counts"]["rerun"]) == (3, 2 - rerun, rerun)


def test_second_attempts_are_charged() -> None:
    model = Thinker([3000, 500])
    plan = numbered(2).generate({"m": model}, reasoning="low")
    results = plan.score(max_cost=1e9, prices={"m": (0.0, 1.0)})
    assert results.manifest["cost"] == pytest.approx((2049 + 501 + 3001) / 1e6)


def test_a_failed_second_attempt_leaves_the_first_completion() -> None:
    class Fragile(Thinker):
        def generate(self, prompts: list[str], max_tokens: int = 1, **decoding: Any) -> list[Completion]:
            if max_tokens > 3000:
                raise ValueError("too many tokens")
            return super().generate(prompts, max_tokens, **decoding)

    results = numbered(2).generate({"m": Fragile([3000, 500])}, reasoning="low").score()
    row = row_of(results)
    assert (row["value"], row["n_error"], row["n_starved"]) == (0.5, 0, 1)


def test_the_worst_case_counts_starved_completions_too() -> None:
    results = numbered(4).perturb("lowercase").generate({"m": Thinker([500] * 4)}).score()
    assert results.table(metrics="exact_match")["n_starved"].to_list() == [4, 4]
    assert results.worst_case(metrics="exact_match")["n_starved"].sum() == 8


# -- reasoning in the text ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "text", "reasoning", "completion"),
    [
        ("", "<think>hm", "hm", ""),
        ("<think>\n", "hm, but", "hm, but", ""),
        ("<think>\n", "hm</think>\n\nB", "hm", "B"),
        ("<think>\n\n</think>\n\n", "B", None, "B"),
    ],
)
def test_a_tag_at_the_end_of_the_prompt_opens_the_reasoning(
    prefix: str, text: str, reasoning: str | None, completion: str
) -> None:
    def model(prompt: str, max_tokens: int = 1) -> Completion:
        return Completion(text, finish_reason="length")

    results = numbered(1).adapt(output_prefix=f"\n{prefix}").generate(model).score()
    (row,) = results.completions.select("reasoning", "completion").collect().rows()
    assert row == (reasoning, completion)
    assert row_of(results)["n_starved"] == (not completion)


def test_a_stop_sequence_within_the_reasoning_is_explained() -> None:
    def model(prompt: str, stop: Sequence[str] = (), max_tokens: int = 1) -> Completion:
        text = "<think>one\ntwo</think>B"
        return Completion(text.split("\n", maxsplit=1)[0] if stop else text, finish_reason="stop")

    results = numbered(2).generate(model, max_tokens=100).score()
    assert (row_of(results)["value"], row_of(results)["n_starved"]) == (0.0, 2)
    results = numbered(2).generate(model, max_tokens=100, reasoning=100).score()
    assert (row_of(results)["value"], row_of(results)["n_starved"]) == (1.0, 0)
    assert results.completions.collect()["reasoning"].to_list() == ["one\ntwo"] * 2


def test_the_log_probability_of_a_text_that_is_cut_after_generation_is_unknown() -> None:
    def model(prompt: str, max_tokens: int = 1) -> Completion:
        return Completion("B\nC", logprob=-3.0, token_logprobs=(-1.0, -1.0, -1.0), finish_reason="stop")

    frames = [numbered(1).generate(model, reasoning=room).score().completions.collect() for room in (9, 0)]
    assert [frame["completion"].item() for frame in frames] == ["B", "B"]
    assert [frame["logprob"].item() for frame in frames] == [None, -3.0]


# -- models that are known to reason -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "reasons"),
    [
        (HYBRID, True),
        ("{{ messages }}{% if add_generation_prompt %}<think>\n{% endif %}", True),
        ([{"name": "default", "template": HYBRID}], True),
        ("{{ messages[0].content.split('</think>') }}{% if add_generation_prompt %}assistant{% endif %}", False),
        ("{% if '<think>' in messages[0].content %}{% endif %}{% if add_generation_prompt %}a{% endif %}", False),
        (None, False),
    ],
)
def test_a_chat_template_shows_whether_the_model_reasons(template: object, reasons: bool) -> None:
    assert template_reasons(template) is reasons


def known(needs: Sequence[int]) -> tuple[Thinker, Model]:
    model = Thinker(needs)
    return model, replace(hf.model(model, name="m"), reasons="all")


def test_a_model_that_is_known_to_reason_has_head_room_by_default() -> None:
    thinker, model = known([500, 3000])
    plan = numbered(2).generate(model)
    assert "  m: 2,048 tokens of head-room are added to max_tokens, because the model reasons" in plan.explain()
    results = plan.score()
    assert thinker.limits == [2049] * 2 + [4097]
    assert (row_of(results)["value"], row_of(results)["n_starved"]) == (1.0, 0)


def test_helms_rules_and_zero_have_no_default() -> None:
    thinker, model = known([500, 3000])
    none = numbered(2).generate(model, reasoning=0)
    for plan in (none, hf.scenario("sampler", compat="helm").generate(model)):
        assert "head-room" not in plan.explain()
        assert {text for text in plan.requests().collect()["decoding"] if "head_room" in text} == set()
    results = none.score()
    assert thinker.limits == [1, 1]
    assert row_of(results)["n_starved"] == 2


def test_keys_of_other_models_do_not_change() -> None:
    _, model = known([500])
    decodings = [
        set(numbered(1).generate(other).requests().collect()["decoding"])
        for other in (model, replace(model, reasons=""))
    ]
    assert [sorted(json.loads(text)) for (text,) in decodings] == [
        ["head_room", "max_tokens", "stop", "temperature"],
        ["max_tokens", "stop", "temperature"],
    ]


def test_head_room_leaves_half_of_the_window_to_the_prompt() -> None:
    _, model = known([0])
    windowed = replace(model, window=100, count_tokens=lambda texts: [len(text.split()) for text in texts])
    fits = numbered(1).adapt(instructions="word " * 30).generate(windowed, reasoning="high").requests().collect()
    assert fits["refused"].to_list() == [None]
    long = numbered(1).adapt(instructions="word " * 60).generate(windowed, reasoning="high").requests().collect()
    assert long["refused"].is_not_null().to_list() == [True]


def test_log_probabilities_are_requested_as_before() -> None:
    plan = numbered(2).adapt(method="multiple_choice_separate_original")
    before = plan.generate(hf.models.oracle()).requests().collect()
    after = plan.generate(replace(hf.models.oracle(), reasons="all"), reasoning="low").requests().collect()
    assert after.select("decoding", "prompt", "continuation").equals(
        before.select("decoding", "prompt", "continuation")
    )


# -- switches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reasoning", "variables", "fields"),
    [
        (None, {}, {}),
        (0, {}, {}),
        (512, {"enable_thinking": True}, {"chat_template_kwargs": {"enable_thinking": True}}),
        (
            "high",
            {"enable_thinking": True, "reasoning_effort": "high"},
            {"reasoning_effort": "high", "chat_template_kwargs": {"enable_thinking": True}},
        ),
        (
            False,
            {"enable_thinking": False},
            {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": False}},
        ),
    ],
)
def test_templates_and_servers_receive_the_switch(reasoning: Any, variables: object, fields: object) -> None:
    assert template_variables({"reasoning": reasoning}) == variables
    assert server_fields({"reasoning": reasoning}) == fields


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tiny.saved(tmp_path / "hybrid", tiny.llama(), HYBRID))


def test_a_local_models_template_is_switched(folder: str) -> None:
    plan = numbered(1).adapt(chat_template=True, instructions="")
    prompts = {
        str(reasoning): plan.generate(folder, reasoning=reasoning).requests().collect()["prompt"].item()
        for reasoning in (None, "low", False)
    }
    assert prompts["None"] == prompts["low"]
    assert prompts["False"] == prompts["None"] + "<think>\n\n</think>\n\n"


def test_a_local_model_that_reasons_has_head_room_for_conversations_only(folder: str) -> None:
    model = hf.model(folder)
    assert model.reasons == "chat"
    for chat, has_room in ((True, True), (False, False)):
        plan = numbered(1).adapt(chat_template=chat, instructions="").generate(model)
        assert ("head_room" in plan.requests().collect()["decoding"].item()) is has_room
    assert hf.model(str(tiny.saved(Path(folder).parent / "plain", tiny.llama(), "{{ messages }}"))).reasons == ""


def test_a_local_model_counts_the_tokens_of_its_reasoning() -> None:
    tokens = hf.models.model.Tokens(lambda text: list(range(len(text))), str, str)

    def thinks(prompt: str, max_tokens: int = 1) -> str:
        return "<think>four</think>B"

    model = replace(hf.model(thinks, name="m"), tokens=tokens)
    assert numbered(1).generate(model).score().completions.collect()["reasoning_tokens"].to_list() == [4]
    fresh = numbered(1).generate(thinks).score(fresh=True)
    assert fresh.completions.collect()["reasoning_tokens"].to_list() == [None]


# -- earlier runs ------------------------------------------------------------------------------------------------------


def test_scores_and_completions_of_earlier_versions_are_read(tmp_path: Path) -> None:
    results = numbered(2).generate({"m": Thinker([500, 500])}).score()
    old = hf.results.Results(
        completions=results.completions.drop("reasoning_tokens"),
        scores=results.scores.drop("starved"),
        prefixes=results.prefixes,
        verdicts=results.verdicts,
        helm_stats=results.helm_stats,
        manifest={name: value for name, value in results.manifest.items() if name != "reasoning"},
    )
    loaded = hf.load(old.to_parquet(tmp_path / "old"))
    assert row_of(loaded)["n_starved"] == 0
    assert row_of(loaded.rescore())["n_starved"] == 2
    assert "exact_match" in repr(loaded)
