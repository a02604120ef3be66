"""Models of lm-eval, Inspect and vLLM asked through helmframe, and the folder they hold asked by helmframe itself."""

import json
import sys
from typing import Any

import polars as pl

import helmframe as hf
from helmframe.models import Completion
from helmframe.models.model import Model, Pair

QUESTIONS = ["The capital of France is", "Two and two is", "Water boils at", "The opposite of hot is"]
PAIRS = [
    Pair("The capital of France is", " Paris"),
    Pair("The capital of France is", " a cold day"),
    Pair("Water boils at", " 100 degrees"),
    Pair("", "Once upon a time"),
    # the space is a token's of the continuation's first word, and nothing is asked about
    Pair("The capital of France is ", "Paris"),
    Pair("Answer: ", "Antananarivo"),
    Pair("Water boils at", ""),
]
# Where lm-eval counts white space, or tokens, otherwise.
BORDERS = [Pair("Answer:\n\n", "Paris"), Pair("Two is ", "2"), Pair("The univ", "ersal 😀"), Pair("A", "pple")]
STOPS = [["\n"], ["."], ["is", "o"], [" "]]
GREEDY = {"max_tokens": 8, "temperature": 0.0, "stop": ["\n"]}


def texts(model: Model, prompts: list[str]) -> list[str]:
    given = model.generate(prompts, GREEDY)
    # stop sequences are cut where answers are kept
    return [each.text.split("\n")[0] if isinstance(each, Completion) else str(each).split("\n")[0] for each in given]


def logprobs(model: Model, pairs: list[Pair]) -> list[Any]:
    assert model.loglikelihood is not None
    return [each.logprob if isinstance(each, Completion) else str(each) for each in model.loglikelihood(pairs, {})]


def generated(model: Model, stop: list[str]) -> list[Any]:
    """The log-probabilities of the tokens of answers."""
    given = model.generate(QUESTIONS, {**GREEDY, "stop": stop})
    return [each.token_logprobs if isinstance(each, Completion) else str(each) for each in given]


def plan(model: Any, **said: Any) -> dict[str, int]:
    """How many requests there are for two questions, and how many of them fail."""
    frame = pl.DataFrame({"q": ["one", "two"], "options": [["a", "bbb"], ["aaa", "b"]], "right": [1, 0]})
    asking = hf.scenario(frame, input="q", choices="options", answer="right").adapt(shots=0, **said).generate(model)
    completions = asking.score().completions.collect()
    return {"errors": completions["error"].count(), "rows": completions.height}


def of_lm_eval(folder: str) -> dict[str, Any]:
    from lm_eval.models.dummy import DummyLM
    from lm_eval.models.huggingface import HFLM

    ours, dummy = hf.model(folder), hf.model(DummyLM())
    theirs = hf.model(HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=4))
    assert ours.chat is not None
    assert theirs.chat is not None
    turns = [{"role": "user", "content": "Who?"}]
    return {
        "dummy": [repr(dummy), plan(dummy), plan(dummy, method="multiple_choice_separate_original")],
        "repr": repr(theirs),
        "window": [ours.window, theirs.window],
        "texts": [texts(ours, QUESTIONS), texts(theirs, QUESTIONS)],
        "logprobs": [logprobs(ours, PAIRS), logprobs(theirs, PAIRS)],
        "chat": [ours.chat(turns), theirs.chat(turns)],
        "plan": plan(theirs, method="multiple_choice_separate_original"),
        "same": theirs.fingerprint() == theirs.fingerprint() != dummy.fingerprint(),
    }


def of_inspect(folder: str) -> dict[str, Any]:
    from inspect_ai.model import (
        ChatCompletionChoice,
        ChatMessageAssistant,
        ContentReasoning,
        ContentText,
        GenerateConfig,
        ModelOutput,
        ModelUsage,
        get_model,
    )

    content = [ContentReasoning(reasoning="hm"), ContentText(text="A")]
    choice = ChatCompletionChoice(message=ChatMessageAssistant(content=content), stop_reason="max_tokens")
    thinking = ModelOutput(choices=[choice], usage=ModelUsage(input_tokens=3, output_tokens=2))
    mock = hf.model(get_model("mockllm/model", custom_outputs=lambda *_: thinking))
    ours = hf.model(folder)
    # its provider samples unless told otherwise, and then refuses a temperature of 0
    how = {"model_path": folder, "device": "cpu", "dtype": "float32", "do_sample": False}
    theirs = hf.model(get_model("hf/demo", config=GenerateConfig(logprobs=True), **how))
    assert ours.chat is not None
    assert theirs.chat is not None
    turns = [[{"role": "user", "content": each}] for each in QUESTIONS]
    (told,) = theirs.generate([QUESTIONS[0]], GREEDY)
    return {
        "mock": [repr(mock), mock.generate(["Who?"], {"max_tokens": 3})[0], plan(mock)],
        "repr": repr(theirs),
        "texts": [texts(ours, list(map(ours.chat, turns))), texts(theirs, list(map(theirs.chat, turns)))],
        "told": told,
        "plan": plan(theirs, chat_template=True),
    }


def of_vllm(folder: str) -> dict[str, Any]:
    ours = hf.model(folder)
    theirs = hf.models.vllm(folder, dtype="float32", max_model_len=1024, max_num_seqs=8, enforce_eager=True)
    few = hf.scenario("sampler").where(subject="music")
    kept = ["completion", "finish_reason", "prompt_tokens", "output_tokens"]
    answered = [
        few.generate(model).score().completions.sort("row_index").select(kept).collect() for model in (ours, theirs)
    ]
    return {
        "repr": repr(theirs),
        "texts": [texts(ours, QUESTIONS), texts(theirs, QUESTIONS)],
        "logprobs": [logprobs(ours, PAIRS + BORDERS), logprobs(theirs, PAIRS + BORDERS)],
        "generated": [[each for stop in STOPS for each in generated(model, stop)] for model in (ours, theirs)],
        "answered": [each.rows() for each in answered],
    }


if __name__ == "__main__":
    print(json.dumps({"lm_eval": of_lm_eval, "inspect": of_inspect, "vllm": of_vllm}[sys.argv[1]](sys.argv[2])))
