"""The tests, in a sandbox of their own: they see the program's values and never its objects, code or process."""

import ast
import builtins
import json
import os
from collections.abc import Iterator
from typing import Any

from helmframe.metrics.inside.confine import confine, job_of, ready, silence
from helmframe.metrics.inside.wire import BrokenWireError, decode, encode, receive, send


def main(said: str, job: str, started: str, requests: str, replies: str, verdict: str) -> None:
    """Run the tests of the job against the program at the other end and write the verdict: passed, and why not."""
    confine(said)
    wanted = job_of(int(job))
    silence(0, 1, 2)
    ready(int(started))
    program = Program(int(requests), int(replies))
    reason = judged(program, wanted["setup"], wanted["tests"], wanted["entry_point"])
    with os.fdopen(int(verdict), "wb") as file:
        file.write(json.dumps({"passed": reason == "", "reason": reason[:2000]}).encode())
    os._exit(0)


class Program:
    """The program at the other end of the wire."""

    def __init__(self, requests: int, replies: int) -> None:
        self._requests = os.fdopen(requests, "wb")
        self._replies = os.fdopen(replies, "rb")
        self.broken = ""
        self.uses = 0

    def loaded(self) -> None:
        """Wait until the program is loaded.

        Raises:
            Exception: what it raised instead.
        """
        self._reply()

    def named(self, name: str) -> Any:
        """The program's value of this name.

        Raises:
            KeyError: it has none.
        """
        return self.ask({"name": name})

    def ask(self, request: dict[str, Any]) -> Any:
        """What the program answers; where it raised, the same of Python's own exceptions."""
        if self.broken:
            raise BrokenWireError(self.broken)
        try:
            send(self._requests, request)
        except OSError:
            raise self._broke("it ended") from None
        # to have a function is no use of it yet
        self.uses += "call" in request
        value = self._reply()
        self.uses += not isinstance(value, Remote)
        return value

    def _reply(self) -> Any:
        try:
            reply = receive(self._replies)
            value = decode(reply.get("value"), lambda number: Remote(self, int(number)))
        except BrokenWireError as error:
            raise self._broke(str(error)) from None
        if "error" in reply:
            raise _raised(str(reply["error"]), str(reply.get("text")))
        return value

    def _broke(self, why: str) -> BrokenWireError:
        self.broken = why
        return BrokenWireError(why)


class Remote:
    """An object of the program: to be called, walked through or handed back; equal to itself alone."""

    def __init__(self, program: Program, number: int) -> None:
        self._program = program
        self.number = number

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self._program.ask(
            {"call": self.number, "args": encode(args, _number), "keywords": encode(keywords, _number)}
        )

    def __iter__(self) -> Iterator[Any]:
        iterator = self._program.ask({"iterate": self.number})
        while found := self._program.ask({"next": iterator.number}):
            yield found[0][1]


def judged(program: Program, setup: str, tests: str, entry_point: str) -> str:
    """Why the program does not pass; empty where it does.

    Args:
        program: the program at the other end.
        setup: what the tests may use besides the program: run here, by no name of the program.
        tests: a module that defines `check(candidate)`, or one that asserts.
        entry_point: what `check` is given; "": the tests call the program's functions by name.
    """
    try:
        program.loaded()
        names: dict[str, Any] = {"__name__": "tests"}
        exec(compile(setup, "setup.py", "exec"), names)  # noqa: S102 - what we are here for
        if entry_point:
            names[entry_point] = program.named(entry_point)
        for name in sorted(_free(tests) - names.keys()):
            try:
                names[name] = program.named(name)
            except KeyError:
                continue
        exec(compile(tests, "tests.py", "exec"), names)  # noqa: S102
        if entry_point and "check" in names:
            names["check"](names[entry_point])
    except BaseException as error:  # noqa: BLE001 - whatever stops the tests is a failure of them
        return f"the program: {program.broken}" if program.broken else f"{type(error).__name__}: {error}"
    # a test that swallows every exception must not swallow this
    if program.broken:
        return f"the program: {program.broken}"
    return "" if program.uses > 0 else "the tests never used the program"


def _free(tests: str) -> set[str]:
    """The names that the tests use and neither define nor have from Python."""
    used: set[str] = set()
    own = set(dir(builtins))
    for node in ast.walk(ast.parse(tests)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else own).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.arg):
            own.add(node.arg)
        elif isinstance(node, ast.alias):
            own.add((node.asname or node.name).partition(".")[0])
    return used - own


def _number(value: Any) -> int:
    if isinstance(value, Remote):
        return value.number
    raise TypeError(f"the tests hand over a {type(value).__name__}, which can't go to another process")


def _raised(name: str, text: str) -> Exception:
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(text)
        except TypeError:  # UnicodeDecodeError and its like want more than a text
            return ValueError(f"{name}: {text}")
    return RuntimeError(f"{name}: {text}")
