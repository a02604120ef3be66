"""What is said of Ray is looked at when it is said, and needs no Ray."""

from typing import Any

import pytest

import helmframe as hf
from helmframe.engines import resolve_engine
from helmframe.engines.ray import options


def plan() -> hf.Plan:
    return hf.scenario("sampler").generate(hf.models.oracle())


def test_an_engine_nobody_knows_has_a_near_name() -> None:
    with pytest.raises(hf.HelmframeError, match="Did you mean 'ray'"):
        plan().score(engine="rya")
    with pytest.raises(hf.HelmframeError, match="engine must be 'local' or 'ray'"):
        plan().submit(engine="dask")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    with pytest.raises(hf.HelmframeError, match=r"pip install 'helmframe\[ray\]'"):
        resolve_engine("ray")


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"replicas": 0}, "replicas=0"),
        ({"replicas": (4, 1)}, r"a pair \(minimum, maximum\)"),
        ({"num_gpus": -1}, "num_gpus=-1"),
        ({"weight": 0}, "weight=0"),
        ({"models": {"big": {"weight": "much"}}}, "weight='much'"),
        ({"resources": {"a100": "two"}}, "a100='two'"),
        ({"models": {"big": {"num_gpu": 1}}}, "Did you mean 'num_gpus'"),
    ],
)
def test_options_that_cannot_be(said: dict[str, Any], match: str) -> None:
    with pytest.raises(hf.HelmframeError, match=match):
        hf.engines.Ray(**said)


def test_options_of_a_model_outside_the_plan_raise() -> None:
    engine = hf.engines.Ray(models={"oracel": {"replicas": 1}})
    with pytest.raises(hf.HelmframeError, match="Did you mean 'oracle'"):
        plan().score(engine=engine)


def test_until_is_not_shared_out() -> None:
    with pytest.raises(hf.HelmframeError, match="until="):
        plan().score(engine="ray", until=hf.precise(0.1))


def test_a_model_has_its_own_options() -> None:
    engine = hf.engines.Ray(num_cpus=2, models={"oracle": {"num_gpus": 2, "replicas": 3, "weight": 2}})
    of_it = engine.of(hf.models.oracle())
    assert (of_it.num_cpus, of_it.num_gpus, of_it.least_and_most, of_it.weight) == (2, 2, (3, 3), 2)
    assert engine.of(hf.models.echo()).num_gpus == 0
