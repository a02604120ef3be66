"""Another identity as soon as a call would do something else; the same as long as it would not."""

import functools
import gc
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from helmframe.models.identity import code_identity, identity


def defined(source: str, name: str = "answer") -> dict[str, Any]:
    """A module's names after running the source, as a notebook cell would."""
    scope: dict[str, Any] = {"__name__": "cell"}
    exec(source, scope)
    assert name in scope
    return scope


def changed(scope: dict[str, Any], change: Callable[[], object]) -> bool:
    """Whether the change gives `answer` another identity."""
    before = identity(scope["answer"])
    change()
    return identity(scope["answer"]) != before


def test_a_function_is_the_same_after_a_call() -> None:
    scope = defined("def answer(prompt): return prompt")
    assert not changed(scope, lambda: scope["answer"]("a"))


def test_a_cell_run_again_is_the_same() -> None:
    source = "def help(text): return text + '!'\ndef answer(prompt): return help(prompt)"
    assert identity(defined(source)["answer"]) == identity(defined(source)["answer"])


def test_a_constant_edited_is_another() -> None:
    one, other = (defined(f"def answer(prompt): return prompt + {text!r}")["answer"] for text in "ab")
    assert identity(one) != identity(other)


def test_a_nested_function_edited_is_another() -> None:
    source = "def answer(prompt):\n    def inner(): return {}\n    return inner()"
    one, other = (defined(source.format(number))["answer"] for number in (1, 2))
    assert identity(one) != identity(other)


def test_a_helper_edited_is_another() -> None:
    scope = defined("def help(text): return text\ndef middle(text): return help(text)\ndef answer(p): return middle(p)")
    assert changed(scope, lambda: exec("def help(text): return text + '.'", scope))


def test_a_default_changed_is_another() -> None:
    one, other = (defined(f"def answer(prompt, n={number}): return prompt * n")["answer"] for number in (1, 2))
    assert identity(one) != identity(other)


def test_a_closure_over_another_value_is_another() -> None:
    def make(text: str) -> Callable[[str], str]:
        return lambda prompt: prompt + text

    assert identity(make("a")) == identity(make("a")) != identity(make("b"))


def test_two_closures_swapped_are_another() -> None:
    scope = defined(
        "def make(n): return lambda: n\none, other = make(1), make(2)\ndef answer(prompt): return one() - other()"
    )
    assert changed(scope, lambda: scope.update(one=scope["other"], other=scope["one"]))


def test_a_global_value_changed_is_another() -> None:
    scope = defined("prefix = 'a'\ndef answer(prompt): return prefix + prompt")
    assert changed(scope, lambda: scope.update(prefix="b"))


def test_a_global_that_the_code_does_not_name_is_not_seen() -> None:
    scope = defined("other = 1\ndef answer(prompt): return prompt")
    assert not changed(scope, lambda: scope.update(other=2))


def test_a_counter_that_the_code_keeps_is_no_change() -> None:
    scope = defined("calls = 0\ndef answer(prompt):\n    global calls\n    calls += 1\n    return prompt")
    assert not changed(scope, lambda: scope["answer"]("a"))


def test_a_counter_in_a_closure_is_no_change() -> None:
    source = """
def make():
    calls = 0
    def answer(prompt):
        nonlocal calls
        calls += 1
        return prompt
    return answer
answer = make()
"""
    scope = defined(source)
    assert not changed(scope, lambda: scope["answer"]("a"))


def test_a_list_and_a_dict_that_the_function_fills_are_no_change() -> None:
    scope = defined("seen, known = [], {}\ndef answer(p):\n    seen.append(p)\n    known[p] = 1\n    return p")
    assert not changed(scope, lambda: scope["answer"]("a"))


def test_another_list_is_another() -> None:
    scope = defined("words = ['a']\ndef answer(prompt): return words[0]")
    assert changed(scope, lambda: scope.update(words=["a"]))


def test_a_partial_with_another_argument_is_another() -> None:
    function = defined("def answer(prompt, n): return prompt * n")["answer"]
    one, other = (functools.partial(function, n=number) for number in (1, 2))
    assert identity(one) == identity(functools.partial(function, n=1)) != identity(other)


def test_a_cached_function_is_followed() -> None:
    source = "import functools\n@functools.lru_cache\ndef answer(prompt): return {!r}"
    one, other = (defined(source.format(text))["answer"] for text in "ab")
    assert identity(one) != identity(other)


def test_a_decorated_function_is_followed() -> None:
    source = "import functools\ndef twice(f):\n    @functools.wraps(f)\n    def g(p): return f(p) * 2\n    return g\n"
    one, other = (defined(f"{source}@twice\ndef answer(prompt): return {text!r}")["answer"] for text in "ab")
    assert identity(one) != identity(other)


