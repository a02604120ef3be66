"""The tests in their sandbox, where they see the program's values, but not its objects, code or process."""

import ast
import builtins
import json
import math
import os
import symtable
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

from helmframe.sandbox.child.wire import (
    TYPES,
    BrokenWireError,
    confine,
    decode,
    encode,
    job_of,
    module_namespace,
    ready,
    receive,
    send,
    silence,
)


def main(confinement: str, job: str, started: str, requests: str, replies: str, verdict: str) -> None:
    """Run the tests of the job against the program, and write the verdict: whether it passed, and the reason."""
    confine(confinement)
    work = job_of(int(job))
    silence(0, 1, 2)
    ready(int(started))
    program = Program(int(requests), int(replies))
    reason = judged(program, work)
    with os.fdopen(int(verdict), "wb") as file:
        file.write(json.dumps({"passed": reason == "", "reason": reason[:2000]}).encode())
    os._exit(0)


class Program:
    """The program at the other end of the pipes."""

    def __init__(self, requests: int, replies: int) -> None:
        self._requests = os.fdopen(requests, "wb")
        self._replies = os.fdopen(replies, "rb")
        self.may_stop_iteration = False
        self.broken = ""
        self.uses = 0

    def loaded(self) -> None:
        """Wait until the program is loaded.

        Raises:
            Exception: The program raised it while it was loaded.
        """
        self._reply()

    def value_of(self, name: str) -> Any:
        """Return the program's value of a name.

        Raises:
            KeyError: The program has no such name.
        """
        return self.send({"name": name})

    def select(self, names: Iterable[str], at_most: int | None = None) -> dict[str, Any]:
        """Return the program's values of those names that it has, at most `at_most`."""
        values: dict[str, Any] = {}
        for name in names:
            if len(values) == at_most:
                break
            with suppress(KeyError):
                values[name] = self.value_of(name)
        return values

    def send(self, request: dict[str, Any]) -> Any:
        """Send a request, and return the program's value, or raise the program's exception."""
        if self.broken:
            raise BrokenWireError(self.broken)
        try:
            send(self._requests, request)
        except OSError:
            raise self._broke("ended early") from None
        # fetching a function doesn't count as its use
        self.uses += "call" in request
        value = self._reply()
        self.uses += not isinstance(value, Remote | ModuleType)
        return value

    def _reply(self) -> Any:
        try:
            reply = receive(self._replies)
            value = decode(reply.get("value"), lambda number: Remote(self, int(number)))
        except BrokenWireError as error:
            raise self._broke(str(error)) from None
        if "error" in reply:
            raised = _as_exception(str(reply["error"]), str(reply.get("text")))
            # StopIteration would end `all(map(f, …))` early, which would pass without further comparisons
            if isinstance(raised, StopIteration) and not self.may_stop_iteration:
                raise RuntimeError(f"StopIteration: {raised}")
            raise raised
        return value

    def _broke(self, reason: str) -> BrokenWireError:
        self.broken = reason
        return BrokenWireError(reason)


class Remote:
    """A reference to an object of the program, which can be called, iterated and passed back."""

    def __init__(self, program: Program, number: int) -> None:
        self._program = program
        self.number = number

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self._program.send(
            {
                "call": self.number,
                "args": encode(args, _reference_number),
                "keywords": encode(keywords, _reference_number),
            }
        )

    def __bool__(self) -> bool:
        return bool(self._program.send({"truth": self.number}))

    def __len__(self) -> int:
        return int(self._program.send({"length": self.number}))

    def __iter__(self) -> Iterator[Any]:
        iterator = self._program.send({"iterate": self.number})
        while values := self._program.send({"next": iterator.number}):
            yield values[0][1]


def judged(program: Program, work: dict[str, Any]) -> str:
    """Return the reason why the program does not pass; "" if it passes.

    Args:
        program: The program at the other end of the pipes.
        work: The job: `call`, `arguments` and `expected`, as in `run_call`; or `setup`, `tests` and `entry_point`, as
            in `run_tests`.
    """
    try:
        program.loaded()
        if "call" in work:
            arguments, expected = _with_int_keys(work["arguments"]), _with_int_keys(work["expected"])
            if not _equal(program.value_of(work["call"])(*arguments), expected):
                return "the call returned another value"
        else:
            _run_tests(program, work["setup"], work["tests"], work["entry_point"])
    except BaseException as error:  # noqa: BLE001 - any exception fails the tests
        return f"the program {program.broken}" if program.broken else f"{type(error).__name__}: {error}"
    # a test may suppress all exceptions, but not this one
    if program.broken:
        return f"the program {program.broken}"
    return "" if program.uses > 0 else "the tests never used the program"


