"""Models of servers: real ones on this machine, asked over HTTP."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import pytest

import helmframe as hf
from helmframe.errors import (
    ArgumentError,
    CapabilityError,
    SourceBrokenError,
    SourceDeniedError,
    SourceError,
    SourceMissingError,
)
from helmframe.models import endpoint, endpoint_client, event_loop, http, providers, retries
from helmframe.models.model import SCORES, Completion, Model, Pair
from helmframe.models.protocol import from_any
from helmframe.models.scheduler import Outcome, queue_of
from tests.listening import listening
from tests.models import tiny
from tests.models.openai_server import Asked, Reply, Server, completion, refusal, serving, transformers_serving

KEY = "sk-canary-0123456789abcdef"
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": 'Who?\n{"a": "\\n"}'}]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No keys from outside; short pauses; connections closed afterwards."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("helmframe.models.retries.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("helmframe.models.pace.PAUSES", (0.02, 0.04))
    # a server may get the port of an earlier test's, and the queue of that test's model may be alive
    monkeypatch.setattr("helmframe.models.scheduler._queues", WeakValueDictionary())
    yield
    client = endpoint_client._clients.pop(event_loop.loop(), None)
    if client is not None:
        event_loop.run(client.aclose())


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def outcomes(model: Model, prompts: list[Any], **decoding: Any) -> list[Outcome]:
    found = queue_of(model, model.fingerprint()).run(prompts, decoding, labels=lambda index: {})
    return sorted(outcome for batch in found for outcome in batch)


def answer(model: Model, prompt: str = "who", **decoding: Any) -> Any:
    (found,) = outcomes(model, [prompt], **decoding)
    assert found.error is None, found.error
    return found.completion


def message(text: str | None, **more: Any) -> Reply:
    return Reply({"choices": [{"message": {"role": "assistant", "content": text, **more}, "finish_reason": "stop"}]})


def test_tokens_that_the_server_read_from_its_cache_are_counted(server: Server) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1}
    counts = [
        ({**usage, "prompt_tokens_details": {"cached_tokens": 4}}, 4),
        ({**usage, "prompt_cache_hit_tokens": 5}, 5),  # DeepSeek's field
        ({**usage, "prompt_tokens_details": None}, None),
        ({**usage, "prompt_tokens_details": {"cached_tokens": "4"}}, None),
    ]
    for number, (reported, count) in enumerate(counts):
        body = {"choices": [{"text": "A", "finish_reason": "stop"}], "usage": reported}
        server.reply = lambda asked, body=body: Reply(body)  # type: ignore[misc]
        assert answer(http(server.url, "m"), f"q{number}").cached_prompt_tokens == count


def test_a_parameter_that_the_provider_is_known_to_reject_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    model = endpoint._EndpointModel(
        endpoint_client.Endpoint("https://api", "m"), chat=True, extra={}, never_sent=frozenset({"seed", "logprobs"})
    )
    assert set(model._body({"seed": 3, "max_tokens": 2}, is_chat=True)) == {"model", "max_tokens"}
    assert model.refused_parameters() == {"seed": "the server rejects seed=3; its default seed is used"}


# What is sent ---------------------------------------------------------------------------------------------------------


def test_a_plain_prompt_goes_to_completions_as_it_is(server: Server) -> None:
    assert answer(http(server.url, "m"), "who", max_tokens=5, temperature=0, stop=["\n"], top_k=3).text == "WHO"
    body = {"model": "m", "prompt": "who", "max_tokens": 5, "temperature": 0, "stop": ["\n"], "logprobs": 1}
    assert [each[:2] for each in server.asked] == [("completions", body)]


def test_a_conversation_goes_to_chat_completions_as_messages(server: Server) -> None:
    server.reply = lambda asked: message("Me.")
    model = http(server.url, "m")
    assert model.chat is not None
    assert answer(model, model.chat(TURNS)).text == "Me."
    assert (server.asked[0].route, server.asked[0].body["messages"]) == ("chat/completions", TURNS)


def test_a_plan_with_a_chat_template_shares_the_start_of_its_conversations(server: Server) -> None:
    server.reply = lambda asked: message("A")
    plan = hf.scenario("sampler").where(subject="music").limit(3).adapt(shots=1, chat_template=True)
    requests = plan.generate(http(server.url, "m")).score().completions.collect()
    assert (requests["error"].null_count(), requests["prefix_id"].n_unique()) == (3, 1)
    turns = [asked.body["messages"] for asked in server.asked]
    assert all(each[-1]["role"] == "user" and each[-1]["content"].endswith("Answer:") for each in turns)


def test_with_chat_a_plain_prompt_is_a_message_of_the_user(server: Server) -> None:
    server.reply = lambda asked: message("Me.")
    answer(http(server.url, "m", chat=True))
    assert server.asked[0].body["messages"] == [{"role": "user", "content": "who"}]


def test_a_prompt_that_begins_like_a_conversation_is_a_plain_one(server: Server) -> None:
    prompt = "\x02helmframe-chat\x03[1]\nwho"
    answer(http(server.url, "m"), prompt)
    assert (server.asked[0].route, server.asked[0].body["prompt"]) == ("completions", prompt)


def test_more_fields_are_sent_too(server: Server) -> None:
    answer(http(server.url, "m", extra={"top_k": 3}, logprobs=False))
    assert server.asked[0].body == {"model": "m", "prompt": "who", "top_k": 3}


def test_four_stop_sequences_are_sent_and_the_output_is_cut_at_all(server: Server) -> None:
    server.reply = lambda asked: completion("A6B")
    plan = hf.scenario("sampler").where(subject="music").limit(1).generate(http(server.url, "m"), stop=list("123456"))
    assert plan.score().completions.collect()["completion"].to_list() == ["A"]
    assert server.asked[0].body["stop"] == list("1234")


# What comes back ------------------------------------------------------------------------------------------------------


def test_all_that_the_server_says_is_told(server: Server) -> None:
    choice = {"text": " yes", "finish_reason": "length", "logprobs": {"token_logprobs": [-0.5, -0.25]}}
    server.reply = lambda asked: Reply({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2}})
    assert answer(http(server.url, "m"))[:7] == (" yes", None, -0.75, (-0.5, -0.25), "length", 7, 2)


def test_reasoning_and_the_log_probabilities_of_chat(server: Server) -> None:
    logprobs = {"content": [{"token": "A", "logprob": -0.5}]}
    server.reply = lambda asked: Reply(
        {
            "choices": [
                {
                    "message": {"content": "A", "reasoning_content": "Hm."},
                    "logprobs": logprobs,
                    "finish_reason": "eos_token",
                }
            ]
        }
    )
    assert answer(http(server.url, "m", chat=True))[:7] == ("A", "Hm.", -0.5, (-0.5,), "stop", None, None)
    assert server.asked[0].body["logprobs"] is True


@pytest.mark.parametrize("values", [[None, -1.0], [], ["x"], [float("nan")], None])
def test_a_missing_log_probability_is_null(server: Server, values: Any) -> None:
    server.reply = lambda asked: completion("a b", logprobs={"token_logprobs": values})
    found = answer(http(server.url, "m"))
    assert (found.text, found.logprob, found.token_logprobs) == ("a b", None, None)


END = "<|im_end|>"


@pytest.mark.parametrize(
    ("text", "tokens", "own"),
    [
        ("a b", ["a", " b", END], [-1.0, -2.0]),  # vLLM tells the token that ends a text, OpenAI does not
        ("a b", ["a", " b"], [-1.0, -2.0]),
        ("a", ["a", "\n", "\n"], [-1.0]),  # a stop string's
        ("a.", ["a", ".\n"], [-1.0, -2.0]),  # and one that holds the text's end too
        ("é", ["", "é", END], [-1.0, -2.0]),  # vLLM shows the first part of a character as nothing
        ("", [END], None),
        ("", ["\n"], None),
        ("a", [" a", END], [-1.0]),  # the server has stripped the text
        ("é", ["\ufffd", "\ufffd", END], None),  # who knows which these are
        ("a b", ["a"], None),
    ],
)
def test_log_probabilities_are_those_of_the_texts_own_tokens(
    server: Server, text: str, tokens: list[str], own: list[float] | None
) -> None:
    values = [-float(place + 1) for place in range(len(tokens))]
    expected = (None, None) if own is None else (sum(own), tuple(own))
    logprobs = {"tokens": tokens, "token_logprobs": values}
    server.reply = lambda asked: completion(text, logprobs=logprobs)
    assert answer(http(server.url, "m"))[2:4] == expected
    content = [{"token": token, "logprob": value} for token, value in zip(tokens, values, strict=True)]
    choice = {"message": {"content": text}, "logprobs": {"content": content}, "finish_reason": "stop"}
    server.reply = lambda asked: Reply({"choices": [choice]})
    assert answer(http(server.url, "m", chat=True))[2:4] == expected


def test_tokens_that_are_parts_of_characters_are_told_by_their_bytes(server: Server) -> None:
    told: list[tuple[str, object]] = [("\\xc3", [0xC3]), ("\\xa9", [0xA9]), (END, None)]
    content = [{"token": token, "bytes": each, "logprob": -1.0} for token, each in told]
    choice = {"message": {"content": "é"}, "logprobs": {"content": content}, "finish_reason": "stop"}
    server.reply = lambda asked: Reply({"choices": [choice]})
    assert answer(http(server.url, "m", chat=True)).token_logprobs == (-1.0, -1.0)
    content[0]["bytes"] = [10**9]
    assert answer(http(server.url, "m", chat=True)).token_logprobs is None


def test_a_text_cut_by_the_limit_has_all_tokens_however_they_are_spelled(server: Server) -> None:
    logprobs = {"tokens": ["\ufffd", "\ufffd"], "token_logprobs": [-1.0, -2.0]}
    server.reply = lambda asked: completion("é", logprobs=logprobs, finish_reason="length")
    assert answer(http(server.url, "m")).logprob == -3.0


def test_what_comes_after_a_stop_sequence_that_the_server_did_not_know_is_not_counted(server: Server) -> None:
    logprobs = {"tokens": ["A", "6", "B"], "token_logprobs": [-1.0, -2.0, -4.0]}
    server.reply = lambda asked: completion("A6B", logprobs=logprobs, finish_reason="length")
    plan = hf.scenario("sampler").where(subject="music").limit(1).generate(http(server.url, "m"), stop=list("123456"))
    (found,) = plan.score().completions.select("completion", "logprob", "token_logprobs").collect().rows()
    assert found == ("A", -1.0, [-1.0])


def test_one_whose_tokens_ran_out_while_thinking_has_said_nothing(server: Server) -> None:
    server.reply = lambda asked: message(None, reasoning="Well,")
    assert answer(http(server.url, "m", chat=True))[:2] == ("", "Well,")


def test_reasoning_is_switched_in_conversations(server: Server) -> None:
    server.reply = lambda asked: message("B") if "messages" in asked.body else completion("B")
    extra: dict[str, Any] = {"chat_template_kwargs": {"tools": []}}
    model = http(server.url, "m", chat=True, extra=extra)
    for reasoning in ("low", 512, False, 0):
        answer(model, max_tokens=2, reasoning=reasoning)
    sent = [(asked.body.get("reasoning_effort"), asked.body["chat_template_kwargs"]) for asked in server.asked]
    on, off = {"enable_thinking": True, "tools": []}, {"enable_thinking": False, "tools": []}
    assert sent == [("low", on), (None, on), ("none", off), (None, {"tools": []})]
    answer(http(server.url, "m"), max_tokens=2, reasoning="low")
    assert not {"reasoning", "reasoning_effort", "chat_template_kwargs"} & {*server.asked[-1].body}


def test_a_provider_that_refuses_a_switch_never_receives_it(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setattr(providers, "provider_at", lambda _: providers.providers()["mistral"])
    monkeypatch.setenv("HELMFRAME_API_KEY", KEY)
    server.reply = lambda asked: message("B")
    answer(http(server.url, "magistral-small", chat=True), max_tokens=2, reasoning="low")
    assert server.asked[-1].body["reasoning_effort"] == "low"
    assert "chat_template_kwargs" not in server.asked[-1].body


def test_head_room_beyond_the_servers_window_is_limited_to_half_of_it(server: Server) -> None:
    text = "'max_tokens' is too large: {}. This model's maximum context length is 1024 tokens and your request has 9."

    def reply(asked: Asked) -> Reply:
        most = asked.body["max_tokens"]
        return refusal(400, text.format(most)) if most > 1015 else completion(str(most))

    server.reply = reply
    model = http(server.url, "m")
    texts = [outcome.completion.text for outcome in outcomes(model, list("abc"), max_tokens=2049, reasoning="low")]  # type: ignore[union-attr]
    assert texts == ["512"] * 3
    assert len(server.asked) == 4
    assert model.refused is not None
    assert "max_tokens=512" in model.refused()["max_tokens"]
    (failed,) = outcomes(http(server.url, "other"), ["a"], max_tokens=2049)
    assert "maximum context length" in str(failed.error)


def test_tokens_of_reasoning_are_the_servers(server: Server) -> None:
    usage = {"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 7}}
    choice = {"message": {"content": "B"}, "finish_reason": "stop"}
    server.reply = lambda asked: Reply({"choices": [choice], "usage": usage})
    assert answer(http(server.url, "m", chat=True)).reasoning_tokens == 7
    server.reply = lambda asked: Reply({"choices": [choice], "usage": {**usage, "completion_tokens_details": None}})
    assert answer(http(server.url, "m", chat=True)).reasoning_tokens is None


@pytest.mark.parametrize(
    ("name", "reasons"),
    [("openai:o3-mini", "all"), ("openai:gpt-5.2", "all"), ("openai:gpt-4.1", ""), ("openai:gpt-5-chat-latest", "")],
)
def test_a_provider_names_its_models_that_reason(name: str, reasons: str) -> None:
    assert hf.model(name).reasons == reasons


def test_sglang_is_a_server_on_this_machine() -> None:
    model = hf.model("sglang:org/name")
    assert (model.name, model.source) == ("org/name", "http://localhost:30000/v1#org/name")


def test_a_server_that_refuses_log_probabilities_is_asked_without(server: Server) -> None:
    refused = refusal(400, "logprobs are not supported with reasoning models")
    server.reply = lambda asked: refused if "logprobs" in asked.body else completion("A")
    found = outcomes(http(server.url, "m"), ["a", "b", "c"])
    assert [each.completion.text if each.completion else each.error for each in found] == ["A"] * 3
    before = len(server.asked)
    assert before <= 6


def test_a_server_that_wants_the_newer_name_of_max_tokens_gets_it(server: Server) -> None:
    refused = refusal(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    server.reply = lambda asked: refused if "max_tokens" in asked.body else message("A")
    model = http(server.url, "m", chat=True)
    assert answer(model, max_tokens=9).text == "A"
    assert server.asked[-1].body["max_completion_tokens"] == 9


# Refused parameters ---------------------------------------------------------------------------------------------------

DECODING = {
    "max_tokens": 9, "temperature": 0.0, "top_p": 0.5, "stop": ["#"], "seed": 3, "presence_penalty": 1.0,
    "frequency_penalty": 1.0,
}  # fmt: skip


def refusing(
    server: Server, *names: str, message: str = "Unsupported value: '{}' does not support this value."
) -> None:
    """Let the server refuse these parameters, one after the other."""

    def reply(asked: Asked) -> Reply:
        refused = next((name for name in names if name in asked.body), None)
        return completion("A") if refused is None else refusal(400, message.format(refused))

    server.reply = reply


@pytest.mark.parametrize("name", [*DECODING, "logprobs"])
@pytest.mark.parametrize(
    "message", ["Unsupported value: '{}' does not support this value.", "{}: Extra inputs are not permitted"]
)
def test_a_refused_parameter_costs_one_request_and_no_row(server: Server, name: str, message: str) -> None:
    refusing(server, name, message=message)
    model = http(server.url, "m")
    results = outcomes(model, [f"q{number}" for number in range(40)], **DECODING)
    assert [outcome.error for outcome in results] == [None] * 40
    assert len(server.asked) == 41
    assert model.refused is not None
    assert set(model.refused()) == {name}


def test_two_refused_parameters_cost_two_requests(server: Server) -> None:
    refusing(server, "temperature", "seed")
    results = outcomes(http(server.url, "m"), [f"q{number}" for number in range(40)], **DECODING)
    assert [outcome.error for outcome in results] == [None] * 40
    assert len(server.asked) == 42


def test_a_refused_parameter_is_in_the_manifest_and_is_shown(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    refusing(server, "temperature")
    plan = hf.scenario("sampler").where(subject="music").limit(3).generate(http(server.url, "m"), temperature=0.0)
    results = plan.score()
    text = "the server rejects temperature=0.0; its default temperature is used"
    assert results.manifest["models"]["m"]["refused"] == {"temperature": text}
    assert f"m: {text}" in repr(results)
    assert f"m: {text}" in caplog.text
    assert results.completions.collect()["error"].null_count() == 3


def test_a_model_that_shares_the_queue_of_an_equal_one_has_its_rejected_parameters_in_the_manifest(
    server: Server,
) -> None:
    refusing(server, "temperature")
    first, second = http(server.url, "m"), http(server.url, "m")
    shared = queue_of(first, first.fingerprint())
    results = hf.scenario("sampler").where(subject="music").limit(3).generate(second, temperature=0.0).score()
    assert shared.model is first
    assert list(results.manifest["models"]["m"]["refused"]) == ["temperature"]


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize("chat", [False, True])
def test_a_json_schema_is_sent_as_response_format(server: Server, chat: bool) -> None:
    message = {"choices": [{"index": 0, "message": {"role": "assistant", "content": '{"a": 1}'}}]}
    server.reply = lambda asked: Reply(message) if chat else completion('{"a": 1}')
    assert answer(http(server.url, "m", chat=chat), json_schema=SCHEMA).text == '{"a": 1}'
    answer(http(server.url, "m", chat=chat), json_schema={"type": "object"})
    strict, loose = (asked.body["response_format"] for asked in server.asked)
    assert strict == {
        "type": "json_schema",
        "json_schema": {"name": "completion", "schema": SCHEMA, "strict": True},
    }
    assert loose["json_schema"] == {"name": "completion", "schema": {"type": "object"}}
    assert all("json_schema" not in asked.body for asked in server.asked)


@pytest.mark.parametrize(
    "message",
    ["response_format is not supported", "Unknown field: json_schema", "guided decoding is disabled on this server"],
)
def test_a_refused_schema_is_dropped_once_and_shown(
    server: Server, caplog: pytest.LogCaptureFixture, message: str
) -> None:
    server.reply = lambda asked: refusal(400, message) if "response_format" in asked.body else completion("no JSON")
    plan = hf.scenario("sampler").where(subject="music").limit(3).metrics("json_schema_valid")
    results = plan.generate(http(server.url, "m"), json_schema=SCHEMA).score()
    assert len(server.asked) == 4
    text = "the server rejects response_format, so completions aren't constrained to the JSON schema"
    assert results.manifest["models"]["m"]["refused"]["response_format"].startswith(text)
    assert f"m: {text}" in repr(results)
    assert f"m: {text}" in caplog.text
    assert results.value("json_schema_valid") == 0.0


@pytest.mark.parametrize(
    "message",
    [
        "Invalid schema for response_format 'completion': 'additionalProperties' is required to be supplied",
        "The provided JSON schema contains features not supported by xgrammar.",
    ],
)
def test_a_schema_that_the_server_can_not_use_is_an_error(server: Server, message: str) -> None:
    server.reply = lambda asked: refusal(400, message)
    plan = hf.scenario("sampler").where(subject="music").limit(3).generate(http(server.url, "m"), json_schema=SCHEMA)
    with pytest.raises(CapabilityError, match=r"generate\(json_schema=…\): http.* rejects the schema for model 'm'"):
        plan.score()


def test_a_limit_of_max_tokens_is_kept(server: Server) -> None:
    message = "max_tokens is too large: 9. This model supports at most 4 completion tokens."
    server.reply = lambda asked: refusal(400, message) if asked.body["max_tokens"] > 4 else completion("A")
    model = http(server.url, "m")
    assert answer(model, max_tokens=9).text == "A"
    assert answer(model, max_tokens=3).text == "A"
    assert [asked.body["max_tokens"] for asked in server.asked] == [9, 4, 3]
    assert model.refused is not None
    assert model.refused() == {"max_tokens": "the server rejects max_tokens=9; max_tokens=4 is sent instead"}


def test_a_prompt_that_is_too_long_changes_nothing_for_others(server: Server) -> None:
    message = (
        "'max_tokens' is too large: 9. This model's maximum context length is 8 tokens and the request has 5 input"
    )
    server.reply = lambda asked: refusal(400, message) if asked.body["prompt"] == "long" else completion("A")
    model = http(server.url, "m")
    first, second = outcomes(model, ["long", "who"], max_tokens=9)
    assert "maximum context length" in (first.error or "")
    assert second.error is None
    assert server.asked[-1].body["max_tokens"] == 9
    assert model.refused is not None
    assert model.refused() == {}


# Rate limits ----------------------------------------------------------------------------------------------------------


def test_a_used_up_rate_limit_is_waited_for(server: Server) -> None:
    headers = {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "300ms"}
    server.reply = lambda asked: completion("A")._replace(headers=headers)
    model = http(server.url, "m")
    answer(model)
    started = time.monotonic()
    answer(model)
    assert time.monotonic() - started > 0.25


# Keys -----------------------------------------------------------------------------------------------------------------


def test_the_key_is_sent_and_openais_key_to_nobody_else(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    model = http(server.url, "m")
    answer(model)
    assert "Authorization" not in server.asked[0].headers
    monkeypatch.setenv("HELMFRAME_API_KEY", "of-mine-12345")
    answer(model)
    assert server.asked[1].headers["Authorization"] == "Bearer of-mine-12345"


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_ends_the_run_and_is_shown_nowhere(
    server: Server, monkeypatch: pytest.MonkeyPatch, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    model = http(server.url, "m")
    server.reply = lambda asked: refusal(status, f"wrong key {KEY}")
    with pytest.raises(
        SourceDeniedError, match=r"needs a key \(HTTP 40.\)\. Set it in the environment: export HELMFRAME_API_KEY=…"
    ):
        outcomes(model, ["a"])
    monkeypatch.setenv("HELMFRAME_API_KEY", KEY)
    with pytest.raises(SourceDeniedError, match=r"rejects the key in HELMFRAME_API_KEY .*wrong key \*\*\*") as refused:
        outcomes(model, ["a"])
    assert KEY not in f"{refused.value}{caplog.text}{model!r}{model.source}{model.fingerprint()}"


def test_a_short_key_is_hidden_too(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_API_KEY", "abc123")
    server.reply = lambda asked: refusal(400, "abc123 may not")
    (found,) = outcomes(http(server.url, "m"), ["a"])
    assert found.error == f"RefusedError: {server.url}/completions returned HTTP 400: *** may not"


def test_a_key_that_no_header_can_hold_is_refused_unshown(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_API_KEY", "sk-canary\n-x")
    with pytest.raises(SourceDeniedError, match="HELMFRAME_API_KEY contains invalid characters") as refused:
        outcomes(http(server.url, "m"), ["a"])
    assert "canary" not in str(refused.value)


def test_each_server_sees_its_own_key_only(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {
        name: f"{name.lower()}-canary-1" for name in ("HELMFRAME_API_KEY", "OPENAI_API_KEY", "MINE", "GROQ_API_KEY")
    }
    for name, key in keys.items():
        monkeypatch.setenv(name, key)
    answer(http(server.url, "m"))
    answer(http(server.url, "m", key_env="MINE"))
    answer(from_any(f"http(url='{server.url}', name='m', key_env='MINE')"))
    sent = [asked.headers["Authorization"] for asked in server.asked]
    assert sent == [f"Bearer {keys[name]}" for name in ("HELMFRAME_API_KEY", "MINE", "MINE")]
    assert providers.key_variable("https://api.groq.com/openai/v1", None) == "GROQ_API_KEY"
    assert providers.key_variable("https://gpu.example.org/v1", None) is None


def test_a_remote_server_without_a_key_variable_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_API_KEY", KEY)
    endpoint = endpoint_client.Endpoint("https://gpu.example.org/v1", "m", None)
    assert endpoint.headers() == {}
    error = endpoint._denied(401, "no")
    assert "key_env='MY_SERVER_KEY'" in str(error)


@pytest.mark.parametrize("name", ["openai:gpt-4.1", "groq:llama"])
def test_a_provider_without_its_key_raises_before_the_first_request(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def request(*_: object, **__: object) -> None:
        raise AssertionError("a request was sent")

    monkeypatch.setattr("helmframe.models.endpoint_client._client", request)
    provider = name.partition(":")[0]
    variable = providers.providers()[provider].key
    monkeypatch.delenv(variable, raising=False)
    plan = hf.scenario("sampler").limit(1).adapt(method="generation").generate(name)
    with pytest.raises(SourceDeniedError, match=rf"^{provider}: needs a key: export {variable}=…"):
        plan.score()


@pytest.mark.parametrize("given", ["sk-canary-0123", "a b", "", 3])
def test_a_key_in_place_of_its_variable_is_refused_unshown(given: Any) -> None:
    with pytest.raises(ArgumentError, match=r"must be the name of an environment variable") as refused:
        http("http://localhost:1/v1", "m", key_env=given)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("provider", sorted(providers.providers()))
def test_a_provider_is_a_server_with_its_key(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com/")
    entry = providers.providers()[provider]
    model = from_any(f"{provider}:org/model")
    assert model.name == "org/model"
    assert entry.key in (providers.key_variable(entry.address(), None), "")
    assert entry.key == "" or not providers.is_loopback(entry.address())
    assert (model.loglikelihood is None) is (entry.chat or bool(entry.echoes))


def test_a_provider_whose_address_is_in_a_variable_requires_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT", raising=False)
    with pytest.raises(ArgumentError, match="AZURE_OPENAI_ENDPOINT isn't set"):
        from_any("azure:gpt")


# What is not there ----------------------------------------------------------------------------------------------------


def test_a_model_that_the_server_lacks_is_said_with_those_it_has(server: Server) -> None:
    server.models, server.reply = ["org/llama", "org/qwen"], lambda asked: refusal(404, "no such model")
    with pytest.raises(
        SourceMissingError,
        match=r"Unknown model 'org/lama' on http\S+\. Did you mean 'org/llama'\?\nKnown: org/llama, org/qwen",
    ):
        outcomes(http(server.url, "org/lama"), ["a"])


def test_a_server_that_only_chats_says_how_to_ask_it(server: Server) -> None:
    server.reply = lambda asked: refusal(404, "This is a chat model")
    with pytest.raises(CapabilityError, match="chat=True"):
        outcomes(http(server.url, "m"), ["a"])


@pytest.mark.parametrize("body", [b"<html>It works!</html>", b"[" * 100_000, b'{"fine": true}', b"\xff\xfe", b"null"])
def test_what_is_no_openai_server_is_said(server: Server, body: bytes) -> None:
    server.models, server.reply = None, lambda asked: Reply(body)
    with pytest.raises(SourceBrokenError, match=r"No OpenAI-compatible server found at http.*usually ends in /v1"):
        outcomes(http(server.url, "m"), ["a"])


def test_an_address_without_v1_is_said(server: Server) -> None:
    with pytest.raises(SourceBrokenError, match="neither /completions nor /models"):
        outcomes(http(server.url.removesuffix("/v1"), "m"), ["a"])


def test_a_redirect_is_not_followed_with_a_key(server: Server) -> None:
    server.reply = lambda asked: Reply(b"", 307, {"Location": "http://elsewhere/v1"})
    with pytest.raises(SourceBrokenError, match="redirects to http://elsewhere/v1"):
        outcomes(http(server.url, "m"), ["a"])


# Servers in trouble ---------------------------------------------------------------------------------------------------


def compressed(data: bytes, windows: int) -> bytes:
    """The data, compressed by zlib in one of its formats."""
    compressor = zlib.compressobj(9, wbits=windows)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize(
    ("encoding", "windows"), [("gzip", 31), ("x-gzip", 31), ("deflate", 15), ("deflate", -15), ("GZIP", 31)]
)
def test_a_compressed_reply_is_read(server: Server, encoding: str, windows: int) -> None:
    text = "".join(map(str, range(200_000)))
    body = compressed(json.dumps({"choices": [{"text": text, "finish_reason": "stop"}]}).encode(), windows)
    server.reply = lambda asked: Reply(body, headers={"Content_Encoding": encoding})
    assert answer(http(server.url, "m")).text == text
    assert server.asked[0].headers["Accept-Encoding"] == "gzip, deflate"


@pytest.mark.parametrize(("encoding", "windows"), [("gzip", 31), ("deflate", 15), ("deflate", -15)])
def test_a_bomb_fails_its_row_before_it_is_decompressed(server: Server, encoding: str, windows: int) -> None:
    bomb = compressed(bytes(256 << 20), windows)
    replies = {"bomb": Reply(bomb, headers={"Content_Encoding": encoding})}
    server.reply = lambda asked: replies.get(asked.body["prompt"], completion("A"))
    model = http(server.url, "m", max_reply_bytes=1 << 20)
    outcomes(model, ["first"])
    tracemalloc.start()
    found = outcomes(model, ["a", "bomb", "c"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [each.completion is not None for each in found] == [True, False, True]
    assert str(found[1].error) == (
        f"ReplyError: {server.url}/completions: the response is larger than 1,048,576 bytes. To allow larger replies, "
        "write hf.models.http(…, max_reply_bytes=n)."
    )
    assert peak < 8 << 20
    assert len(server.asked) == 4  # it isn't retried


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (Reply(b"x" * (2 << 20)), "larger than 1,048,576 bytes"),
        (Reply(b"\x8b\x03", headers={"Content_Encoding": "br"}), "compressed as 'br'; gzip was requested"),
        (Reply(b"(\xb5/\xfd", headers={"Content_Encoding": "zstd"}), "compressed as 'zstd'; gzip was requested"),
        (Reply(b"{}", headers={"Content_Encoding": "gzip, gzip"}), "compressed as 'gzip, gzip'"),
        (Reply(b"no gzip", headers={"Content_Encoding": "gzip"}), "the compression of the response is damaged"),
        (
            Reply(compressed(b'{"x": 1234567}' * 99, 31)[:-20], headers={"Content_Encoding": "gzip"}),
            "the reply isn't JSON",
        ),
    ],
)
def test_a_reply_that_is_too_large_or_damaged_fails_its_row(server: Server, reply: Reply, problem: str) -> None:
    server.reply = lambda asked: reply if asked.body["prompt"] == "bad" else completion("A")
    model = http(server.url, "m", max_reply_bytes=1 << 20)
    found = outcomes(model, ["a"]) + outcomes(model, ["bad", "c"])
    assert [each.completion is not None for each in found] == [True, False, True]
    assert problem in str(found[1].error)


def test_a_reply_of_many_small_values_is_not_parsed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_client, "MAX_VALUES", 1000)
    server.reply = lambda asked: (
        Reply(b"[" + b"[]," * 2000 + b"[]]") if asked.body["prompt"] == "bad" else completion("A")
    )
    found = outcomes(http(server.url, "m"), ["a"]) + outcomes(http(server.url, "m"), ["bad", "c"])
    assert [each.completion is not None for each in found] == [True, False, True]


@contextmanager
def endless(part: bytes, head: bytes = b"") -> Iterator[str]:
    """The address of a server that sends a part again and again, once a prompt is "bad"."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body["prompt"] != "bad":
                said = json.dumps({"choices": [{"text": "A"}]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)
                return
            self.close_connection = True
            with suppress(ConnectionError):
                self.wfile.write(b"HTTP/1.1 200 OK\r\n" + head)
                while True:
                    self.wfile.write(part)

        def log_message(self, format: str, *args: Any) -> None: ...

    with listening(Handler) as address:
        yield f"{address}/v1"


@pytest.mark.parametrize(
    ("part", "head"),
    [
        (b"10000\r\n" + b"x" * 65536 + b"\r\n", b"Transfer-Encoding: chunked\r\n\r\n"),
        (b"x" * 65536, b"\r\n"),  # until the connection is closed
        (b"X-Header: " + b"x" * 60000 + b"\r\n", b""),
        (b"X-Header: x\r\n", b""),
        (b"1;" + b"x" * 65536, b"Transfer-Encoding: chunked\r\n\r\n"),
        (compressed(bytes(1 << 20), 31), b"Content-Encoding: gzip\r\n\r\n"),
    ],
)
def test_an_endless_reply_fails_its_row(part: bytes, head: bytes) -> None:
    with endless(part, head) as url:
        model = http(url, "m", max_reply_bytes=4 << 20)
        found = outcomes(model, ["a"]) + outcomes(model, ["bad", "c"])
    assert [each.completion is not None for each in found] == [True, False, True]


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "32 MB"])
def test_a_wrong_limit_of_replies_is_an_error(size: Any) -> None:
    with pytest.raises(ArgumentError, match="max_reply_bytes must be an integer ≥ 1"):
        http("http://localhost:8000/v1", "m", max_reply_bytes=size)


