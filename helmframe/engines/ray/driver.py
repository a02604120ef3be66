"""The loop of a run on a cluster. It assigns spans, collects counts, and retries lost spans."""

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from helmframe._core.safe_text import get_logger
from helmframe._pipeline import instance_keys
from helmframe._schema import LOGS
from helmframe.config import redacted
from helmframe.engines.local import Execution
from helmframe.engines.manifest import Manifest
from helmframe.engines.ray.replica import Counts, Done, Hello
from helmframe.engines.ray.replica_state import Job, Lane, ReplicaState, neediest
from helmframe.errors import MISSING_PARTS, HelmframeError, PlanError, SourceError, StoreError
from helmframe.models.interrupts import PATIENCE
from helmframe.scenarios.spans import Span

POLL_SECONDS = 0.2
NEWS_SECONDS = 1.0
# The number of consecutive replicas that end before they are ready, from which on the run fails.
FALSE_STARTS = 3
# The number of replicas lost with a job, from which on it is halved, or refused if it is one instance.
DEATHS = 2
# Seconds before each retry of a span whose bucket was unreachable; the replica has retried before.
WAITS = (2.0, 5.0, 10.0, 20.0)
# The tables that replicas write.
TABLES = ("prefixes", "completions", "verdicts", "scores", "images")

logger = get_logger("helmframe.engines")


