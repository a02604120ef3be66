"""The driver's loop, on a cluster that tells what it is made to tell: a real one seldom tells losses one at a time."""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
from ray.exceptions import ActorDiedError

import helmframe as hf
from helmframe.engines.manifest import Manifest
from helmframe.engines.notes import EmptyCompletions, EmptyCount
from helmframe.engines.progress import Progress
from helmframe.engines.ray.driver import Driver
from helmframe.engines.ray.options import Ray
from helmframe.engines.ray.replica import Done, Hello, Order
from helmframe.engines.ray.replica_state import Job, Lane
from helmframe.models.budget import Budget
from helmframe.scenarios.spans import Span
from helmframe.store import RunFolder


class Cluster:
    """Ray, as far as a driver sees it. The first replica dies with all of its orders; losses are told one at a time."""

    exceptions = ray.exceptions

    def __init__(self) -> None:
        self.given: dict[int, Any] = {}
        self.replicas = 0
        self.done: list[int] = []

    def remote(self, **_: Any) -> Callable[[type], Any]:
        return lambda _: SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self.start))

    def start(self, _: Any) -> Any:
        self.replicas += 1
        dies = self.replicas == 1

        def do(order: Order) -> Any:
            if dies:
                return ActorDiedError()
            self.done.append(order.shard)
            empty = {("s", "m"): EmptyCount(2, 2, (order.shard, f"prompt of shard {order.shard}", ""))}
            return Done({("model", "s", "m", "generated"): 1}, 0.0, empty=empty)

        calls: dict[str, Callable[..., Any]] = {
            "hello": lambda: Hello("host", 1, version("helmframe")),
            "do": do,
            "close": lambda: None,
        }
        return SimpleNamespace(**{name: self.method(call) for name, call in calls.items()})

    def method(self, call: Callable[..., Any]) -> Any:
        def remote(*arguments: Any) -> int:
            self.given[len(self.given)] = call(*arguments)
            return len(self.given) - 1

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=remote))

    def wait(self, refs: Sequence[int], **_: Any) -> tuple[list[int], list[int]]:
        return [refs[-1]], list(refs[:-1])

    def get(self, ref: int, **_: Any) -> Any:
        if isinstance(self.given[ref], Exception):
            raise self.given[ref]
        return self.given[ref]

    def kill(self, actor: Any) -> None:
        pass


def test_all_that_a_lost_replica_had_is_done_again(tmp_path: Path) -> None:
    cluster = Cluster()
    jobs = [[Job(0, Span(8, (("", 8 * shard, 8 * shard + 7),)), shard) for shard in range(2)]]
    lane = Lane(cluster, hf.models.echo(), Ray(replicas=1), None, [(None, None)], jobs)
    execution: Any = SimpleNamespace(
        budget=Budget(),
        progress=Progress(enabled=False),
        folder=RunFolder(tmp_path),
        empty=EmptyCompletions(),
        plans=[None],
    )
    Driver(cluster, [lane], execution, Manifest(versions={"helmframe": version("helmframe")})).go()
    assert sorted(cluster.done) == [0, 1]
    assert execution.progress.completions["generated"] == 2
    assert execution.empty.counts() == {("s", "m"): EmptyCount(4, 4, (0, "prompt of shard 0", ""))}