def test_the_limit_of_replies_is_part_of_the_plan_and_not_of_the_cache() -> None:
    limited = http("http://localhost:8000/v1", "m", max_reply_bytes=1 << 30)
    usual = http("http://localhost:8000/v1", "m")
    assert limited.fingerprint() == usual.fingerprint()
    assert from_any(str(limited.source)) == limited
    assert str(usual.source) == "http://localhost:8000/v1#m"


def test_a_redirect_after_success_is_retried_on_its_row(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_API_KEY", KEY)
    redirects = [2, 99]

    def reply(asked: Asked) -> Reply:
        number = {"b": 0, "c": 1}.get(asked.body["prompt"])
        if number is not None and redirects[number]:
            redirects[number] -= 1
            return Reply(b"", 302, {"Location": f"http://elsewhere/{KEY}"})
        return completion(asked.body["prompt"].upper())

    server.reply = reply
    model = http(server.url, "m")
    found = outcomes(model, ["a"]) + outcomes(model, ["b", "c", "d"])
    assert [each.completion and each.completion.text for each in found] == ["A", "B", None, "D"]
    assert str(found[2].error).startswith(f"RedirectError: {server.url} redirects to http://elsewhere/")
    assert str(found[2].error).endswith("although it has responded before")
    assert KEY not in str(found[2].error)
    assert [asked.body["prompt"] for asked in server.asked].count("b") == 3


def test_garbage_for_one_prompt_is_that_rows_error(server: Server) -> None:
    bad = {"b": Reply(b"<oops>"), "c": Reply({"choices": []}), "d": Reply({"choices": [{"text": None}]})}
    server.reply = lambda asked: bad.get(asked.body["prompt"], completion("A"))
    found = outcomes(http(server.url, "m"), ["a", "b", "c", "d", "e"])
    assert [each.completion is not None for each in found] == [True, False, False, False, True]
    assert str(found[1].error).endswith("the reply isn't JSON")
    assert str(found[2].error).startswith("AnswerError: Model 'm': the server replied {'choices': []}")


def test_busy_and_broken_servers_are_asked_again(server: Server) -> None:
    replies = [
        refusal(429, "slow down", Retry_After="1"),
        refusal(500, "oops"),
        Reply({"error": {"code": 502, "message": "upstream"}}),
        Reply({"choices": []}, status=0),
        completion("A"),
    ]
    server.reply = lambda asked: replies[len(server.asked) - 1]
    started = time.monotonic()
    (found,) = outcomes(http(server.url, "m"), ["a"])
    assert (found.completion and found.completion.text, found.attempts) == ("A", 5)
    assert time.monotonic() - started > 1


def test_an_empty_account_is_not_asked_again(server: Server) -> None:
    server.reply = lambda asked: Reply({"error": {"message": "You ran out", "code": "insufficient_quota"}}, 429)
    (found,) = outcomes(http(server.url, "m"), ["a"])
    assert (found.attempts, str(found.error).endswith("HTTP 429: You ran out")) == (1, True)


def test_a_slow_server_costs_the_row_and_not_the_run(server: Server) -> None:
    server.reply = lambda asked: completion("A")._replace(seconds=2.0 if asked.body["prompt"] == "b" else 0.0)
    found = outcomes(hf.model(http(server.url, "m"), timeout=0.5), ["a", "b", "c"])
    assert [each.completion is not None for each in found] == [True, False, True]
    assert found[1].error == "TimeoutError: no response within 0.5 s"


def test_a_server_that_dies_costs_little_and_the_next_run_asks_the_rest(server: Server) -> None:
    server.reply = lambda asked: completion("A") if len(server.asked) <= 5 else Reply(b"{}", status=0)
    plan = hf.scenario("sampler").adapt(shots=0).generate(http(server.url, "m"))
    errors = plan.score().completions.collect()["error"]
    assert errors.null_count() == 5
    assert len(server.asked) < 100
    server.reply = lambda asked: completion("A")
    before = len(server.asked)
    assert plan.score().completions.collect()["error"].null_count() == len(errors)
    assert len(server.asked) == before + len(errors) - 5


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_local_server_that_is_not_running_fails_at_once(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helmframe.models.retries.FIRST_PAUSE", 60.0)
    monkeypatch.setattr("helmframe.models.pace.PAUSES", (60.0,))
    started = time.monotonic()
    rows = outcomes(http(f"http://{host}:9/v1", "org/m"), ["a"] * 40)
    pairs = outcomes(http(f"http://{host}:9/v1", "org/m"), [Pair("a", "b")] * 40, **{SCORES: True})
    assert time.monotonic() - started < 3
    message = (
        f"NotRunningError: No server is running at http://{host}:9/v1: the connection was refused. Start the server, "
        "for example 'vllm serve org/m --port 9', or check the port of the address. Then rerun the plan."
    )
    assert {(row.error, row.attempts) for row in [*rows, *pairs]} == {(message, 1)}


def test_a_server_that_stops_during_a_run_is_waited_for() -> None:
    with serving() as made:
        model = http(made.url, "m")
        assert answer(model).text == "WHO"
    client = endpoint_client._clients.pop(event_loop.loop())
    event_loop.run(client.aclose())  # a connection of a stopped process is closed
    (found,) = outcomes(model, ["a"])
    assert str(found.error).startswith(f"ConnectError: no response from {made.url}/completions: ")
    assert found.attempts > 1


def test_a_server_that_does_not_respond_is_logged_as_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "helmframe"):
        outcomes(http("http://127.0.0.1:9/v1", "m"), ["a"])
    shown = [record for record in caplog.records if record.levelno >= logging.WARNING and "No server" in record.message]
    assert len(shown) == 1
    assert "No server is running at http://127.0.0.1:9/v1: " in shown[0].message
    assert not any(record.exc_info for record in caplog.records if record.levelno >= logging.INFO)
    assert any(record.exc_info for record in caplog.records if record.levelno == logging.DEBUG)


def test_what_a_server_says_is_one_short_line(server: Server) -> None:
    server.reply = lambda asked: refusal(400, "\x1b[31mred\nline " + "x" * 10_000)
    (found,) = outcomes(http(server.url, "m"), ["a"])
    assert "\x1b" not in str(found.error)
    assert len(str(found.error)) < 500


# Log-probabilities of given texts -------------------------------------------------------------------------------------


def echoing(local: Model, begin: str) -> Any:
    """Replies as a server that gives prompts back, with the log-probabilities of a local model."""

    def reply(asked: Asked) -> Reply:
        said = asked.body
        assert (said["echo"], said["logprobs"]) == (True, 1)
        prompt = said["prompt"]
        assert local.loglikelihood is not None
        (found,) = local.loglikelihood([Pair(prompt[0], prompt[1:])], {SCORES: True})
        assert isinstance(found, tuple)
        extra = ["z"] * said["max_tokens"]
        tokens = [*([begin] if begin else []), *prompt, *extra]  # its tokens are characters
        values = [*([None] if begin else []), None, *(found.token_logprobs or ()), *(-9.0 for _ in extra)]
        return completion(prompt + "".join(extra), logprobs={"tokens": tokens, "token_logprobs": values})

    return reply


@pytest.mark.parametrize("begin", ["", "<s>"])
def test_log_probabilities_equal_the_local_models(server: Server, tmp_path: Path, begin: str) -> None:
    local = from_any(tiny.saved(tmp_path / "tiny", tiny.gpt2()))
    server.reply = echoing(local, begin)
    pairs = [Pair("The cat sat", " on the mat"), Pair("The cat sat", " up"), Pair("Who", "?")]
    assert local.loglikelihood is not None
    expected = local.loglikelihood(pairs, {SCORES: True})
    found = outcomes(http(server.url, "m"), pairs, **{SCORES: True})
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.completion is not None, ours.error
        assert isinstance(theirs, tuple)
        assert ours.completion.text == theirs.text
        assert ours.completion.logprob == pytest.approx(theirs.logprob, abs=1e-5)
        assert ours.completion.output_tokens == theirs.output_tokens


@pytest.mark.parametrize("refuses", [True, False])
def test_a_server_that_does_not_echo_is_asked_for_prompt_logprobs(
    server: Server, tmp_path: Path, *, refuses: bool
) -> None:
    local = from_any(tiny.saved(tmp_path / "tiny", tiny.gpt2()))
    assert local.loglikelihood is not None

    def reply(asked: Asked) -> Reply:
        """As vLLM's: one token for each place, that of the first not told."""
        if "echo" in asked.body:
            return refusal(400, "echo is not supported") if refuses else completion("z")
        prompt = asked.body["prompt"]
        (found,) = local.loglikelihood([Pair(prompt[0], prompt[1:])], {SCORES: True})  # type: ignore[misc]
        assert isinstance(found, Completion)
        values = zip(prompt[1:], found.token_logprobs or (), strict=True)
        places = [{str(ord(token)): {"logprob": value, "decoded_token": token, "rank": 1}} for token, value in values]
        return completion("z", prompt_logprobs=[None, *places])

    server.reply = reply
    pairs = [Pair("The cat sat", " on the mat"), Pair("Who", "?")]
    expected = local.loglikelihood(pairs, {SCORES: True})
    model = http(server.url, "m")
    found = outcomes(model, pairs, **{SCORES: True})
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.completion is not None, ours.error
        assert isinstance(theirs, tuple)
        assert ours.completion.logprob == pytest.approx(theirs.logprob, abs=1e-5)
        assert (ours.completion.prompt_tokens, ours.completion.output_tokens) == (
            theirs.prompt_tokens,
            theirs.output_tokens,
        )
    before = len(server.asked)
    outcomes(model, pairs, **{SCORES: True})
    assert ["echo" in each.body for each in server.asked[before:]] == [False, False]  # it is known by then


def test_after_nothing_the_first_token_has_none(server: Server) -> None:
    logprobs = {"tokens": ["a", "b"], "token_logprobs": [None, -2.0]}
    server.reply = lambda asked: completion("ab", logprobs=logprobs)
    (found,) = outcomes(http(server.url, "m"), [Pair("", "ab")], **{SCORES: True})
    assert found.completion is not None
    assert found.completion[:4] == ("ab", None, -2.0, (-2.0,))


@pytest.mark.parametrize(
    ("context", "continuation", "tokens", "own"),
    [
        ("Answer: ", "Paris", ["Answer", ":", " Paris"], 1),  # the space is the word's
        ("Say", "é!", ["Say", "", "é", "!"], 3),  # the first part of a character is shown as nothing
        ("Who", " is", ["<s>", "Who", " is"], 1),
        ("uni", "versal", ["<s>", "univers", "al"], 2),
    ],
)
def test_tokens_that_hold_something_of_the_continuation_are_its_own(
    server: Server, context: str, continuation: str, tokens: list[str], own: int
) -> None:
    values = [None, *(-float(place) for place in range(1, len(tokens)))]
    logprobs = {"tokens": tokens, "token_logprobs": values}
    server.reply = lambda asked: completion(context + continuation, logprobs=logprobs)
    (found,) = outcomes(http(server.url, "m"), [Pair(context, continuation)], **{SCORES: True})
    assert found.completion is not None, found.error
    assert found.completion.token_logprobs == tuple(values[-own:])
    assert (found.completion.prompt_tokens, found.completion.output_tokens) == (len(tokens) - own, own)


def test_an_empty_continuation_has_none_and_is_not_asked_about(server: Server) -> None:
    (found,) = outcomes(http(server.url, "m"), [Pair("Answer: ", "")], **{SCORES: True})
    assert found.completion == Completion("", output_tokens=0)
    assert server.asked == []


@pytest.mark.parametrize(
    "reply", [completion("A"), refusal(400, "echo is not allowed"), completion("ab", logprobs=None)]
)
def test_a_server_that_gives_none_is_said_with_the_way_out(server: Server, reply: Reply) -> None:
    server.reply = lambda asked: reply
    with pytest.raises(CapabilityError, match=r"doesn't return log-probabilities of prompts.*multiple_choice_joint"):
        outcomes(http(server.url, "m"), [Pair("a", "b")], **{SCORES: True})


@pytest.mark.parametrize("reply", [completion("A"), refusal(400, "echo is not allowed")])
def test_each_form_of_the_request_is_sent_once_to_a_server_without_log_probabilities(
    server: Server, reply: Reply
) -> None:
    server.reply = lambda asked: reply._replace(seconds=0.05)
    model = http(server.url, "m")
    with pytest.raises(CapabilityError, match="doesn't return log-probabilities of prompts"):
        outcomes(model, [Pair("a", "b")] * 40, **{SCORES: True})
    assert ["echo" in asked.body for asked in server.asked] == [True, False]
    with pytest.raises(CapabilityError):  # a server that was restarted with other options is tried again
        outcomes(model, [Pair("a", "b")], **{SCORES: True})
    assert len(server.asked) == 4


def test_a_text_that_is_too_long_is_an_error_of_its_row(server: Server) -> None:
    server.reply = lambda asked: refusal(400, "maximum context length is 8 tokens")
    (found,) = outcomes(http(server.url, "m"), [Pair("a", "b")], **{SCORES: True})
    assert str(found.error).endswith("HTTP 400: maximum context length is 8 tokens")


def test_with_chat_none_are_asked_for_when_the_plan_is_run(server: Server) -> None:
    plan = hf.scenario("sampler").limit(1).adapt(method="multiple_choice_separate_original")
    with pytest.raises(CapabilityError, match="doesn't compute log-probabilities of texts"):
        plan.generate(http(server.url, "m", chat=True)).score()
    assert server.asked == []


# Names, fingerprints, what is remembered ------------------------------------------------------------------------------


def test_addresses_are_models() -> None:
    model = from_any("HTTP://LocalHost:8000/v1/#org/name".replace("HTTP", "http"))
    assert (model.name, model.source, model.durable) == ("org/name", "http://localhost:8000/v1#org/name", True)
    assert model == from_any("http://localhost:8000/v1#org/name") != from_any("https://localhost:8000/v1#org/name")
    assert from_any("http://localhost:8000/v1/chat/completions#a") == from_any("http://localhost:8000/v1#a")


@pytest.mark.parametrize("said", ["openai:gpt-4.1", "openai:gpt-3.5-turbo-instruct"])
def test_openais_own_models_say_that_they_rate_no_texts_before_anything_runs(said: str) -> None:
    plan = hf.scenario("sampler").adapt(method="multiple_choice_separate_original")
    with pytest.raises(CapabilityError, match=r"doesn't compute log-probabilities of texts.*multiple_choice_joint"):
        plan.generate(said)
    plan.generate("openai:davinci-002")
    plan.generate("http://localhost:8000/v1#gpt-3.5-turbo-instruct")


def test_openais_models_chat_but_for_the_old_ones() -> None:
    assert from_any("openai:gpt-4.1") == http("https://api.openai.com/v1", "gpt-4.1", chat=True)
    assert from_any("openai:gpt-3.5-turbo-instruct") == http("https://api.openai.com/v1", "gpt-3.5-turbo-instruct")


def test_fingerprints_tell_address_name_and_way_apart() -> None:
    models = [
        http("http://a/v1", "m"),
        http("http://b/v1", "m"),
        http("http://a/v1", "n"),
        http("http://a/v1", "m", chat=True),
        http("http://a/v1", "m", extra={"top_k": 1}),
        hf.model(http("http://a/v1", "m"), name="m", version="2"),
    ]
    assert len({model.fingerprint() for model in models}) == len(models)
    assert http("http://a/v1/", "m").fingerprint() == models[0].fingerprint()


@pytest.mark.parametrize(
    "said", ["http://a:80/v1#m", "openai:gpt-4.1", "http(url='http://a', name='m', logprobs=False)"]
)
def test_a_plan_with_a_server_goes_through_yaml(said: str) -> None:
    plan = hf.scenario("sampler").generate(said)
    assert hf.Plan.from_yaml(plan.to_yaml()) == plan


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("http://localhost:8000/v1", "Add the name of a model: 'http://localhost:8000/v1#name'"),
        ("http://user:pw-canary@host/v1#m", "url must not contain a password or a query"),
        ("http://host/v1?api_key=pw-canary#m", "url must not contain a password or a query"),
        ("http://:80/v1#m", "url must be a server's address"),
        ("http://host:x/v1#m", "url must be a server's address"),
        ("openai:", "name must be the model's name"),
        ("http(url='http://a')", "name=… is missing"),
        ("http(url='http://a', name='m', chta=True)", "Did you mean 'chat'"),
    ],
)
def test_what_is_no_address_is_refused(said: str, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint) as refused:
        hf.scenario("sampler").generate(said)
    assert "canary" not in str(refused.value)


