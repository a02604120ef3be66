"""The waiting spans and running replicas of each model, and the next assignment."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from helmframe._core.safe_text import get_logger
from helmframe.engines.ray.options import Ray
from helmframe.engines.ray.replica import Done, Order, Replica
from helmframe.models.model import Model
from helmframe.scenarios.spans import Span

# Concurrent spans of a replica: while one span is generated, another one is read or written.
AT_ONCE = 2
# The number of seconds after which a replica that isn't ready is logged.
SLOW_SECONDS = 30.0

logger = get_logger("helmframe.engines")


@dataclass(eq=False)
class Job:
    """One span of one task for one model.

    Args:
        work: The index of plan and task in the lane.
        span: The instances.
        shard: The shard's number in the run.
        deaths: The number of replicas that were lost while they ran the job.
        unreachable: The number of times that the bucket was unreachable. The job then waits until `after`.
        after: The time of the next attempt, as `time.monotonic()` returns it.
        refused: The reason why the job is not run.
        writer: The writer of the current attempt.
        seen: The counts of that attempt.
    """

    work: int
    span: Span
    shard: int
    deaths: int = 0
    unreachable: int = 0
    after: float = 0.0
    refused: str | None = None
    writer: str = ""
    seen: Done = field(default_factory=lambda: Done({}, 0.0))


@dataclass(eq=False)
class ReplicaState:
    """A replica: its actor, its jobs by Ray reference, and its state."""

    actor: Any
    hello: Any
    started: float = field(default_factory=time.monotonic)
    ready: bool = False
    warned: bool = False
    lost: bool = False
    jobs: dict[Any, Job] = field(default_factory=dict)

    def takes(self, job: Job) -> bool:
        """Return whether the replica may run a job now; a job that lost a replica runs alone."""
        if not self.ready or self.lost or len(self.jobs) >= AT_ONCE or job.after > time.monotonic():
            return False
        return not self.jobs or not (job.deaths or any(other.deaths for other in self.jobs.values()))


@dataclass(eq=False)
class Lane:
    """The work and the replicas of one model."""

    ray: Any
    model: Model
    options: Ray
    parcel: Any  # a reference in Ray's object store
    work: Sequence[tuple[Any, Any]]  # (plan, task)
    jobs: Sequence[Sequence[Job]]  # by index of `work`
    skipped: set[int] = field(default_factory=set)  # indices of `work`
    replicas: list[ReplicaState] = field(default_factory=list)
    false_starts: int = 0

    def __post_init__(self) -> None:
        self.waiting = [deque(jobs) for jobs in self.jobs]

    @property
    def backlog(self) -> int:
        """Return the number of unassigned jobs."""
        return sum(map(len, self.waiting))

    @property
    def busy(self) -> int:
        """Return the number of running jobs."""
        return sum(len(replica.jobs) for replica in self.replicas)

    @property
    def need(self) -> tuple[bool, float]:
        """Return the scheduling key: below minimum replicas first, then weighted backlog per replica."""
        n_replicas = len(self.replicas)
        return n_replicas < self.options.least_and_most[0], self.options.weight * self.backlog / max(n_replicas, 1)

    def wants_more(self) -> bool:
        """Return whether to start another replica.

        Above the minimum, no more replicas start at a time than are ready. So models that share a cluster reach their
        shares in turns.
        """
        least, most = self.options.least_and_most
        running = sum(not replica.lost for replica in self.replicas)
        ready = sum(replica.ready and not replica.lost for replica in self.replicas)
        useful = -(-(self.backlog + self.busy) // AT_ONCE)
        return self.backlog > 0 and (
            running < least or (running < min(most, useful) and running - ready < max(ready, 1))
        )

    def start(self) -> None:
        """Start a replica."""
        options = self.options
        actor_class = self.ray.remote(concurrency_groups={"orders": AT_ONCE, "aside": 2})(Replica).options(
            num_cpus=options.num_cpus,
            num_gpus=options.num_gpus,
            resources=dict(options.resources),
            max_restarts=0,  # replaced by a new one, if needed
            scheduling_strategy="SPREAD",
        )
        actor = actor_class.remote(self.parcel)
        self.replicas.append(ReplicaState(actor, actor.hello.options(concurrency_group="aside").remote()))

    def assign(self, limit: int | None) -> None:
        """Assign waiting jobs to free replicas; with a `limit` of requests, one job at a time.

        With a limit of 0, only cached completions are read.
        """
        while not limit or not self.busy:
            pair = next(self._pairs(), None)
            if pair is None:
                return
            replica, queue = pair
            job = queue.popleft()
            job.writer, job.seen = uuid4().hex[:8], Done({}, 0.0)
            order = Order(job.writer, job.work, job.span, job.shard, limit, job.refused)
            replica.jobs[replica.actor.do.options(concurrency_group="orders").remote(order)] = job

    def _pairs(self) -> Iterator[tuple[ReplicaState, deque[Job]]]:
        """Yield replicas with task queues: the least busy replica and the largest remaining share first."""
        left = [(len(queue) / len(jobs), queue) for queue, jobs in zip(self.waiting, self.jobs, strict=True) if queue]
        for replica in sorted(self.replicas, key=lambda replica: len(replica.jobs)):
            for _, queue in sorted(left, key=lambda share: -share[0]):
                if replica.takes(queue[0]):
                    yield replica, queue

    def requeue(self, job: Job) -> None:
        """Put a job at the front of the waiting jobs."""
        self.waiting[job.work].appendleft(job)

    def warn_if_slow(self) -> None:
        """Warn once about each replica that takes long to start."""
        for replica in self.replicas:
            if not replica.ready and not replica.warned and time.monotonic() - replica.started > SLOW_SECONDS:
                replica.warned = True
                needs = {"CPU": self.options.num_cpus, "GPU": self.options.num_gpus, **self.options.resources}
                logger.warning(
                    "A replica of %s isn't ready after %.0f s. It needs %s; the cluster has %s available.",
                    self.model.name,
                    SLOW_SECONDS,
                    {name: amount for name, amount in needs.items() if amount},
                    {name: amount for name, amount in self.ray.available_resources().items() if ":" not in name},
                )


def neediest(lanes: Sequence[Lane]) -> Lane | None:
    """Return the lane that gets the next replica; None if no lane needs a replica."""
    wanting = [lane for lane in lanes if lane.wants_more()]
    return max(wanting, key=lambda lane: lane.need, default=None)
