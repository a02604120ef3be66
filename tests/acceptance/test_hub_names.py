"""The Hub's data sets of scenarios against the paths, configurations, splits and columns that other tools name."""

from collections.abc import Iterator
from functools import cache

import pytest

from tests.acceptance.figures import shown
from tests.acceptance.hub_evidence import Found, addresses, evidence, mismatches, named_by_tools, on_the_hub

# What no source names, with the reason why it is right.
REASONS = {
    "long_bench_v2: configuration default, not long, medium, short": "evalscope's subsets are values of a column",
    "med_qa: split dev": "the authors' archive has the file, and the Hub has train and test",
    "medhelm_med_qa: split dev": "the authors' archive has the file, and the Hub has train and test",
    "mmmu: split dev": "it has the few-shot examples, and the tools send none",
}


@cache
def found() -> dict[str, Found]:
    """Return the evidence of each scenario whose rows come from the Hub."""
    return {spec.scenario: evidence(addresses(spec), named_by_tools()) for spec in on_the_hub()}


def test_every_name_is_one_that_another_tool_uses(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [problem for scenario, rows in found().items() for problem in mismatches(scenario, rows)]
    lines = [line for scenario, rows in found().items() for line in table(scenario, rows)]
    with capsys.disabled():
        print("\n" + "\n".join(lines))
        for problem in problems:
            print(f"{problem}: {REASONS.get(problem, 'NO REASON')}")
        shown("2", "names that no source has", len(problems), "each with a reason")
    assert [problem for problem in problems if problem not in REASONS] == []
    assert {reason for reason in REASONS if reason.partition(":")[0] in found()} <= set(problems)


def test_every_data_set_has_evidence() -> None:
    without = [scenario for scenario, rows in found().items() if not all(tools for _, tools in rows)]
    shown("2", "scenarios on the Hub with evidence", f"{len(found()) - len(without)}/{len(found())}", "all")
    assert without == []


def test_the_evidence_is_independent_of_our_specs() -> None:
    """A changed path, configuration, split or column is a mismatch."""
    ((address, _),) = found()["gsm8k"]
    changes = [
        address,
        address._replace(config="other"),
        address._replace(splits=["dev"]),
        address._replace(columns=["question_stem"]),
        address._replace(path="openai/gsm"),
    ]
    assert [mismatches("gsm8k", evidence([changed], named_by_tools())) for changed in changes] == [
        [],
        ["gsm8k: configuration other, not main"],
        ["gsm8k: split dev"],
        ["gsm8k: column question_stem"],
        ["gsm8k: no tool names openai/gsm"],
    ]


def table(scenario: str, rows: Found) -> Iterator[str]:
    """Yield a line for each tool that names a data set of a scenario."""
    for address, tools in rows:
        for row in tools:
            splits = f"splits {len(row.splits)}/{len(address.splits)}"
            columns = f"columns {len(row.columns)}/{len(address.columns)}"
            yield f"{scenario:30} {address.path:38} {row.tool:14} config {row.config:8} {splits} {columns}"