NESTED = [{"headers": {"Authorization": "Bearer canary-0"}}, {"a": [{"apiKey": "canary"}]}, {"user": KEY}]


@pytest.mark.parametrize("extra", [{"api_key": "x"}, {"temperature": 1}, 3, {"f": print}, *NESTED])
def test_what_can_not_be_sent_beside_is_refused(extra: object) -> None:
    with pytest.raises(ArgumentError, match="extra=") as refused:
        http("http://a", "m", extra=extra)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    "source",
    [
        "HTTP://user:pw-canary@host/v1#m",
        "s3://user:pw-canary@bucket/model",
        f"http(url='http://host/v1', name='m', extra={{'a': {{'token': '{KEY}'}}}})",
        f"local(model='org/name', api_key='{KEY}')",
        f"vllm(model='org/name', hf_token='{KEY}')",
        f"http://host/v1#{KEY}",
    ],
)
def test_a_credential_in_a_model_is_refused_unshown(source: str) -> None:
    with pytest.raises(ArgumentError) as refused:
        from_any(source)
    assert "canary" not in str(refused.value)


def test_a_decoding_parameter_that_is_a_credential_is_refused_unshown() -> None:
    plan = hf.scenario("sampler").limit(1)
    for options in ({"api_key": KEY}, {"headers": {"Authorization": f"Bearer {KEY}"}}, {"user": KEY}):
        with pytest.raises(ArgumentError, match="looks like a credential") as refused:
            plan.generate(lambda prompt, **more: prompt, **options)
        assert "canary" not in str(refused.value)


