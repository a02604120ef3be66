"""Judge templates: those of `specs/judges`, and the files and prompts of users."""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.checks import is_integer
from helmframe._core.specs import Between
from helmframe._core.yaml import read_yaml, reading, specs_root
from helmframe.config import from_home
from helmframe.errors import ArgumentError, SpecError, UnknownNameError
from helmframe.metrics.judge import COMPLETION, FIRST, SECOND, Formula, Items, Scale, Template, names_in

_FIELDS = (
    *("judge", "version", "description", "source", "scale", "rescale", "empty", "max_tokens", "prompt"),
    *("higher_is_better", "against", "items", "scores", "score", "graded"),
)


def template_of(template: str | Path, scale: Any = None, rescale: bool | None = None) -> Template:
    """Return the template of a name, a file or a prompt.

    Args:
        template: A name, a path, or a prompt; a prompt contains `{completion}`, or `{first}` and `{second}`.
        scale: A scale that replaces the template's own; empty completions are then judged as any other.
        rescale: A value that replaces the template's own.

    Raises:
        UnknownNameError: No template has that name.
        SpecError: The file isn't a valid template.
        ArgumentError: The prompt has no scale, or the scale is invalid.
    """
    text = str(template)
    if isinstance(template, str) and {COMPLETION, "output", FIRST} & set(names_in(text)):
        if scale is None:
            raise ArgumentError("judge(template='…'): a prompt needs a scale. Add one, such as scale=[0, 1].")
        resolved = _checked(Template("judge", "", text, Scale.of(scale, "judge()")), "judge(template='…')")
    else:
        resolved = _find(text)
    if scale is not None:
        resolved = replace(resolved, scale=Scale.of(scale, "judge()"), empty=None)
    return resolved if rescale is None else replace(resolved, rescale=rescale)


def list_judges() -> pl.DataFrame:
    """Return the judge templates that helmframe ships.

    >>> "safety" in list_judges()["name"].to_list()
    True

    Returns:
        One row per template: name, version, scale, columns (those that the prompt contains), source, description and
        prompt.
    """
    rows = []
    for file in _files().values():
        template, fields = _loaded(file), _yaml(file)
        rows.append(
            {
                "name": template.judge, "version": template.version, "scale": template.scale.shown,
                "columns": ", ".join(template.columns), "source": template.source, "description": fields["description"],
                "prompt": template.prompt,
            }
        )  # fmt: skip
    return pl.DataFrame(rows)


def template_names() -> list[str]:
    """Return the names of the templates that ship."""
    return list(_files())


def _find(name: str) -> Template:
    if name.endswith((".yaml", ".yml")):
        path = from_home(name)
        if not path.is_file():
            raise SpecError.at(name, "", "file not found.")
        with reading(path.name, "a valid judge template", SpecError):
            return _loaded(path)
    files = _files()
    if name not in files:
        hint = "A prompt must contain {completion}, or {first} and {second}. A file name ends in .yaml."
        raise UnknownNameError.among("judge template", name, files, hint=hint)
    return _loaded(files[name])


def _files() -> dict[str, Path]:
    return {file.stem: file for file in sorted((specs_root() / "judges").glob("*.yaml"))}


def _yaml(path: Path) -> dict[str, Any]:
    fields = read_yaml(path)
    if not isinstance(fields, dict):
        raise SpecError.at(path.name, "", "a judge template must be a mapping that starts with 'judge: NAME'.")
    for key in fields:
        if key not in _FIELDS:
            raise SpecError.unknown_key(path.name, str(key), _FIELDS)
    for key in ("judge", "version", "prompt", "scale"):
        if key not in fields:
            raise SpecError.at(path.name, key, "this key is required.")
    return {"description": "", "source": "", **fields}


@cache
def _loaded(path: Path) -> Template:
    fields, file = _yaml(path), path.name
    scale = _scale(fields["scale"], file)
    empty, max_tokens = fields.get("empty"), fields.get("max_tokens", 1000)
    if empty is not None and (not isinstance(empty, int | float) or not scale.low <= empty <= scale.high):
        raise SpecError.at(file, "empty", f"must be on the scale ({scale.shown}), not {empty!r}.")
    if not is_integer(max_tokens) or max_tokens < 1:
        raise SpecError.at(file, "max_tokens", f"must be an integer ≥ 1, not {max_tokens!r}.")
    for key in ("rescale", "higher_is_better", "graded"):
        if not isinstance(fields.get(key, False), bool):
            raise SpecError.at(file, key, f"must be true or false, not {fields[key]!r}.")
    template = Template(
        str(fields["judge"]),
        str(fields["version"]),
        str(fields["prompt"]),
        scale,
        rescale=fields.get("rescale", False),
        empty=None if empty is None else float(empty),
        max_tokens=max_tokens,
        higher_is_better=fields.get("higher_is_better", True),
        source=str(fields["source"]),
        against=str(fields.get("against", "")),
        items=_items(fields.get("items"), file),
        scores=_scores(fields.get("scores", {}), file),
        formula=Formula(str(fields["score"])) if "score" in fields else None,
        graded=fields.get("graded", False),
    )
    try:
        return _checked(template, "prompt")
    except ArgumentError as error:
        raise SpecError.at(file, "", str(error)) from None


def _scale(scale: Any, file: str) -> Scale:
    if isinstance(scale, Mapping) and set(scale) == {"between"}:
        ends = scale["between"]
        if not isinstance(ends, list) or len(ends) != 2:
            raise SpecError.at(file, "scale", f"must be {{between: [low, high]}}, not {scale!r}.")
        scale = Between("", *ends)
    try:
        return Scale.of(scale, "scale")
    except ArgumentError as error:
        raise SpecError.at(file, "scale", str(error)) from None


def _items(value: Any, file: str) -> Items | None:
    if value is None:
        return None
    names = isinstance(value, Mapping) and value.get("fields")
    if not isinstance(names, list) or not names or not {"column", "fields"} <= set(value) <= {*_ITEMS}:
        raise SpecError.at(file, "items", "must be {column: LIST, fields: [FIELD, …], weight: FIELD}.")
    return Items(str(value["column"]), tuple(map(str, names)), str(value.get("weight", "")))


_ITEMS = ("column", "fields", "weight")


def _scores(value: Any, file: str) -> tuple[tuple[str, Scale], ...]:
    if not isinstance(value, Mapping) or not all(re.fullmatch(r"[a-z]\w*", str(name)) for name in value):
        raise SpecError.at(file, "scores", "must be a mapping of names in lower-case letters to scales.")
    return tuple((str(name), _scale(scale, file)) for name, scale in value.items())


def _checked(template: Template, where: str) -> Template:
    columns = set(template.columns)
    alone, of_pair = bool({COMPLETION, "output"} & columns), {FIRST, SECOND} & columns
    if alone == bool(of_pair) or len(of_pair) == 1:
        raise ArgumentError(f"{where}: the prompt must contain {{completion}}, or both {{first}} and {{second}}.")
    if template.against and alone:
        raise ArgumentError(f"{where}: against={template.against!r} needs a prompt with {{first}} and {{second}}.")
    if bool(template.scores) != (template.formula is not None):
        raise ArgumentError(f"{where}: scores and score belong together. Write score: a formula over the scores.")
    if template.formula is not None:
        template.formula.value({name: pl.lit(1.0) for name, _ in template.scores})
    return template
