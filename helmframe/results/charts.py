"""The charts of results (`results.plot`), and the registry of chart functions."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, update_wrapper
from typing import Any, TypeVar

from helmframe._core.checks import is_integer
from helmframe._core.registry import Registry
from helmframe._core.safe_text import show_invisible
from helmframe.errors import ArgumentError

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

    Every chart also takes `width` and `height` in pixels, and `title`. In charts with these parameters, `by` and `sort`
    select and order rows, and `facet` draws a chart per value of a column. A model has the same colour in all charts.
    `chart.save("x.png")`, `.svg` and `.html` need no network. Charts with mode="dark" are for dark pages. `hf.charts`
    draws any frame of the documented schema.

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.oracle()).score()
    >>> dir(results.plot)  # doctest: +ELLIPSIS
    ['calibration', ..., 'robustness', 'scores', 'sensitivity']
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
        bound = update_wrapper(partial(_drawn, function, self._results), function)
        signature = inspect.signature(function)
        _, *parameters = signature.parameters.values()
        bound.__signature__ = signature.replace(parameters=[*parameters, *_SIZES])  # type: ignore[attr-defined]
        return bound

    def __dir__(self) -> list[str]:
        return list(CHARTS)


# The parameters of every chart, besides its own.
_SIZES = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
    for name, annotation in (("width", "int | None"), ("height", "int | None"), ("title", "str | None"))
]


def _drawn(
    function: Callable[..., Any],
    results: Any,
    *args: Any,
    width: int | None = None,
    height: int | None = None,
    title: str | None = None,
    **options: Any,
) -> Any:
    """Return a chart with another size or title.

    Raises:
        ArgumentError: A size isn't a number of pixels.
    """
    chart = function(results, *args, **options)
    sizes = {name: value for name, value in (("width", width), ("height", height)) if value is not None}
    for name, value in sizes.items():
        if not is_integer(value) or value < 1:
            raise ArgumentError(f"plot({name}={value!r}): {name} must be a number of pixels ≥ 1.")
    views = [chart.spec if hasattr(chart, "spec") else chart] if not hasattr(chart, "concat") else chart.concat
    for view in views:  # each view of a chart of several has the size
        for name, value in sizes.items():
            (view.spec if hasattr(view, "spec") else view)[name] = value
    if title is not None:
        chart.title.text = show_invisible(title)
    return chart
