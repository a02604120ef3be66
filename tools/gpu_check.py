"""All checks of the local engine on a GPU, as one table: python -m tools.gpu_check [--model FOLDER] [--device cuda:1].

`--device cpu` runs the same checks without a GPU, to try the command. Exit status 1: a check failed.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import helmframe as hf
from helmframe.models.model import Completion, Model, Pair

FOLDER = Path(__file__).parents[1] / "models" / "SmolLM2-135M-Instruct"
SHOTS, NEW, MIXED = 5, 32, (4, 64)
BATCHES = (8, 32, 128)
# Two tokens that are about equally likely swap by rounding, so a few completions may differ.
LEAST_EQUAL, LARGEST_DIFFERENCE = 0.95, 1e-2
LEAST_FASTER = 1.0


class Check(NamedTuple):
    """One row of the table; `passed` is None for a figure without a goal."""

    name: str
    figure: str
    goal: str
    passed: bool | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.gpu_check", description=__doc__)
    parser.add_argument("--model", default=str(FOLDER), help="folder or Hub name of a checkpoint")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    parser.add_argument("--prompts", type=int, default=256, help="number of prompts")
    given = parser.parse_args(arguments)
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print("torch finds no GPU here. --device cpu tries the command.", file=sys.stderr)
        return 1
    failed = False
    for check in checks(given.model, given.device, given.prompts):
        verdict = {None: "", True: "ok", False: "FAILED"}[check.passed]
        print(f"{check.name:<52} {check.figure:>24}  {check.goal:<22} {verdict}".rstrip(), flush=True)
        failed |= check.passed is False
    return int(failed)


def checks(folder: str, device: str, n: int) -> Iterator[Check]:
    """Yield the rows of the table; each model is loaded once."""
    yield Check("torch, device", f"{torch.__version__}, {device_name(device)}", "", None)
    prompts = few_shot_prompts(n)
    float32 = hf.models.local(folder, device=device, dtype="float32")
    cpu = hf.models.local(folder, device="cpu", dtype="float32")
    expected, completions = texts(cpu, prompts), texts(float32, prompts)
    yield equal("completions in float32 that equal the CPU's", completions, expected)
    yield Check("how prompts run", "", float32.state() if float32.state else "", None)
    continuations = [Pair(prompt, f" {text}") for prompt, text in zip(prompts, expected, strict=True)]
    yield difference("difference of log-probabilities from the CPU's, nats", float32, cpu, continuations)
    half = hf.models.local(folder, device=device, dtype="bfloat16")
    changed = 1 - share_equal(texts(half, prompts), expected)
    yield Check("completions that bfloat16 changes", f"{changed:.1%} of {n}", "", None)
    yield from speed(folder, device, half, prompts)
    if device.startswith("cuda"):
        yield from memory(folder, device, prompts, completions)
    if torch.cuda.device_count() > 1 and device == "cuda":
        copies = hf.models.local(folder, device=device, dtype="float32", replicas=torch.cuda.device_count())
        yield equal(f"completions of {torch.cuda.device_count()} copies", texts(copies, prompts), completions)


def speed(folder: str, device: str, model: Model, prompts: Sequence[str]) -> Iterator[Check]:
    """Yield tokens per second, those of transformers in its best batch, and the limits of the device."""
    limits = [MIXED[index % 2] for index in range(len(prompts))]
    seconds, tokens = timed(device, lambda: generated(model, prompts, limits))
    yield Check("generation with cached starts, tokens/s", f"{tokens / seconds:,.0f}", "", None)
    peer = max(transformers_rates(folder, device, prompts, limits))
    yield Check("generation by transformers, best batch, tokens/s", f"{peer:,.0f}", "", None)
    ratio = tokens / seconds / peer
    yield Check("ratio", f"{ratio:.2f}", f"at least {LEAST_FASTER}", ratio >= LEAST_FASTER)
    seconds, _ = timed(device, lambda: generated(model, prompts, [1] * len(prompts)))
    yield Check("reading with cached starts, prompts/s", f"{len(prompts) / seconds:,.1f}", "", None)
    yield Check(
        "matrix multiplication in bfloat16, TFLOP/s", f"{multiplications_per_second(device) / 1e12:,.1f}", "", None
    )
    yield Check("memory read, GB/s", f"{bytes_per_second(device) / 1e9:,.0f}", "", None)


def memory(folder: str, device: str, prompts: Sequence[str], expected: Sequence[str]) -> Iterator[Check]:
    """Yield whether all prompts still run where half of the memory that they used is free."""
    torch.cuda.reset_peak_memory_stats(device)
    model = hf.models.local(folder, device=device, dtype="float32")
    texts(model, prompts)
    peak, whole = torch.cuda.max_memory_allocated(device), torch.cuda.mem_get_info(device)[1]
    yield Check("peak memory, GB", f"{peak / 1e9:.1f} of {whole / 1e9:.0f}", "", None)
    least = torch.cuda.memory_allocated(device)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((least + peak) / 2 / whole, device)
    try:
        yield equal("completions with half of that memory", texts(model, prompts), expected)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def few_shot_prompts(n: int) -> list[str]:
    """Return prompts that share few-shot examples and differ in length, from the scenario in the package."""
    frame = hf.scenario("everyday").adapt(shots=SHOTS).requests().collect()
    distinct: list[str] = frame["prompt"].to_list()
    return [
        f"{index}\n\n{distinct[index % len(distinct)]}" if index >= len(distinct) else distinct[index]
        for index in range(n)
    ]


def texts(model: Model, prompts: Sequence[str]) -> list[str]:
    return [answer_text(answer) for answer in model.generate(prompts, {"max_tokens": NEW, "temperature": 0.0})]


def generated(model: Model, prompts: Sequence[str], limits: Sequence[int]) -> int:
    """Return the number of tokens generated, in one call per limit."""
    total = 0
    for limit in sorted(set(limits)):
        of_limit = [prompt for prompt, most in zip(prompts, limits, strict=True) if most == limit]
        answers = model.generate(of_limit, {"max_tokens": limit, "temperature": 0.0})
        total += sum(answer.output_tokens or 0 for answer in answers if isinstance(answer, Completion))
    return total


def transformers_rates(folder: str, device: str, prompts: Sequence[str], limits: Sequence[int]) -> Iterator[float]:
    """Yield the tokens per second of `generate` for each size of batch, over prompts of like length."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model = model.to(device).eval()
    order = sorted(range(len(prompts)), key=lambda index: (-limits[index], -len(prompts[index])))

    def work(size: int) -> int:
        tokens = 0
        for low in range(0, len(order), size):
            batch = order[low : low + size]
            inputs = tokenizer([prompts[index] for index in batch], return_tensors="pt", padding=True).to(device)
            longest = max(limits[index] for index in batch)
            output = model.generate(
                **inputs, do_sample=False, max_new_tokens=longest, pad_token_id=tokenizer.pad_token_id
            )
            own = (output[:, inputs["input_ids"].shape[1] :] != tokenizer.pad_token_id).sum(dim=1).tolist()
            tokens += sum(min(count, limits[index]) for count, index in zip(own, batch, strict=True))
        return tokens

    with torch.no_grad():
        for size in [size for size in BATCHES if size < len(prompts)] or [len(prompts)]:
            seconds, tokens = timed(device, lambda size=size: work(size))  # type: ignore[misc]
            yield tokens / seconds


