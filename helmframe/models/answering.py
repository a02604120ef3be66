"""How a slice of prompts becomes outcomes: calls, retries of what passes, and batches halved until a bad row is alone.

Everything here is a generator of steps, calls of the model and pauses, that somebody else takes: a worker's thread for
a plain function, a task on the event loop for an async one. What it decides is the same for both.
"""

import contextvars
import logging
import math
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple, Protocol, TypeAlias

from helmframe import config
from helmframe._core.safe_text import error_text, has_traceback, type_name
from helmframe.errors import AnswerError
from helmframe.models.log_context import ASKED, SAID, on_behalf_of
from helmframe.models.model import Answer, Given, Prompt, as_answer, as_answers, as_results, is_plain
from helmframe.models.pace import GoneError, Pace, Ticket
from helmframe.models.retries import is_transient, may_be_one_row, retrying

MAX_ERROR = 500
# A pause is taken in steps, so that one whose callers have gone ends soon.
STEP_SECONDS = 0.05
# A batch whose parts all fail is given up after about 2·log2(n) calls and so many single rows.
SINGLES = 4

logger = logging.getLogger("helmframe.models")

Labels = Callable[[int], dict[str, str]]


class Outcome(NamedTuple):
    """What became of one prompt: an answer or an error; `index` is its place in the prompts asked.

    `latency` (s) is that of the call that answered it (of the last one, if none did); `attempts` counts the calls that
    held it.
    """

    index: int  # type: ignore[assignment]  # shadows a method of tuple that nobody needs here
    answer: Answer | None
    error: str | None
    latency: float
    attempts: int


class Asker(Protocol):
    """Who asked a prompt, as far as answering it matters."""

    @property
    def labels(self) -> Labels:
        """What the log says of each prompt."""

    @property
    def context(self) -> contextvars.Context:
        """Where it was asked from."""

    @property
    def gone(self) -> bool:
        """Nobody waits for the outcomes any more."""

    @property
    def logged(self) -> set[str]:
        """The kinds of errors the log has had."""


Place: TypeAlias = tuple[Asker, int]


class Call(NamedTuple):
    """A step: one call of the model. It is answered with a `Reply`."""

    prompts: Sequence[Prompt]


class Reply(NamedTuple):
    """What came of one call, or of one and its retries: answers or an error, in `seconds`, after so many calls."""

    given: Sequence[Given]
    error: BaseException | None
    seconds: float
    calls: int = 1


Pause: TypeAlias = float
Steps: TypeAlias = Generator[Call | Pause, Reply | None, None]
Replying: TypeAlias = Generator[Call | Pause, Reply | None, Reply | None]


def current_labels() -> dict[str, str]:
    """Scenario, instance_id and model of the request being answered, for log records made inside a model function."""
    places = ASKED.get()
    return places[0][0].labels(places[0][1]) if places else {}


