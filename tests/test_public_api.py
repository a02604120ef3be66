"""The public API: what it names, and that every signature shows its parameters."""

import inspect
import sys
from collections.abc import Callable, Iterator
from doctest import DocTestFinder
from types import ModuleType
from typing import Any, NamedTuple, get_type_hints, is_typeddict

import polars as pl
import pytest

import helmframe as hf
from helmframe.adapters import AdapterFields, AdapterSpec
from helmframe.cli.app import _parser
from helmframe.interop.helm.expanders import EXPANDERS
from helmframe.interop.helm.plans import Expanders
from helmframe.perturbations.registry import PERTURBATIONS
from helmframe.results.charts import CHARTS

NAMESPACES = ["adapters", "charts", "engines", "interop", "metrics", "models", "perturbations", "stats"]
LISTINGS = ["list_judges", "list_metrics", "list_models", "list_perturbations", "list_scenarios", "list_suites"]
BUILDERS = {"where", "sample", "limit", "perturb", "adapt", "generate", "metrics"}
TERMINALS = {
    "explain",
    "instances",
    "overlap",
    "variants",
    "requests",
    "completions",
    "score",
    "results",
    "submit",
    "to_yaml",
}
# Options of several methods and of `helmframe run`, in this order.
SHARED = ["fresh", "max_requests", "max_cost", "prices", "until", "engine", "priority", "resume"]
# Names that say nothing of the value.
FILLERS = {"said", "given", "also", "of"}
# Sets without an end: columns of the user's data, options of a model, any number of alike things.
OPEN = {
    ("Plan.where", "conditions"), ("Plan.where", "equals"), ("Plan.generate", "options"), ("Plan.metrics", "metrics"),
    ("Suite.where", "conditions"), ("Suite.where", "equals"), ("Suite.generate", "options"),
    ("Suite.metrics", "metrics"), ("Results.rows", "equals"), ("Results.value", "where"),
    ("Results.judge", "judges"), ("Results.rescore", "metrics"), ("judge", "options"), ("suite", "plans"),
    ("models.vllm", "options"), ("Results.log_to", "options"),
}  # fmt: skip


class Public(NamedTuple):
    """One public callable under the name that users write after `hf.`."""

    name: str
    function: Callable[..., Any]


def public_callables() -> Iterator[Public]:
    """Return the functions of `hf` and its namespaces, and the methods of its classes."""
    for name in hf.__all__:
        value = getattr(hf, name)
        if isinstance(value, ModuleType):
            assert name in NAMESPACES
            for inner in dir(value):
                yield from with_methods(f"{name}.{inner}", getattr(value, inner))
        else:
            yield from with_methods(name, value)
    yield from (Public(f"Results.plot.{name}", CHARTS[name].function) for name in CHARTS)


def with_methods(name: str, value: Any) -> Iterator[Public]:
    if not callable(value) or is_typeddict(value) or value is hf.HelmframeError:
        return
    if (getattr(value, "__module__", None) or "").startswith("tests."):  # other tests register plug-ins
        return
    yield Public(name, value)
    if isinstance(value, type):
        methods = [method for method in dir(value) if not method.startswith("_") and defined_here(value, method)]
        yield from (Public(f"{name}.{method}", getattr(value, method)) for method in methods)


def defined_here(cls: type, method: str) -> bool:
    """Return whether a method is ours: not inherited from a builtin such as tuple."""
    owner = next(base for base in cls.__mro__ if method in vars(base))
    return owner.__module__.startswith("helmframe.") and callable(getattr(cls, method))


def problems(public: Public) -> list[str]:
    """Return what a signature hides: parameters without a type or a meaningful name, and open ends."""
    found = []
    for parameter in inspect.signature(public.function).parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        label = f"{public.name}({parameter})"
        if parameter.name in FILLERS:
            found.append(f"{label}: a filler word")
        if parameter.annotation is parameter.empty:
            found.append(f"{label}: no type")
        variadic = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        unpacked = "Unpack" in str(parameter.annotation) or str(parameter.annotation).startswith("*")
        if variadic and not unpacked and (public.name, parameter.name) not in OPEN:
            found.append(f"{label}: hides a fixed set")
    return found


