"""Spec files: scenarios in YAML, read strictly.

An unknown key, a wrong type or a missing key is a `SpecError` that names file and key. Specs contain no code.
"""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from helmframe._core.checks import is_integer
from helmframe._core.specs import (
    DOWNLOAD_FORMATS,
    DOWNLOAD_OPTIONS,
    OF_SUBSET,
    SPLITS,
    Download,
    MainScore,
    Pairs,
    ScenarioSpec,
    Value,
    adapter_spec,
    decoding_pairs,
    frozen,
    of_subset,
)
from helmframe._core.yaml import read_yaml, reading
from helmframe.config import has_user
from helmframe.errors import ArgumentError, SpecError
from helmframe.scenarios.sql import excess_of

# Values of `status`: the Hub requires a login; a licence must be bought or signed; the rows are no longer published;
# they are published elsewhere, in an unsupported form. Such rows are read from the user's own root.
STATUSES = ("gated", "licensed", "dead", "elsewhere")


def load_scenario(path: Path) -> ScenarioSpec:
    """Return the spec in a YAML file.

    Raises:
        SpecError: The file isn't YAML, or a key is unknown, missing or of the wrong type. The message has file and key.
    """
    with reading(path.name, "a valid scenario spec", SpecError):
        return _scenario(path)


def _scenario(path: Path) -> ScenarioSpec:
    file = path.name
    mapping = _mapping(path)
    for key in ("scenario", "version", "source", "instances", "metrics", "main"):
        if key not in mapping:
            raise SpecError.at(file, key, "is missing.")
    values: dict[str, Any] = {}
    for key, value in mapping.items():
        if key == "main":
            values[key] = _main(file, value)
        elif key in ("metrics", "subsets", "images"):
            values[key] = _names(file, key, value)
        elif key == "splits":
            # in the order of the file: it is the order of the splits within a subset, and so of row_index
            values[key] = _splits(file, value)
        elif key in ("source", "hub", "columns", "adapter", "decoding", "helm", "default", "example", "per_subset"):
            values[key] = _pairs(file, key, value)
        elif key == "union":
            if not isinstance(value, bool):
                raise SpecError.at(file, key, f"must be true or false, not {value!r}.")
            values[key] = value
        elif key == "download":
            values[key] = _downloads(file, value)
        elif key == "outputs":
            values[key] = _outputs(file, value)
        elif key == "turns" and not isinstance(value, str):
            raise SpecError.at(file, key, f"must be the name of a column of the SELECT, not {value!r}.")
        else:
            values[key] = str(value)
    spec = ScenarioSpec(**values, origin=str(path))
    _check(file, spec)
    return spec


