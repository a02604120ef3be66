"""The perturbations as functions of `hf`."""

import inspect
from collections.abc import Callable
from types import ModuleType

import pytest

import helmframe as hf
from helmframe._plan import spec_of
from helmframe.errors import ArgumentError
from helmframe.perturbations import calls, noise_calls, prompt_calls
from helmframe.perturbations.call import PerturbationCall
from helmframe.perturbations.parsing import parse
from helmframe.perturbations.registry import PERTURBATIONS
from tests.perturbations.every import NAMES


def functions(module: ModuleType) -> dict[str, Callable[..., PerturbationCall]]:
    own = {name: each for name, each in vars(module).items() if inspect.isfunction(each) and name != "said"}
    return {name: each for name, each in own.items() if each.__module__ == module.__name__ and name[0] != "_"}


FUNCTIONS = {name: each for module in (calls, noise_calls, prompt_calls) for name, each in functions(module).items()}


@pytest.mark.parametrize("name", [*NAMES, "contrast_sets", "translate"])
def test_every_perturbation_is_a_function_of_hf_with_the_same_arguments(name: str) -> None:
    function = FUNCTIONS[name]
    assert getattr(hf, name) is function
    entry, given = PERTURBATIONS[name], inspect.signature(function).parameters
    common = {"common", "fields", entry.asks}
    assert {each for each in given if each not in common} == set(entry.parameters)
    for argument, default in entry.defaults.items():
        assert given[argument].default in (default, None), argument
    assert function.__doc__


@pytest.mark.parametrize("name", [name for name, each in FUNCTIONS.items() if name in ("rerun", "lowercase", "typos")])
def test_what_is_left_at_its_default_is_not_in_the_name(name: str) -> None:
    assert str(FUNCTIONS[name]()) == name == parse(FUNCTIONS[name]()).name


def test_arguments_are_as_in_a_text() -> None:
    said = hf.perturbations.typos(prob=0.1, fields="both", protect=["numbers", "code"])
    assert parse(said) == parse("typos(prob=.1, fields='both', protect=['numbers', 'code'])")


def test_a_list_is_a_grid() -> None:
    assert str(hf.perturbations.typos(prob=[0.05, 0.1])) == "typos(prob=[0.05, 0.1])"


def test_a_truth_value_is_no_number() -> None:
    with pytest.raises(ArgumentError, match="an integer"):
        hf.perturbations.extra_space(num_spaces=True)


def test_an_argument_that_is_not_there_is_told() -> None:
    with pytest.raises(ArgumentError, match=r"typos\(\) has no argument 'field'. Did you mean 'fields'"):
        hf.perturbations.typos(field="both")  # type: ignore[call-arg]


def test_a_plan_that_says_them_goes_through_yaml() -> None:
    said: list[str | PerturbationCall] = [
        hf.perturbations.typos(prob=[0.1, 0.2], protect=["numbers", r"re:\(+'\"\\w"]),
        "lowercase+space(max_spaces=4)",
        hf.perturbations.person_name(source_class={"race": "white_american", "gender": "male"}),
        hf.perturbations.instructions(texts=[['Say: it\'s "A" + (B)'], ["Answer."]]),
    ]
    plans = [hf.scenario("sampler").perturb(said, seeds=2), hf.scenario("sampler").perturb("contract", compat="helm")]
    assert [hf.Plan.from_yaml(plan.to_yaml()) for plan in plans] == plans
    assert len(spec_of(plans[0]).perturbations) == 6