def public_names(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return [parameter for parameter in inspect.signature(function).parameters.values() if parameter.name != "self"]


def shared(function: Callable[..., Any]) -> list[tuple[str, object]]:
    return [(parameter.name, parameter.default) for parameter in parameters(function) if parameter.name in SHARED]


def test_the_top_level_has_at_most_45_names() -> None:
    assert len([name for name in dir(hf) if not name.startswith("_")]) <= 45


def test_every_namespace_is_at_the_top_level() -> None:
    assert [name for name in hf.__all__ if isinstance(getattr(hf, name), ModuleType)] == NAMESPACES


def test_no_perturbation_is_at_the_top_level() -> None:
    assert set(hf.perturbations.__all__) & set(hf.__all__) == set()
    assert {"typos", "lowercase", "option_order", "zero_width"} < set(hf.perturbations.__all__)
    # other tests may have registered some of their own
    ours = {name for name in PERTURBATIONS if PERTURBATIONS[name].function.__module__.startswith("helmframe.")}
    assert len(ours) == 42
    assert ours < set(hf.perturbations.__all__)


def test_names_of_a_topic_are_in_its_namespace() -> None:
    assert {"endpoint", "similarity"} <= set(hf.metrics.__all__)
    assert {"power", "Power", "Leaderboard"} <= set(hf.stats.__all__)
    assert "child_logging" in hf.engines.__all__


@pytest.mark.parametrize("name", LISTINGS)
def test_a_listing_is_a_frame_with_a_row_per_name(name: str) -> None:
    table = getattr(hf, name)()
    assert isinstance(table, pl.DataFrame)
    assert table.height > 0
    assert table["name"].n_unique() == table.height


@pytest.mark.parametrize("public", list(public_callables()), ids=lambda public: public.name)
def test_every_parameter_is_named_and_typed(public: Public) -> None:
    assert problems(public) == []


def test_hidden_sets_untyped_parameters_and_fillers_are_seen() -> None:
    def method(said: int, untyped, *rest: int, **options: Any) -> None: ...  # type: ignore[no-untyped-def]

    assert problems(Public("method", method)) == [
        "method(said: int): a filler word",
        "method(untyped): no type",
        "method(*rest: int): hides a fixed set",
        "method(**options: Any): hides a fixed set",
    ]


@pytest.mark.parametrize("public", list(public_callables()), ids=lambda public: public.name)
def test_every_function_has_an_example_that_the_doctests_run(public: Public) -> None:
    function = inspect.unwrap(public.function)
    function = getattr(function, "__func__", function)  # of a class method
    module = sys.modules[function.__module__]
    examples = [test.docstring for test in DocTestFinder().find(module) if test.examples]
    assert function.__doc__ in examples


def test_every_open_end_still_exists() -> None:
    ends = {
        (public.name, parameter.name)
        for public in public_callables()
        for parameter in inspect.signature(public.function).parameters.values()
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }
    assert ends >= OPEN


def test_keywords_of_adapt_are_the_fields_of_an_adapter() -> None:
    assert list(get_type_hints(AdapterFields)) == list(get_type_hints(AdapterSpec))


def test_docstring_of_adapt_lists_every_field() -> None:
    assert [name for name in get_type_hints(AdapterFields) if name not in str(hf.Plan.adapt.__doc__)] == []


def test_keywords_of_entry_are_the_run_expanders() -> None:
    # `model` is a parameter of its own
    assert {*get_type_hints(Expanders), "model"} == {*EXPANDERS}


def test_scenario_shows_the_keywords_of_frames() -> None:
    names = [parameter.name for parameter in parameters(hf.scenario)]
    assert names[:6] == ["source", "data", "compat", "input", "references", "choices"]


def test_a_plan_has_builder_and_terminal_methods_only() -> None:
    assert public_names(hf.Plan) == BUILDERS | TERMINALS | {"from_yaml"}
    assert {name for name in dir(hf.scenario("sampler")) if not name.startswith("_")} == public_names(hf.Plan)


def test_a_suite_has_every_method_of_a_plan() -> None:
    assert public_names(hf.Plan) <= public_names(hf.Suite)


@pytest.mark.parametrize("name", sorted(BUILDERS | TERMINALS | {"from_yaml"}))
def test_a_method_of_a_suite_has_the_parameters_of_the_plans(name: str) -> None:
    assert parameters(getattr(hf.Suite, name)) == parameters(getattr(hf.Plan, name))


def test_shared_options_have_one_order_and_one_default_each() -> None:
    whole = shared(hf.Plan.score)
    assert [name for name, _ in whole] == SHARED
    assert shared(hf.Plan.submit) == shared(hf.Suite.score) == shared(hf.Suite.submit) == whole
    for method in (hf.Plan.results, hf.Suite.results, hf.Results.judge):
        assert shared(method) == [option for option in whole if option in shared(method)]
    assert [name for name, _ in shared(hf.Plan.results)] == ["until", "resume"]
    assert [name for name, _ in shared(hf.Results.judge)] == ["fresh", "max_requests", "max_cost", "prices"]


def test_the_command_line_has_the_shared_options() -> None:
    # --priority is helm-run's, of .conf files: one command has one run, so its queue has no priorities
    expected = {name: default for name, default in shared(hf.Plan.score) if name != "priority"}
    arguments = vars(_parser().parse_args(["run", "sampler"]))
    assert [name for name in arguments if name in expected] == list(expected)
    assert {name: arguments[name] for name in expected} == expected
