"""Programs against tests, in real sandboxes."""

import json
import os
import stat
import sys
from pathlib import Path

import pytest

import helmframe as hf
from helmframe import config
from helmframe.errors import ArgumentError, SandboxError
from helmframe.sandbox import programs
from helmframe.sandbox.process import Limits
from helmframe.sandbox.programs import Verdict, may_run_programs, run_call, run_case, run_tests

ADD = "def add(a, b):\n    return a + b\n"
CHECK = "def check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate('a', 'b') == 'ab'\n"


def test_a_right_program_passes() -> None:
    assert run_tests(ADD, CHECK, entry_point="add") == Verdict(passed=True)


def test_asserts_call_functions_by_name() -> None:
    assert run_tests(ADD, "assert add(2, 3) == 5\nassert add([1], [2]) == [1, 2]") == Verdict(passed=True)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("def add(a, b):\n    return a - b\n", "AssertionError: "),
        ("def add(a, b):\n    return a +\n", "SyntaxError: invalid syntax (program.py, line 2)"),
        ("def sum(a, b):\n    return a + b\n", "KeyError: 'add'"),
        ("def add(a, b):\n    return a + c\n", "NameError: name 'c' is not defined"),
        ("def add(a, b):\n    import os\n    os._exit(0)\n", "the program ended early"),
        ("def add(a, b):\n    raise SystemExit\n", "RuntimeError: SystemExit: "),
        ("", "KeyError: 'add'"),
    ],
)
def test_a_wrong_program_fails_for_a_reason(program: str, reason: str) -> None:
    assert run_tests(program, CHECK, entry_point="add") == Verdict(passed=False, reason=reason)


@pytest.mark.parametrize(
    "value",
    [
        "None", "True", "-1", "10 ** 5000", "1.5", "float('inf')", "2 + 1j", "'ü\\ud800\\0'", "b'\\xff'", "[1, [2]]",
        "(1,)", "{1, 2}", "frozenset({1})", "{1: 'a', (2, 3): None}", "range(3)", "[True, 1.0]",
        "__import__('fractions').Fraction(1, 3)", "__import__('decimal').Decimal('1.10')",
    ],
)  # fmt: skip
def test_values_come_through_as_they_are(value: str) -> None:
    tests = f"value = {value}\nsaid = same(value)\nassert said == value and type(said) is type(value)"
    assert run_tests("def same(x):\n    return x\n", tests) == Verdict(passed=True)


def test_objects_of_the_program_can_be_called_walked_through_and_handed_back() -> None:
    program = (
        "class Pair:\n    def __init__(self, a, b):\n        self.a, self.b = a, b\n"
        "def total(pairs):\n    return sum(pair.a + pair.b for pair in pairs)\n"
        "def adder(n):\n    return lambda x: x + n\n"
        "def count():\n    n = 0\n    while True:\n        yield n\n        n += 1\n"
    )
    tests = (
        "assert total([Pair(1, 2), Pair(3, 4)]) == 10\nassert adder(2)(3) == 5\n"
        "from itertools import islice\nassert list(islice(count(), 3)) == [0, 1, 2]\nassert Pair(1, 2) != 3"
    )
    assert run_tests(program, tests) == Verdict(passed=True)


def test_tests_pass_types_and_use_modules_that_the_program_imports() -> None:
    program = "import sys, math as m\ndef only(values, kind):\n    return [x for x in values if isinstance(x, kind)]\n"
    tests = "assert only([1, 'a'], str) == ['a']\nassert only([2.5, 1], kind=float) == [2.5]\n"
    tests += "assert sys.getsizeof(only([1], int)) > m.sqrt(4)"
    assert run_tests(program, tests) == Verdict(passed=True)
    assert not run_tests(program, tests.replace("['a']", "['b']")).passed
    unused = Verdict(passed=False, reason="the tests never used the program")
    assert run_tests("import math\n", "assert math.sqrt(4) == 2") == unused
    own = "import sys, types\nsys.modules['math'] = math = types.ModuleType('math')\nmath.sqrt = lambda x: 5\n"
    assert not run_tests(own, "assert math.sqrt(4) == 5").passed


def test_exceptions_come_through_by_their_names() -> None:
    program = "def half(x):\n    if x % 2:\n        raise ValueError('odd')\n    return x // 2\n"
    tests = "try:\n    half(3)\nexcept ValueError as error:\n    assert str(error) == 'odd'\nelse:\n    assert False"
    assert run_tests(program, tests) == Verdict(passed=True)


