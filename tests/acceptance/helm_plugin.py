"""A plugin of crfm-helm: a small scenario, run specs for its adapters, and a deterministic model and tokenizer.

`helm-run --plugins helm_plugin` imports it by the Python of a venv that has crfm-helm, so types come from there.
"""

import importlib
import random
import re
from typing import Any, ClassVar

from helm.benchmark.adaptation.adapter_spec import AdapterSpec
from helm.benchmark.adaptation.common_adapter_specs import get_multiple_choice_separate_adapter_spec
from helm.benchmark.augmentations.data_augmenter import DataAugmenterSpec
from helm.benchmark.augmentations.perturbation import PerturbationSpec
from helm.benchmark.metrics.metric import MetricSpec
from helm.benchmark.run_spec import RunSpec, run_spec_function
from helm.benchmark.scenarios.scenario import CORRECT_TAG, Input, Instance, Output, Reference, Scenario, ScenarioSpec
from helm.clients.client import CachingClient
from helm.common.request import GeneratedOutput, Request, RequestResult, Token
from helm.common.tokenization_request import DecodeRequestResult, TokenizationRequestResult, TokenizationToken
from helm.tokenizers.tokenizer import Tokenizer

# a file beside this one, which is imported on its own
hashed_model: Any = importlib.import_module("hashed_model")
hashed = hashed_model.hashed
METRICS = "helm.benchmark.metrics."
AUGMENTATIONS = "helm.benchmark.augmentations."
KINDS = ("red", "green", "blue")
NAMES = ("Adam", "Chip", "Harry", "Josh", "Roger")
LETTERS = re.compile("<s>| ?[A-Za-z]+|[\\x00-\\x7f]|\N{REPLACEMENT CHARACTER}")


def pieces(text: str) -> list[bytes]:
    """Return the tokens of a text: ASCII words with the space before them, and other characters byte by byte."""
    parts: list[bytes] = []
    start = 0
    for match in LETTERS.finditer(text):
        parts += [bytes([byte]) for byte in text[start : match.start()].encode()] + [match[0].encode()]
        start = match.end()
    return parts + [bytes([byte]) for byte in text[start:].encode()]


def shown(piece: bytes) -> str:
    """Return a token as OpenAI's server writes it: a byte that is no character on its own as `bytes:\\xe2`."""
    return f"bytes:\\x{piece[0]:02x}" if len(piece) == 1 and piece[0] > 127 else piece.decode()


