"""HELM's AdapterSpec beside ours."""

from helmframe._core.specs import AdapterSpec
from helmframe.interop.helm.fields import align_adapter, to_helm


def test_adapters_with_an_unknown_method_are_aligned_too() -> None:
    ours = AdapterSpec(method="of_my_own", instructions="Answer about {subject}.")
    theirs = AdapterSpec(method="of_my_own", instructions="Answer about music.")
    assert align_adapter(theirs, (), ours, (), {"subject": "music"}) == (ours, ())
    assert to_helm(ours, (), 1, {"subject": "music"})["instructions"].startswith("Answer about music.")
