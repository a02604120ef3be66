"""All scenarios as a table."""

import re

import polars as pl

from helmframe._core.specs import ScenarioSpec, adapter_spec
from helmframe.scenarios.find import find_scenario, scenario_names

_SCHEMA = {
    "name": pl.String(),
    "description": pl.String(),
    "subsets": pl.List(pl.String()),
    "splits": pl.List(pl.String()),
    "method": pl.String(),
    "shots": pl.Int64(),
    "metrics": pl.List(pl.String()),
    "main": pl.String(),
    "license": pl.String(),
    "hub": pl.String(),
    "status": pl.String(),
    "paper": pl.String(),
}


def list_scenarios() -> pl.DataFrame:
    """Return every scenario that `hf.scenario(name)` finds, one row each, by name.

    Returns:
        name, description, subsets (the columns that make them), splits, method and shots (how it is asked by default),
        metrics, main (metric@split), license, hub (the data set there, if it can be read from there), status, paper.
        status: "hub", read from there where no root is configured; "generated", from a seed; "packaged"; else why it
        is read from a root of yours: "gated", "licensed", "dead" (nobody serves it any more), "elsewhere".
    """
    return pl.DataFrame([_row(find_scenario(name)) for name in scenario_names()], schema=_SCHEMA)


def status(spec: ScenarioSpec) -> str:
    """Where the rows of a spec come from, in one word; as `list_scenarios` has it."""
    if spec.generated:
        return "generated"
    if "{package}" in str(dict(spec.source).get("rows")):
        return "packaged"
    return spec.status or ("hub" if dict(spec.hub).get("rows") else "elsewhere")


def _row(spec: ScenarioSpec) -> dict[str, object]:
    adapter = dict(spec.adapter)
    shots = adapter.get("shots")
    hub = re.match(r"hf://datasets/([^/@]+/[^/@]+)", str(dict(spec.hub).get("rows") or ""))
    splits = list(dict.fromkeys(spec.split_names.values())) or [spec.main.split]
    return {
        "name": spec.scenario,
        "description": spec.description,
        "subsets": list(spec.subsets),
        "splits": splits,
        "method": adapter.get("method", adapter_spec(()).method),
        "shots": shots if isinstance(shots, int) else 0,
        "metrics": list(spec.metrics),
        "main": f"{spec.main.metric}@{spec.main.split}",
        "license": spec.license,
        "hub": hub[1] if hub else None,
        "status": status(spec),
        "paper": spec.paper or None,
    }