def equal(name: str, completions: Sequence[str], expected: Sequence[str]) -> Check:
    share = share_equal(completions, expected)
    return Check(name, f"{share:.1%} of {len(expected)}", f"at least {LEAST_EQUAL:.0%}", share >= LEAST_EQUAL)


def share_equal(completions: Sequence[str], expected: Sequence[str]) -> float:
    return sum(one == other for one, other in zip(completions, expected, strict=True)) / len(expected)


def difference(name: str, model: Model, reference: Model, pairs: Sequence[Pair]) -> Check:
    """Return the largest difference of the pairs' log-probabilities, in nats."""
    differences = [
        abs(one - other) for one, other in zip(logprobs(model, pairs), logprobs(reference, pairs), strict=True)
    ]
    passed = all(value <= LARGEST_DIFFERENCE for value in differences)  # false for a pair without a log-probability
    return Check(name, f"{max(differences):.1e}", f"at most {LARGEST_DIFFERENCE:.0e}", passed)


def logprobs(model: Model, pairs: Sequence[Pair]) -> list[float]:
    assert model.loglikelihood is not None
    answers = model.loglikelihood(pairs, {})
    return [
        math.nan if not isinstance(answer, Completion) or answer.logprob is None else answer.logprob
        for answer in answers
    ]


def answer_text(answer: Any) -> str:
    """Return the text, or the error, which equals no text."""
    return answer.text if isinstance(answer, Completion) else f"{type(answer).__name__}: {answer}"


def multiplications_per_second(device: str) -> float:
    batch, weight = (torch.randn(2048, 2048, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * 2048**3 / timed(device, lambda: batch @ weight)[0]


def bytes_per_second(device: str) -> float:
    array = torch.ones(1 << 26, device=device)
    return array.nbytes / timed(device, array.sum)[0]


def timed(device: str, work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of the second of two calls, after everything on the device has ended, and its result."""
    work()
    synchronise(device)
    started = time.perf_counter()
    result = work()
    synchronise(device)
    return time.perf_counter() - started, result


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


if __name__ == "__main__":
    sys.exit(main())