def test_the_setups_names_go_before_the_programs() -> None:
    setup = "def limit():\n    return 3\n"
    program = "def limit():\n    return 99\ndef small(x):\n    return x < 3\n"
    assert run_tests(program, "assert small(limit() - 1)\nassert not small(limit())", setup=setup).passed


def test_a_name_of_the_program_never_goes_before_pythons() -> None:
    program = "def all(x):\n    return True\ndef even(x):\n    return False\n"
    assert not run_tests(program, "assert all([even(2), even(4)])").passed


def test_tests_that_swallow_everything_do_not_pass_a_program_that_ended() -> None:
    tests = "try:\n    stop()\nexcept BaseException:\n    pass"
    assert run_tests("import os\ndef stop():\n    os._exit(0)\n", tests) == Verdict(
        passed=False, reason="the program ended early"
    )


def test_tests_that_never_use_the_program_pass_nothing() -> None:
    tests = "def check(candidate):\n    pass\n"
    assert run_tests(ADD, tests, entry_point="add") == Verdict(passed=False, reason="the tests never used the program")


def test_tests_that_end_themselves_pass_nothing() -> None:
    tests = "import os\nadd(1, 2)\nos._exit(0)"
    assert run_tests(ADD, tests) == Verdict(passed=False, reason="the tests ended without a verdict")


def test_two_runs_say_the_same_of_a_program_that_hangs_on_the_order_of_a_set() -> None:
    program = "def first():\n    return next(iter({'a', 'b', 'c', 'd', 'e', 'f'}))\n"
    verdicts = [run_tests(program, f"assert first() == {letter!r}").passed for letter in "abcdef"]
    assert sum(verdicts) == 1
    assert verdicts == [run_tests(program, f"assert first() == {letter!r}").passed for letter in "abcdef"]


@pytest.mark.parametrize("name", ["sum", "len", "sorted", "set", "print", "isinstance"])
def test_a_function_under_test_may_have_a_name_of_pythons(name: str) -> None:
    tests = f"assert {name}(10, 15) == 25\nassert {name}(2, 3) == 5\nassert abs({name}(1, -2)) == 1"
    assert run_tests(f"def {name}(a, b):\n    return a + b\n", tests) == Verdict(passed=True)
    assert not run_tests(f"def {name}(a, b):\n    return a - b\n", tests).passed
    assert run_tests(f"def {name}(a, b):\n    return a + b\n", CHECK, entry_point=name) == Verdict(passed=True)


def test_the_innermost_of_pythons_names_is_the_function_under_test() -> None:
    tests = "assert set(sum([1], [2])) == set([1, 2])\nassert set(sum([3], [])) == {3}"
    program = "def sum(a, b):\n    return a + b\n"
    assert run_tests(program, tests) == Verdict(passed=True)
    assert not run_tests("def sum(a, b):\n    return 0\ndef set(x):\n    return 0\n", tests).passed
    assert not run_tests("def set(x):\n    return 0\n", tests).passed
    assert run_tests("def sum(a, b):\n    return a + b\n", "assert sum(1, 2) == int('3')") == Verdict(passed=True)
    assert not run_tests("def int(x):\n    return 0\n", "assert sum(1, 2) == int('3')").passed


@pytest.mark.parametrize("name", ["check", "tests", "found", "candidate", "add"])
def test_a_function_under_test_may_have_a_name_of_the_referees_or_of_a_parameter(name: str) -> None:
    asserts = f"def same(add, candidate):\n    return add == candidate\nassert same({name}(2, 3), 5)"
    program = f"def {name}(a, b):\n    return a + b\n"
    assert run_tests(program, asserts) == Verdict(passed=True)
    assert run_tests(program, asserts, entry_point=name) == Verdict(passed=True)
    assert run_tests(program, CHECK, entry_point=name) == Verdict(passed=True)
    assert not run_tests(f"def {name}(a, b):\n    return 0\n", CHECK, entry_point=name).passed