@pytest.mark.parametrize("chat", [True, False])
def test_a_key_that_the_server_echoes_is_redacted(server: Server, chat: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVER", KEY)
    text = f"Your key is {KEY}!"
    choice: dict[str, Any] = {"message": {"content": text, "reasoning_content": text}} if chat else {"text": text}
    server.reply = lambda asked: Reply({"choices": [{**choice, "finish_reason": KEY}]})
    model = http(server.url, "m", chat=chat, key_env="MY_SERVER")
    found = answer(model)
    assert found.text == "Your key is ***!"
    assert found.reasoning == ("Your key is ***!" if chat else None)
    assert found.finish_reason == "***"
    assert server.asked[0].headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "reply",
    [
        Reply({"nothing": KEY}),
        Reply({"error": {"message": f"bad key {KEY}", "code": KEY, "param": KEY}}, 400),
        Reply({"error": {"padding": " " * 570, "key": KEY}}, 400),
        Reply({"detail": [KEY]}, 401),
        Reply({}, 307, {"Location": f"http://other/{KEY}?api_key={KEY}"}),
    ],
)
def test_a_key_that_the_server_echoes_in_an_error_is_redacted(
    server: Server, reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SERVER", KEY)
    server.reply = lambda asked: reply
    model = http(server.url, "m", key_env="MY_SERVER")
    try:
        (found,) = outcomes(model, ["who"])
        shown = str(found.error)
    except SourceError as error:
        shown = "".join(traceback.format_exception(error))
    assert "***" in shown or "nothing" in shown or "padding" in shown
    assert "canary" not in shown


def test_answers_are_remembered_with_their_age_and_fresh_asks_anew(server: Server) -> None:
    server.reply = lambda asked: completion("A")
    plan = hf.scenario("sampler").where(subject="music").limit(3).generate(http(server.url, "m"))
    assert "oldest" not in plan.explain()
    plan.score()
    plan.score()
    assert len(server.asked) == 3
    assert "UTC (today); the server may have changed since then; score(fresh=True) ignores the cache" in plan.explain()
    plan.score(fresh=True)
    assert len(server.asked) == 6


def test_fresh_asks_all_anew_however_long_it_takes(server: Server) -> None:
    server.reply = lambda asked: completion("A")._replace(seconds=0.02)
    plan = hf.scenario("sampler").generate(hf.model(http(server.url, "m"), workers=4))
    asked = len(plan.score().completions.collect())
    plan.score(fresh=True)
    assert len(server.asked) == 2 * asked


def test_it_works_in_a_notebooks_own_loop(server: Server) -> None:
    async def cell() -> list[Any]:
        return list(http(server.url, "m").generate(["a", "b"], {}))

    assert [each.text for each in asyncio.run(cell())] == ["A", "B"]


def test_errors_of_servers_are_source_errors() -> None:
    assert issubclass(SourceDeniedError, SourceError)


# A server of somebody else's ------------------------------------------------------------------------------------------


def test_transformers_serve_gives_the_answers_of_the_folder(tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    folder = tiny.saved(tmp_path / "tiny", tiny.llama(), template)
    local = from_any(folder)
    with transformers_serving(folder) as url:
        served = http(url, str(folder))
        assert local.chat is not None
        assert served.chat is not None
        for prompt in ("The cat sat", "Who? "):
            theirs, ours = answer(local, prompt, max_tokens=8), answer(served, prompt, max_tokens=8, temperature=0)
            assert theirs[0] == ours[0] != ""
            assert theirs[-3:] == ours[-3:]
        turns = [{"role": "user", "content": "Who? "}]
        theirs = answer(local, local.chat(turns), max_tokens=8)
        assert theirs[0] == answer(served, served.chat(turns), max_tokens=8, temperature=0)[0]
        with pytest.raises(CapabilityError, match="doesn't return log-probabilities"):
            outcomes(served, [Pair("a", "b")], **{SCORES: True})


# litellm --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Let litellm send requests for provider `openai` to the server."""
    monkeypatch.setenv("OPENAI_API_BASE", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.reply = lambda asked: litellm_message("A")
    return server


def litellm_message(text: str, **usage: Any) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return Reply({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **usage})


def test_a_model_of_litellm_chats_and_is_cached_by_name(proxy: Server) -> None:
    model = from_any("litellm:openai/m")
    assert (model.name, model.source, model.durable, model.remembered_by_name) == (
        "openai/m", "litellm:openai/m", True, True,
    )  # fmt: skip
    assert repr(model) == "Model('openai/m': generates, chat)"
    assert model == from_any("litellm:openai/m") != from_any("litellm:openai/n")
    assert len({from_any(f"litellm:{name}").fingerprint() for name in ("openai/m", "openai/n", "azure/m")}) == 3
    assert model.fingerprint() == from_any("litellm:openai/m").fingerprint()
    assert answer(model, "Who?", max_tokens=5, temperature=0, stop=["#"]).text == "A"
    body = {
        "model": "m", "messages": [{"role": "user", "content": "Who?"}], "max_tokens": 5, "temperature": 0,
        "stop": ["#"], "logprobs": True,
    }  # fmt: skip
    assert proxy.asked[0].body == body
    assert proxy.asked[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_plan_with_a_model_of_litellm_goes_through_yaml() -> None:
    plan = hf.scenario("sampler").generate("litellm:openai/m", max_tokens=3)
    assert "litellm:openai/m" in plan.to_yaml()
    assert hf.Plan.from_yaml(plan.to_yaml()) == plan
    assert hf.list_models().filter(name="litellm:")["kind"].to_list() == ["provider"]


@pytest.mark.parametrize("text", ["litellm:", "litellm:m", "litellm:/m", "litellm:openai/"])
def test_a_name_for_litellm_has_a_provider_and_a_model(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"write litellm:provider/model, such as litellm:openai/gpt-4\.1"):
        from_any(text)


def test_without_litellm_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "find_spec", lambda name: None)
    with pytest.raises(CapabilityError, match=r"needs the package litellm: pip install 'helmframe\[litellm\]'"):
        from_any("litellm:openai/m")


def test_litellms_requests_are_retried_by_helmframe_alone(proxy: Server) -> None:
    replies = iter([refusal(429, "slow down", Retry_After="0"), refusal(500, "oops"), Reply({}, 0)])
    proxy.reply = lambda asked: next(replies, litellm_message("A"))
    (outcome,) = outcomes(from_any("litellm:openai/m"), ["Who?"])
    assert outcome.error is None
    assert (len(proxy.asked), outcome.attempts) == (4, 4)
    proxy.reply = lambda asked: refusal(500, "oops")
    (outcome,) = outcomes(from_any("litellm:openai/other"), ["Who?"])
    assert len(proxy.asked) - 4 == outcome.attempts == retries.RETRIES + 1
    assert outcome.error is not None
    assert "litellm:openai/other returned HTTP 500" in outcome.error


def test_litellms_errors_are_errors_of_helmframe_without_the_key(
    proxy: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def error_of(text: str) -> SourceError:
        with pytest.raises(SourceError) as caught:
            outcomes(from_any(text), ["Who?"])
        assert KEY not in "".join(traceback.format_exception(caught.value, chain=True))
        return caught.value

    proxy.reply = lambda asked: refusal(401, f"Incorrect API key provided: {KEY}")
    wrong = error_of("litellm:openai/wrong")
    assert isinstance(wrong, SourceDeniedError)
    assert "rejects the key (HTTP 401)" in str(wrong)
    assert "***" in str(wrong)
    proxy.reply = lambda asked: refusal(404, "The model `m` does not exist")
    assert isinstance(error_of("litellm:openai/missing"), SourceMissingError)
    assert str(error_of("litellm:nobody/m")) == "litellm has no provider 'nobody'. Write 'litellm:provider/model'."
    before = len(proxy.asked)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert str(error_of("litellm:openai/keyless")) == "litellm:openai/keyless needs a key: export OPENAI_API_KEY=…."
    assert len(proxy.asked) == before
    shown = "".join(capfd.readouterr()) + caplog.text
    assert KEY not in shown
    assert "litellm.ai" not in shown.lower()


# a warning that litellm ignores at its import, which pytest undoes
@pytest.mark.filterwarnings("ignore:.*ReadOnly:UserWarning")
def test_a_parameter_that_litellm_rejects_costs_no_request(proxy: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_AZURE_API_BASE", proxy.url)
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    model = from_any("litellm:mistral/m")
    assert answer(model, "Who?", temperature=0.5, seed=3).text == "A"
    assert len(proxy.asked) == 1
    assert model.refused is not None
    assert set(model.refused()) == {"logprobs"}


# Imports litellm in a folder with a file `.env`, and reports side effects.
IMPORTS = """
import os, socket
def refuse(*arguments):
    raise AssertionError("a connection at import")
socket.socket.connect = refuse
from helmframe.models.endpoint_client import _litellm
litellm = _litellm()
print(os.environ.get("CANARY_FROM_DOTENV"), os.environ.get("LITELLM_MODE"), litellm.suppress_debug_info)
"""


def test_the_import_of_litellm_opens_no_connection_and_reads_no_keys_from_a_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CANARY_FROM_DOTENV=1\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LITELLM")}
    command = [sys.executable, "-c", IMPORTS]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")])
    run = subprocess.run(
        command, cwd=tmp_path, env={**environment, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.stderr, run.returncode) == ("None None True\n", "", 0)
