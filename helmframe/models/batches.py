"""Run a batch of prompts: call the model, retry transient errors, and halve failed batches to isolate bad rows.

The functions are generators of steps: calls of the model, and pauses. A thread takes the steps for a sync function, and
a task on the event loop for an async function. So both follow the same rules.
"""

import logging
import math
import time
import traceback
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple, TypeAlias

from helmframe import config
from helmframe._core.safe_text import error_text, get_logger, has_traceback, type_name
from helmframe.errors import AnswerError, ImageError
from helmframe.models import endpoint_client
from helmframe.models.callers import (
    CURRENT_REQUESTS,
    LOGGED_WARNINGS,
    Outcome,
    PromptRef,
    Requester,
    on_behalf_of,
)
from helmframe.models.model import Prompt, Response, as_completion, as_completions, as_results, is_plain
from helmframe.models.pace import ModelDownError, Pace, Ticket
from helmframe.models.retries import is_transient, may_be_one_row, retrying

MAX_ERROR = 500
# A pause is taken in steps of this length, so that it ends soon after all callers have left.
STEP_SECONDS = 0.05
# A batch whose parts all fail is given up after about 2·log2(n) calls, and after this number of single rows.
SINGLES = 4

logger = get_logger("helmframe.models")


class Call(NamedTuple):
    """A step that calls the model; the generator receives a `Reply` for it."""

    prompts: Sequence[Prompt]


class Reply(NamedTuple):
    """The result of a call and its retries: responses or an error, the seconds of the last call, and the calls."""

    responses: Sequence[Response]
    error: BaseException | None
    seconds: float
    calls: int = 1


Pause: TypeAlias = float
Steps: TypeAlias = Generator[Call | Pause, Reply | None, None]
CallSteps: TypeAlias = Generator[Call | Pause, Reply | None, Reply | None]