class Pieces(Tokenizer):
    """A tokenizer whose ids are the bytes of its tokens, read as a number."""

    def tokenize(self, request: Any) -> TokenizationRequestResult:
        parts = pieces(request.text)
        if request.truncation:
            parts = parts[: request.max_length]
        values = [int.from_bytes(b"\x01" + part, "big") if request.encode else shown(part) for part in parts]
        tokens = [TokenizationToken(value) for value in values]
        return TokenizationRequestResult(success=True, cached=False, tokens=tokens, text=request.text)

    def decode(self, request: Any) -> DecodeRequestResult:
        parts = [value.to_bytes((value.bit_length() + 7) // 8, "big")[1:] for value in request.tokens]
        return DecodeRequestResult(success=True, cached=False, text=b"".join(parts).decode(errors="replace"))


class Hashed(CachingClient):
    """A model whose completions and log-probabilities are hashes of the prompt."""

    def make_request(self, request: Request) -> RequestResult:
        outputs = [self._output(request, number) for number in range(request.num_completions)]
        return RequestResult(
            success=True, cached=False, request_time=hashed(request.prompt), completions=outputs, embedding=[]
        )

    def _output(self, request: Request, number: int) -> GeneratedOutput:
        if request.echo_prompt:
            text = request.prompt
        elif request.prompt.endswith("Answer:"):
            text = " " + "ABC"[int(hashed(f"{number} {request.prompt}") * 3)]
        else:
            draws = random.Random(f"{number} {request.prompt}")
            words = (*KINDS, "red and blue") if number == 0 else (*KINDS, "café", "")
            text = draws.choice(words)
        tokens = [
            Token(text=shown(piece), logprob=-hashed(f"{place} {number} {request.prompt}"))
            for place, piece in enumerate(pieces(text))
        ]
        reason = {"reason": "length" if len(tokens) % 2 else "stop"}
        logprob = sum(token.logprob for token in tokens)
        return GeneratedOutput(text=text, logprob=logprob, tokens=tokens, finish_reason=reason)


class HashedPieces(Tokenizer):
    """The tokenizer of hashed_model.py."""

    def tokenize(self, request: Any) -> TokenizationRequestResult:
        values = hashed_model.encode(request.text) if request.encode else hashed_model.pieces(request.text)
        values = values[: request.max_length] if request.truncation else values
        tokens = [TokenizationToken(value) for value in values]
        return TokenizationRequestResult(success=True, cached=False, tokens=tokens, text=request.text)

    def decode(self, request: Any) -> DecodeRequestResult:
        return DecodeRequestResult(success=True, cached=False, text=hashed_model.decode(request.tokens))


class HashedCompletions(CachingClient):
    """The model of hashed_model.py."""

    def make_request(self, request: Request) -> RequestResult:
        outputs = [self._output(request, number) for number in range(request.num_completions)]
        return RequestResult(success=True, cached=False, request_time=0.0, completions=outputs, embedding=[])

    def _output(self, request: Request, number: int) -> GeneratedOutput:
        if request.echo_prompt:
            text = request.prompt
        else:
            text = hashed_model.completion(request.prompt, number, request.max_tokens, request.stop_sequences)
        scores = hashed_model.logprobs(text, number, request.prompt)
        tokens = [
            Token(text=piece, logprob=score) for piece, score in zip(hashed_model.pieces(text), scores, strict=True)
        ]
        reason = {"reason": "length" if len(tokens) >= request.max_tokens else "stop"}
        return GeneratedOutput(text=text, logprob=sum(scores), tokens=tokens, finish_reason=reason)


class Colours(Scenario):
    """Sentences about people, whose references are three colours; every third has four."""

    name = "colours"
    description = "Sentences about people and colours."
    tags: ClassVar[list[str]] = []

    def get_instances(self, output_path: str) -> list[Instance]:
        del output_path
        draws = random.Random(0)
        return [self._instance(number, draws) for number in range(36)]

    def _instance(self, number: int, draws: random.Random) -> Instance:
        text = f"{draws.choice(NAMES)} told his mother that he doesn’t like the café no. {number}."
        options = [*KINDS, "yellow and grey"] if number % 3 == 0 else [*KINDS]
        right = draws.choice(KINDS)
        split = "train" if number < 6 else "valid" if number < 16 else "test"
        references = [Reference(Output(each), tags=[CORRECT_TAG] if each == right else []) for each in options]
        return Instance(Input(text=text), references=references, split=split, sub_split="odd" if number % 2 else None)


class EvaluatedColours(Colours):
    """The same without train instances, which HELM's language modelling refuses; texts of several windows."""

    def get_instances(self, output_path: str) -> list[Instance]:
        rows = [each for each in super().get_instances(output_path) if each.split != "train"]
        return [
            Instance(Input(text=f"{each.input.text} {number * 'So it’s said. '}".strip()), [], split=each.split)
            for number, each in enumerate(rows)
        ]


def augmented(names: str) -> DataAugmenterSpec:
    """Return perturbations, those of person names with `names`, the path of HELM's table."""
    races = {"source_class": {"race": "white_american"}, "target_class": {"race": "black_american"}}
    person: dict[str, Any] = {**races, "prob": 1.0, "name_file_path": names}
    specs = [
        ("typos_perturbation.TyposPerturbation", {"prob": 0.2}),
        ("lowercase_perturbation.LowerCasePerturbation", {}),
        ("person_name_perturbation.PersonNamePerturbation", person | {"preserve_gender": True}),
        ("person_name_perturbation.PersonNamePerturbation", person | {"preserve_gender": False}),
        (
            "gender_perturbation.GenderPerturbation",
            {"mode": "pronouns", "prob": 1.0, "source_class": "male", "target_class": "female"},
        ),
    ]
    return DataAugmenterSpec(
        [PerturbationSpec(f"{AUGMENTATIONS}{name}", arguments) for name, arguments in specs],
        should_augment_eval_instances=True,
        should_include_original_eval=True,
        should_skip_unchanged_eval=True,
    )


@run_spec_function("colours")
def colours(method: str = "generation", outputs: int = 1, trials: int = 1, shots: int = 2, names: str = "") -> RunSpec:
    """Return the run of one adapter method; with `names` it is perturbed."""
    modelling = method == "language_modeling"
    basic = ["exact_match", "quasi_exact_match", "prefix_exact_match", "quasi_prefix_exact_match", "f1_score"]
    metrics: list[tuple[str, dict[str, Any]]] = [
        (f"basic_metrics.{kind}", arguments)
        for kind, arguments in (
            ("BasicGenerationMetric", {"names": basic}),
            ("BasicReferenceMetric", {}),
            ("InstancesPerSplitMetric", {}),
        )
    ]
    if modelling:
        metrics = [("language_modeling_metrics.LanguageModelingMetric", {"names": []})]
    elif method == "generation" and int(outputs) == 1:
        metrics.append(("classification_metrics.ClassificationMetric", {}))
    elif method == "generation":
        metrics += [
            ("disinformation_metrics.DisinformationMetric", {"name": each})
            for each in ("monte_carlo_entropy", "self_bleu")
        ]
    adapter = (
        get_multiple_choice_separate_adapter_spec(method)
        if "separate" in method
        else AdapterSpec(
            method=method,
            input_prefix="Text: ",
            output_prefix="Answer:" if "joint" in method else "Colour: ",
            reference_prefix="A. ",
            max_train_instances=0 if modelling else int(shots),
            num_train_trials=int(trials),
            num_outputs=int(outputs),
            max_tokens=0 if modelling else 5,
            stop_sequences=["\n"],
        )
    )
    arguments = f"method={method},outputs={outputs},trials={trials},shots={shots}"
    kind = EvaluatedColours if modelling else Colours
    return RunSpec(
        name=f"colours:{arguments}{',perturbed=true' if names else ''}",
        scenario_spec=ScenarioSpec(f"helm_plugin.{kind.__name__}", {}),
        adapter_spec=adapter,
        metric_specs=[MetricSpec(f"{METRICS}{name}", arguments) for name, arguments in metrics],
        data_augmenter_spec=augmented(names) if names else DataAugmenterSpec(),
        groups=["colours"],
    )
