"""Programs against tests, in real sandboxes."""

import pytest

from helmframe.metrics.programs import Verdict, run_case, run_tests
from helmframe.metrics.sandbox import Limits

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
        ("def add(a, b):\n    import os\n    os._exit(0)\n", "the program: it ended"),
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
        passed=False, reason="the program: it ended"
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


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("print(int(input()) * 2)", ""),
        ("print(f'  {int(input()) * 2}  ')\nprint()", ""),
        ("import sys\nprint(int(sys.stdin.read()) * 2, end='')\nprint('x', file=sys.stderr)", ""),
        ("print(int(input()) + 1)", "other output"),
        ("print(4)\nraise SystemExit(3)", "ended with status 3: "),
        ("print(x)", "ended with status 1: NameError: name 'x' is not defined"),
        ("print('4' * 4000000)", "over the limit: output"),
        ("import sys\nsys.stderr.write('x' * 10 ** 6)\nprint(4)", ""),
    ],
)
def test_a_script_reads_and_writes(program: str, reason: str) -> None:
    assert run_case(program, "2\n", "4\n") == Verdict(passed=reason == "", reason=reason)


def test_a_script_that_is_over_its_time_fails() -> None:
    assert run_case("import time\ntime.sleep(60)", "", "", Limits(wall=0.3)).reason == "over the limit: time"
