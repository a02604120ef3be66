"""Registries of plug-ins by name. Decorators fill them; a module is imported when one of its names is first used.

Views are plug-ins too: reprs, charts and files of an object. Packages of higher layers register them for the class of
the object:

    @view("Gate.text")
    def gate_text(gate: Gate) -> str: ...

`render(gate, "text")` imports that module and calls the function.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from helmframe.errors import ArgumentError, UnknownNameError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])


class Registry(Generic[T]):
    """Entries by name, such as perturbations, metrics and adapters.

    With `packages`, names are read from the source of their modules, so that listing them imports nothing and looking
    up a name imports one module. Other packages register entries by entry points of the group `helmframe.{kind}s`.

    Args:
        kind: The singular noun for messages and for the entry-point group.
        hint: The text that shows how to add an entry, for errors of unknown names.
        packages: The packages whose modules register entries, such as "helmframe.metrics".
        decorator: The decorator that registers them, called as `@decorator("name", …)`; default `kind`.
    """

    def __init__(self, kind: str, hint: str = "", *, packages: Sequence[str] = (), decorator: str = "") -> None:
        self.kind = kind
        self.hint = hint
        self._packages = tuple(packages)
        self._decorator = decorator or kind
        self._entries: dict[str, T] = {}
        self._discovered = False

    def add(self, name: str, entry: T) -> None:
        """Register `entry`.

        A name can be registered again by the same function only: a notebook cell that is run twice.

        Raises:
            ArgumentError: The name is taken.
        """
        old = self._entries.get(name)
        origin = _origin(old) if old is not None else self._modules.get(name)
        new = _origin(entry)
        if origin is not None and new != origin and not (old is None and new.startswith(f"{origin}.")):
            raise ArgumentError(f"The {self.kind} {name!r} is already registered, by {origin}. Choose another name.")
        self._entries[name] = entry

    def __getitem__(self, name: str) -> T:
        if name not in self._entries and name in self._modules:
            import_module(self._modules[name])
        if name not in self._entries:
            self._discover()
        if name not in self._entries:
            raise UnknownNameError.among(self.kind, name, self, hint=self.hint)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        if name in self._entries or name in self._modules:
            return True
        self._discover()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted({*self._entries, *self._modules}))

    def added(self) -> dict[str, T]:
        """Return the entries that helmframe itself doesn't register."""
        return {name: entry for name, entry in self._entries.items() if not _origin(entry).startswith("helmframe.")}

    def remove(self, name: str) -> None:
        """Remove an entry that was added."""
        del self._entries[name]

    @cached_property
    def _modules(self) -> dict[str, str]:
        """Name → module, of the entries that `packages` register."""
        call = re.compile(rf'^@{self._decorator}\(\s*"([^"]+)"', re.MULTILINE)
        modules: dict[str, str] = {}
        for package in self._packages:
            root = Path(str(import_module(package).__file__)).parent
            for file in sorted(root.rglob("*.py")):
                parts = file.relative_to(root).with_suffix("").parts
                module = ".".join((package, *parts)).removesuffix(".__init__")
                modules |= dict.fromkeys(call.findall(file.read_text(encoding="utf-8")), module)
        return modules

    def _discover(self) -> None:
        """Import the entry points of other packages, which runs their decorators."""
        if self._discovered:
            return
        self._discovered = True
        for point in announced(f"helmframe.{self.kind}s"):
            point.load()


def announced(group: str) -> "Iterable[EntryPoint]":
    """Return the entry points of a group, of the packages that are installed at the first call."""
    return _entry_points()(group=group)


@cache
def _entry_points() -> "Callable[..., Iterable[EntryPoint]]":
    from importlib.metadata import entry_points

    return entry_points().select  # in Python 3.11 of a class that later versions don't have


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
    registered = next((candidate for candidate in names if candidate in VIEWS), names[0])
    return VIEWS[registered].function(value, *args, **kwargs)


def _origin(entry: object) -> str:
    function: object = getattr(entry, "function", getattr(entry, "make", entry))
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"
