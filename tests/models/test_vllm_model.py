"""vLLM in this process. It needs a GPU; where it is not installed, a stand-in of its form answers with a real model.

The stand-in has the names of vLLM 0.33's `LLM.generate`, `SamplingParams`, `RequestOutput` and `Logprob`.
"""

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import helmframe as hf
from helmframe.errors import ArgumentError, CapabilityError, SourceBrokenError
from helmframe.models import Completion, vllm_model
from helmframe.models.model import Model, Pair
from helmframe.models.protocol import from_any
from tests.demo import demo_model
from tests.models import tiny

PROMPTS = ["Who? ", "The cat sat", "a"]
USED = {"max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "presence_penalty", "frequency_penalty"}
USED |= {"logprobs", "prompt_logprobs"}


@dataclass(frozen=True)
class Logprob:
    logprob: float


@dataclass
class SamplingParams:
    max_tokens: int | None = 16
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: Any = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logprobs: int | None = None
    prompt_logprobs: int | None = None


@dataclass
class CompletionOutput:
    text: str
    token_ids: Sequence[int]
    logprobs: Any
    finish_reason: str | None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    prompt_token_ids: Sequence[int]
    outputs: list[CompletionOutput]
    prompt_logprobs: Any = None


@dataclass
class LLM:
    """Greedy, prompt by prompt, as vLLM replies."""

    model: str
    trust_remote_code: bool = False
    dtype: str = "auto"
    asked: list[SamplingParams] = field(default_factory=list)

    def generate(
        self, prompts: Sequence[Mapping[str, Any]], sampling_params: SamplingParams, *, use_tqdm: bool = True
    ) -> list[RequestOutput]:
        assert not use_tqdm
        self.asked.append(sampling_params)
        return [self._one(list(each["prompt_token_ids"]), sampling_params) for each in prompts]

    def _one(self, tokens: list[int], said: SamplingParams) -> RequestOutput:
        assert said.temperature == 0
        module, words = tiny.gpt2(), tiny.tokenizer()
        outputs: list[int] = []
        for _ in range(said.max_tokens or 0):
            with torch.no_grad():
                values = module(torch.tensor([tokens + outputs])).logits[0].log_softmax(-1)
            outputs.append(int(values[-1].argmax()))
            if outputs[-1] == 0:
                break
        start = len(tokens) - 1
        likely = [{token: Logprob(float(values[start + place, token]))} for place, token in enumerate(outputs)]
        before = [{token: Logprob(float(values[place, token]))} for place, token in enumerate(tokens[1:])]
        end = "stop" if outputs[-1] == 0 else "length"
        text = words.decode(outputs, skip_special_tokens=True)
        found = CompletionOutput(text, outputs, likely if said.logprobs is not None else None, end)
        return RequestOutput(tokens, [found], None if said.prompt_logprobs is None else [None, *before])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.saved(tmp_path / "tiny", tiny.gpt2())


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("vllm")
    module.__spec__ = ModuleSpec("vllm", None)
    vars(module).update(LLM=LLM, SamplingParams=SamplingParams)
    monkeypatch.setitem(sys.modules, "vllm", module)
    return module


def answers(model: Model, **decoding: Any) -> list[Completion]:
    return [each for each in model.generate(PROMPTS, {"max_tokens": 6, **decoding}) if isinstance(each, Completion)]


def test_without_the_package_the_way_to_it_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_model, "find_spec", lambda _: None)
    for said in (f"vllm:{folder}", f"vllm(model={str(folder)!r})"):
        with pytest.raises(CapabilityError, match=r"pip install 'helmframe\[vllm\]'.*v1#name.*local engine"):
            hf.scenario("sampler").generate(said)


@pytest.mark.usefixtures("stand_in")
def test_its_answers_come_with_log_probabilities(folder: Path) -> None:
    theirs, ours = (answers(from_any(said)) for said in (f"vllm:{folder}", folder))
    assert [each.text for each in theirs] == [each.text for each in ours]
    for mine, other in zip(ours, theirs, strict=True):
        assert (other.finish_reason, other.prompt_tokens) == (mine.finish_reason, mine.prompt_tokens)
        assert other.token_logprobs == pytest.approx(mine.token_logprobs, abs=1e-4)


@pytest.mark.parametrize(
    ("last", "reason", "tokens", "logprob"),
    [(0, None, 1, -1.0), (2, "b", 2, -1.0), (3, None, 1, -1.0), (1, "a", 2, None)],
    ids=["end of text", "stop string", "stop token", "nothing before the stop"],
)
@pytest.mark.usefixtures("stand_in")
def test_what_ends_a_text_is_none_of_its_own(
    folder: Path, last: int, reason: str | None, tokens: int, logprob: float | None
) -> None:
    values = [{1: Logprob(-1.0)}, {last: Logprob(-2.0)}]
    output = RequestOutput([1, 2], [CompletionOutput("a", [1, last], values, "stop", reason)])
    vllm = hf.models.vllm(folder).generate.__self__  # type: ignore[attr-defined]
    answer = vllm._completion(output, {"stop": reason})
    assert (answer.output_tokens, answer.logprob) == (tokens, logprob)
    assert answer.token_logprobs == (None if logprob is None else (logprob,))


