"""A real server with the demo model gives the folder's answers; several workers keep a server busier than one."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.models import Completion, endpoint, endpoint_client, event_loop, http
from helmframe.models.endpoint_client import Endpoint
from helmframe.models.model import Pair
from helmframe.models.tokenizing import before_stop
from tests.acceptance.figures import shown
from tests.acceptance.vllm_peer import vllm_serving
from tests.demo import demo_model
from tests.models.openai_server import Asked, Reply, completion, refusal, serving, transformers_serving

LEAST_EQUAL, LEAST_TIMES = 1.0, 3.0
ENDINGS, FARTHEST = 3, 1e-4
ANSWERED = 24  # requests: three of each part of the sampler
# Said in a conversation so that the demo model says the like: what vLLM's parser for Granite takes for reasoning.
THINKING = "Here is my thought process: {0} and {0} is {1}. Here is my response: {2}"


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Connections are closed afterwards."""
    yield
    client = endpoint_client._clients.pop(event_loop.loop(), None)
    if client is not None:
        event_loop.run(client.aclose())


@pytest.fixture(scope="module")
def vllm() -> Iterator[str]:
    """The address of vLLM's server with the demo model."""
    with vllm_serving(demo_model(), "--reasoning-parser", "granite") as url:
        yield url


@pytest.mark.model
def test_5_a_servers_greedy_answers_are_the_folders() -> None:
    folder = demo_model()
    questions = ["The capital of France is", "Two and two is", "Water boils at", "The opposite of hot is"]
    local = hf.model(str(folder))
    decoding = {"max_tokens": 8, "temperature": 0}
    with transformers_serving(folder) as url:
        served = http(url, str(folder))
        assert local.chat is not None
        assert served.chat is not None
        turns = [[{"role": "user", "content": f"{each} …?"}] for each in questions[:2]]
        ours = served.generate([*questions, *map(served.chat, turns)], decoding)
    theirs = local.generate([*questions, *map(local.chat, turns)], decoding)
    texts = [(mine[0], other[0]) for mine, other in zip(ours, theirs, strict=True)]  # type: ignore[index]
    equal = sum(mine == other for mine, other in texts) / len(texts)
    shown("5", f"greedy answers of transformers serve equal to the folder's, of {len(texts)}", equal, LEAST_EQUAL)
    assert equal >= LEAST_EQUAL, texts


@pytest.mark.model
def test_5_a_server_rates_texts_as_the_folder_does(vllm: str) -> None:
    folder = demo_model()
    local = hf.model(str(folder))
    questions = {
        "The capital of France is": (" Paris", " Rome", " a cheese"),
        "Two and two is": (" four", " five", " blue, naïve…"),
        "Water boils at": (" 100 degrees Celsius.", " night", " a man's price"),
        "Question: Which is the largest planet?\nAnswer:": (" Mars", " Jupiter", " The Moon, by far"),
        # where tokens are of both, and where the context alone has others
        "Answer: ": ("Paris", "Antananarivo", "42"),
        "Answer:\n\n": ("Paris", "😀 and more", " no"),
        "The uni": ("versal rule", "corn", "t test"),
    }
    pairs = [Pair(context, ending) for context, endings in questions.items() for ending in endings]
    ours = rated(local.loglikelihood, pairs)
    # both ways that servers know; a model tries the second one only where the first gives nothing
    for way in endpoint._EndpointModel.scoring_parameters:
        asked = endpoint._EndpointModel(Endpoint(vllm, str(folder)), chat=False, extra={}, scoring_parameters=(way,))
        theirs = rated(asked.loglikelihood, pairs)
        apart = farthest(ours, theirs)
        shown("5", f"vLLM's server, {next(iter(way))}: farthest log-probability, nats", f"{apart:.1e}", FARTHEST)
        assert apart <= FARTHEST
        same = sum(likeliest(ours, place) == likeliest(theirs, place) for place in range(len(questions)))
        shown("5", f"vLLM's server, {next(iter(way))}: the folder's choices", f"{same}/{len(questions)}", "all")
        assert same == len(questions)