def _run_tests(program: Program, setup: str, tests: str, entry_point: str) -> None:
    """Run the tests.

    Args:
        program: The program at the other end of the pipes.
        setup: The source of helpers for the tests. It has no access to names of the program.
        tests: The source of a module that defines `check(candidate)`, or asserts.
        entry_point: The function that `check` receives; "": the tests call the program's functions by name.

    Raises:
        Exception: The tests fail.
    """
    names = module_namespace("tests")
    exec(compile(setup, "setup.py", "exec"), names)  # noqa: S102 - the purpose of this module
    read, defined = _global_names(tests)
    program.may_stop_iteration = "StopIteration" in read
    candidate = program.value_of(entry_point) if entry_point else None
    if entry_point:
        names[entry_point] = candidate
    free = read - defined - names.keys()
    imported = program.select(sorted(free - vars(builtins).keys()))
    if not entry_point and not imported:
        imported = program.select(_tested_builtins(tests, free), at_most=1)
    names.update(imported)
    exec(compile(tests, "tests.py", "exec"), names)  # noqa: S102
    if entry_point and "check" in defined:
        names["check"](candidate)


def _global_names(tests: str) -> tuple[set[str], set[str]]:
    """Return the global names that the tests read, and the global names that they define."""
    read, defined = set(), set()
    tables = [symtable.symtable(tests, "tests.py", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            of_module = table.get_type() == "module" and symbol.is_local()
            if of_module or (symbol.is_declared_global() and symbol.is_assigned()):
                defined.add(symbol.get_name())
            if symbol.is_global() and symbol.is_referenced():
                read.add(symbol.get_name())
    return read, defined


def _tested_builtins(tests: str, free: set[str]) -> list[str]:
    """Return the builtin names that every assert calls, the innermost and leftmost first.

    For `assert set(sum([1], [2])) == {1, 2}` these are "sum" and "set".
    """
    asserts = [node.test for node in ast.walk(ast.parse(tests)) if isinstance(node, ast.Assert)]
    calls = [[node for node in ast.walk(test) if isinstance(node, ast.Call)] for test in asserts]
    in_every = [{call.func.id for call in group if isinstance(call.func, ast.Name)} for group in calls]
    names = set.intersection(free & vars(builtins).keys(), *in_every) if in_every else set()
    order: dict[str, tuple[bool, int, int]] = {}
    for call in (call for group in calls for call in group):
        if isinstance(call.func, ast.Name) and call.func.id in names:
            inner = [node for part in (*call.args, *call.keywords) for node in ast.walk(part)]
            wraps = any(isinstance(node, ast.Name) and node.id in names - {call.func.id} for node in inner)
            earlier = order.get(call.func.id, (False, call.lineno, call.col_offset))
            order[call.func.id] = (earlier[0] or wraps, *min(earlier[1:], (call.lineno, call.col_offset)))
    return sorted(order, key=order.__getitem__)


def _equal(value: Any, expected: Any) -> bool:
    """Return whether the value of a call equals the expected JSON value, by the rules of `run_call`."""
    value, expected = _as_json(value), _as_json(expected)
    # in lists, because equal objects in lists are equal, and `_as_json` returns one object for NaN
    return [value] == [expected] or [[value]] == [expected]


def _with_int_keys(value: Any) -> Any:
    """Return the value with integer keys, if all keys are integers, in a dict or in the first dict of a list."""
    if isinstance(value, list):
        return [*map(_with_int_keys, value[:1]), *value[1:]] if value and isinstance(value[0], dict) else value
    if isinstance(value, dict):
        with suppress(ValueError):
            return {int(key): item for key, item in value.items()}
    return value


def _as_json(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    return math.nan if isinstance(value, float) and math.isnan(value) else value


def _reference_number(value: Any) -> Any:
    if isinstance(value, Remote):
        return value.number
    if isinstance(value, type) and TYPES.get(value.__name__) is value:
        return ["type", value.__name__]
    raise TypeError(f"the tests pass a {type(value).__name__}, but only plain values can be passed to the program")


def _as_exception(name: str, text: str) -> Exception:
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(text)
        except TypeError:  # UnicodeDecodeError and others need more arguments
            return ValueError(f"{name}: {text}")
    return RuntimeError(f"{name}: {text}")