@dataclass
class BatchRunner:
    """A runner of the batches in one slice, and the lists that receive their outcomes."""

    name: str
    pace: Pace
    outcomes: Mapping[int, list[Outcome]]  # by the id of the caller

    def run(self, refs: Sequence[PromptRef], prompts: Sequence[Prompt]) -> Steps:
        """Run one batch, and add the outcome of every row; outcomes of cancelled callers may be missing."""
        reply = yield from self._call_once(refs, prompts)
        if reply is not None and reply.error is not None:
            reply = yield from self._retry(refs, prompts, reply)
        if reply is None:
            return
        if reply.error is None:
            self._succeed(refs, reply, reply.calls)
        elif len(refs) > 1 and may_be_one_row(reply.error) and not isinstance(reply.error, ModelDownError):
            yield from self._isolate(refs, prompts, reply)
        else:
            self._fail(refs, reply, reply.calls)

    def _isolate(self, refs: Sequence[PromptRef], prompts: Sequence[Prompt], first: Reply) -> Steps:
        """Halve a failed batch, the largest part first, until the bad rows are isolated.

        A bad row costs at most 2·log2(n) + 1 calls. After this number of consecutive failures, single rows are tried.
        If `SINGLES` more calls fail, the remaining rows get the last error.
        """
        retries = not is_transient(first.error)
        parts = deque(_halves(0, len(refs)))
        spent = [first.calls] * len(refs)
        n_calls = n_failed = 0
        patience = 2 * math.ceil(math.log2(len(refs)))
        failures, last = 0, first
        while parts and failures < patience + SINGLES:
            start, stop = parts.popleft()
            if failures >= patience and stop - start > 1:
                # at a position by the golden ratio, because bad rows may occur at regular distances
                single = start + int((stop - start) * (0.618 * failures % 1))
                parts.extend(part for part in ((start, single), (single + 1, stop)) if part[0] < part[1])
                start, stop = single, single + 1
            rows = slice(start, stop)
            reply = yield from self._call_once(refs[rows], prompts[rows])
            if retries and reply is not None:
                reply = yield from self._retry(refs[rows], prompts[rows], reply)
            if reply is None:
                return
            spent[rows] = [calls + reply.calls for calls in spent[rows]]
            n_calls += reply.calls
            if reply.error is None:
                failures = 0
                self._succeed(refs[rows], reply, spent[start])
            elif isinstance(reply.error, ModelDownError):
                parts.append((start, stop))
                last = reply
                break
            else:
                failures, last = failures + 1, reply
                if stop - start > 1:
                    parts.extend(_halves(start, stop))
                else:
                    n_failed += 1
                    self._fail(refs[rows], reply, spent[start])
        for start, stop in parts:
            for row in range(start, stop):
                self._fail(refs[row : row + 1], last, spent[row])
        n_failed += sum(stop - start for start, stop in parts)
        # bad rows log their own errors; this warning is about a batch that fails although its rows succeed
        if not n_failed or (n_failed < len(refs) and isinstance(first.error, AnswerError)):
            self._log_halving(refs, first.error, n_calls)

    def _retry(self, refs: Sequence[PromptRef], prompts: Sequence[Prompt], first: Reply) -> CallSteps:
        """Retry a transient error, and return the last reply; None if all callers have left."""
        reply = first
        if not is_transient(reply.error):
            return reply
        pauses: list[float] = []
        for attempt in retrying(pauses.append):
            if pauses:
                self._log_retry(refs[0], reply, pauses[0])
                if not (yield from _wait(pauses.pop(), refs)):
                    return None
                retried = yield from self._call_once(refs, prompts)
                if retried is None:
                    return None
                reply = retried._replace(calls=reply.calls + retried.calls)
            attempt.retry_state.set_result(reply)
        return reply

    def _call_once(self, refs: Sequence[PromptRef], prompts: Sequence[Prompt]) -> CallSteps:
        """Call the model once the pace allows it; return None if all callers have left."""
        try:
            ticket = self.pace.admit()
            while not isinstance(ticket, Ticket):
                if not (yield from _wait(ticket, refs)):
                    return None
                ticket = self.pace.admit()
        except ModelDownError as error:
            return Reply((), error, 0.0, calls=0)
        CURRENT_REQUESTS.set(refs)
        reported = False
        try:
            reply = yield Call(prompts)
            assert reply is not None  # every call receives a reply
            if reply.error is None:
                reply = self._validated(reply, len(refs))
            self._report(ticket, reply.error)
            reported = True
        finally:
            CURRENT_REQUESTS.set(())
            if not reported:
                self.pace.dropped(ticket)
        return reply

    def _validated(self, reply: Reply, prompts: int) -> Reply:
        """Return the reply with its responses as a list, or with an error if there isn't one response per prompt."""
        try:
            return reply._replace(responses=as_results(reply.responses, f"Model {self.name!r}", prompts))
        except AnswerError as error:
            return reply._replace(error=error)

    def _report(self, ticket: Ticket, error: BaseException | None) -> None:
        if error is None:
            self.pace.succeeded()
        elif is_transient(error):
            self.pace.failed(ticket, error)
        else:
            self.pace.refused(ticket)

    def _succeed(self, refs: Sequence[PromptRef], reply: Reply, calls: int) -> None:
        outcomes, seconds = self.outcomes, reply.seconds
        if len(refs) > 1 and is_plain(reply.responses) and all(caller is refs[0][0] for caller, _ in refs):
            # five times as fast, for the usual case: prompts of one caller, and text responses
            indices = [index for _, index in refs]
            plain = zip(
                indices,
                as_completions(reply.responses),
                repeat(None),
                repeat(seconds),
                repeat(calls),
                repeat(False),  # noqa: FBT003 - a value per outcome
                strict=False,
            )
            outcomes[id(refs[0][0])].extend(map(tuple.__new__, repeat(Outcome), plain))
            return
        for (caller, index), response in zip(refs, reply.responses, strict=True):
            outcomes[id(caller)].append(self._read(response, caller, index, seconds, calls))

    def _fail(self, refs: Sequence[PromptRef], reply: Reply, calls: int) -> None:
        assert reply.error is not None
        for caller, index in refs:
            self.outcomes[id(caller)].append(fail(reply.error, caller, index, reply.seconds, calls))

    def _read(self, response: Response, caller: Requester, index: int, seconds: float, calls: int) -> Outcome:
        if isinstance(response, BaseException):
            return fail(response, caller, index, seconds, calls)
        try:
            return Outcome(index, as_completion(response, self.name), None, seconds, calls)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - an invalid completion, or an error while reading it
            return fail(error, caller, index, seconds, calls)

    def _log_retry(self, ref: PromptRef, reply: Reply, seconds: float) -> None:
        assert reply.error is not None
        labels = ref[0].labels(ref[1])
        with on_behalf_of(ref):
            logger.info("%s; retried in %.1f s [%s]", _line(reply.error), seconds, _label_text(labels), extra=labels)

    def _log_halving(self, refs: Sequence[PromptRef], error: BaseException | None, calls: int) -> None:
        """Log the extra calls for a failed batch; warn once per run, because every batch may fail."""
        assert error is not None
        message = _line(error).removeprefix("AnswerError: ").removesuffix(".")
        kind = f"halved {self.name} {type_name(type(error))}"
        for caller, index in {id(ref[0]): ref for ref in reversed(refs)}.values():
            labels, logged = caller.labels(index), caller.context.get(LOGGED_WARNINGS, caller.logged)
            level = logging.DEBUG if kind in logged else logging.WARNING
            logged.add(kind)
            with on_behalf_of((caller, index)):
                shown = message, len(refs), calls, _label_text(labels)
                logger.log(level, "%s; retried the %d prompts in halves: %d more calls [%s]", *shown, extra=labels)


