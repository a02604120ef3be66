"""Of each model the spans that wait and the replicas that are up: who does what next."""

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from helmframe.engines.ray.options import Ray
from helmframe.engines.ray.replica import Done, Order, Replica
from helmframe.models.model import Model
from helmframe.scenarios.spans import Span

# Spans at a time in a replica: while one is answered, the next is read and the one before written.
AT_ONCE = 2
# A replica that is not up after so many seconds is spoken of.
SLOW_SECONDS = 30.0

logger = logging.getLogger("helmframe.engines")


@dataclass(eq=False)
class Job:
    """One span of one task for one model.

    Args:
        work: which of the lane's.
        span: which instances.
        shard: its number in the run.
        deaths: replicas that were lost while they did it.
        unreachable: how often the bucket could not be reached; it waits until `after` then.
        after: by `time.monotonic()`.
        refused: why it is not asked, but given up.
        writer: of the attempt under way.
        seen: what was counted of that.
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
class Up:
    """A replica: the actor, and the jobs that it has, by what Ray will give for each; `gone` once it was lost."""

    actor: Any
    hello: Any
    started: float = field(default_factory=time.monotonic)
    ready: bool = False
    told: bool = False
    gone: bool = False
    jobs: dict[Any, Job] = field(default_factory=dict)

    def takes(self, job: Job) -> bool:
        """Whether it may do this job beside those that it has: one that was lost before is done alone."""
        if not self.ready or self.gone or len(self.jobs) >= AT_ONCE or job.after > time.monotonic():
            return False
        return not self.jobs or not (job.deaths or any(each.deaths for each in self.jobs.values()))


@dataclass(eq=False)
class Lane:
    """One model: what there is to do for it, and its replicas."""

    ray: Any
    model: Model
    options: Ray
    parcel: Any  # as Ray's object store has it
    work: Sequence[tuple[Any, Any]]  # plan and task of each thing to do
    jobs: Sequence[Sequence[Job]]  # of each
    left_out: set[int] = field(default_factory=set)  # of these
    replicas: list[Up] = field(default_factory=list)
    false_starts: int = 0

    def __post_init__(self) -> None:
        self.waiting = [deque(jobs) for jobs in self.jobs]

    @property
    def backlog(self) -> int:
        """Jobs that nobody has."""
        return sum(map(len, self.waiting))

    @property
    def busy(self) -> int:
        """Jobs under way."""
        return sum(len(each.jobs) for each in self.replicas)

    @property
    def need(self) -> tuple[bool, float]:
        """Whether the least that was said is not there yet; jobs that wait for each replica, by the model's weight."""
        there = len(self.replicas)
        return there < self.options.least_and_most[0], self.options.weight * self.backlog / max(there, 1)

    def wants_more(self) -> bool:
        """Whether another replica should be started: beyond the least, as many at a time as are up already.

        So models that share a cluster come to their shares by turns.
        """
        least, most = self.options.least_and_most
        there = sum(not each.gone for each in self.replicas)
        up = sum(each.ready and not each.gone for each in self.replicas)
        useful = -(-(self.backlog + self.busy) // AT_ONCE)
        return self.backlog > 0 and (there < least or (there < min(most, useful) and there - up < max(up, 1)))

    def start(self) -> None:
        """Start a replica."""
        options = self.options
        made = self.ray.remote(concurrency_groups={"orders": AT_ONCE, "aside": 2})(Replica).options(
            num_cpus=options.num_cpus,
            num_gpus=options.num_gpus,
            resources=dict(options.resources),
            max_restarts=0,  # a new one is started in its place, by need
            scheduling_strategy="SPREAD",
        )
        actor = made.remote(self.parcel)
        self.replicas.append(Up(actor, actor.hello.options(concurrency_group="aside").remote()))

    def give_out(self, limit: int | None) -> None:
        """Give waiting jobs to replicas that are free; `limit`: how many requests may be asked, of one job at a time.

        With a limit of 0 what the store has is read.
        """
        while not limit or not self.busy:
            found = next(self._pairs(), None)
            if found is None:
                return
            replica, queue = found
            job = queue.popleft()
            job.writer, job.seen = uuid4().hex[:8], Done({}, 0.0)
            order = Order(job.writer, job.work, job.span, job.shard, limit, job.refused)
            replica.jobs[replica.actor.do.options(concurrency_group="orders").remote(order)] = job

    def _pairs(self) -> Iterator[tuple[Up, deque[Job]]]:
        """A replica that is least busy, and the queue of the task that is furthest behind."""
        left = [(len(queue) / len(jobs), queue) for queue, jobs in zip(self.waiting, self.jobs, strict=True) if queue]
        for replica in sorted(self.replicas, key=lambda each: len(each.jobs)):
            for _, queue in sorted(left, key=lambda each: -each[0]):
                if replica.takes(queue[0]):
                    yield replica, queue

    def put_back(self, job: Job) -> None:
        """Let a job wait again, before the others."""
        self.waiting[job.work].appendleft(job)

    def tell_slow(self) -> None:
        """Say once of a replica that it is long in coming up."""
        for each in self.replicas:
            if not each.ready and not each.told and time.monotonic() - each.started > SLOW_SECONDS:
                each.told = True
                needs = {"CPU": self.options.num_cpus, "GPU": self.options.num_gpus, **self.options.resources}
                logger.warning(
                    "a replica of %s is not up after %.0f s. It needs %s; free are %s.",
                    self.model.name,
                    SLOW_SECONDS,
                    {name: amount for name, amount in needs.items() if amount},
                    {name: amount for name, amount in self.ray.available_resources().items() if ":" not in name},
                )


def neediest(lanes: Sequence[Lane]) -> Lane | None:
    """The model that should get the next replica; None where none needs one."""
    wanting = [lane for lane in lanes if lane.wants_more()]
    return max(wanting, key=lambda lane: lane.need, default=None)