@pytest.mark.model
def test_5_what_a_server_generates_is_as_likely_as_to_the_folder(vllm: str) -> None:
    """Ended by the limit, by an end-of-text token, by a stop string, by one within a token, and at once."""
    folder = demo_model()
    local, served = hf.model(str(folder)), http(vllm, str(folder))
    questions = ["The capital of France is", "Two and two is", "The opposite of hot is", "😀😀😀😀"]
    said = ["What is the capital of France? Completion in one word.", 'Repeat: "naïve café 😀"']
    turns = [[{"role": "user", "content": each}] for each in said]
    assert local.chat is not None
    assert served.chat is not None
    ends: set[tuple[str | None, bool]] = set()
    for stop in ([], ["."], ["is", "o"], [" "]):
        decoding = {"max_tokens": 24, "temperature": 0, "stop": stop}
        ours = local.generate([*questions, *map(local.chat, turns)], decoding)
        theirs = served.generate([*questions, *map(served.chat, turns)], decoding)
        assert [before_stop(mine.text, stop) for mine in ours] == [each.text for each in theirs]  # type: ignore[union-attr]
        assert [each.finish_reason for each in ours] == [each.finish_reason for each in theirs]  # type: ignore[union-attr]
        ends |= {(each.finish_reason, each.logprob is None) for each in theirs}  # type: ignore[union-attr]
        route = f"vLLM's server, {len(ours)} answers until {stop or 'the end'}: farthest log-probability, nats"
        apart = farthest(*([each.token_logprobs for each in answers] for answers in (ours, theirs)))  # type: ignore[union-attr]
        shown("5", route, f"{apart:.1e}", FARTHEST)
        assert apart <= FARTHEST
    assert ends == {("length", False), ("stop", False), ("stop", True)}


@pytest.mark.model
def test_5_reasoning_that_a_server_tells_apart_is_no_part_of_the_answer(vllm: str) -> None:
    folder = demo_model()
    local, served = hf.model(str(folder)), http(vllm, str(folder))
    numbers = [("two", "four", "Four"), ("one", "two", "Two")]
    turns = [
        turn
        for each in numbers
        for turn in (
            {"role": "user", "content": f"{each[0].title()} and {each[0]}?"},
            {"role": "assistant", "content": THINKING.format(*each)},
        )
    ] + [{"role": "user", "content": "Three and three?"}]
    assert local.chat is not None
    assert served.chat is not None
    decoding = {"max_tokens": 40, "temperature": 0}
    (ours,) = local.generate([local.chat(turns)], decoding)
    (theirs,) = served.generate([served.chat(turns)], decoding)
    assert isinstance(ours, Completion)
    assert isinstance(theirs, Completion)
    assert theirs.reasoning
    assert ours.text == f"Here is my thought process:{theirs.reasoning}Here is my response:{theirs.text}"
    own = len(theirs.token_logprobs or ())
    assert 0 < own < len(ours.token_logprobs or ())
    apart = farthest([(ours.token_logprobs or ())[-own:]], [theirs.token_logprobs])
    shown("5", "vLLM's server, an answer after reasoning: farthest log-probability, nats", f"{apart:.1e}", FARTHEST)
    assert apart <= FARTHEST
    (end,) = local.loglikelihood([Pair(local.chat(turns) + ours.text.removesuffix(theirs.text), theirs.text)], {})  # type: ignore[misc]
    assert theirs.logprob == pytest.approx(end.logprob, abs=FARTHEST)  # type: ignore[union-attr]


