"""The reference page of scenarios: every one with its spec in words, a call, and a prompt of made-up rows."""

import json
import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

import helmframe as hf
from helmframe._core.specs import ScenarioSpec, adapter_spec
from helmframe._pipeline import PlanSpec
from helmframe._plan import Plan
from helmframe.errors import ArgumentError, RepeatedKeyError
from helmframe.models import mock
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.validation import write_examples
from tools.reference.markdown import anchor, block, bullets, code, first_sentence, page, prose, table

ROWS = {
    "hub": "read from the Hub",
    "packaged": "part of the package",
    "generated": "generated from a seed",
    "gated": "in your data root; the source asks for a registration",
    "licensed": "in your data root; the licence doesn't allow a copy",
    "dead": "in your data root; nobody serves them any more",
    "elsewhere": "in your data root; the Hub doesn't have them",
    "download": "from their publisher, by `helmframe mirror`",
}
ACCESS = {
    "hub": "open",
    "download": "open",
    "packaged": "–",
    "generated": "–",
    "gated": "gated",
    "licensed": "licensed",
    "dead": "not published",
    "elsewhere": "your own copy",
}
EVIDENCE = Path(__file__).with_name("hub_evidence.json")
MOST_LINES = 24
MOST_CHARACTERS = 900


def scenarios() -> str:
    """Return the page."""
    rows = list(hf.list_scenarios().iter_rows(named=True))
    index = (
        [_link(row), prose(first_sentence(row["description"])), code(row["main"].rpartition("@")[0])] for row in rows
    )
    return page(
        "Scenarios",
        '`hf.scenario("mmlu")` starts a plan with one of these scenarios. `hf.list_scenarios()` returns this list as a '
        "data frame. [Your data](../your_data.md) shows how to evaluate your own rows.",
        "The prompts on this page have made-up rows and at most one few-shot example. Everything around the rows is "
        "the text that models receive. `hf.scenario(name).requests()` shows the prompts of the real rows.",
        "## All scenarios",
        table(["scenario", "content", "main metric"], index),
        "## Sources",
        "`helmframe mirror NAME --to ROOT` copies the rows from these sources. A gated source requires that you accept "
        "its terms and set `HF_TOKEN`. A source without a revision is pinned by the first mirror. *Checked* has the "
        "tools whose sources name the same data set, configuration, splits and columns. [Private bucket]"
        "(../private_bucket.md) shows how to fill a bucket.",
        # one column for source and revision: a laptop has no room for both
        table(
            ["scenario", "source and revision", "license", "access", "checked"],
            [[name, f"{source} {revision}".removesuffix(" –"), *rest] for name, source, revision, *rest in _sources()],
        ),
        "## Details",
        *(part for row in rows for part in _section(row, find_scenario(row["name"]))),
    )


def _link(row: dict[str, Any]) -> str:
    return f"[{code(row['name'])}](#{anchor(row['name'])})"


def _sources() -> Iterator[list[str]]:
    """Yield a row of the table of sources for each scenario."""
    evidence = json.loads(EVIDENCE.read_text(encoding="utf-8"))
    for row in hf.list_scenarios().iter_rows(named=True):
        spec = find_scenario(row["name"])
        sources = list(dict.fromkeys(_addresses(spec)))
        access = ACCESS[row["status"]]
        if spec.terms or row["status"] == "gated":
            page = spec.terms or next((link for _, link, _ in sources), "")
            access = f"[{access}]({page})" if page else access
        yield [
            _link(row),
            ", ".join(f"[{name}]({link})" for name, link, _ in sources) or ROWS[row["status"]].partition(";")[0],
            ", ".join(sorted({code(revision[:12]) for *_, revision in sources if revision})) or "–",
            prose(row["license"]),
            access,
            _checked(evidence.get(spec.scenario)) if sources else "–",
        ]


def _addresses(spec: ScenarioSpec) -> Iterator[tuple[str, str, str]]:
    """Yield the name, the page and the pinned revision of each source of a spec."""
    hub = dict(spec.hub)
    addresses = [(str(hub[key]), "") for key in ("rows", "whole") if key in hub]
    addresses += [(download.url, download.revision) for download in spec.download]
    for address, revision in addresses:
        data_set = re.match(r"hf://datasets/([\w.\-]+/[\w.\-]+)(?:@([0-9a-f]{40}))?", address)
        repository = re.match(r"https://(?:raw\.githubusercontent|github)\.com/([\w.\-]+/[\w.\-]+)", address)
        if data_set is not None:
            yield data_set[1], f"https://huggingface.co/datasets/{data_set[1]}", data_set[2] or revision
        elif repository is not None:
            yield repository[1], f"https://github.com/{repository[1]}", revision
        else:
            host = address.split("/")[2]
            yield host, address.partition("{")[0], revision