@dataclass(eq=False)
class Driver:
    """The driver of one run.

    Args:
        ray: The package, connected.
        lanes: The lanes, one per model.
        execution: The run's execution.
        manifest: The run's manifest.
    """

    ray: Any
    lanes: Sequence[Lane]
    execution: Execution
    manifest: Manifest
    _written: set[str] = field(default_factory=set)  # the writers of completed jobs
    _news_requests: dict[Any, ReplicaState] = field(default_factory=dict)  # requests for news, by Ray reference
    _last_news: float = field(default_factory=time.monotonic)

    def go(self) -> None:
        """Run until all jobs are done, the budget is spent, or an error ends the run."""
        stopped = self.execution.budget.stopped
        try:
            while not stopped.is_set() and any(lane.backlog or lane.busy for lane in self.lanes):
                self._scale()
                self._assign()
                self._collect(POLL_SECONDS)
                self._request_news()
        except KeyboardInterrupt:
            stopped.set()
            raise
        finally:
            self._end()

    def _scale(self) -> None:
        """Start replicas while waiting spans need them, and close replicas without work."""
        while (needy := neediest(self.lanes)) is not None:
            needy.start()
        for lane in self.lanes:
            lane.warn_if_slow()
            # idle replicas make room for replicas of other models
            idle = [replica for replica in lane.replicas if not replica.jobs and (replica.lost or not lane.backlog)]
            for replica in idle:
                lane.replicas.remove(replica)
                self._close([replica])

    def _assign(self) -> None:
        left = self.execution.budget.left
        for lane in self.lanes:
            if not left or not any(other.busy for other in self.lanes):
                lane.assign(left)

    def _collect(self, seconds: float) -> None:
        """Process the results of replicas; wait at most `seconds` for the first result."""
        starting = {
            replica.hello: (lane, replica) for lane in self.lanes for replica in lane.replicas if not replica.ready
        }
        working = {ref: (lane, replica) for lane in self.lanes for replica in lane.replicas for ref in replica.jobs}
        awaited = [*starting, *working, *self._news_requests]
        if not awaited:
            time.sleep(seconds)
            return
        ready, _ = self.ray.wait(awaited, num_returns=1, timeout=seconds)
        if ready:
            ready, _ = self.ray.wait(awaited, num_returns=len(awaited), timeout=0)
        for ref in ready:
            if ref in starting:
                self._handle_start(*starting[ref])
            elif ref in self._news_requests:
                self._handle_news(self._news_requests.pop(ref), ref)
            else:
                self._handle_result(*working[ref], ref)

    def _handle_start(self, lane: Lane, replica: ReplicaState) -> None:
        try:
            hello = self.ray.get(replica.hello)
        except self.ray.exceptions.RayTaskError as error:
            raise HelmframeError(f"A replica of {lane.model.name} can't start: {_line(error)}") from None
        except self.ray.exceptions.RayError as error:
            ended = f"Replicas of {lane.model.name} end before they are ready: {_line(error)}"
            self._false_start(lane, replica, HelmframeError(ended))
            return
        if isinstance(hello, HelmframeError):
            if not _is_transient(hello):
                raise hello
            self._false_start(lane, replica, hello)
            return
        assert isinstance(hello, Hello)
        lane.false_starts = 0
        replica.ready = True
        version = self.manifest.versions["helmframe"]
        if hello.version != version:
            raise PlanError(
                f"{hello.host} has helmframe {hello.version}, and this machine has {version}. Install the same version "
                "on both."
            )
        logger.info("A replica of %s is ready on %s, process %d", lane.model.name, hello.host, hello.process)

    def _false_start(self, lane: Lane, replica: ReplicaState, error: HelmframeError) -> None:
        lane.replicas.remove(replica)
        self._close([replica])
        lane.false_starts += 1
        if lane.false_starts >= FALSE_STARTS:
            raise error
        logger.warning("%s", error)

    def _handle_result(self, lane: Lane, replica: ReplicaState, ref: Any) -> None:
        job = replica.jobs.pop(ref)
        try:
            done: Done = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            raise HelmframeError(f"A span of {lane.model.name} failed: {_line(error)}") from None
        except self.ray.exceptions.RayError as error:
            self._handle_loss(lane, replica, job, error)
            return
        self._count(job, done)
        self._charge(job)
        if done.error is not None:
            self._handle_error(lane, job, done.error)
            return
        self._include(job, done)

    def _handle_error(self, lane: Lane, job: Job, error: HelmframeError) -> None:
        """Handle the error of a span: retry if a bucket was unreachable; skip some errors in a suite; else raise."""
        if _is_transient(error) and job.unreachable < len(WAITS):
            wait = WAITS[job.unreachable]
            logger.warning("%s The span is retried in %.0f s.", error, wait)
            self._retract(job)
            lane.requeue(replace(job, unreachable=job.unreachable + 1, after=time.monotonic() + wait))
            return
        alone = len(self.execution.plans) == 1 and not self.execution.skipped
        if alone or not isinstance(error, MISSING_PARTS):
            raise error
        self._retract(job)
        lane.waiting[job.work].clear()
        if job.work not in lane.skipped:
            lane.skipped.add(job.work)
            scenario = lane.work[job.work][1].spec.scenario
            self.manifest.skip(scenario, [lane.model.name], str(error))

    def _handle_loss(self, lane: Lane, replica: ReplicaState, job: Job, error: Exception) -> None:
        """Handle a lost replica: its jobs are retried, and a job that loses several replicas is halved."""
        if not replica.lost:
            replica.lost = True  # it stays in its lane until all its jobs are lost or done
            with suppress(Exception):  # it may still run unreachably
                self.ray.kill(replica.actor)
            logger.warning("A replica of %s was lost; its spans are retried: %s", lane.model.name, _line(error))
        self._charge(job)
        self._retract(job)
        retried = replace(job, deaths=job.deaths + 1)
        if retried.deaths < DEATHS:
            lane.requeue(retried)
        elif job.span.rows > 1:
            for half in self._halves(lane, job):
                lane.requeue(replace(job, span=half, deaths=DEATHS - 1))
        else:
            reason = (
                f"the replica that sent this request ended, and so did {retried.deaths - 1} before it: {_line(error)}"
            )
            lane.requeue(replace(retried, refused=reason))

    def _halves(self, lane: Lane, job: Job) -> list[Span]:
        plan, task = lane.work[job.work]
        keys = instance_keys(replace(plan, span=job.span), task.spec) if job.span.keys is None else job.span.keys
        keys = keys.sort("subset", "row_index")
        middle = keys.height // 2
        return [Span.of(half) for half in (keys.head(middle), keys.slice(middle))]

    def _request_news(self) -> None:
        """Request the counts of running spans from time to time."""
        if time.monotonic() - self._last_news < NEWS_SECONDS:
            return
        self._last_news = time.monotonic()
        awaited = set(map(id, self._news_requests.values()))
        for lane in self.lanes:
            for replica in lane.replicas:
                if replica.ready and not replica.lost and replica.jobs and id(replica) not in awaited:
                    ref = replica.actor.news.options(concurrency_group="aside").remote()
                    self._news_requests[ref] = replica

    def _handle_news(self, replica: ReplicaState, ref: Any) -> None:
        with suppress(self.ray.exceptions.RayError):  # a lost replica is handled when its job is awaited
            counts: dict[str, Done] = self.ray.get(ref)
            for job in replica.jobs.values():
                if job.writer in counts:
                    self._count(job, counts[job.writer])

    def _count(self, job: Job, done: Done) -> None:
        """Add the new counts of a job to the run's progress, and its new cost to the budget."""
        progress, before = self.execution.progress, job.seen.counts
        for key, count in done.counts.items():
            kind, scenario, name, event = key
            added = count - before.get(key, 0)
            if added:
                (progress.reporter if kind == "model" else progress.judging)(scenario, name)(event, added)
        self.execution.budget.paid(done.cost - job.seen.cost)
        job.seen = done

    def _charge(self, job: Job) -> None:
        """Subtract the generated requests of a job from the budget."""
        if self.execution.budget.left is not None:
            self.execution.budget.grant(_n_generated(job.seen.counts))

    def _retract(self, job: Job) -> None:
        """Subtract the counts of a failed attempt from the progress; its cost stays spent."""
        self._count(job, Done(dict.fromkeys(job.seen.counts, 0), job.seen.cost))

    def _end(self) -> None:
        """Stop the running jobs, store their completions, and remove incomplete files."""
        replicas = [replica for lane in self.lanes for replica in lane.replicas]
        busy = [replica for replica in replicas if replica.jobs]
        for replica in busy:
            replica.actor.stop.options(concurrency_group="aside").remote()
        deadline = time.monotonic() + PATIENCE
        for lane in self.lanes:
            for replica in lane.replicas:
                for ref, job in replica.jobs.items():
                    with suppress(self.ray.exceptions.RayError):
                        done = self.ray.get(ref, timeout=max(deadline - time.monotonic(), 0.1))
                        self._count(job, done)
                        if done.error is None:
                            self._include(job, done)
        self._close(replicas)
        folder = self.execution.folder
        folder.keep_only(TABLES, self._written)
        folder.include_table(LOGS.name)

    def _include(self, job: Job, done: Done) -> None:
        """Add the parts of a completed job to the manifest."""
        self._written.add(job.writer)
        self.execution.folder.include(done.parts)
        self.execution.empty.add(done.empty or {})

    def _close(self, replicas: Sequence[ReplicaState]) -> None:
        """Let the replicas write their logs, and end them."""
        closing = [
            replica.actor.close.options(concurrency_group="aside").remote()
            for replica in replicas
            if replica.ready and not replica.lost
        ]
        if closing:
            self.ray.wait(closing, num_returns=len(closing), timeout=PATIENCE)
        for replica in replicas:
            with suppress(Exception):  # it may have ended already
                self.ray.kill(replica.actor)


def _n_generated(counts: Counts) -> int:
    return sum(count for (_, _, _, event), count in counts.items() if event == "generated")


def _is_transient(error: HelmframeError) -> bool:
    """Return whether a bucket was unreachable; errors of subclasses (missing, denied, broken) are permanent."""
    return type(error) in (SourceError, StoreError)


def _line(error: Exception) -> str:
    """Return the start and the end of Ray's message on one line; the end contains the cause."""
    text = " ".join(redacted(re.sub(r"\x1b\[\d*m", "", str(error))).split())
    return text if len(text) <= 300 else f"{text[:100]} … {text[-200:]}"
