"""The charts of results (`results.plot`), and the registry of chart functions."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, update_wrapper
from typing import Any, TypeVar

from helmframe._core.registry import Registry

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Chart:
    """A function that takes `Results` and options, and returns an Altair chart."""

    function: Callable[..., Any]


CHARTS: Registry[Chart] = Registry(
    "chart", "Add one with @helmframe.charts.chart.", packages=["helmframe.views.charts"]
)


def chart(name: str) -> Callable[[Function], Function]:
    """Register a function `(results, **options) -> Altair chart` as `results.plot.NAME(**options)`.

    >>> @chart("lengths")
    ... def lengths(results, mode="light"):
    ...     return results.plot.scores("output_words", mode=mode)
    >>> CHARTS.remove("lengths")

    Raises:
        ArgumentError: If the name is taken.
    """

    def register(function: Function) -> Function:
        CHARTS.add(name, Chart(function))
        return function

    return register


class Plot:
    """The charts of results, as Altair charts: `results.plot.scores()`; `dir(results.plot)` lists them.

    A model has the same colour in all charts. `chart.save("x.png")`, `.svg` and `.html` need no network. Charts with
    mode="dark" are for dark pages. `hf.charts` draws any frame of the documented schema.

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
    >>> dir(results.plot)
    ['calibration', 'confusion', 'forest', 'heatmap', 'leaderboard', 'pareto', 'perturbations', 'robustness', 'scores']
    """

    def __init__(self, results: Any) -> None:
        self._results = results

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            function = CHARTS[name].function
        except LookupError as error:
            raise AttributeError(str(error)) from None
        bound = update_wrapper(partial(function, self._results), function)
        signature = inspect.signature(function)
        bound.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
        return bound

    def __dir__(self) -> list[str]:
        return list(CHARTS)
