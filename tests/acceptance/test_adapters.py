"""Prompts equal HELM's byte for byte: one real run of crfm-helm per text method, and of its rarer fields.

`helm_prompts.json` holds what HELM asked, as hashes; `tools/record_helm_prompts.py` made it.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._core.specs import AdapterSpec
from helmframe.adapters.adapt import ADAPTERS
from helmframe.models.model import Model, Tokens
from tests.acceptance import byte_tokens
from tests.acceptance.figures import shown
from tests.acceptance.helm_cases import CASES, Case

pytestmark = pytest.mark.shared

GOLDEN = json.loads(Path(__file__).with_name("helm_prompts.json").read_text(encoding="utf-8"))
METHODS = {
    "generation", "chat", "multiple_choice_joint", "multiple_choice_joint_chain_of_thought",
    "multiple_choice_separate_original", "multiple_choice_separate_calibrated", "language_modeling", "ranking_binary",
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_2_prompts_equal_helms_byte_for_byte(shared: Path, case: Case) -> None:
    helm = GOLDEN[case.name]
    ours = asked(case, shared)
    equal = (Counter(map(str, ours)) & Counter(map(str, helm))).total()
    shown("2", f"{case.name} ({case.helm['method']})", f"{equal}/{len(helm)} prompts equal HELM's", "all")
    assert sorted(map(str, ours)) == sorted(map(str, helm))


def test_2_every_text_method_has_a_run() -> None:
    assert {case.helm["method"] for case in CASES} == METHODS
    assert set(GOLDEN) == {case.name for case in CASES}


def test_2_some_truncated_prompts_lost_examples_and_some_their_end(shared: Path) -> None:
    cases = {case.name: case for case in CASES}
    assert set(requests(cases["truncated"], shared)["shots_used"]) == {0, 1}
    case = cases["cut"]
    room = (case.window or 0) - case.decoding["max_tokens"]
    cut = requests(case, shared).filter(pl.col("prompt").str.len_bytes() == room)
    assert cut.height == 2
    assert not cut["prompt"].str.ends_with("Answer:").any()


TEXTS = [f"{name}_{end}" for name in ("input", "reference", "output") for end in ("prefix", "suffix")]


def asked(case: Case, data: Path) -> list[list[Any]]:
    """What is asked of each request, as the golden file has it."""
    rows = requests(case, data)
    said = rows.with_columns(whole=pl.concat_str("prompt", "continuation", ignore_nulls=True))
    trials = case.adapter.get("trials", 1)
    return [
        [
            row["instance_id"],
            row["trial"] % trials,
            row["reference_index"],
            row["request_mode"],
            row["shots_used"],
            row["num_conditioning_tokens"] or 0,
            sha256(row["whole"].encode()).hexdigest(),
        ]
        for row in said.to_dicts()
    ]


def requests(case: Case, data: Path) -> pl.DataFrame:
    """The requests of a case, with `prompt`."""
    plan = hf.scenario(case.rows(data), id="instance_id", references="references")
    method = ADAPTERS[case.adapter.get("method", "generation")]
    # a frame's own adapter says some of these
    plain = {name: getattr(AdapterSpec(), name) for name in ("shots", *TEXTS)}
    return (
        plan.adapt(**{**plain, **dict(method.defaults), **case.adapter})
        .generate(model(case), **case.decoding)
        .requests()
        .collect()
    )


def model(case: Case) -> Model:
    """A model that reads bytes, and conversations as JSON."""

    def chat(messages: Sequence[Mapping[str, str]]) -> str:
        return json.dumps(list(messages), ensure_ascii=False, sort_keys=True)

    def count(texts: Sequence[str]) -> list[int]:
        return [len(byte_tokens.encode(text)) for text in texts]

    return Model(
        "bytes",
        "bytes",
        lambda prompts, _: list(map(str, prompts)),
        str,
        durable=False,
        takes=None,
        window=case.window,
        count_tokens=count,
        chat=chat if case.adapter.get("method") == "chat" else None,
        loglikelihood=lambda prompts, _: list(map(str, prompts)),
        tokens=Tokens(byte_tokens.encode, byte_tokens.decode, lambda: byte_tokens.PREFIX),
    )
