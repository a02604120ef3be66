"""JSON schemas as canonical text, and the validation of texts; nothing is fetched, and no schema runs for long."""

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import polars as pl

from helmframe._core.checks import regex_problem
from helmframe._core.safe_text import type_name, valid_unicode
from helmframe.errors import ArgumentError, CapabilityError

# The maximum of characters and of nested levels of a schema, and of references that the validation of a text follows.
MAX_CHARACTERS, MAX_DEPTH, MAX_REFERENCES = 200_000, 64, 10_000
# The maximum of characters of a reason.
MAX_REASON = 300
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
# The keywords whose value is an object of schemas by name, and those whose value isn't a schema.
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
_VALUES = ("enum", "const", "default", "examples")


def schema_text(schema: object, where: str = "generate(json_schema=…)") -> str:
    """Return a JSON schema as JSON text, with its keys in their order.

    >>> schema_text({"type": "integer"})
    '{"type":"integer"}'

    Args:
        schema: A dict, JSON text, or a class with the method `model_json_schema`, such as Pydantic's models.
        where: The argument, for messages.

    Raises:
        ArgumentError: The value isn't a JSON schema, refers to another document, or is too large.
    """
    content: Any = schema
    if isinstance(schema, type) and callable(getattr(schema, "model_json_schema", None)):
        content = schema.model_json_schema()  # type: ignore[attr-defined]
    try:
        if isinstance(content, str):
            content = parse_json(content)
        if not isinstance(content, Mapping):
            name = type_name(content if isinstance(content, type) else type(content))
            raise ArgumentError(
                f"{where}: must be a JSON schema (a dict, JSON text, or a Pydantic model class), not {name}."
            )
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(f"{where}: the schema isn't valid JSON: {_problem(error)}.") from None
    _check(text, where)
    return valid_unicode(text)


def with_schema_text(decoding: Mapping[str, Any], where: str = "generate(json_schema=…)") -> dict[str, Any]:
    """Return decoding parameters with the JSON schema as text, or a list of schemas, which is a grid, as texts.

    Raises:
        ArgumentError: As for `schema_text`.
    """
    schema = decoding.get("json_schema")
    if schema is None:
        return dict(decoding)
    texts: object = (
        [None if value is None else schema_text(value, where) for value in schema]
        if isinstance(schema, list | tuple)
        else schema_text(schema, where)
    )
    return {**decoding, "json_schema": texts}


def schema_name(text: str) -> str:
    """Return a short name of a schema: its title, and the start of a hash.

    >>> schema_name('{"title":"Person"}'), schema_name('{}')
    ('Person-0d166af9', '44136fa3')
    """
    title = json.loads(text).get("title")
    digest = sha256(text.encode()).hexdigest()[:8]
    return f"{title[:40]}-{digest}" if isinstance(title, str) and title else digest


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: The text isn't JSON by RFC 8259, is nested too deeply, or has a number that is too long.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def json_problem(text: str) -> str | None:
    """Return why a text isn't JSON; None if it is.

    >>> json_problem('{"a": 1}')
    >>> json_problem('{"a": 1')
    "isn't JSON: Expecting ',' delimiter at character 7"
    """
    try:
        parse_json(text)
    except ValueError as error:
        return f"isn't JSON: {_problem(error)}"
    return None


def schema_problem(text: str, schema: str) -> str | None:
    """Return why a text doesn't match a schema; None if it does.

    >>> schema_problem("[1]", '{"type":"object"}')
    "$: [1] is not of type 'object'"

    Args:
        text: The text.
        schema: The schema, as `schema_text` returns it.
    """
    problem = json_problem(text)
    if problem is not None:
        return problem
    validator = _validator(schema)
    _budget.left = MAX_REFERENCES
    try:
        error = next(validator.iter_errors(parse_json(text)), None)
    except (_ExhaustedError, RecursionError):
        return f"not validated: the schema needs more than {MAX_REFERENCES:,} references"
    except ArithmeticError as overflow:  # a number that is too large for multipleOf
        return f"not validated: {_problem(overflow)}"
    return None if error is None else _shortened(f"{error.json_path}: {error.message}")


def check_available() -> None:
    """Check that texts can be validated.

    Raises:
        CapabilityError: The package jsonschema is not installed.
    """
    if find_spec("jsonschema") is None:
        raise CapabilityError("JSON schemas are validated with the package jsonschema: pip install 'helmframe[json]'.")


def is_strict(schema: object) -> bool:
    """Return whether every object of a schema requires all its properties and no others, as OpenAI's strict mode does.

    >>> is_strict({"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False})
    True
    """
    return all(
        node.get("additionalProperties") is False and {*node.get("properties", ())} <= {*node.get("required", ())}
        for node in _nodes(schema)
        if node.get("type") == "object" or "properties" in node
    )


def import_jsonschema() -> None:
    """Import jsonschema, which Altair needs too, without its parser of IRIs: that is loaded at its first use.

    The parser's grammar takes a second to build, and few schemas contain IRIs. It is installed with JupyterLab.
    """
    name = "rfc3987_syntax"
    if {name, "jsonschema"} & sys.modules.keys() or not (find_spec(name) and find_spec("jsonschema")):
        return
    deferred = ModuleType(name)
    vars(deferred)["is_valid_syntax"] = lambda *args: import_module(name).is_valid_syntax(*args)
    sys.modules[name] = deferred
    try:
        import_module("jsonschema")
    finally:
        sys.modules.pop(name, None)  # another thread may have removed it