@pytest.mark.parametrize(
    ("tests", "error"),
    [
        ("assert all(map(add, [2], [3]))", "StopIteration"),
        ("assert list(map(add, [2, 3], [3, 2])) in ([5, 5], [])", "StopIteration(5)"),
        ("assert all(x == y for x, y in zip(map(add, [2], [3]), [5]))", "StopIteration"),
        ("assert list(iter(lambda: add(2, 3), 5)) == []", "StopIteration"),
        ("assert all(add(x, 3) == 5 for x in [2])", "StopIteration"),
        ("assert all(map(add, [2], [3]))", "type('Own', (StopIteration,), {})"),
        *(
            (tests, error)
            for tests in ("assert all(map(add, [2], [3]))", "assert add(2, 3) == 5")
            for error in ("StopAsyncIteration", "GeneratorExit", "SystemExit(0)", "KeyboardInterrupt", "AssertionError")
        ),
    ],
)
def test_a_program_that_raises_fails_in_every_loop_of_the_tests(tests: str, error: str) -> None:
    program = f"def add(a, b):\n    raise {error}\n"
    assert not run_tests(program, tests).passed
    if error.startswith("StopIteration"):
        assert not run_tests(program, f"def check(add):\n    {tests}\n", entry_point="add").passed


def test_tests_that_name_stop_iteration_see_it() -> None:
    tests = "try:\n    first([])\nexcept StopIteration:\n    pass\nelse:\n    assert False"
    assert run_tests("def first(x):\n    return next(iter(x))\n", tests) == Verdict(passed=True)
    assert not run_tests("def first(x):\n    return None\n", tests).passed


@pytest.mark.parametrize("error", ["StopIteration", "GeneratorExit", "SystemExit(0)", "KeyboardInterrupt"])
def test_a_program_that_raises_in_a_generator_fails(error: str) -> None:
    program = f"def two():\n    yield 1\n    raise {error}\n"
    assert not run_tests(program, "assert list(two()) == [1]").passed
    assert not run_tests(program, "assert all(two())").passed


@pytest.mark.parametrize(
    "end",
    [
        "import sys\nsys.exit(0)", "exit()", "quit(0)", "import os\nos._exit(0)", "raise SystemExit",
        "raise StopIteration", "raise KeyboardInterrupt", "raise GeneratorExit", "assert False",
        "print('{\"passed\": true, \"reason\": \"\"}')\nexit()",
    ],
)  # fmt: skip
def test_a_program_that_ends_while_it_loads_fails(end: str) -> None:
    assert not run_tests(f"{ADD}{end}\n", "assert add(2, 3) == 5").passed


@pytest.mark.parametrize(
    "prelude",
    [
        *(
            f"def {name}(*args, **kwargs):\n    return True"
            for name in ("print", "len", "range", "isinstance", "check")
        ),
        "AssertionError = ValueError",
        "__name__ = '__main__'",
        "__builtins__ = {}",
        "del __name__",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()",
        "import threading\nthreading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()",
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass Pair:\n    a: int",
        "if __name__ == '__main__':\n    raise ValueError",
        "import atexit, os\natexit.register(os._exit, 1)",
        "passed, reason, verdict = True, '', {'passed': True}",
    ],
)
def test_odd_names_and_leftovers_neither_pass_a_wrong_program_nor_fail_a_right_one(prelude: str) -> None:
    asserts = (
        "assert len([add(2, 3)]) == 1 and isinstance(add(2, 3), int)\nassert [add(i, 1) for i in range(2)] == [1, 2]"
    )
    assert run_tests(f"{prelude}\n{ADD}", asserts) == Verdict(passed=True)
    assert not run_tests(f"{prelude}\n{ADD.replace('+', '-')}", asserts).passed


def test_a_program_that_breaks_its_own_builtins_fails() -> None:
    assert not run_tests(f"import builtins\nbuiltins.len = builtins.isinstance = None\n{ADD}", CHECK).passed


@pytest.mark.parametrize(
    ("value", "truth", "length"),
    [("deque()", False, 0), ("deque([0])", True, 1), ("{}.keys()", False, 0), ("{1: 2}.values()", True, 1)],
)
def test_objects_of_the_program_are_as_true_and_as_long_as_there(value: str, truth: bool, length: int) -> None:
    program = f"from collections import deque\ndef made():\n    return {value}\n"
    assert run_tests(program, f"assert bool(made()) is {truth}\nassert len(made()) == {length}") == Verdict(passed=True)
    assert not run_tests(program, f"assert bool(made()) is {not truth}").passed


