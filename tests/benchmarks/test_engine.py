"""How much of what this machine can multiply and read the local engine uses; medians of five turns, the CPU named."""

import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

import helmframe as hf
from helmframe.models.engine import Engine, attention
from helmframe.models.engine.attention import MOST_STARTS
from helmframe.models.engine.memory import has_onednn
from helmframe.models.engine.planner import build_block, sort_texts
from tests.acceptance.demo_engine import engine_of
from tests.acceptance.figures import shown
from tests.demo import demo_model

pytestmark = [pytest.mark.shared, pytest.mark.model, pytest.mark.serial]

QUESTIONS, TOKENS = 32, 16
TURNS = 5
# The turns of rows that share few-shot examples and of rows that copy them: each takes a minute.
ROUNDS, LEAST_GAIN = 1, 1.5
# The goals are for a quiet machine; another process on it can halve what is left to this one.
GOAL_OF_READING, GOAL_OF_GENERATION = 0.80, 0.70
LEAST_OF_READING, LEAST_OF_GENERATION = 0.4, 0.06


@pytest.fixture(scope="module")
def engine() -> Engine:
    from transformers import AutoTokenizer

    return engine_of(AutoTokenizer.from_pretrained(demo_model()), 2)


@pytest.fixture
def prompts(shared: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    plan = hf.scenario("mmlu").where(subject="philosophy").limit(QUESTIONS).generate(str(demo_model()))
    found: list[str] = plan.requests().collect()["prompt"].to_list()
    return found


def test_reading_as_a_share_of_what_the_cpu_multiplies(engine: Engine, prompts: list[str]) -> None:
    work = operations(engine, prompts)
    shares, seconds, rates = [], [], []
    for _ in range(TURNS):
        before = multiplications_per_second()
        elapsed = timed(lambda: read(engine, prompts, 1))
        rate = (before + multiplications_per_second()) / 2
        shares.append(work / rate / elapsed)
        seconds.append(elapsed)
        rates.append(rate)
    shown("engine", "CPU", cpu(), "named")
    shown("engine", "GF/s of matrix multiplication", f"{median(rates) / 1e9:.0f}", "printed")
    shown("engine", f"TFLOP of {len(prompts)} prompts, shared tokens once", f"{work / 1e12:.2f}", "printed")
    shown("engine", "prompts/s, read", f"{len(prompts) / median(seconds):.1f}", "printed")
    shown("engine", "share of the limit, reading", f"{median(shares):.2f}", f"{GOAL_OF_READING} on a quiet machine")
    assert median(shares) >= LEAST_OF_READING


def test_generation_as_a_share_of_what_memory_and_cpu_allow(engine: Engine, prompts: list[str]) -> None:
    size = weights(engine.model)
    shares, widths = [], []
    for _ in range(TURNS):
        width, rate = bytes_per_second(), multiplications_per_second()
        first = timed(lambda: read(engine, prompts, 1))
        rest = timed(lambda: read(engine, prompts, 1 + TOKENS)) - first
        step = max(4 * size / width, 2 * size * len(prompts) / rate)
        shares.append(TOKENS * step / rest)
        widths.append(width)
    shown("engine", "GB/s of memory, read", f"{median(widths) / 1e9:.1f}", "printed")
    shown(
        "engine", "share of the limit, generation", f"{median(shares):.2f}", f"{GOAL_OF_GENERATION} on a quiet machine"
    )
    assert median(shares) >= LEAST_OF_GENERATION


def test_rows_that_share_few_shot_examples_generate_faster(
    engine: Engine, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    plan = hf.scenario("gsm8k").adapt(shots=8).limit(QUESTIONS).generate(str(demo_model()))
    prompts: list[str] = plan.requests().collect()["prompt"].to_list()
    steps: dict[int, list[float]] = {MOST_STARTS: [], 0: []}
    texts: dict[int, list[Any]] = {}
    for _ in range(ROUNDS):
        for most, seconds in steps.items():
            monkeypatch.setattr(attention, "MOST_STARTS", most)
            first = timed(lambda: read(engine, prompts, 1))
            engine.reader.forget()
            started = time.perf_counter()
            answers: list[Any] = engine.generate(prompts, {"max_tokens": 1 + TOKENS})
            seconds.append((time.perf_counter() - started - first) / TOKENS)
            texts[most] = [answer.text for answer in answers]
    together, apart = median(steps[MOST_STARTS]), median(steps[0])
    case = f"ms per step of {len(prompts)} prompts of GSM8K, 8 shots"
    shown("engine", case, f"{1000 * together:.0f}, {apart / together:.1f} × faster than copies", LEAST_GAIN)
    assert texts[MOST_STARTS] == texts[0]
    assert apart >= LEAST_GAIN * together


def read(engine: Engine, prompts: list[str], tokens: int) -> None:
    """All prompts, their start read anew, and tokens generated after each."""
    engine.reader.forget()
    engine.generate(prompts, {"max_tokens": tokens})


def operations(engine: Engine, prompts: list[str]) -> float:
    """The floating-point operations of all prompts, where a token that prompts share is read once."""
    config = engine.model.config
    texts = sort_texts(engine.words.tokens(prompts)).texts
    block = build_block(texts, 0)
    head = config.vocab_size * config.hidden_size
    linear = 2 * (weights(engine.model) - head) * len(block.tokens) + 2 * head * len(texts)
    states = config.num_attention_heads * getattr(config, "head_dim", config.hidden_size // config.num_attention_heads)
    return float(linear + 4 * states * config.num_hidden_layers * int((block.depths + 1).sum()))


def weights(model: Any) -> int:
    """The weights that multiply a token: those of all linear layers, also where a packed copy replaces them."""
    layers = [module for module in model.modules() if hasattr(module, "in_features")]
    return sum(layer.in_features * layer.out_features for layer in layers)


def multiplications_per_second() -> float:
    """The operations per second of the faster library, in a multiplication as large as one of a packed row."""
    batch, weight = torch.randn(512, 2048), torch.randn(2048, 2048)
    ways: list[Callable[[], Any]] = [lambda: torch.nn.functional.linear(batch, weight)]
    if has_onednn():
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        ways.append(lambda: torch.ops.mkldnn._linear_pointwise(batch, packed, None, "none", [], ""))
    with torch.no_grad():
        return 2 * batch.numel() * len(weight) / min(median(timed(way) for _ in range(9)) for way in ways)


def bytes_per_second() -> float:
    """The bytes per second that a sum over more memory than the caches hold reads."""
    array = torch.ones(1 << 26)
    return float(array.nbytes / median(timed(array.sum) for _ in range(9)))


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def cpu() -> str:
    """The name of the CPU, with its threads in use."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{name or platform.processor()}, {torch.get_num_threads()} threads"
