"""Views of objects: their reprs, charts and files, made by packages above and looked up by type.

An object names a view of itself, and the module that makes it registers a function for the object's class:

    @view("Gate.text")
    def gate_text(gate: Gate) -> str: ...

`render(gate, "text")` calls it. The module is imported by then only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from helmframe._core.registry import Registry

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class View:
    """A function that takes an object and returns a view of it."""

    function: Callable[..., Any]


VIEWS: Registry[View] = Registry("view", packages=("helmframe.views", "helmframe.interop"))


def view(name: str) -> Callable[[Function], Function]:
    """Register a function of an object of a class; `name` is "Class.view"."""

    def register(function: Function) -> Function:
        VIEWS.add(name, View(function))
        return function

    return register


def render(value: object, name: str, *args: Any, **kwargs: Any) -> Any:
    """Return the view of a value: what the function registered for its class, or for a base of it, returns.

    Raises:
        UnknownNameError: No function is registered.
    """
    names = [f"{kind.__name__}.{name}" for kind in type(value).__mro__]
    return VIEWS[next((each for each in names if each in VIEWS), names[0])].function(value, *args, **kwargs)
