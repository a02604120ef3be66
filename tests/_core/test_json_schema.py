"""JSON schemas: canonical text, and validation that fetches nothing and ends soon."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pydantic
import pytest

from helmframe._core.json_schema import (
    MAX_CHARACTERS,
    is_strict,
    json_problem,
    schema_name,
    schema_problem,
    schema_text,
    with_schema_text,
)
from helmframe.errors import ArgumentError

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def test_a_schema_is_a_dict_a_text_or_a_pydantic_class() -> None:
    person = pydantic.create_model("Person", name=(str, ...), age=(int, ...))
    assert json.loads(schema_text(person))["required"] == ["name", "age"]
    assert schema_text(PERSON) == schema_text(json.dumps(PERSON, indent=2))
    # models generate properties in the order of the schema
    assert schema_text({"b": 1, "a": 2}) == '{"b":1,"a":2}' != schema_text({"a": 2, "b": 1})


def test_a_list_is_a_grid_and_none_is_no_schema() -> None:
    assert with_schema_text({"json_schema": [{}, None], "seed": 1}) == {"json_schema": ["{}", None], "seed": 1}
    assert with_schema_text({"json_schema": None}) == {"json_schema": None}
    assert with_schema_text({"seed": 1}) == {"seed": 1}


def test_names_distinguish_schemas_of_one_title() -> None:
    names = {schema_name(schema_text({"title": "Person", "type": kind})) for kind in ("object", "array")}
    assert len(names) == 2
    assert all(name.startswith("Person-") for name in names)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (3, r"must be a JSON schema \(a dict, JSON text, or a Pydantic model class\), not int"),
        (dict, "not dict"),
        ("{", "isn't valid JSON: Expecting property name"),
        ("[]", "not list"),
        ({"const": object()}, "isn't valid JSON: Object of type object"),
        ({"const": float("nan")}, "isn't valid JSON"),
        ({"type": "objekt"}, r"invalid schema at \$.type: 'objekt'"),
        ({"$ref": "#/$defs/gone"}, "no definition '/\\$defs/gone'"),
        ({"type": "string", "pattern": "(?=a)"}, r"unsupported regular expression '\(\?=a\)': look-around"),
        ({"patternProperties": {"(": {}}}, r"unsupported regular expression '\('"),
        ({"unevaluatedProperties": False, "patternProperties": {"^(a+)+$": {}}}, "together aren't supported"),
        ({"enum": ["x" * MAX_CHARACTERS]}, "the maximum is 200,000"),
    ],
    ids=range(12),
)
def test_invalid_schemas_raise(schema: object, message: str) -> None:
    with pytest.raises(ArgumentError, match=rf"^generate\(json_schema=…\).*{message}"):
        schema_text(schema)


@pytest.mark.parametrize("levels", [100, 100_000])
def test_deep_schemas_raise(levels: int) -> None:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    with pytest.raises(ArgumentError, match=r"nested more than 64 levels deep|maximum recursion depth"):
        schema_text(schema)


@pytest.fixture
def remote() -> Iterator[tuple[str, list[str]]]:
    """A real server that would serve a schema, and the paths that were requested."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/schema", paths
    server.shutdown()
    thread.join()
    server.server_close()


def test_remote_references_are_refused_and_nothing_is_fetched(remote: tuple[str, list[str]]) -> None:
    url, paths = remote
    schemas: list[dict[str, Any]] = [
        {"$ref": url},
        {"properties": {"default": {"$ref": url}}},
        {"$dynamicRef": url},
        {"$defs": {"enum": {"allOf": [{"$ref": f"{url}#/x"}]}}},
    ]
    for schema in schemas:
        with pytest.raises(ArgumentError, match=r"refers to 'http.*nothing is fetched.*under \$defs"):
            schema_text(schema)
    # values and names aren't references
    text = schema_text({"const": {"$ref": url}, "properties": {"$ref": {"type": "string"}}, "$id": url, "$schema": url})
    assert schema_problem("1", text) is not None
    assert paths == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"name": "Bo", "age": 3}', None),
        (' {"name": "Bo", "age": 3}\n', None),
        ('{"name": "bo", "age": 3}', "$.name: 'bo' does not match '^[A-Z]'"),
        ('{"name": "Bo"}', "$: 'age' is a required property"),
        ('{"name": "Bo", "age": -1}', "$.age: -1 is less than the minimum of 0"),
        ('{"name": "Bo", "age": 3, "x": 1}', "$: the property 'x' isn't allowed"),
        ('```json\n{"name": "Bo", "age": 3}\n```', "isn't JSON: Expecting value at character 0"),
        ('{"name": "Bo", "age": NaN}', "isn't JSON: NaN isn't a JSON value"),
        ("", "isn't JSON: Expecting value at character 0"),
        ("[" * 100_000, "isn't JSON: it is nested too deeply"),
    ],
)
def test_problems_name_the_place(text: str, problem: str | None) -> None:
    assert schema_problem(text, schema_text(PERSON)) == problem


def test_keywords_with_patterns_have_their_meaning() -> None:
    text = schema_text({"patternProperties": {"^n": {"type": "integer"}}, "additionalProperties": {"type": "string"}})
    assert schema_problem('{"n1": 1, "other": "x"}', text) is None
    assert schema_problem('{"n1": "x"}', text) == "$.n1: 'x' is not of type 'integer'"
    assert schema_problem('{"other": 1}', text) == "$.other: 1 is not of type 'string'"


def test_long_values_are_shortened_in_a_problem() -> None:
    problem = schema_problem(json.dumps("x" * 10_000), schema_text({"type": "integer"}))
    assert problem is not None
    assert len(problem) == 300


def test_hostile_schemas_and_texts_end_soon() -> None:
    doubling = {f"d{level}": {"allOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level in range(40)}
    bomb = schema_text({"$defs": doubling | {"d40": {}}, "$ref": "#/$defs/d0"})
    loop = schema_text({"$ref": "#"})
    backtracking = schema_text({"type": "string", "pattern": "^(a+)+$"})
    started = time.monotonic()
    assert schema_problem('"x"', bomb) == "not validated: the schema needs more than 10,000 references"
    assert "references" in str(schema_problem('"x"', loop))
    assert schema_problem(json.dumps("a" * 50_000 + "!"), backtracking) is not None
    assert json_problem("1" * 100_000) is not None
    assert schema_problem("1e400", schema_text({"multipleOf": 0.1})) is not None
    assert time.monotonic() - started < 20
    assert schema_problem('"x"', schema_text({"$defs": {"s": {"type": "string"}}, "$ref": "#/$defs/s"})) is None


def test_strict_schemas_require_all_properties_and_no_others() -> None:
    assert is_strict(PERSON)
    assert is_strict({"type": "array", "items": PERSON})
    assert not is_strict({**PERSON, "required": ["name"]})
    assert not is_strict({"type": "array", "items": {"type": "object"}})
    assert is_strict({"$defs": {"properties": PERSON}, "$ref": "#/$defs/properties"})