@pytest.mark.parametrize(
    ("value", "wanted", "right"),
    [
        ("7", "Infinity", False), ("float('inf')", "Infinity", True), ("float('-inf')", "Infinity", False),
        ("float('-inf')", "-Infinity", True), ("7", "-Infinity", False), ("7", "NaN", False),
        ("float('nan')", "NaN", True), ("[float('nan')]", "[NaN]", True), ("float('nan')", "0", False),
        ("7", "1e400", False), ("10 ** 400", "1e400", False), ("float('inf')", "1e400", True),
        ("2 ** 64", "18446744073709551616", True), ("2.0 ** 64", "18446744073709551617", False),
        ("10 ** 4000", "1" + "0" * 4000, True), ("10 ** 4000 + 1", "1" + "0" * 4000, False),
        ("1", "true", True), ("2", "true", False), ("0", "null", False), ("None", "null", True), ("''", "null", False),
        ("False", "null", False), ("'7'", "7", False), ("7", '"7"', False), ("7.0", "7", True), ("7.1", "7", False),
        ("7", "[7]", True), ("[7]", "7", False), ("7", "[7, 8]", False), ("[7, 8]", "[7, 8]", True),
        ("(7, 8)", "[7, 8]", True), ("[7, 8]", "[[7, 8]]", True), ("[(1, 2), (3, 4)]", "[[[1, 2], [3, 4]]]", True),
        ("[8, 7]", "[7, 8]", False), ("{7, 8}", "[7, 8]", False), ("[]", "[]", True), ("None", "[]", False),
        ("('a', 'b')", '"ab"', False), ("['a', 'b']", '"ab"', False), ("'ab'", '"ab"', True), ("'ab '", '"ab"', False),
        ("{1: 2}", '{"1": 2}', True), ("{'1': 2}", '{"1": 2}', False), ("{'a': 2}", '{"a": 2}', True),
        ("{1: 2}", '[{"1": 2}]', True), ("lambda: 7", "7", False), ("iter([7])", "[7]", False),
        ("type('Yes', (), {'__eq__': lambda *_: True})()", "7", False), ("NotImplemented", "7", False),
        ("[[[]] * 3]", "[[[]]]", False), ("'\\ud800'", '"\\ud800"', True), ("b'ab'", '"ab"', False),
    ],
)  # fmt: skip
def test_a_call_gives_the_value_that_json_wants(value: str, wanted: str, right: bool) -> None:
    program = f"inf = nan = null = true = 7\ndef made(n):\n    return {value}\n"
    assert run_call(program, "made", [0], json.loads(wanted)).passed is right


@pytest.mark.parametrize("name", ["found", "sum", "value", "wanted", "gcd", "permutations", "made"])
def test_a_called_function_may_have_any_name(name: str) -> None:
    assert run_call(f"def {name}(a, b):\n    return a + b\n", name, [1, 2], 3) == Verdict(passed=True)
    assert not run_call(f"def {name}(a, b):\n    return a - b\n", name, [1, 2], 3).passed
    assert run_call("", name, [1, 2], 3) == Verdict(passed=False, reason=f"KeyError: {name!r}")


@pytest.mark.parametrize(
    "arguments", ["[Infinity, NaN, -Infinity]", "[true, null, 1e400]", '[{"1": 2}, {"1": 2}, "a"]']
)
def test_arguments_come_as_json_has_them(arguments: str) -> None:
    program = "def text(a, b, c):\n    return repr((a, b, c))\n"
    given = json.loads(arguments)
    wanted = tuple({int(key): value for key, value in each.items()} if n == 0 and isinstance(each, dict) else each
                   for n, each in enumerate(given))  # fmt: skip
    assert run_call(program, "text", given, repr(wanted)) == Verdict(passed=True)


def test_programs_for_apps_have_its_imports() -> None:
    assert run_call("def total(x: List[int]) -> int:\n    return Counter(x)[1]\n", "total", [[1, 1]], 2).passed
    assert run_case("print(gcd(*map(int, input().split())))", "4 6", "2").passed
    assert not run_tests("def total(x):\n    return gcd(4, 6)\n", "assert total(1) == 2").passed


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("print(int(input()) * 2)", ""),
        ("print(f'  {int(input()) * 2}  ')\nprint()", ""),
        ("import sys\nprint(int(sys.stdin.read()) * 2, end='')\nprint('x', file=sys.stderr)", ""),
        ("print(int(input()) + 1)", "the output differs from the expected output"),
        ("print(4)\nraise SystemExit(3)", "exited with status 3: "),
        ("print(x)", "exited with status 1: NameError: name 'x' is not defined"),
        ("print('4' * 4000000)", "limit exceeded: output"),
        ("import sys\nsys.stderr.write('x' * 10 ** 6)\nprint(4)", ""),
        ("print(int(input()) * 2)\nexit()", ""),
        ("print()\nprint(int(input()) * 2)", ""),
        ("print('4 4')", "the output differs from the expected output"),
        ("print(4)\nquit(1)", "exited with status 1: "),
        ("import os\nprint(4, flush=True)\nos._exit(0)", ""),
        ("raise StopIteration", "exited with status 1: StopIteration"),
    ],
)
def test_a_script_reads_and_writes(program: str, reason: str) -> None:
    assert run_case(program, "2\n", "4\n") == Verdict(passed=reason == "", reason=reason)