def _checked(evidence: dict[str, Any] | None) -> str:
    if evidence is None or not evidence["by"]:
        return "not checked"
    missing = f"; not named: {', '.join(evidence['not_named'])}" if evidence["not_named"] else ""
    return prose(f"{evidence['checked']}: {', '.join(evidence['by'])}{missing}")


def _section(row: dict[str, Any], spec: ScenarioSpec) -> Iterator[str]:
    yield f"### {code(spec.scenario)}"
    yield prose(spec.description)
    yield bullets(_facts(row, spec))
    narrowed = f".where({spec.subsets[0]}=…)" if spec.subsets else ""
    yield block(f'hf.scenario("{spec.scenario}"){narrowed}', "python")
    yield from _prompt(spec)


def _facts(row: dict[str, Any], spec: ScenarioSpec) -> Iterator[str]:
    rows = ", ".join(filter(None, [ROWS.get(row["status"], row["status"]), code(row["hub"] or "")]))
    yield f"Rows: {rows}. License: {prose(row['license'])}."
    if row["subsets"]:
        yield f"Subsets: one per value of {', '.join(map(code, row['subsets']))}."
    yield f"Splits: {', '.join(row['splits'])}. Method: {code(row['method'])}, {row['shots']} few-shot examples."
    main, _, split = row["main"].rpartition("@")
    others = [name for name in row["metrics"] if name != main]
    also = f" Also: {', '.join(map(code, others))}." if others else ""
    yield f"Main metric: {code(main)} on split {split}.{also}"
    entry = dict(spec.helm).get("entry")
    if entry:
        yield f"HELM run entry: {code(_entry(spec))}."
    if row["paper"]:
        yield f"Paper: <{row['paper']}>."


def _entry(spec: ScenarioSpec) -> str:
    helm: dict[str, Any] = dict(spec.helm)
    fixed = dict(helm.get("arguments", ()))
    names = [name if isinstance(name, str) else name[0] for name in helm.get("parameters", ())]
    arguments = [*(f"{key}={value}" for key, value in fixed.items()), *(f"{name}=…" for name in names), "model=…"]
    return f"{helm['entry']}:{','.join(arguments)}"


def _prompt(spec: ScenarioSpec) -> Iterator[str]:
    requests = _requests(spec).sort("subset", "instance_id", maintain_order=True)
    prompt = requests["prompt"][0]
    yield block(_start(prompt) if prompt.strip() else "(empty prompt)")
    continuations = requests.filter(prompt=prompt)["continuation"].drop_nulls().unique(maintain_order=True).to_list()
    if continuations:
        shown = ", ".join(code(text) for text in continuations[:2])
        more = ", …" if len(continuations) > 2 else ""
        yield f"Scored continuations: {shown}{more}"


def _requests(spec: ScenarioSpec) -> pl.DataFrame:
    """Return the requests of one made-up instance of each subset, with at most one few-shot example."""
    with tempfile.TemporaryDirectory(prefix="helmframe-") as folder:
        plan = Plan(PlanSpec((spec,), data=folder)).metrics("exact_match").generate(mock.oracle()).limit(1)
        if adapter_spec(spec.adapter).shots:
            with suppress(ArgumentError):  # some methods have no examples
                plan = plan.adapt(shots=1)
        level = logging.getLogger("helmframe").level
        logging.getLogger("helmframe").setLevel(logging.ERROR)  # made-up rows may lack train instances
        try:
            write_examples(spec, Path(folder))
            try:
                return plan.requests().collect()
            except RepeatedKeyError:  # row_index may be a column of whole numbers
                write_examples(spec, Path(folder), distinct=True)
                return plan.requests().collect()
        finally:
            logging.getLogger("helmframe").setLevel(level)


def _start(prompt: str) -> str:
    lines = prompt[:MOST_CHARACTERS].splitlines()
    cut = len(prompt) > MOST_CHARACTERS or len(lines) > MOST_LINES
    return "\n".join([*lines[:MOST_LINES], *(["…"] if cut else [])])
