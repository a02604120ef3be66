"""The decorator that registers a perturbation, and the factories that users call: `hf.perturbations.typos(prob=.1)`."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from inspect import Parameter
from typing import Any, Protocol

from helmframe.errors import ArgumentError
from helmframe.perturbations.call import PerturbationCall, call
from helmframe.perturbations.registry import FIELDS, KINDS, PERTURBATIONS, TAKES, Perturbation

# The parameters that perturbations share, as factories document them.
_SHARED = {
    "fields": 'The texts to change: "input", "references" or "both".',
    "protect": 'Spans to keep: "numbers", "urls", "code", "latex", a regular expression "re:…", or a list of these.',
    "compat": '"helm" applies HELM\'s own rules and random numbers.',
}
_RETURNS = """\
Returns:
    A `PerturbationCall` for `Plan.perturb`. Its method `.on(column, id=…)` applies it to a column of any frame. A list
    of values is a grid: one perturbation per value. Arguments with default values are not part of its name."""
_SECTIONS = re.compile(r"^(?:Args|Returns):\n(?: .*\n?|\n(?= ))*", re.MULTILINE)
_ENTRIES = re.compile(r"^ {4}(\w+): ", re.MULTILINE)
_LAST = re.compile(r"^(?:Raises:|Source:|>>> )", re.MULTILINE)


class Factory(Protocol):
    """The result of `@hf.perturbation`: called with arguments, it returns a `PerturbationCall`.

    `function` is the decorated function.
    """

    function: Callable[..., Any]

    def __call__(self, **arguments: Any) -> PerturbationCall:
        """Return the perturbation with these arguments."""


def perturbation(
    name: str,
    *,
    repeats: bool = False,
    fields: str = "input",
    one_mapping: bool = False,
    kind: str = "robustness",
    takes: str = "text",
    model_argument: str = "",
    check: Callable[..., None] | None = None,
) -> Callable[[Callable[..., Any]], Factory]:
    """Register a function `(text, **arguments) -> pl.Expr` as a perturbation, and return its factory.

    `text` is the text column. A function that uses random numbers has a second parameter `key`, an UInt64 column (see
    `expressions.keyed_draws`). The function must return a text for every text: if it returns null, a run stops before
    the first request. If the annotation of a parameter is a sequence, a list is one value; for all other parameters a
    list is a grid. The factory has the function's parameters and those that all perturbations share. Its attribute
    `function` is the decorated function.

    Args:
        name: The name in `Plan.perturb` and `hf.perturbations`.
        repeats: Whether the unchanged prompt is requested again, as a placebo.
        fields: The texts that change by default: "input", "references" or "both".
        one_mapping: Whether all texts of an instance share one key. A result that depends on key and word only, such as
            a new name, is then the same in input and references. By default each text has its own key.
        kind: "robustness", "fairness", or "" for neither.
        takes: "text"; or "frame" for a function `(frame, key, **arguments) -> frame` over lazy `INSTANCES` with the
            columns perturbed_input, perturbed_references and adapter_change. It may rewrite these columns, but must not
            change the number and order of rows. Or "image" for a function `(image, key, **arguments) -> image` over an
            RGB image of Pillow, with an integer `key`; it is called when the image is sent.
        model_argument: The argument that takes a model. The function then returns a prompt for each text, and the
            model's completion is the perturbed text.
        check: A function that is called with the names of the plan's scenarios and the call's arguments when a plan is
            built. It raises if the perturbation doesn't exist for one of the scenarios.

    Raises:
        ArgumentError: The name is missing, or fields, kind or takes is invalid.

    >>> import polars as pl
    >>> @perturbation("without_mark")
    ... def without_mark(text: pl.Expr) -> pl.Expr:
    ...     return text.str.strip_chars_end("?.")
    >>> pl.select(without_mark().on(pl.lit("Who wrote it?"), id=pl.lit("a"))).item()
    'Who wrote it'
    >>> PERTURBATIONS.remove("without_mark")
    """
    if not isinstance(name, str):
        raise ArgumentError.no_name("hf.perturbation", name)
    for argument, value, values in (("fields", fields, FIELDS), ("kind", kind, KINDS), ("takes", takes, TAKES)):
        if value not in values:
            raise ArgumentError.unknown_value(f"@perturbation({name!r}, {argument}={value!r})", value, values)

    def register(function: Callable[..., Any]) -> Factory:
        draws = "key" in list(inspect.signature(function).parameters)[1:2]
        entry = Perturbation(name, function, draws, repeats, fields, one_mapping, kind, takes, model_argument, check)
        PERTURBATIONS.add(name, entry)
        return factory_of(entry)

    return register


@cache
def factory_of(entry: Perturbation) -> Factory:
    """Return the factory of a registered perturbation: always the same object for the same entry."""
    signature = _signature(entry)
    defaults = {name: parameter.default for name, parameter in signature.parameters.items()}
    if not entry.model_argument:
        defaults.pop("fields", None)  # the name contains it whenever it is passed

    def factory(**arguments: Any) -> PerturbationCall:
        changed = {name: value for name, value in arguments.items() if not _is_default(value, defaults, name)}
        return call(entry.name, **changed)

    factory.__name__ = factory.__qualname__ = entry.function.__name__
    factory.__module__ = entry.function.__module__
    factory.__doc__ = _docstring(entry, signature)
    factory.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    factory.__annotations__["return"] = PerturbationCall
    factory.__signature__ = signature  # type: ignore[attr-defined]
    factory.function = entry.function  # type: ignore[attr-defined]
    return factory  # type: ignore[return-value]


def _signature(entry: Perturbation) -> inspect.Signature:
    """Return the factory's signature: the function's parameters as keywords, then the shared ones that apply."""
    parameters = [_keyword(entry.model_argument, Any)] if entry.model_argument else []
    parameters += [
        _keyword(name, _or_grid(parameter.annotation), parameter.default)
        for name, parameter in entry.parameters.items()
    ]
    if entry.takes == "text" and not entry.repeats:
        parameters.append(_keyword("fields", _or_grid(str), entry.fields))
        if not entry.model_argument:
            parameters.append(_keyword("protect", str | Sequence[str] | Sequence[Sequence[str]] | None, None))
            if entry.has_helm:
                parameters.append(_keyword("compat", str | None, None))
    return inspect.Signature(parameters, return_annotation=PerturbationCall)


def _keyword(name: str, annotation: Any, default: Any = Parameter.empty) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _or_grid(annotation: Any) -> Any:
    """Return the type of a value or a list of values."""
    if annotation is Parameter.empty:
        return Any
    if isinstance(annotation, str):
        return f"{annotation} | Sequence[{annotation}]"
    return annotation | Sequence[annotation]


def _docstring(entry: Perturbation, signature: inspect.Signature) -> str:
    """Return the function's docstring with the factory's parameters and result in place of the function's."""
    text = inspect.getdoc(entry.function) or ""
    described = dict(_SHARED)
    for section in _SECTIONS.findall(text):
        if section.startswith("Args:"):
            _, *entries = _ENTRIES.split(section)
            described |= dict(zip(entries[::2], map(str.rstrip, entries[1::2]), strict=True))
    text = re.sub(r"\n{3,}", "\n\n", _SECTIONS.sub("", text)).strip()
    last = _LAST.search(text)
    before, after = (text, "") if last is None else (text[: last.start()], text[last.start() :])
    lines = [f"    {name}: {described[name]}" for name in signature.parameters if name in described]
    arguments = "\n".join(["Args:", *lines]) if lines else ""
    return "\n\n".join(filter(None, [before.strip(), arguments, _RETURNS, after]))


def _is_default(value: Any, defaults: Mapping[str, Any], name: str) -> bool:
    return name in defaults and type(value) is type(defaults[name]) and bool(value == defaults[name])
