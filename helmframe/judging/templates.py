"""Judge templates: the files in `specs/judges`, files and prompts of one's own."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.specs import Between
from helmframe._core.yaml import read_yaml
from helmframe.config import from_home
from helmframe.errors import ArgumentError, SpecError, UnknownNameError
from helmframe.metrics.judge import COMPLETION, FIRST, SECOND, Scale, Template, names_in
from helmframe.scenarios.catalogue import specs_root

_FIELDS = ("judge", "version", "description", "source", "scale", "rescale", "empty", "max_tokens", "prompt")


def template_of(said: str | Path, scale: Any = None, rescale: bool | None = None) -> Template:
    """The template of this name, in this file, or with this prompt.

    Args:
        said: a name, a path, or a prompt; a prompt holds `{completion}`, or `{first}` and `{second}`.
        scale: in place of the template's own; then an empty completion is judged as any other.
        rescale: in place of the template's own.

    Raises:
        UnknownNameError: no template of that name.
        SpecError: the file is no valid template.
        ArgumentError: a prompt without a scale, or a scale that can't be.
    """
    text = str(said)
    if isinstance(said, str) and {COMPLETION, "output", FIRST} & set(names_in(text)):
        if scale is None:
            raise ArgumentError("judge(template='…'): a prompt of your own needs a scale, such as scale=[0, 1].")
        found = _checked(Template("judge", "", text, Scale.of(scale, "judge()")), "judge(template='…')")
    else:
        found = _found(text)
    if scale is not None:
        found = replace(found, scale=Scale.of(scale, "judge()"), empty=None)
    return found if rescale is None else replace(found, rescale=rescale)


def list_judges() -> pl.DataFrame:
    """Return the judge templates of helmframe, one row each.

    Columns: name, version, scale, columns (that the prompt names), source, description, prompt.
    """
    rows = []
    for file in _files().values():
        each, said = _loaded(file), _yaml(file)
        rows.append(
            {
                "name": each.judge, "version": each.version, "scale": each.scale.shown,
                "columns": ", ".join(each.columns), "source": each.source, "description": said["description"],
                "prompt": each.prompt,
            }
        )  # fmt: skip
    return pl.DataFrame(rows)


def template_names() -> list[str]:
    """The names of the templates that ship."""
    return list(_files())


def _found(said: str) -> Template:
    if said.endswith((".yaml", ".yml")):
        path = from_home(said)
        if not path.is_file():
            raise SpecError.at(said, "", "there is no such file.")
        return _loaded(path)
    files = _files()
    if said not in files:
        hint = "A prompt of your own holds {completion}, or {first} and {second}; a file of your own ends in .yaml."
        raise UnknownNameError.among("judge template", said, files, hint=hint)
    return _loaded(files[said])


def _files() -> dict[str, Path]:
    return {file.stem: file for file in sorted((specs_root() / "judges").glob("*.yaml"))}


def _yaml(path: Path) -> dict[str, Any]:
    said = read_yaml(path)
    if not isinstance(said, dict):
        raise SpecError.at(path.name, "", "a judge template is a mapping that starts with 'judge: NAME'.")
    for key in said:
        if key not in _FIELDS:
            raise SpecError.unknown_key(path.name, str(key), _FIELDS)
    for key in ("judge", "version", "prompt", "scale"):
        if key not in said:
            raise SpecError.at(path.name, key, "is missing.")
    return {"description": "", "source": "", **said}


@cache
def _loaded(path: Path) -> Template:
    said, file = _yaml(path), path.name
    scale = _scale(said["scale"], file)
    empty, most = said.get("empty"), said.get("max_tokens", 1000)
    if empty is not None and (not isinstance(empty, int | float) or not scale.low <= empty <= scale.high):
        raise SpecError.at(file, "empty", f"{empty!r} is not on the scale ({scale.shown}).")
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise SpecError.at(file, "max_tokens", f"should be a whole number, not {most!r}.")
    if not isinstance(said.get("rescale", False), bool):
        raise SpecError.at(file, "rescale", f"should be true or false, not {said['rescale']!r}.")
    made = Template(
        str(said["judge"]),
        str(said["version"]),
        str(said["prompt"]),
        scale,
        rescale=said.get("rescale", False),
        empty=None if empty is None else float(empty),
        max_tokens=most,
        source=str(said["source"]),
    )
    try:
        return _checked(made, "prompt")
    except ArgumentError as error:
        raise SpecError.at(file, "", str(error)) from None


def _scale(said: Any, file: str) -> Scale:
    if isinstance(said, Mapping) and set(said) == {"between"}:
        ends = said["between"]
        if not isinstance(ends, list) or len(ends) != 2:
            raise SpecError.at(file, "scale", f"should be {{between: [low, high]}}, not {said!r}.")
        said = Between("", *ends)
    try:
        return Scale.of(said, "scale")
    except ArgumentError as error:
        raise SpecError.at(file, "scale", str(error)) from None


def _checked(template: Template, where: str) -> Template:
    columns = set(template.columns)
    alone, of_pair = bool({COMPLETION, "output"} & columns), {FIRST, SECOND} & columns
    if alone == bool(of_pair) or len(of_pair) == 1:
        raise ArgumentError(f"{where}: it should hold {{completion}}, or both {{first}} and {{second}}.")
    return template
