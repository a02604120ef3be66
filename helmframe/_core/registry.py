"""Names → functions, filled by decorators and by entry points of other packages."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from helmframe.errors import ArgumentError, UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """What is known under a name: perturbations, metrics, adapters, model backends.

    Args:
        kind: the singular noun used in messages; other packages add to the entry-point group `helmframe.{kind}s`.
        hint: what to write to add one, shown when a name is unknown.
    """

    def __init__(self, kind: str, hint: str = "") -> None:
        self.kind = kind
        self.hint = hint
        self._entries: dict[str, T] = {}
        self._discovered = False

    def add(self, name: str, entry: T) -> None:
        """Register `entry`; the same name again replaces it only if it comes from the same place (a cell run twice)."""
        old = self._entries.get(name)
        if old is not None and _origin(old) != _origin(entry):
            raise ArgumentError(
                f"a {self.kind} called {name!r} is there already, from {_origin(old)}; choose another name."
            )
        self._entries[name] = entry

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            self._discover()
        if name not in self._entries:
            raise UnknownNameError.among(self.kind, name, self._entries, hint=self.hint)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._entries))

    def added(self) -> dict[str, T]:
        """What was not registered by helmframe itself."""
        return {name: entry for name, entry in self._entries.items() if not _origin(entry).startswith("helmframe.")}

    def _discover(self) -> None:
        """Import what other packages announce; importing runs their decorators."""
        if self._discovered:
            return
        self._discovered = True
        from importlib.metadata import entry_points

        for point in entry_points(group=f"helmframe.{self.kind}s"):
            point.load()


def _origin(entry: object) -> str:
    function: object = getattr(entry, "function", entry)
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"
