"""Prompts equal HELM's byte for byte."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.models import Model
from helmframe.scenarios.catalogue import find_scenario
from tests.parity.replayed import MMLU_GPT2, MMLU_SMOLLM2, NARRATIVE_QA, requests

pytestmark = [pytest.mark.shared, pytest.mark.slow]

# GPT-2's window as HELM counts it: prompt and answer together
WINDOW = 1025


def compared(name: str, ours: Sequence[str], helms: Sequence[str]) -> None:
    equal = sum(our.encode() == helm.encode() for our, helm in zip(ours, helms, strict=True))
    print(f"{name}: {equal}/{len(helms)} prompts equal HELM's")
    assert equal == len(helms)


@pytest.mark.smoke
def test_ten_mmlu_prompts_of_gpt2(shared: Path) -> None:
    helm = requests(shared / "helm_runs" / MMLU_GPT2)
    plan = hf.scenario("mmlu", data=shared / "scenarios").where(subject="philosophy").sample(10, order="helm")
    ours = plan.requests().collect()
    assert ours["instance_id"].to_list() == [f"philosophy/{each}" for each in helm["instance_id"]]
    assert ours["split"].to_list() == helm["split"].to_list()
    compared("mmlu gpt2", ours["prompt"].to_list(), helm["prompt"].to_list())


def test_fifty_mmlu_prompts_of_smollm2(shared: Path, tmp_path: Path) -> None:
    helm = requests(shared / "helm_runs" / MMLU_SMOLLM2)
    # that run saw the dev rows and the first 50 test rows, no validation rows
    folder = tmp_path / "mmlu" / "philosophy"
    folder.mkdir(parents=True)
    for split, rows in (("dev", 5), ("test", 50)):
        file = f"{split}-00000-of-00001.parquet"
        pl.read_parquet(shared / "scenarios" / "mmlu" / "philosophy" / file).head(rows).write_parquet(folder / file)
    ours = hf.scenario("mmlu", data=tmp_path).where(subject="philosophy").requests().collect()
    assert ours["instance_id"].to_list() == [f"philosophy/{each}" for each in helm["instance_id"]]
    compared("mmlu smollm2", ours["prompt"].to_list(), helm["prompt"].to_list())


def counting(recorded: pl.DataFrame) -> Model:
    """A model with GPT-2's window that knows HELM's token counts; of other texts a guess, at 4.7 characters a token."""
    known = dict(recorded.select("prompt", "prompt_tokens").iter_rows())

    def count(texts: Sequence[str]) -> list[int]:
        return [known.get(text, round(len(text) / 4.7)) for text in texts]

    return Model(
        "gpt2",
        "gpt2",
        lambda prompts, _: list(map(str, prompts)),
        str,
        durable=False,
        takes=None,
        window=WINDOW,
        count_tokens=count,
    )


def narrative_qa(helm: pl.DataFrame, train: pl.DataFrame) -> pl.DataFrame:
    """Our requests for HELM's instances, five examples wanted, in HELM's order."""
    frame = pl.concat([train, helm.select("instance_id", "split", "input", "references")])
    # the scenario's own adapter, but examples in the order given
    adapter = {**dict(find_scenario("narrative_qa").adapter), "sample_train": False}
    plan = hf.scenario(frame, references="references", id="instance_id", adapter=adapter)
    plan = plan.where(split=["valid", "test"]).generate(counting(helm), max_tokens=100)
    ours = plan.requests().collect()
    return helm.select("instance_id").join(ours, on="instance_id", how="left", maintain_order="left")


def example(place: int, passage: str, answer: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "instance_id": [f"train{place}"],
            "split": ["train"],
            "input": [passage],
            "references": [[{"text": answer, "correct": True}]],
        }
    )


def test_narrative_qa_prompts_whose_examples_did_not_fit(shared: Path) -> None:
    # the run holds its five questions, not the documents its examples are from; four of its prompts have none left.
    # Examples of the length of the one that is seen in the fifth prompt do not fit beside these four either
    helm = requests(shared / "helm_runs" / NARRATIVE_QA)
    rebuilt = helm.filter(shots=0)
    train = pl.concat([example(place, "x" * 1500, "y") for place in range(5)])
    ours = narrative_qa(helm, train).filter(pl.col("instance_id").is_in(rebuilt["instance_id"].to_list()))
    assert ours["shots_used"].to_list() == [0, 0, 0, 0]
    assert ours["prompt_truncated"].to_list() == rebuilt["prompt_truncated"].to_list() == [False] * 4
    print(f"narrative_qa: {rebuilt.height} of {helm.height} can be rebuilt; the other's example is not at hand")
    compared("narrative_qa gpt2", ours["prompt"].to_list(), rebuilt["prompt"].to_list())


def test_narrative_qa_keeps_the_one_example_that_fits(shared: Path) -> None:
    # the example is read off HELM's own prompt: this shows truncation and assembly, not the draw
    helm = requests(shared / "helm_runs" / NARRATIVE_QA)
    (prompt,) = helm.filter(shots=1)["prompt"]
    passage, _, answer = prompt.partition("\n\n")[0].removeprefix("Passage: ").rpartition("\nAnswer: ")
    train = pl.concat([example(0, passage, answer), *(example(place, passage, answer) for place in range(1, 5))])
    ours = narrative_qa(helm, train)
    assert ours["shots_used"].to_list() == helm["shots"].to_list() == [0, 0, 0, 0, 1]
    compared("narrative_qa gpt2, its example given", ours["prompt"].to_list(), helm["prompt"].to_list())
