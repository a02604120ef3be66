"""Who gets the next replica, told without Ray."""

import pytest

import helmframe as hf
from helmframe.engines.ray.replica_state import Job, Lane, ReplicaState, neediest
from helmframe.scenarios.spans import Span

ROOM = 12


def lane(name: str, jobs: int, weight: float = 1.0) -> Lane:
    options = hf.engines.Ray(replicas=(1, ROOM), weight=weight)
    waiting = [Job(0, Span(1, ()), shard) for shard in range(jobs)]
    return Lane(None, hf.model(lambda prompt: prompt, name=name), options, None, [(None, None)], [waiting])


def placed(*lanes: Lane) -> list[int]:
    """How many replicas each has when the cluster is full."""
    for _ in range(ROOM):
        needing = neediest(lanes)
        if needing is not None:
            needing.replicas.append(ReplicaState(None, None, ready=True))
    return [len(each.replicas) for each in lanes]


@pytest.mark.parametrize(
    ("jobs", "weights", "expected"),
    [
        ((100, 100), (1, 1), [6, 6]),
        ((100, 100), (2, 1), [8, 4]),
        ((100, 100), (1, 3), [3, 9]),
        ((200, 100), (1, 1), [8, 4]),
        ((100, 200), (2, 1), [6, 6]),
        ((4, 400), (1, 1), [1, 11]),
    ],
)
def test_replicas_follow_backlog_and_weight(
    jobs: tuple[int, int], weights: tuple[float, float], expected: list[int]
) -> None:
    assert placed(*map(lane, "ab", jobs, weights)) == expected


def test_nobody_gets_more_than_the_work_can_use() -> None:
    assert placed(lane("a", 4), lane("b", 0)) == [2, 0]