def fail(error: BaseException, caller: Requester, index: int, seconds: float | None, calls: int = 1) -> Outcome:
    """Log an error, and return it as the outcome of a prompt."""
    is_permanent = not is_transient(error) and not isinstance(error, ModelDownError | ImageError)
    return Outcome(index, None, _log_error(error, caller, index), seconds, calls, is_permanent)


def _wait(seconds: float, refs: Sequence[PromptRef]) -> Generator[Call | Pause, Reply | None, bool]:
    """Wait, and return whether any caller still waits for these rows."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if all(caller.cancelled for caller, _ in refs):
            return False
        yield min(left, STEP_SECONDS)
    return not all(caller.cancelled for caller, _ in refs)


def _halves(start: int, stop: int) -> list[tuple[int, int]]:
    middle = (start + stop) // 2
    return [(start, middle), (middle, stop)]


def _log_error(error: BaseException, caller: Requester, index: int) -> str:
    """Log an error, and return it as one line.

    The first error of each kind and run is logged with its traceback, if user code raised it. The traceback of a
    server's error is logged at level DEBUG. The error that a model is down is logged once per caller, because no row is
    at fault.
    """
    text, is_down = _line(error), isinstance(error, ModelDownError)
    origin = [] if is_down else traceback.extract_tb(error.__traceback__)[-1:]
    kind = f"{type_name(type(error))} {[(frame.filename, frame.lineno) for frame in origin]}"
    logged = caller.logged if is_down else caller.context.get(LOGGED_WARNINGS, caller.logged)
    is_new = kind not in logged
    logged.add(kind)
    if is_new or not is_down:
        labels = caller.labels(index)
        # the record belongs to the run of this prompt; a batch may contain prompts of several runs
        with on_behalf_of((caller, index)):
            by_server = bool(origin) and origin[0].filename == endpoint_client.__file__
            by_user = not isinstance(error, ModelDownError | AnswerError | ImageError)
            trace = error if is_new and by_user and has_traceback(error) else None
            details = None if by_server else trace
            # only the first error of a kind is shown; the run's log and the rows contain all errors
            level = logging.WARNING if is_new else logging.INFO
            logger.log(level, "%s [%s]", text, _label_text(labels), exc_info=details, extra=labels)
            if by_server and trace is not None:
                logger.debug("traceback of: %s", text, exc_info=trace, extra=labels)
    return text


def _line(error: BaseException) -> str:
    text = f"ConnectionError: {error}" if isinstance(error, ModelDownError) else error_text(error)
    # redacted before truncation, because half a secret is not detected
    return " ".join(config.redacted(text).split()).removesuffix(":")[:MAX_ERROR]


def _label_text(labels: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in labels.items())
