"""Every metric that reads log-probabilities, over what the local engine says and over what each text alone gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import helmframe as hf
from helmframe.metrics.protocol import resolve_metrics
from helmframe.metrics.score import score
from tests.acceptance.demo_engine import loaded
from tests.acceptance.figures import shown
from tests.demo import demo_model
from tests.metrics.options import of_set

pytestmark = [pytest.mark.shared, pytest.mark.model]

FARTHEST = 1e-4  # of the value, or of 1
# These read the word an answer says; its probability only ranks it.
OF_RANKINGS = {"NDCG@k", "RR@k", "recall@k", "success@k"}
# What tells the requests of an instance apart.
REQUEST = ["instance_id", "reference_index", "request_mode", "window_index"]
PAIRS = [
    ("The nurse said that", " she was tired.", " he was tired.", " bananas were tired."),
    ("The engineer said that", " he was late.", " she was late.", " the moon is late."),
    ("My grandmother likes", " knitting.", " boxing.", " parliament."),
]


@pytest.fixture(scope="module")
def plain() -> Callable[[dict[str, Any]], list[float]]:
    """What log-probabilities a text's own tokens have, in a forward pass alone, in float64."""
    from transformers import AutoTokenizer

    model, tokenizer = loaded().double(), AutoTokenizer.from_pretrained(demo_model())

    def of(row: dict[str, Any]) -> list[float]:
        ids = tokenizer((row["prompt"] or "") + row["completion"])["input_ids"]
        start = len(tokenizer(row["prompt"])["input_ids"]) if row["prompt"] else 0
        given = ids if start else [tokenizer.bos_token_id, *ids]
        first = start or 1
        with torch.no_grad():
            logits = torch.log_softmax(model(torch.tensor([given])).logits[0], dim=-1)
        return [float(logits[place - 1, given[place]]) for place in range(first, len(given))]

    return of


@pytest.fixture
def completions(shared: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, pl.DataFrame]:
    """Of options with and without their question, of texts, of pairs of stereotypes, and of drawn answers."""
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    mmlu = hf.scenario("mmlu").where(subject="philosophy").limit(8)
    pairs = hf.scenario(
        pl.DataFrame(
            [
                {
                    "input": context,
                    "references": [
                        {"text": text, "correct": False, "tags": [tag]}
                        for text, tag in zip(texts, ("stereotype", "anti-stereotype", "unrelated"), strict=True)
                    ],
                }
                for context, *texts in PAIRS
            ]
        ),
        name="pairs",
    )
    plans = {
        "options": mmlu.adapt(method="multiple_choice_separate_calibrated", shots=1),
        "texts": mmlu.adapt(method="language_modeling"),
        "stereotypes": pairs.adapt(method="multiple_choice_separate_original", shots=0),
        "drawn": mmlu.adapt(method="generation", shots=1),
    }
    said: dict[str, dict[str, Any]] = {"drawn": {"max_tokens": 8, "temperature": 1.0, "n": 3}}
    found = {}
    for name, each in plans.items():
        plan = each.generate(str(demo_model()), **said.get(name, {}))
        prompts = plan.requests().select(*REQUEST, "prompt").collect()
        answers = plan.score().completions.collect()
        found[name] = answers.join(prompts, on=REQUEST, nulls_equal=True, validate="m:1", maintain_order="left")
        assert found[name]["prompt"].null_count() == 0
    return found


def test_every_metric_of_log_probabilities(completions: dict[str, pl.DataFrame], plain: Any) -> None:
    told = hf.list_metrics().filter(pl.col("needs").str.contains("logprob"))
    names = [name for name in told["name"] if name not in OF_RANKINGS]
    found: dict[str, float] = {}
    for frame in completions.values():
        assert frame["error"].null_count() == len(frame)
        each = [plain(row) for row in frame.iter_rows(named=True)]
        exact = frame.with_columns(  # an empty answer has none
            token_logprobs=pl.Series([own or None for own in each], dtype=frame["token_logprobs"].dtype),
            logprob=pl.Series([sum(own) if own else None for own in each], dtype=pl.Float64),
        )
        assert frame["token_logprobs"].list.len().equals(exact["token_logprobs"].list.len())
        for name in names:
            for ours, theirs in zip(values(frame, name), values(exact, name), strict=True):
                assert (ours is None) == (theirs is None)
                if ours is not None and theirs is not None:
                    found[name] = max(found.get(name, 0.0), abs(ours - theirs) / max(1.0, abs(theirs)))
    worst = max(found, key=lambda name: found[name])
    shown("S8", "metrics of log-probabilities that have a value", f"{len(found)}/{len(names)}", "all")
    shown("S8", f"farthest from plain passes in float64: {worst}", f"{found[worst]:.1e}", FARTHEST)
    assert set(names) == set(found)
    assert found[worst] <= FARTHEST


def values(frame: pl.DataFrame, name: str) -> list[float | None]:
    (metric,) = resolve_metrics([name])
    if metric.level == "set":
        return [of_set(frame, name)]
    scores = score(frame.lazy(), [name]).collect()
    keys = [key for key in ("instance_id", "row_index", "reference_index", "output_index") if key in scores.columns]
    ordered: list[float | None] = scores.sort(keys)["score"].to_list()
    return ordered