@dataclass
class Answering:
    """One slice being answered: the batches of one model, and where their outcomes go."""

    name: str
    pace: Pace
    outcomes: Mapping[int, list[Outcome]]  # by the id of who asked

    def batch(self, places: Sequence[Place], prompts: Sequence[Prompt]) -> Steps:
        """Every row's outcome, of one batch; those of callers gone may lack."""
        reply = yield from self._once(places, prompts)
        if reply is not None and reply.error is not None:
            reply = yield from self._again(places, prompts, reply)
        if reply is None:
            return
        if reply.error is None:
            self._answered(places, reply, reply.calls)
        elif len(places) > 1 and may_be_one_row(reply.error) and not isinstance(reply.error, GoneError):
            yield from self._isolate(places, prompts, reply)
        else:
            self._failed(places, reply, reply.calls)

    def _isolate(self, places: Sequence[Place], prompts: Sequence[Prompt], first: Reply) -> Steps:
        """Halve a batch that failed, the largest part first, until the rows at fault are alone.

        A bad row costs at most 2·log2(n) + 1 calls. If so many calls in a row have failed, single rows tell whether
        any can be answered: if `SINGLES` more fail, the model is taken to be down, and the rest gets its error.
        """
        again = not is_transient(first.error)
        parts = deque(_halves(0, len(places)))
        spent = [first.calls] * len(places)
        more = failed = 0
        patience = 2 * math.ceil(math.log2(len(places)))
        failures, last = 0, first
        while parts and failures < patience + SINGLES:
            start, stop = parts.popleft()
            if failures >= patience and stop - start > 1:
                # anywhere in the part (steps of the golden ratio): bad rows may come at a regular distance
                single = start + int((stop - start) * (0.618 * failures % 1))
                parts.extend(part for part in ((start, single), (single + 1, stop)) if part[0] < part[1])
                start, stop = single, single + 1
            rows = slice(start, stop)
            reply = yield from self._once(places[rows], prompts[rows])
            if again and reply is not None:
                reply = yield from self._again(places[rows], prompts[rows], reply)
            if reply is None:
                return
            spent[rows] = [calls + reply.calls for calls in spent[rows]]
            more += reply.calls
            if reply.error is None:
                failures = 0
                self._answered(places[rows], reply, spent[start])
            elif isinstance(reply.error, GoneError):
                parts.append((start, stop))
                last = reply
                break
            else:
                failures, last = failures + 1, reply
                if stop - start > 1:
                    parts.extend(_halves(start, stop))
                else:
                    failed += 1
                    self._failed(places[rows], reply, spent[start])
        for start, stop in parts:
            for row in range(start, stop):
                self._failed(places[row : row + 1], last, spent[row])
        failed += sum(stop - start for start, stop in parts)
        # a row at fault tells so itself; where all were answered, or wrongly counted, it was the batch
        if not failed or (failed < len(places) and isinstance(first.error, AnswerError)):
            self._log_halving(places, first.error, more)

    def _again(self, places: Sequence[Place], prompts: Sequence[Prompt], first: Reply) -> Replying:
        """After an error that passes, other calls; None if nobody waits for them any more."""
        reply = first
        if not is_transient(reply.error):
            return reply
        pauses: list[float] = []
        for attempt in retrying(pauses.append):
            if pauses:
                self._log_retry(places[0], reply, pauses[0])
                if not (yield from _wait(pauses.pop(), places)):
                    return None
                found = yield from self._once(places, prompts)
                if found is None:
                    return None
                reply = found._replace(calls=reply.calls + found.calls)
            attempt.retry_state.set_result(reply)
        return reply

    def _once(self, places: Sequence[Place], prompts: Sequence[Prompt]) -> Replying:
        """One call, once the pace allows it."""
        try:
            ticket = self.pace.admit()
            while not isinstance(ticket, Ticket):
                if not (yield from _wait(ticket, places)):
                    return None
                ticket = self.pace.admit()
        except GoneError as error:
            return Reply((), error, 0.0, calls=0)
        ASKED.set(places)
        told = False
        try:
            reply = yield Call(prompts)
            assert reply is not None  # a call is answered with a reply
            if reply.error is None:
                reply = self._counted(reply, len(places))
            self._tell(ticket, reply.error)
            told = True
        finally:
            ASKED.set(())
            if not told:
                self.pace.dropped(ticket)
        return reply

    def _counted(self, reply: Reply, prompts: int) -> Reply:
        """Return the reply with its completions as a list, or with an error where they are not one per prompt."""
        try:
            return reply._replace(given=as_results(reply.given, f"model {self.name!r}", prompts))
        except AnswerError as error:
            return reply._replace(error=error)

    def _tell(self, ticket: Ticket, error: BaseException | None) -> None:
        if error is None:
            self.pace.answered()
        elif is_transient(error):
            self.pace.failed(ticket, error)
        else:
            self.pace.refused(ticket)

    def _answered(self, places: Sequence[Place], reply: Reply, calls: int) -> None:
        outcomes, seconds = self.outcomes, reply.seconds
        if len(places) > 1 and is_plain(reply.given) and all(caller is places[0][0] for caller, _ in places):
            # the usual case, five times as fast: one caller's prompts, and text for each
            indices = [index for _, index in places]
            plain = zip(indices, as_answers(reply.given), repeat(None), repeat(seconds), repeat(calls), strict=False)
            outcomes[id(places[0][0])].extend(map(tuple.__new__, repeat(Outcome), plain))
            return
        for (caller, index), given in zip(places, reply.given, strict=True):
            answer, error = self._read(given, caller, index)
            outcomes[id(caller)].append(Outcome(index, answer, error, seconds, calls))

    def _failed(self, places: Sequence[Place], reply: Reply, calls: int) -> None:
        assert reply.error is not None
        for caller, index in places:
            text = _logged(reply.error, caller, index)
            self.outcomes[id(caller)].append(Outcome(index, None, text, reply.seconds, calls))

    def _read(self, given: Given, caller: Asker, index: int) -> tuple[Answer | None, str | None]:
        if isinstance(given, BaseException):
            return None, _logged(given, caller, index)
        try:
            return as_answer(given, self.name), None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - what is wrong with the completion, or what reading it raises
            return None, _logged(error, caller, index)

    def _log_retry(self, place: Place, reply: Reply, seconds: float) -> None:
        assert reply.error is not None
        labels = place[0].labels(place[1])
        with on_behalf_of(place):
            logger.info("%s; asked again in %.1f s [%s]", _line(reply.error), seconds, _shown(labels), extra=labels)

    def _log_halving(self, places: Sequence[Place], error: BaseException | None, calls: int) -> None:
        """What a batch that failed has cost; shown once a run, for every batch may fail."""
        assert error is not None
        said = _line(error).removeprefix("AnswerError: ").removesuffix(".")
        kind = f"halved {self.name} {type_name(type(error))}"
        for caller, index in {id(place[0]): place for place in reversed(places)}.values():
            labels, before = caller.labels(index), caller.context.get(SAID, caller.logged)
            level = logging.DEBUG if kind in before else logging.WARNING
            before.add(kind)
            with on_behalf_of((caller, index)):
                shown = said, len(places), calls, _shown(labels)
                logger.log(level, "%s; the %d prompts asked again in halves: %d calls more [%s]", *shown, extra=labels)