def farthest(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """How far the log-probabilities of as many tokens are apart; where one has none, the other has none."""
    assert [each and len(each) for each in ours] == [each and len(each) for each in theirs]
    pairs = [pair for mine, other in zip(ours, theirs, strict=True) if mine for pair in zip(mine, other, strict=True)]
    return float(max(abs(mine - other) for mine, other in pairs))


def rated(loglikelihood: Any, pairs: list[Pair]) -> list[tuple[float, ...]]:
    """The log-probabilities of each continuation's tokens."""
    return [each.token_logprobs for each in loglikelihood(pairs, {})]


def likeliest(found: list[tuple[float, ...]], question: int) -> int:
    """Which of the question's continuations, of which each has as many, is the most likely one."""
    sums = [sum(each) for each in found[ENDINGS * question : ENDINGS * (question + 1)]]
    return sums.index(max(sums))


class Faults:
    """Replies to the prompts of a plan that go wrong now and then."""

    def __init__(self) -> None:
        self.asked = 0
        self.seen: set[str] = set()

    def busy(self, asked: Asked) -> Reply:
        """Every third request is one too many."""
        self.asked += 1
        return refusal(429, "too many requests", Retry_After="0.05") if self.asked % 3 == 0 else completion("A")

    def broken(self, asked: Asked) -> Reply:
        """Every fourth request meets an error of the server."""
        self.asked += 1
        return refusal(500, "internal error") if self.asked % 4 == 0 else completion("A")

    def garbled(self, asked: Asked) -> Reply:
        """The first prompt, whenever it is asked, gets what is no reply."""
        return Reply(b"<html>") if self._is_first(asked) else completion("A")

    def slow(self, asked: Asked) -> Reply:
        """The first prompt takes longer than a call may."""
        return completion("A")._replace(seconds=1.5 if self._is_first(asked) else 0)

    def dying(self, asked: Asked) -> Reply:
        """After ten answers connections break off."""
        self.asked += 1
        return completion("A")._replace(status=200 if self.asked <= 10 else 0)

    def _is_first(self, asked: Asked) -> bool:
        self.seen = self.seen or {asked.body["prompt"]}
        return asked.body["prompt"] in self.seen


@pytest.mark.parametrize(
    ("fault", "failed"), [("busy", 0), ("broken", 0), ("garbled", 1), ("slow", 1), ("dying", ANSWERED - 10)]
)
def test_5_faults_of_a_server(fault: str, failed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helmframe.models.retries.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("helmframe.models.pace.PAUSES", (0.02, 0.04))
    with serving() as server:
        server.reply = getattr(Faults(), fault)
        model = hf.model(http(server.url, "m"), timeout=0.5, workers=1)
        plan = hf.scenario("sampler").limit(3).adapt(shots=0).generate(model)
        first = plan.score().completions.collect()
        asked = len(server.asked)
        assert first.height == ANSWERED
        assert first["error"].count() == failed
        assert first.filter(pl.col("error").is_not_null())["completion"].count() == 0
        # the server is well again: the same sentence asks for what is missing, and for nothing else
        server.reply = lambda asked: completion("A")
        second = plan.score().completions.collect()
        again = len(server.asked) - asked
    left = second["error"].count()
    said = f"{failed} of {ANSWERED} failed, of {asked} requests; then {left}, of {again} more"
    shown("5", f"a {fault} server", said, f"{failed} failed; then 0, of {failed} more")
    assert (left, again) == (0, failed)


def test_5_four_workers_against_one() -> None:
    def seconds(workers: int) -> float:
        plan = hf.scenario("sampler").adapt(shots=0).generate(hf.model(http(server.url, "m"), workers=workers))
        started = time.perf_counter()
        assert plan.score(fresh=True).completions.collect()["error"].null_count() == requests
        return time.perf_counter() - started

    with serving() as server:
        server.reply = lambda asked: completion("A")._replace(seconds=0.05)
        requests = hf.scenario("sampler").adapt(shots=0).requests().collect().height
        one, four = seconds(1), seconds(4)
    shown(
        "5",
        f"throughput of four workers against one's, {requests} requests of 0.05 s",
        f"{one / four:.2f}",
        LEAST_TIMES,
    )
    assert one / four >= LEAST_TIMES
