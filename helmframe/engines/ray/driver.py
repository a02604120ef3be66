"""The loop of a run on a cluster: gives spans out, takes counts in, and has what was lost done again."""

import logging
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from helmframe._pipeline import instance_keys
from helmframe._schema import LOGS
from helmframe.config import redacted
from helmframe.engines.local import Execution
from helmframe.engines.ray.replica import Counts, Done, Hello
from helmframe.engines.ray.replica_state import Job, Lane, Up, neediest
from helmframe.errors import CapabilityError, HelmframeError, PlanError, SourceError, SourceMissingError, StoreError
from helmframe.models.interrupts import PATIENCE
from helmframe.scenarios.spans import Span

POLL_SECONDS = 0.2
NEWS_SECONDS = 1.0
# Replicas that end before they are up, one after the other, until that is an error.
FALSE_STARTS = 3
# Replicas lost with a job until it is halved, or, where it is one instance, given up.
DEATHS = 2
# Seconds until a span is done again whose bucket could not be reached; a replica has tried for a while by then.
WAITS = (2.0, 5.0, 10.0, 20.0)
# What replicas write of a run.
TABLES = ("prefixes", "completions", "verdicts", "scores")

logger = logging.getLogger("helmframe.engines")


@dataclass(eq=False)
class Driver:
    """One run being driven.

    Args:
        ray: the package, connected.
        lanes: by model.
        execution: whose run it is.
        about: its manifest.
    """

    ray: Any
    lanes: Sequence[Lane]
    execution: Execution
    about: dict[str, Any]
    _written: set[str] = field(default_factory=set)  # by the writers of jobs that were done to their end
    _asked: dict[Any, Up] = field(default_factory=dict)  # for news, by what Ray will give
    _told: float = field(default_factory=time.monotonic)

    def go(self) -> None:
        """Until all is done, the budget is spent, or something is met that ends the run."""
        stopped = self.execution.budget.stopped
        try:
            while not stopped.is_set() and any(lane.backlog or lane.busy for lane in self.lanes):
                self._staff()
                self._give_out()
                self._take_in(POLL_SECONDS)
                self._ask_news()
        except KeyboardInterrupt:
            stopped.set()
            raise
        finally:
            self._end()

    def _staff(self) -> None:
        """As many replicas as the spans that wait can use."""
        while (lane := neediest(self.lanes)) is not None:
            lane.start()
        for each in self.lanes:
            each.tell_slow()
            # what nobody needs any more makes room for others
            idle = [replica for replica in each.replicas if not replica.jobs and (replica.gone or not each.backlog)]
            for replica in idle:
                each.replicas.remove(replica)
                self._close([replica])

    def _give_out(self) -> None:
        left = self.execution.budget.left
        for lane in self.lanes:
            if not left or not any(each.busy for each in self.lanes):
                lane.give_out(left)

    def _take_in(self, seconds: float) -> None:
        """What has come from replicas; waits so long for the first."""
        up = {each.hello: (lane, each) for lane in self.lanes for each in lane.replicas if not each.ready}
        doing = {ref: (lane, each) for lane in self.lanes for each in lane.replicas for ref in each.jobs}
        awaited = [*up, *doing, *self._asked]
        if not awaited:
            time.sleep(seconds)
            return
        came, _ = self.ray.wait(awaited, num_returns=1, timeout=seconds)
        if came:
            came, _ = self.ray.wait(awaited, num_returns=len(awaited), timeout=0)
        for ref in came:
            if ref in up:
                self._came_up(*up[ref])
            elif ref in self._asked:
                self._heard(self._asked.pop(ref), ref)
            else:
                self._did(*doing[ref], ref)

    def _came_up(self, lane: Lane, replica: Up) -> None:
        try:
            said = self.ray.get(replica.hello)
        except self.ray.exceptions.RayTaskError as error:
            raise HelmframeError(f"a replica of {lane.model.name} can't start: {error}") from None
        except self.ray.exceptions.RayError as error:
            ended = f"replicas of {lane.model.name} end before they are up: {_line(error)}"
            self._false_start(lane, replica, HelmframeError(ended))
            return
        if isinstance(said, HelmframeError):
            if not _may_pass(said):
                raise said
            self._false_start(lane, replica, said)
            return
        assert isinstance(said, Hello)
        lane.false_starts = 0
        replica.ready = True
        ours = self.about["versions"]["helmframe"]
        if said.version != ours:
            raise PlanError(f"{said.host} has helmframe {said.version}, and here is {ours}; install the same on both.")
        logger.info("a replica of %s is up on %s, process %d", lane.model.name, said.host, said.process)

    def _false_start(self, lane: Lane, replica: Up, error: HelmframeError) -> None:
        lane.replicas.remove(replica)
        self._close([replica])
        lane.false_starts += 1
        if lane.false_starts >= FALSE_STARTS:
            raise error
        logger.warning("%s", error)

    def _did(self, lane: Lane, replica: Up, ref: Any) -> None:
        job = replica.jobs.pop(ref)
        try:
            done: Done = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            raise HelmframeError(f"a span of {lane.model.name} can't be done: {error}") from None
        except self.ray.exceptions.RayError as error:
            self._lost(lane, replica, job, error)
            return
        self._count(job, done)
        self._charge(job)
        if done.error is not None:
            self._met(lane, job, done.error)
            return
        self._keep(job, done)

    def _met(self, lane: Lane, job: Job, error: HelmframeError) -> None:
        """An error that a span met: a bucket is asked again later; of a suite some are listed, and the rest goes on."""
        if _may_pass(error) and job.unreachable < len(WAITS):
            wait = WAITS[job.unreachable]
            logger.warning("%s A span is done again in %.0f s.", error, wait)
            self._retract(job)
            lane.put_back(replace(job, unreachable=job.unreachable + 1, after=time.monotonic() + wait))
            return
        if len(self.execution.plans) == 1 or not isinstance(error, CapabilityError | SourceMissingError):
            raise error
        self._retract(job)
        lane.waiting[job.work].clear()
        if job.work not in lane.left_out:
            lane.left_out.add(job.work)
            scenario = lane.work[job.work][1].spec.scenario
            self.about["left_out"].append({"scenario": scenario, "model": lane.model.name, "reason": str(error)})

    def _lost(self, lane: Lane, replica: Up, job: Job, error: Exception) -> None:
        """A replica has ended with this job: another one does it. One that ends them all is halved till it is alone."""
        if not replica.gone:
            replica.gone = True  # it stays in its lane until all of its jobs are known to be lost or done
            with suppress(Exception):  # it may be there still, and only out of reach
                self.ray.kill(replica.actor)
            logger.warning("a replica of %s was lost, its spans are done again: %s", lane.model.name, _line(error))
        self._charge(job)
        self._retract(job)
        again = replace(job, deaths=job.deaths + 1)
        if again.deaths < DEATHS:
            lane.put_back(again)
        elif job.span.rows > 1:
            for half in self._halves(lane, job):
                lane.put_back(replace(job, span=half, deaths=DEATHS - 1))
        else:
            why = f"the process that asked this ended, and so did {again.deaths - 1} before it: {_line(error)}"
            lane.put_back(replace(again, refused=why))

    def _halves(self, lane: Lane, job: Job) -> list[Span]:
        plan, task = lane.work[job.work]
        keys = instance_keys(replace(plan, span=job.span), task.spec) if job.span.keys is None else job.span.keys
        keys = keys.sort("subset", "row_index")
        middle = keys.height // 2
        return [Span.of(half) for half in (keys.head(middle), keys.slice(middle))]

    def _ask_news(self) -> None:
        """Now and then, how far the spans under way are."""
        if time.monotonic() - self._told < NEWS_SECONDS:
            return
        self._told = time.monotonic()
        awaited = set(map(id, self._asked.values()))
        for lane in self.lanes:
            for replica in lane.replicas:
                if replica.ready and not replica.gone and replica.jobs and id(replica) not in awaited:
                    ref = replica.actor.news.options(concurrency_group="aside").remote()
                    self._asked[ref] = replica

    def _heard(self, replica: Up, ref: Any) -> None:
        with suppress(self.ray.exceptions.RayError):  # what is lost with a job shows where the job is awaited
            news: dict[str, Done] = self.ray.get(ref)
            for job in replica.jobs.values():
                if job.writer in news:
                    self._count(job, news[job.writer])

    def _count(self, job: Job, done: Done) -> None:
        """Add what is new to the progress of the run, and to its cost."""
        progress, before = self.execution.progress, job.seen.counts
        for key, count in done.counts.items():
            kind, scenario, name, what = key
            more = count - before.get(key, 0)
            if more:
                (progress.reporter if kind == "model" else progress.judging)(scenario, name)(what, more)
        self.execution.budget.paid(done.cost - job.seen.cost)
        job.seen = done

    def _charge(self, job: Job) -> None:
        """Take what was asked off what may be."""
        if self.execution.budget.left is not None:
            self.execution.budget.grant(_asked(job.seen.counts))

    def _retract(self, job: Job) -> None:
        """Take back what was counted of an attempt that came to nothing. What it cost is spent."""
        self._count(job, Done(dict.fromkeys(job.seen.counts, 0), job.seen.cost))

    def _end(self) -> None:
        """Stop what is under way, keep what it was answered, and leave nothing half written."""
        replicas = [each for lane in self.lanes for each in lane.replicas]
        busy = [each for each in replicas if each.jobs]
        for each in busy:
            each.actor.stop.options(concurrency_group="aside").remote()
        until = time.monotonic() + PATIENCE
        for lane in self.lanes:
            for replica in lane.replicas:
                for ref, job in replica.jobs.items():
                    with suppress(self.ray.exceptions.RayError):
                        done = self.ray.get(ref, timeout=max(until - time.monotonic(), 0.1))
                        self._count(job, done)
                        if done.error is None:
                            self._keep(job, done)
        self._close(replicas)
        folder = self.execution.folder
        folder.keep_only(TABLES, self._written)
        folder.include_table(LOGS.name)

    def _keep(self, job: Job, done: Done) -> None:
        """Keep what a job wrote that was done to its end: its parts are listed in the manifest."""
        self._written.add(job.writer)
        self.execution.folder.include(done.parts)
        self.execution.empty.add(done.empty or {})

    def _close(self, replicas: Sequence[Up]) -> None:
        """Let their logs be written, and end them."""
        closing = [
            each.actor.close.options(concurrency_group="aside").remote()
            for each in replicas
            if each.ready and not each.gone
        ]
        if closing:
            self.ray.wait(closing, num_returns=len(closing), timeout=PATIENCE)
        for each in replicas:
            with suppress(Exception):  # one that is gone is what is wanted
                self.ray.kill(each.actor)


def _asked(counts: Counts) -> int:
    return sum(count for (_, _, _, what), count in counts.items() if what == "generated")


def _may_pass(error: HelmframeError) -> bool:
    """Whether a bucket was out of reach. Its kinds, what is missing, denied or broken, are no better a moment later."""
    return type(error) in (SourceError, StoreError)


def _line(error: Exception) -> str:
    """What Ray says, on a line: its start, and its end, where the cause stands."""
    text = " ".join(redacted(re.sub(r"\x1b\[\d*m", "", str(error))).split())
    return text if len(text) <= 300 else f"{text[:100]} … {text[-200:]}"
