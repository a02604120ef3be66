"""What there is to say: every perturbation and every preset, as a frame."""

import inspect

import polars as pl

from helmframe.perturbations.presets import PRESETS
from helmframe.perturbations.registry import PERTURBATIONS, Perturbation

_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "name": pl.String,
    "arguments": pl.String,
    "kind": pl.String,
    "fields": pl.String,
    "random": pl.Boolean,
    "helm": pl.Boolean,
    "calls": pl.List(pl.String),
    "meaning": pl.String,
    "source": pl.String,
}
_PRESET_SOURCE = "HELM run_expander.py"


def list_perturbations() -> pl.DataFrame:
    """Return every perturbation, then every preset: one row each.

    Returns:
        name; arguments with their defaults; kind ("robustness", "fairness" or ""); fields, what it changes unless told
        otherwise ("input", "references", "both", "adapter"); random, whether it draws; helm, whether there is
        `compat="helm"`; calls, of a preset what it stands for, else null; meaning; source.

    >>> list_perturbations().filter(name="lowercase").select("arguments", "kind", "fields", "random").row(0)
    ('', 'robustness', 'input', False)
    """
    presets = [
        {"name": name, "calls": list(calls), "helm": True, "source": _PRESET_SOURCE}
        for name, calls in sorted(PRESETS.items())
        if name not in PERTURBATIONS
    ]
    return pl.DataFrame([*(_row(PERTURBATIONS[name]) for name in PERTURBATIONS), *presets], schema=_SCHEMA)


def _row(entry: Perturbation) -> dict[str, object]:
    return {
        "name": entry.name,
        "arguments": entry.signature,
        "kind": entry.kind,
        "fields": entry.fields,
        "random": entry.draws,
        "helm": entry.helms,
        "calls": None,
        "meaning": (inspect.getdoc(entry.function) or "").partition("\n")[0],
        "source": entry.source,
    }