def _wait(seconds: float, places: Sequence[Place]) -> Generator[Call | Pause, Reply | None, bool]:
    """Whether somebody still waits for these rows after so many seconds."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if all(caller.gone for caller, _ in places):
            return False
        yield min(left, STEP_SECONDS)
    return not all(caller.gone for caller, _ in places)


def _halves(start: int, stop: int) -> list[tuple[int, int]]:
    middle = (start + stop) // 2
    return [(start, middle), (middle, stop)]


def _logged(error: BaseException, caller: Asker, index: int) -> str:
    """Return the error as one line, and log it.

    The log has the traceback of the first error of a kind that a caller meets, where user code raised it. That a model
    is gone is logged once for each caller, for it is no fault of the row.
    """
    text, gone = _line(error), isinstance(error, GoneError)
    origin = [] if gone else traceback.extract_tb(error.__traceback__)[-1:]
    kind = f"{type_name(type(error))} {[(each.filename, each.lineno) for each in origin]}"
    is_new = kind not in caller.logged
    caller.logged.add(kind)
    if is_new or not gone:
        labels = caller.labels(index)
        # a batch may hold prompts of several runs: the record is of the one that asked this
        with on_behalf_of((caller, index)):
            by_user = not isinstance(error, GoneError | AnswerError)
            details = error if is_new and by_user and has_traceback(error) else None
            # The first of its kind is shown; all are in the run's log and in the rows.
            level = logging.WARNING if is_new else logging.INFO
            logger.log(level, "%s [%s]", text, _shown(labels), exc_info=details, extra=labels)
    return text


def _line(error: BaseException) -> str:
    text = f"ConnectionError: {error}" if isinstance(error, GoneError) else error_text(error)
    # without secrets before it is cut: half a secret is not found any more
    return " ".join(config.redacted(text).split()).removesuffix(":")[:MAX_ERROR]


def _shown(labels: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in labels.items())
