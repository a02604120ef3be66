"""A real server with the demo model gives the folder's answers; several workers keep a server busier than one."""

import time
from collections.abc import Iterator

import pytest

import helmframe as hf
from helmframe.models import endpoint_client, event_loop, http
from tests.acceptance.figures import shown
from tests.demo import demo_model
from tests.models.openai_server import completion, serving, transformers_serving

LEAST_EQUAL, LEAST_TIMES = 1.0, 3.0


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Connections are closed afterwards."""
    yield
    client = endpoint_client._clients.pop(event_loop.loop(), None)
    if client is not None:
        event_loop.run(client.aclose())


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
        ours = served.ask([*questions, *map(served.chat, turns)], decoding)
    theirs = local.ask([*questions, *map(local.chat, turns)], decoding)
    texts = [(mine[0], other[0]) for mine, other in zip(ours, theirs, strict=True)]  # type: ignore[index]
    equal = sum(mine == other for mine, other in texts) / len(texts)
    shown("5", f"greedy answers of transformers serve equal to the folder's, of {len(texts)}", equal, LEAST_EQUAL)
    assert equal >= LEAST_EQUAL, texts


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