@pytest.mark.usefixtures("stand_in")
def test_given_texts_are_as_likely_as_to_the_local_engine(folder: Path) -> None:
    pairs = [Pair("Who? ", "me and you"), Pair("a", "b"), Pair("", "abc"), Pair("x" * 200, "y"), Pair("x", "")]
    models = from_any(f"vllm:{folder}"), from_any(folder)
    theirs, ours = (list(each.loglikelihood(pairs, {})) for each in models)  # type: ignore[misc]
    assert isinstance(theirs[3], ValueError)
    del ours[3], theirs[3]
    assert (ours[3][2:4], theirs[3][2:4]) == ((None, None), (None, None))  # type: ignore[index]
    for mine, other in zip(ours, theirs, strict=True):
        assert isinstance(mine, Completion)
        assert isinstance(other, Completion)
        assert other.token_logprobs == pytest.approx(mine.token_logprobs, abs=1e-4)
        assert (other.text, other.prompt_tokens, other.output_tokens) == (
            mine.text,
            mine.prompt_tokens,
            mine.output_tokens,
        )


@pytest.mark.usefixtures("stand_in")
def test_decoding_goes_on_as_it_was_said_and_greedy_where_it_was_not(folder: Path) -> None:
    model = hf.models.vllm(folder)
    answers(model, stop=["x"], top_p=0.5, seed=3, top_k=None)
    (said,) = model.generate.__self__._llm.asked  # type: ignore[attr-defined]
    assert (said.max_tokens, said.temperature, said.top_p, said.seed, said.stop) == (6, 0.0, 0.5, 3, ["x"])
    assert (said.top_k, said.logprobs, said.prompt_logprobs) == (0, 0, None)


def test_parallel_options_are_passed_to_vllm(folder: Path, stand_in: ModuleType) -> None:
    received: list[dict[str, Any]] = []

    def load(model: str, **options: Any) -> LLM:
        received.append(options)
        return LLM(model)

    stand_in.LLM = load  # type: ignore[attr-defined]
    parallel = {"tensor_parallel_size": 2, "data_parallel_size": 2, "pipeline_parallel_size": 1}
    answers(hf.models.vllm(folder, **parallel))
    assert received == [{**parallel, "trust_remote_code": False}]
    one = hf.models.vllm(folder).fingerprint()
    assert hf.models.vllm(folder, tensor_parallel_size=2, data_parallel_size=2).fingerprint() == one


@pytest.mark.usefixtures("stand_in")
def test_reasoning_is_head_room_and_a_switch_of_the_chat_template(tmp_path: Path) -> None:
    template = "{{ messages[0].content }}{% if enable_thinking is defined and not enable_thinking %} off{% endif %}"
    model = hf.models.vllm(tiny.saved(tmp_path / "thinking", tiny.gpt2(), template))
    assert (model.reasons, hf.models.vllm(tiny.saved(tmp_path / "other", tiny.gpt2(), "{{ messages }}")).reasons) == (
        "chat",
        "",
    )
    assert model.chat is not None
    turns = [{"role": "user", "content": "Who?"}]
    assert (model.chat(turns), model.chat(turns, enable_thinking=False)) == ("Who?", "Who? off")
    model.generate(PROMPTS, {"reasoning": 9})
    (said,) = model.generate.__self__._llm.asked  # type: ignore[attr-defined]
    assert said.max_tokens == 100 + 9


@pytest.mark.usefixtures("stand_in")
def test_it_is_known_by_content_and_by_what_changes_answers(folder: Path) -> None:
    model = hf.models.vllm(folder)
    assert (model.name, model.durable, model.window) == ("tiny", True, 126)
    assert model.capabilities == ("generates", "scores", "token_logprobs")
    same = hf.models.vllm(folder, gpu_memory_utilization=0.5, tensor_parallel_size=2)
    other = hf.models.vllm(folder, dtype="bfloat16")
    assert model.fingerprint() == same.fingerprint() != other.fingerprint()
    assert from_any(folder).fingerprint() != model.fingerprint()
    plan = hf.scenario("sampler").generate([model, hf.model(other, name="low")])
    assert hf.Plan.from_yaml(plan.to_yaml()) == plan


@pytest.mark.usefixtures("stand_in")
def test_what_can_not_be_is_refused(folder: Path) -> None:
    with pytest.raises(ArgumentError, match="options must be JSON values"):
        hf.models.vllm(folder, dtype=torch.bfloat16)
    with pytest.raises(ArgumentError, match="model=… is missing"):
        from_any("vllm(dtype='bfloat16')")
    with pytest.raises(SourceBrokenError, match=r"vLLM can't load .*: TypeError.*no_such"):
        answers(hf.models.vllm(folder, no_such=1))


def test_the_stand_in_has_names_that_vllm_has() -> None:
    """Where vLLM is installed, its own signature says whether all that is used is there."""
    params: Any = SamplingParams
    if find_spec("vllm") is not None:
        import vllm

        params = vllm.SamplingParams
        assert {"prompts", "sampling_params", "use_tqdm"} <= set(inspect.signature(vllm.LLM.generate).parameters)
    assert set(inspect.signature(params).parameters) >= USED


@pytest.mark.gpu
@pytest.mark.model
@pytest.mark.skipif(find_spec("vllm") is None or not torch.cuda.is_available(), reason="needs vLLM and a GPU")
def test_vllm_itself_answers_as_the_local_engine() -> None:
    folder = demo_model()
    theirs = answers(hf.models.vllm(folder, dtype="float32", enforce_eager=True))
    assert [each.text for each in theirs] == [each.text for each in answers(from_any(folder))]