def test_a_script_that_is_over_its_time_fails() -> None:
    assert run_case("import time\ntime.sleep(60)", "", "", Limits(wall=0.3)).reason == "limit exceeded: time"


@pytest.fixture
def not_probed() -> None:
    programs._probe.cache_clear()


def fake_bwrap(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `bwrap` of these lines of Python, the only one there is."""
    file = folder / "bwrap"
    file.write_text(f"#!{sys.executable}\n{code}")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.usefixtures("not_probed")
def test_nothing_runs_unless_somebody_allows_it() -> None:
    with pytest.raises(SandboxError, match=r"hf.configure\(allow_code=True\)"):
        may_run_programs()


@pytest.mark.usefixtures("not_probed")
def test_configure_allows_it() -> None:
    hf.configure(allow_code=True)
    may_run_programs()


@pytest.mark.usefixtures("not_probed")
def test_a_variable_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_ALLOW_CODE", "1")
    may_run_programs()


@pytest.mark.usefixtures("not_probed")
def test_configure_goes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_ALLOW_CODE", "1")
    hf.configure(allow_code=False)
    assert not config.code_allowed()


@pytest.mark.usefixtures("not_probed")
def test_a_variable_of_another_value_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_ALLOW_CODE", "yes")
    with pytest.raises(ArgumentError, match="HELMFRAME_ALLOW_CODE must be '0' or '1'"):
        may_run_programs()


@pytest.mark.usefixtures("not_probed")
def test_without_bubblewrap_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hf.configure(allow_code=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match="apt install bubblewrap"):
        may_run_programs()


@pytest.mark.usefixtures("not_probed")
def test_a_kernel_that_refuses_namespaces_is_named_and_how_to_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hf.configure(allow_code=True)
    fake_bwrap(tmp_path, "raise SystemExit('bwrap: No permissions to create new namespace')", monkeypatch)
    with pytest.raises(SandboxError, match=r"No permissions to create new namespace\n.*CAP_SYS_ADMIN"):
        may_run_programs()


@pytest.mark.usefixtures("not_probed")
def test_a_sandbox_without_walls_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hf.configure(allow_code=True)
    trusted = Path(hf.__file__).parents[1]
    code = f"""
import json, os, sys
words = sys.argv[sys.argv.index("--") + 1:]
os.write(int(sys.argv[sys.argv.index("--info-fd") + 1]), json.dumps({{"child-pid": os.getpid()}}).encode())
os.close(int(sys.argv[sys.argv.index("--info-fd") + 1]))
words = [word.replace("/trusted", {str(trusted)!r}) for word in words]
at = words.index("-c") + 1
words[at] = "import sys; sys.path += " + repr({sys.path!r}) + "; " + words[at]
os.execv(words[0], words)
"""
    fake_bwrap(tmp_path, code, monkeypatch)
    # its limits are checked before it reports; without walls, the files in the machine's /tmp exceed one
    monkeypatch.setattr(programs, "_SELF_REPORT", f"import time\ntime.sleep(0.3)\n{programs._SELF_REPORT}")
    with pytest.raises(
        SandboxError, match=r"The sandbox is incomplete, so no program runs\. Not isolated: processes, network, proc"
    ):
        may_run_programs()


@pytest.mark.usefixtures("not_probed")
def test_a_refusal_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hf.configure(allow_code=True)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError):
        may_run_programs()
    monkeypatch.setenv("PATH", path)
    may_run_programs()


@pytest.mark.usefixtures("not_probed")
def test_a_sandbox_that_does_not_start_is_no_wrong_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_bwrap(tmp_path, "raise SystemExit('bwrap: out of luck')", monkeypatch)
    with pytest.raises(SandboxError, match="Can't start the sandbox: bwrap: out of luck"):
        run_tests("x = 1", "assert x == 1")
