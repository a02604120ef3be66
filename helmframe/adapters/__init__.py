"""Adapters: how an instance becomes a request. Register your own with `@hf.adapter`."""

from helmframe._core.specs import AdapterFields, AdapterSpec

__all__ = ["AdapterFields", "AdapterSpec"]


def __dir__() -> list[str]:
    # Tab completion shows these names only, not the modules that define them
    return __all__