class _ExhaustedError(Exception):
    """The validation follows too many references."""


# The number of references that the current validation of each thread may still follow.
_budget = threading.local()


def _check(text: str, where: str) -> None:
    """Check that a schema is small, local and valid.

    Raises:
        ArgumentError: It isn't.
    """
    if len(text) > MAX_CHARACTERS:
        raise ArgumentError(f"{where}: the schema has {len(text):,} characters; the maximum is {MAX_CHARACTERS:,}.")
    schema = json.loads(text)
    if _depth(schema) > MAX_DEPTH:
        raise ArgumentError(f"{where}: the schema is nested more than {MAX_DEPTH} levels deep.")
    for node in _nodes(schema):
        for name in _REFERENCES:
            reference = node.get(name)
            if isinstance(reference, str) and not reference.startswith("#"):
                raise ArgumentError(
                    f"{where}: the schema refers to {_shortened(repr(reference))}, and nothing is fetched. Write the "
                    "definition under $defs, and refer to it as '#/$defs/NAME'."
                )
        if "unevaluatedProperties" in node and any("patternProperties" in other for other in _nodes(schema)):
            raise ArgumentError(
                f"{where}: unevaluatedProperties and patternProperties together aren't supported. Write "
                "additionalProperties."
            )
        for pattern in [node.get("pattern"), *_keys(node.get("patternProperties"))]:
            if isinstance(pattern, str):
                _check_pattern(pattern, where)
    if find_spec("jsonschema") is not None:
        _check_valid(schema, where)


def _check_pattern(pattern: str, where: str) -> None:
    try:
        _matches(pattern, "")
    except pl.exceptions.ComputeError as error:
        raise ArgumentError(
            f"{where}: unsupported regular expression {_shortened(pattern)!r}: {regex_problem(error)}."
        ) from None


def _check_valid(schema: Any, where: str) -> None:
    import_jsonschema()
    from jsonschema import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import specification_with

    kind: Any = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
        resource = specification_with(kind.META_SCHEMA["$schema"]).create_resource(schema)
        resolver = Registry().with_resource("", resource).resolver()
        for node in _nodes(schema):
            for name in ("$ref", "$dynamicRef"):
                if isinstance(node.get(name), str):
                    resolver.lookup(node[name])
    except SchemaError as error:
        raise ArgumentError(f"{where}: invalid schema at {error.json_path}: {_shortened(error.message)}.") from None
    except Unresolvable as error:
        raise ArgumentError(f"{where}: the schema has no definition {_shortened(repr(error.ref))}.") from None


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    """Return a validator that fetches nothing, counts references, and matches regular expressions in linear time."""
    import_jsonschema()
    from jsonschema.validators import Draft202012Validator, extend, validator_for
    from referencing import Registry

    content = json.loads(schema)
    kind: Any = validator_for(content, default=Draft202012Validator)
    keywords = {name: _counted(kind.VALIDATORS[name]) for name in _REFERENCES if name in kind.VALIDATORS}
    keywords |= {"pattern": _pattern, "patternProperties": _pattern_properties}
    if "additionalProperties" in kind.VALIDATORS:
        keywords["additionalProperties"] = _additional_properties
    return extend(kind, keywords)(content, registry=Registry())


def _counted(keyword: Any) -> Any:
    """Return a keyword's function that raises if the validation follows too many references."""

    def follow(*arguments: Any) -> Iterator[Any]:
        _budget.left -= 1
        if _budget.left < 0:
            raise _ExhaustedError
        yield from keyword(*arguments) or ()

    return follow


def _matches(pattern: str, text: str) -> bool:
    """Return whether a regular expression matches anywhere, by Polars, whose time is linear in the text."""
    return bool(pl.select(pl.lit(text).str.contains(pattern)).item())


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], instance: Any, __: Any) -> Iterator[Any]:
    for pattern, subschema in patterns.items() if isinstance(instance, dict) else ():
        for key, value in instance.items():
            if _matches(pattern, key):
                yield from validator.descend(value, subschema, path=key, schema_path=pattern)


def _additional_properties(validator: Any, additional: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not isinstance(instance, dict):
        return
    patterns = schema.get("patternProperties", {})
    for key, value in instance.items():
        if key in schema.get("properties", {}) or any(_matches(pattern, key) for pattern in patterns):
            continue
        if isinstance(additional, dict):
            yield from validator.descend(value, additional, path=key)
        elif not additional:
            yield ValidationError(f"the property {key!r} isn't allowed")


def _nodes(schema: object) -> Iterator[Mapping[str, Any]]:
    """Yield a schema and all schemas in it."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list | tuple):
            waiting += node
        elif isinstance(node, Mapping):
            yield node
            for key, value in node.items():
                if key in _BY_NAME and isinstance(value, Mapping):
                    waiting += value.values()
                elif key not in _VALUES:
                    waiting.append(value)


def _depth(schema: object) -> int:
    """Return the number of nested levels."""
    level, depth = [schema], 0
    while level:
        depth += 1
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
    return depth


def _keys(value: object) -> list[Any]:
    return list(value) if isinstance(value, Mapping) else []


def _problem(error: BaseException) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    return _shortened(str(error)) or type_name(type(error))


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} isn't a JSON value")


def _shortened(text: str) -> str:
    line = " ".join(valid_unicode(text).split())
    return line if len(line) <= MAX_REASON else f"{line[: MAX_REASON - 1]}…"
