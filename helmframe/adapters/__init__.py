"""Adapters: how an instance becomes a request. Register your own with `@hf.adapter`."""

from helmframe._core.specs import AdapterFields, AdapterSpec

__all__ = ["AdapterFields", "AdapterSpec"]


def __dir__() -> list[str]:
    # what the Tab key offers: not the modules that the names come from
    return __all__