def _mapping(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the content of a file, merged into that of the spec in `like`: by key, in adapter and decoding too.

    A file with a `source` of its own doesn't inherit `download`.
    """
    file = path.name
    mapping = read_yaml(path)
    if not isinstance(mapping, dict):
        raise SpecError.at(file, "", "a scenario spec must be a mapping that starts with 'scenario: NAME'.")
    keys = [
        "like",
        *(spec_field.name for spec_field in fields(ScenarioSpec) if spec_field.name not in ("origin", "frame")),
    ]
    for key in mapping:
        if key not in keys:
            raise SpecError.unknown_key(file, str(key), keys)
    like = mapping.pop("like", None)
    if like is None:
        return mapping
    base = path.parent / f"{like}.yaml"
    if not re.fullmatch(r"\w+", str(like)) or base in (path, *seen) or not base.is_file():
        raise SpecError.at(file, "like", f"{like!r} must be the name of another spec in the same folder.")
    over = _mapping(base, (path, *seen))
    if "source" in mapping:
        over.pop("download", None)  # files with other rows
    for key in ("adapter", "decoding"):
        if isinstance(mapping.get(key), dict) and isinstance(over.get(key), dict):
            mapping[key] = over[key] | mapping[key]
    return over | mapping


def _pairs(file: str, key: str, value: object) -> Pairs:
    if not isinstance(value, dict):
        raise SpecError.at(file, key, f"must be a mapping, not {value!r}.")
    if key == "decoding":
        try:
            return decoding_pairs(value, "json_schema")
        except ArgumentError as error:
            raise SpecError.at(file, key, str(error)) from error
    return frozen(value)


def _splits(file: str, value: object) -> Pairs:
    pairs = dict(_pairs(file, "splits", value))
    return tuple((str(name), pairs[str(name)]) for name in value) if isinstance(value, dict) else ()


def _names(file: str, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise SpecError.at(file, key, f"must be a list of names, not {value!r}.")
    return tuple(value)


def _downloads(file: str, value: object) -> tuple[Download, ...]:
    if not isinstance(value, list) or not value:
        raise SpecError.at(file, "download", "must be a list of mappings, each with a url.")
    return tuple(_download(file, f"download.{number}", entry) for number, entry in enumerate(value))


def _download(file: str, key: str, entry: object) -> Download:
    known = [field.name for field in fields(Download)]
    if not isinstance(entry, dict) or not isinstance(entry.get("url"), str):
        raise SpecError.at(file, f"{key}.url", "is missing: the address of a file, https://… or hf://datasets/….")
    values: dict[str, Any] = {}
    for name, value in entry.items():
        if name not in known:
            raise SpecError.unknown_key(file, f"{key}.{name}", known)
        if name == "tables":
            if not isinstance(value, dict):
                raise SpecError.at(file, f"{key}.tables", "must be a mapping of names to files.")
            values[name] = tuple(
                (str(table), _download(file, f"{key}.tables.{table}", each)) for table, each in value.items()
            )
        elif name == "sha256":
            values[name] = frozen({"": value} if isinstance(value, str) else value or {})
        elif name in ("values", "options"):
            # in the order of the file: it is the order of the rows
            if not isinstance(value, dict):
                raise SpecError.at(file, f"{key}.{name}", f"must be a mapping, not {value!r}.")
            values[name] = tuple((str(column), _ordered(each)) for column, each in value.items())
        else:
            values[name] = str(value if value is not None else "")
    download = Download(**values)
    if has_user(download.url):
        raise SpecError.at(file, f"{key}.url", "must not contain a user or a password.")
    if not download.url.startswith(("https://", "http://", "hf://datasets/")):
        raise SpecError.at(file, f"{key}.url", f"{download.url!r} must start with https:// or hf://datasets/.")
    if download.format not in ("", *DOWNLOAD_FORMATS):
        raise SpecError.at(file, f"{key}.format", f"{download.format!r} must be one of {', '.join(DOWNLOAD_FORMATS)}.")
    for option, _ in download.options:
        if option not in DOWNLOAD_OPTIONS:
            raise SpecError.unknown_key(file, f"{key}.options.{option}", DOWNLOAD_OPTIONS)
    return download


def _ordered(value: object) -> Any:
    """Return a list or mapping of texts as tuples, in its order; a text or number is returned as it is."""
    if isinstance(value, dict):
        return tuple((str(name), str(text)) for name, text in value.items())
    if isinstance(value, list):
        return tuple(str(text) for text in value)
    return value


def _outputs(file: str, value: object) -> int:
    if not is_integer(value) or value < 1:
        raise SpecError.at(file, "outputs", f"must be an integer ≥ 1, not {value!r}.")
    return value


def _main(file: str, value: object) -> MainScore:
    if not isinstance(value, dict) or "metric" not in value:
        raise SpecError.at(file, "main", "must be {metric: …, split: …, mean: macro or micro}.")
    keys = [main_field.name for main_field in fields(MainScore)]
    for key in value:
        if key not in keys:
            raise SpecError.unknown_key(file, f"main.{key}", keys)
    main = MainScore(**{key: str(text) for key, text in value.items()})
    if main.split not in SPLITS:
        raise SpecError.at(file, "main.split", f"{main.split!r} must be one of {', '.join(SPLITS)}.")
    if main.mean not in ("macro", "micro"):
        raise SpecError.at(file, "main.mean", f"{main.mean!r} must be macro or micro.")
    return main


def _check(file: str, spec: ScenarioSpec) -> None:
    if not re.fullmatch(r"[a-z0-9_]+", spec.scenario):
        raise SpecError.at(file, "scenario", f"{spec.scenario!r} must consist of lower-case letters, digits and _.")
    if spec.status and spec.status not in STATUSES:
        raise SpecError.at(file, "status", f"{spec.status!r} must be one of {', '.join(STATUSES)}.")
    for source_name, name in spec.splits:
        if name not in SPLITS:
            raise SpecError.at(file, f"splits.{source_name}", f"{name!r} must be one of {', '.join(SPLITS)}.")
    problem = excess_of(spec.instances)
    if problem is not None:
        raise SpecError.at(file, "instances", f"the SELECT is too complex: {problem}.")
    for table, address in (*spec.source, *spec.hub):
        if has_user(str(address)):
            raise SpecError.at(file, f"source.{table}", "the address must not contain a user or a password.")
        if not isinstance(address, str):
            raise SpecError.at(file, f"source.{table}", "must be one address, such as '{data}/name/{split}-*.parquet'.")
    try:
        adapter_spec(spec.adapter, where="adapter")
    except ArgumentError as error:
        raise SpecError.at(file, "adapter", str(error)) from None
    for subset, overrides in spec.per_subset:
        _check_subset(file, spec, subset, overrides)


def _check_subset(file: str, spec: ScenarioSpec, subset: str, overrides: Value) -> None:
    key = f"per_subset.{subset}"
    if not spec.subsets:
        raise SpecError.at(file, key, "the scenario has no subsets. Write subsets: [COLUMN].")
    pairs = overrides if isinstance(overrides, tuple) else ()
    if not pairs or not all(isinstance(pair, tuple) and isinstance(pair[1], tuple) for pair in pairs):
        raise SpecError.at(file, key, "must be {adapter: {…}, decoding: {…}}, or one of the two.")
    for name in (str(pair[0]) for pair in pairs if isinstance(pair, tuple)):
        if name not in OF_SUBSET:
            raise SpecError.unknown_key(file, f"{key}.{name}", OF_SUBSET)
    try:
        adapter_spec(of_subset(spec, subset).adapter, where="adapter")
    except ArgumentError as error:
        raise SpecError.at(file, f"{key}.adapter", str(error)) from None