MIND = """
class Mind:
    def __init__(self, word):
        self.word = word
        self.calls = 0
        self.seen = []
    def help(self):
        return {text!r}
    def set(self, word):
        self.word = word
    def __call__(self, prompt):
        self.calls += 1
        self.seen.append(prompt)
        return self.word + self.help()
answer = Mind("a")
"""


def test_an_object_is_the_same_after_a_call() -> None:
    scope = defined(MIND.format(text="x"))
    assert not changed(scope, lambda: scope["answer"]("a"))


def test_an_attribute_set_by_a_method_that_answering_does_not_call_is_seen() -> None:
    scope = defined(MIND.format(text="x"))
    assert changed(scope, lambda: scope["answer"].set("b"))


def test_a_method_edited_is_another() -> None:
    one, other = (defined(MIND.format(text=text))["answer"] for text in "xy")
    assert code_identity(one) != code_identity(other)


def test_code_identity_does_not_see_values() -> None:
    scope = defined(MIND.format(text="x"))
    before = code_identity(scope["answer"])
    scope["answer"].set("b")
    assert code_identity(scope["answer"]) == before


def test_an_attribute_of_an_object_in_a_closure_is_seen() -> None:
    scope = defined(MIND.format(text="x") + "mind = answer\ndef answer(prompt): return mind(prompt)")
    assert changed(scope, lambda: scope["mind"].set("b"))


def test_another_object_in_the_place_of_one_gone_is_another() -> None:
    scope = defined(
        "class Thing: pass\nthing = object.__new__(Thing)\ndef answer(prompt): return str(things)\nthings = {}"
    )

    def replace() -> None:
        del scope["things"]
        gc.collect()
        scope["things"] = {}  # most likely at the address of the old one

    assert changed(scope, replace)


def test_one_optimiser_step_is_another() -> None:
    layer = torch.nn.Linear(2, 2)
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)
    scope = defined("def answer(prompt): return str(layer(torch.ones(2)))")
    scope.update(layer=layer, torch=torch)

    def step() -> None:
        layer(torch.ones(2)).sum().backward()
        optimiser.step()

    assert not changed(scope, lambda: scope["answer"]("a"))
    assert changed(scope, step)


def test_weights_in_a_list_are_seen() -> None:
    layers = [torch.nn.Linear(2, 2)]
    scope = defined("def answer(prompt): return layers[0]")
    scope.update(layers=layers)
    assert changed(scope, lambda: torch.nn.init.zeros_(layers[0].weight))


def test_evaluation_mode_is_no_change() -> None:
    layer = torch.nn.Linear(2, 2)
    scope = defined("def answer(prompt): return layer")
    scope.update(layer=layer)
    assert not changed(scope, layer.eval)


def test_a_hook_that_steers_a_module_is_seen() -> None:
    layer = torch.nn.Linear(2, 2)
    scope = defined("def answer(prompt): return layer")
    scope.update(layer=layer)
    assert changed(scope, lambda: layer.register_forward_hook(lambda module, inputs, output: output + 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_of_any_type_are_read(dtype: torch.dtype) -> None:
    scope = defined("def answer(prompt): return tensor")
    scope.update(tensor=torch.zeros(3, dtype=dtype))
    assert changed(scope, lambda: scope["tensor"].fill_(1))


def test_tied_weights_and_empty_tensors_are_read() -> None:
    module = torch.nn.ModuleList([torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False)])
    module[1].weight = module[0].weight
    module.register_buffer("nothing", torch.zeros(0))
    scope = defined("def answer(prompt): return module")
    scope.update(module=module)
    assert changed(
        scope,
        lambda: module.load_state_dict(
            {"0.weight": torch.ones(2, 2), "1.weight": torch.ones(2, 2), "nothing": torch.zeros(0)}
        ),
    )


def test_an_array_changed_in_place_is_seen() -> None:
    scope = defined("def answer(prompt): return array")
    scope.update(array=np.zeros((3, 2)).T)
    assert changed(scope, lambda: scope["array"].fill(1))


def test_functions_that_call_each_other_end() -> None:
    scope = defined("def answer(p): return other(p)\ndef other(p): return answer(p)")
    assert len(identity(scope["answer"])) == 64


def test_builtins_and_installed_functions_have_an_identity() -> None:
    assert len({identity(each) for each in (str.upper, str.lower, "abc".join, "x".join, np.sort)}) == 5


def test_torch_is_not_imported() -> None:
    code = "import sys; from helmframe.models.identity import identity; identity(str); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
