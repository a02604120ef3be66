"""Completions constrained to a JSON schema: a local model, vLLM's server, vLLM in a process, and functions."""

from collections.abc import Iterator
from typing import Any

import polars as pl
import pydantic
import pytest

import helmframe as hf
from helmframe._core.json_schema import schema_problem, schema_text
from helmframe._plan import Plan
from helmframe.models import endpoint_client, event_loop
from helmframe.results import Results
from tests.acceptance.figures import shown
from tests.acceptance.vllm_peer import asked_of_vllm, vllm_serving
from tests.demo import demo_model

PEOPLE = ["Alice is 30 years old.", "Bob is 41.", "Carol turned 7 today.", "Dora, aged 52, is a doctor."]


class Person(pydantic.BaseModel):
    """The schema of the completions."""

    model_config = pydantic.ConfigDict(extra="forbid")
    name: str = pydantic.Field(max_length=20)
    age: int = pydantic.Field(ge=0, le=150)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Connections are closed afterwards."""
    yield
    client = endpoint_client._clients.pop(event_loop.loop(), None)
    if client is not None:
        event_loop.run(client.aclose())


def people(**fields: Any) -> Plan:
    """Requests to describe four people, in words that don't name JSON."""
    frame = pl.DataFrame({"q": PEOPLE, "a": PEOPLE})
    plan = hf.scenario(frame, input="q", references="a", name="people").metrics("json_valid", "json_schema_valid")
    return plan.adapt(shots=0, input_prefix="Describe this person. ", output_prefix="", **fields)


def decoded(plan: Plan, model: Any, **decoding: Any) -> Results:
    return plan.generate(model, max_tokens=60, temperature=0.0, stop=[], **decoding).score()


def check(name: str, constrained: Results, free: Results) -> None:
    """Check that all constrained completions match the schema, and that failures of the others have a reason."""
    completions = constrained.completions.collect()
    assert completions["error"].null_count() == len(PEOPLE)
    print(f"{name}: {completions['completion'].to_list()}")
    shown(
        "6", f"{name}: completions that match the schema, of {len(PEOPLE)}", constrained.value("json_schema_valid"), 1.0
    )
    assert constrained.table()["value"].to_list() == [1.0, 1.0]
    for text in completions["completion"]:
        Person.model_validate_json(text)
    reasons = free.rescore("json_valid").scores.filter(score=0.0).collect()["reason"]
    shown("6", f"{name}: completions without a schema that are JSON", free.value("json_valid"), 1.0)
    assert free.value("json_valid") < 1.0
    assert reasons.null_count() == 0
    assert reasons.str.starts_with("isn't JSON: ").all()


@pytest.mark.model
def test_a_local_model_completes_to_the_schema() -> None:
    plan, folder = people(chat_template=True), str(demo_model())
    check("local", decoded(plan, folder, json_schema=Person), decoded(plan, folder))
    sampled = plan.generate(folder, max_tokens=60, temperature=1.0, seed=1, n=2, stop=[], json_schema=Person).score()
    assert sampled.value("json_schema_valid") == 1.0
    with_few = plan.generate(folder, max_tokens=4, stop=[], json_schema=Person).score()
    assert with_few.value("json_schema_valid") == 0.0
    assert set(with_few.completions.collect()["finish_reason"]) == {"length"}


@pytest.mark.model
def test_vllms_server_completes_to_the_schema() -> None:
    folder = demo_model()
    with vllm_serving(folder) as url:
        server = hf.models.http(url, str(folder))
        for fields in ({}, {"chat_template": True}):
            plan = people(**fields)
            route = "chat" if fields else "completions"
            check(f"vLLM's server, {route}", decoded(plan, server, json_schema=Person), decoded(plan, server))
        assert server.refused is not None
        assert server.refused() == {}


@pytest.mark.model
def test_vllm_in_a_process_completes_to_the_schema() -> None:
    schema = schema_text(Person)
    texts = asked_of_vllm("json_schema_child.py", str(demo_model()), schema, *PEOPLE)
    problems = [schema_problem(text, schema) for text in texts]
    shown(
        "6", f"vLLM in a process: completions that match the schema, of {len(texts)}", problems.count(None), len(texts)
    )
    assert problems == [None] * len(PEOPLE), texts


def test_functions_receive_the_schema_only_if_they_have_the_parameter() -> None:
    schemas: list[Any] = []

    def takes(prompt: str, json_schema: dict[str, Any] | None = None) -> str:
        schemas.append(json_schema)
        return '{"name": "x", "age": 1}'

    def takes_any(prompt: str, **decoding: Any) -> str:
        schemas.append(decoding["json_schema"])
        return '{"name": "x"}'

    plan = people()
    both = plan.generate([takes, takes_any], json_schema=Person).score()
    assert schemas == [Person.model_json_schema()] * 2 * len(PEOPLE)
    scores = both.scores.filter(metric="json_schema_valid").collect()
    assert dict(scores.group_by("model").agg(pl.col("score").mean()).rows()) == {"takes": 1.0, "takes_any": 0.0}
    assert set(scores.filter(model="takes_any")["reason"]) == {"$: 'age' is a required property"}
    with pytest.raises(hf.errors.CapabilityError, match=r"json_schema=…\): model 'lambda' doesn't support json_schema"):
        plan.generate(lambda prompt: "{}", json_schema=Person)


def test_the_schema_is_part_of_the_request_id_only_if_specified() -> None:
    plan = people().limit(1)
    model = hf.models.echo()

    def ids(**decoding: Any) -> list[bytes]:
        rows = plan.generate(model, **decoding).score().completions.collect()
        return rows["request_id"].to_list()

    assert ids() == ids(json_schema=None)
    assert ids() != ids(json_schema=Person) != ids(json_schema={"type": "object"})
    assert (
        ids(json_schema=Person) == ids(json_schema=Person.model_json_schema()) == ids(json_schema=schema_text(Person))
    )
