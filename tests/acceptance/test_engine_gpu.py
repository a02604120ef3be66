"""Check 6 of the engine, where there is a GPU: MMLU and a thousand generations beside transformers' own batches."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

import helmframe as hf
from tests.acceptance.demo_engine import timed
from tests.acceptance.figures import shown
from tests.demo import demo_model

pytestmark = [
    pytest.mark.shared,
    pytest.mark.model,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

GENERATIONS, NEW = 1000, 64
BATCHES = (32, 128)


@pytest.fixture(scope="module")
def folder() -> str:
    """The model to measure: the largest at hand, by `HELMFRAME_GPU_MODEL`, else the demo model."""
    return os.environ.get("HELMFRAME_GPU_MODEL", str(demo_model()))


@pytest.fixture(autouse=True)
def data(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))


def test_6_mmlu(folder: str) -> None:
    plan = hf.scenario("mmlu").generate(hf.models.local(folder, device=device()))
    seconds, results = timed(plan.score)
    table = results.table()
    shown("6", f"MMLU, questions/s on {name()}", f"{table['n'].sum() / seconds:.1f}", "printed")
    busy(results)
    assert table["n_error"].sum() == 0


def test_6_a_thousand_generations(folder: str) -> None:
    plan = hf.scenario("mmlu").limit(GENERATIONS).adapt(method="generation", shots=0)
    plan = plan.generate(hf.models.local(folder, device=device()), max_tokens=NEW, stop=[])
    prompts = plan.requests().collect()["prompt"].to_list()
    seconds, results = timed(plan.score)
    frame = results.completions.collect()
    tokens = int(frame["output_tokens"].sum())
    shown("6", f"tokens/s on {name()}", f"{tokens / seconds:.0f}", "printed")
    busy(results)
    for size in BATCHES:
        elapsed, made = by_transformers(folder, prompts, size)
        shown("6", f"tokens/s by transformers, batches of {size}", f"{made / elapsed:.0f}", "printed")
    assert frame["error"].null_count() == len(frame) == GENERATIONS


def by_transformers(folder: str, prompts: list[str], size: int) -> tuple[float, int]:
    """Seconds, and tokens until each answer's end, of `generate` over batches of prompts of like length."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model = model.to(device()).eval()
    ordered, tokens = sorted(prompts, key=len, reverse=True), 0

    def work() -> None:
        nonlocal tokens
        for low in range(0, len(ordered), size):
            given = tokenizer(ordered[low : low + size], return_tensors="pt", padding=True).to(model.device)
            made = model.generate(**given, do_sample=False, max_new_tokens=NEW, pad_token_id=tokenizer.pad_token_id)
            own = made[:, given["input_ids"].shape[1] :]
            tokens += int((own != tokenizer.pad_token_id).sum())

    with torch.no_grad():
        seconds, _ = timed(work)
    return seconds, tokens


def busy(results: hf.Results) -> None:
    for about in results.manifest["models"].values():
        shown("6", "share of the time in which the model was busy", f"{about['busy']:.0%}", "printed")


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "the processor"
