"""Models that reason before they answer: starved completions are counted, explained, and generated again with room."""

import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._plan import Plan
from helmframe.engines.notes import empty_notes
from helmframe.models import endpoint_client, event_loop
from tests.acceptance.figures import shown
from tests.acceptance.vllm_peer import vllm_serving
from tests.models.openai_server import Asked, Reply, Server, serving
from tests.models.tiny import thinker_folder

N, RIGHT = 200, 150  # questions, and those that the server answers correctly
NEEDED, LONG, N_LONG = 500, 3000, 30  # tokens of an answer with its reasoning; N_LONG questions need LONG
LETTERS = "AB"


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Connections are closed afterwards."""
    yield
    client = endpoint_client._clients.pop(event_loop.loop(), None)
    if client is not None:
        event_loop.run(client.aclose())


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def numbered(count: int = N, compat: str | None = None) -> Plan:
    """Questions with two options; the right one is the first for even numbers."""
    frame = pl.DataFrame(
        {
            "q": [f"Is {number} even or odd?" for number in range(count)],
            "o": [["even", "odd"]] * count,
            "a": [number % 2 for number in range(count)],
        }
    )
    return hf.scenario(frame, input="q", choices="o", answer="a", name="parity", compat=compat).adapt(shots=0)


def reasoning_reply(asked: Asked, *, shows: bool, usage: bool) -> Reply:
    """As a reasoning model replies: an empty text below the tokens that its reasoning needs."""
    text = str(asked.body.get("prompt") or asked.body["messages"][-1]["content"])
    number = int(re.findall(r"Is (\d+) even", text)[-1])
    needed = LONG if number < N_LONG else NEEDED
    most = asked.body.get("max_tokens", 0)
    is_right = number >= N - RIGHT
    answer = LETTERS[number % 2 if is_right else 1 - number % 2] if most >= needed else ""
    used = min(most, needed)
    message = {"role": "assistant", "content": answer, **({"reasoning_content": "Let me see …"} if shows else {})}
    details = {"completion_tokens_details": {"reasoning_tokens": used - bool(answer)}} if usage else {}
    return Reply(
        {
            "choices": [{"message": message, "finish_reason": "stop" if answer else "length"}],
            "usage": {"prompt_tokens": 20, "completion_tokens": used, **details},
        }
    )


def row_of(results: Any) -> dict[str, Any]:
    row: dict[str, Any] = results.table(metrics="exact_match").row(0, named=True)
    return row


@pytest.mark.parametrize(("shows", "usage"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("compat", [None, "helm"])
def test_1_a_server_whose_completions_are_empty_below_500_tokens(
    server: Server, shows: bool, usage: bool, compat: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    server.reply = lambda asked: reasoning_reply(asked, shows=shows, usage=usage)
    model = hf.models.http(server.url, "thinker", chat=True, logprobs=False)
    plan = numbered(compat=compat)

    with caplog.at_level(logging.WARNING, logger="helmframe"):
        starved = plan.generate(model).score()
    kind = f"{'shown' if shows else 'hidden'} reasoning, {'with' if usage else 'without'} usage, compat={compat}"
    row = row_of(starved)
    shown("1", f"{kind}: starved without reasoning=", f"{row['n_starved']} of {row['n']}", f"{N} of {N}")
    assert (row["n_starved"], row["n"], row["value"], len(server.asked)) == (N, N, 0.0, N)
    (note,) = empty_notes(starved.manifest)
    assert note in [record.getMessage() for record in caplog.records]
    assert "200 of 200 completions are empty because the model used max_tokens for reasoning" in note
    assert ".generate(model, reasoning='low'), or reasoning=4096" in note
    counted = starved.completions.collect()["reasoning_tokens"]
    assert counted.to_list() == [1 if usage else None] * N

    server.asked.clear()
    roomy = plan.generate(model, reasoning="low")
    results = roomy.score()
    row, limits = row_of(results), Counter(asked.body["max_tokens"] for asked in server.asked)
    shown("1", f"{kind}: accuracy with reasoning='low'", row["value"], RIGHT / N)
    shown("1", f"{kind}: requests by max_tokens", dict(limits), {2049: N, 4097: N_LONG})
    assert row["value"] == RIGHT / N
    assert row["n_starved"] == 0
    assert limits == {2049: N, 4097: N_LONG}
    rerun = {re.findall(r"Is (\d+)", asked.body["messages"][-1]["content"])[-1] for asked in server.asked[N:]}
    assert rerun == set(map(str, range(N_LONG)))
    assert results.manifest["counts"]["rerun"] == N_LONG
    assert f"{N_LONG} of {N} completions were empty after reasoning" in repr(results)
    efforts = {asked.body.get("reasoning_effort") for asked in server.asked}
    thinking = [asked.body["chat_template_kwargs"] for asked in server.asked]
    assert (efforts, thinking) == ({"low"}, [{"enable_thinking": True}] * (N + N_LONG))

    server.asked.clear()
    assert row_of(roomy.score()) == row
    shown("1", f"{kind}: requests of the second run", len(server.asked), 0)
    assert server.asked == []


def test_1_second_attempts_stay_within_max_cost(server: Server) -> None:
    server.reply = lambda asked: reasoning_reply(asked, shows=True, usage=True)
    model = hf.model(hf.models.http(server.url, "thinker", chat=True, logprobs=False), name="m", workers=1)
    first = (N_LONG * 2049 + (N - N_LONG) * NEEDED) / 1e6
    results = (
        numbered().generate(model, reasoning="low").score(max_cost=first + 10 * LONG / 1e6, prices={"m": (0.0, 1.0)})
    )
    row = row_of(results)
    shown("1", "second attempts within the cost of 10", results.manifest["counts"]["rerun"], 10)
    assert 10 <= results.manifest["counts"]["rerun"] < N_LONG
    assert row["n_starved"] == N_LONG - results.manifest["counts"]["rerun"]
    assert row["n"] == N


def test_1_a_server_that_refuses_the_switches_gets_them_once(server: Server) -> None:
    def reply(asked: Asked) -> Reply:
        name = next((name for name in ("reasoning_effort", "chat_template_kwargs") if name in asked.body), None)
        if name is not None:
            return Reply({"error": {"message": f"Unrecognized request argument supplied: {name}"}}, 400)
        return reasoning_reply(asked, shows=False, usage=True)

    server.reply = reply
    model = hf.models.http(server.url, "thinker", chat=True, logprobs=False)
    results = numbered().generate(model, reasoning="low").score()
    shown("1", "wasted requests for two refused switches", len(server.asked) - N - N_LONG, 2)
    assert len(server.asked) == N + N_LONG + 2
    assert (row_of(results)["value"], row_of(results)["n_error"]) == (RIGHT / N, 0)
    assert set(results.manifest["models"]["thinker"]["refused"]) == {"reasoning_effort", "chat_template_kwargs"}


def accuracy_of_b(count: int) -> float:
    return sum(number % 2 for number in range(count)) / count


@pytest.mark.parametrize("count", [60])
def test_1_a_checkpoint_with_a_template_that_thinks(tmp_path: Path, count: int) -> None:
    """Head-room is the default; without it, all are starved; without thinking, no room is needed."""
    folder = str(thinker_folder(tmp_path / "thinker", thoughts=300))
    plan = numbered(count).adapt(chat_template=True, instructions="")
    assert "2,048 tokens of head-room" in plan.generate(folder).explain()
    for reasoning, starved, counted in ((0, count, 1), (None, 0, 300), (200, 0, 300), (False, 0, None)):
        results = plan.generate(folder, reasoning=reasoning).score()
        row, tokens = row_of(results), results.completions.collect()["reasoning_tokens"]
        shown("1", f"local, reasoning={reasoning}: starved, accuracy, reasoning tokens",
              (row["n_starved"], row["value"], tokens.max()), (starved,))  # fmt: skip
        assert row["n_starved"] == starved
        assert row["value"] == (0.0 if starved else accuracy_of_b(count))
        assert results.manifest["counts"]["rerun"] == (count if reasoning == 200 else 0)
        assert tokens.to_list() == [counted] * count
    helm = numbered(count, compat="helm").adapt(chat_template=True, instructions="").generate(folder).score()
    shown("1", "local, compat='helm': starved", row_of(helm)["n_starved"], count)
    assert row_of(helm)["n_starved"] == count
    assert "completions are empty because the model used max_tokens for reasoning" in repr(helm)


@pytest.mark.model
def test_1_a_vllm_server_with_a_template_that_thinks(tmp_path: Path) -> None:
    count = 40
    folder = thinker_folder(tmp_path / "thinker", thoughts=120)
    options = ("--max-model-len", "4096", "--reasoning-parser", "qwen3", "--served-model-name", "thinker")
    with vllm_serving(folder, *options) as url:
        plan = numbered(count).adapt(chat_template=True, instructions="")
        model = hf.models.http(url, "thinker")
        for reasoning, starved, rerun in ((None, count, 0), ("low", 0, 0), (100, 0, count), (False, 0, 0)):
            results = plan.generate(model, reasoning=reasoning).score()
            row = row_of(results)
            shown("1", f"vLLM, reasoning={reasoning}: starved, accuracy, generated again",
                  (row["n_starved"], row["value"], results.manifest["counts"]["rerun"]), (starved, rerun))  # fmt: skip
            assert (row["n_starved"], row["n_error"]) == (starved, 0)
            assert row["value"] == (0.0 if starved else accuracy_of_b(count))
            assert results.manifest["counts"]["rerun"] == rerun
