"""A plugin of crfm-helm: labels and graded passages, and a deterministic model.

`helm-run --plugins` imports it by the Python of a venv that has crfm-helm.
"""

# mypy: ignore-errors
# (HELM is not installed beside us)

import hashlib
import random
from typing import ClassVar

from helm.benchmark.adaptation.adapter_spec import AdapterSpec
from helm.benchmark.metrics.metric import MetricSpec
from helm.benchmark.run_spec import RunSpec, run_spec_function
from helm.benchmark.scenarios.scenario import CORRECT_TAG, Input, Instance, Output, Reference, Scenario, ScenarioSpec
from helm.clients.client import CachingClient
from helm.common.request import GeneratedOutput, Request, RequestResult, Token

METRICS = "helm.benchmark.metrics."
LABELS = ("red", "green", "blue")


def hashed(text: str) -> float:
    """Return a number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


class Hashed(CachingClient):
    """A model whose outputs and log-probabilities are hashes of the prompt."""

    def make_request(self, request: Request) -> RequestResult:
        words = ("Yes", "No", "maybe") if "Query" in request.prompt else LABELS
        outputs = []
        for number in range(request.num_completions):
            text = words[int(hashed(f"text {number} {request.prompt}") * 3)]
            logprob = -2 * hashed(f"logprob {number} {request.prompt}")
            token = Token(text=text, logprob=logprob)
            outputs.append(GeneratedOutput(text=text, logprob=logprob, tokens=[token], finish_reason=None))
        return RequestResult(success=True, cached=False, request_time=0.1, completions=outputs, embedding=[])


class Labels(Scenario):
    """Sentences with one of three labels, the third of them rare."""

    name = "labels"
    description = "Sentences with labels."
    tags: ClassVar[list[str]] = []

    def get_instances(self, output_path: str) -> list[Instance]:
        del output_path
        draws = random.Random(0)
        return [
            Instance(
                Input(text=f"sentence {number}"),
                references=[Reference(Output(draws.choices(LABELS, (6, 5, 1))[0]), tags=[CORRECT_TAG])],
                split="train" if number < 30 else "test",
            )
            for number in range(90)
        ]


class Passages(Scenario):
    """Queries with passages of grades 0 to 3; those of grade 2 and 3 are correct."""

    name = "passages"
    description = "Queries with passages."
    tags: ClassVar[list[str]] = []

    def get_instances(self, output_path: str) -> list[Instance]:
        del output_path
        draws = random.Random(1)
        return [Instance(Input(text=f"query {number}"), self._passages(draws), split="test") for number in range(80)]

    def _passages(self, draws: random.Random) -> list[Reference]:
        grades = [1, *(draws.choice((0, 0, 1, 2, 3)) for _ in range(6))]
        return [
            Reference(
                Output(f"passage {place} {draws.random()}"),
                tags=[*([CORRECT_TAG] if grade > 1 else []), f"relevance={grade}", f"rank={place + 1}"],
            )
            for place, grade in enumerate(grades)
        ]


@run_spec_function("labels")
def labels(outputs: int, trials: int) -> RunSpec:
    metrics = [("basic_metrics.BasicGenerationMetric", {"names": ["exact_match", "f1_score"]})]
    if int(outputs) == 1:
        metrics.append(("classification_metrics.ClassificationMetric", {}))
    adapter = AdapterSpec(
        method="generation",
        max_train_instances=2,
        num_train_trials=int(trials),
        num_outputs=int(outputs),
        max_tokens=5,
    )
    return _run(f"labels:outputs={outputs},trials={trials}", "Labels", adapter, metrics)


@run_spec_function("passages")
def passages() -> RunSpec:
    arguments = {
        "method": "ranking_binary",
        "measure_names": ["recip_rank.5", "success.1", "success.3", "recall.3", "ndcg_cut.5"],
        "correct_output": "Yes",
        "wrong_output": "No",
        "multiple_relevance_values": True,
    }
    adapter = AdapterSpec(
        method="ranking_binary",
        input_prefix="Query: ",
        reference_prefix="Passage: ",
        max_train_instances=0,
        max_tokens=5,
    )
    return _run("passages", "Passages", adapter, [("ranking_metrics.RankingMetric", arguments)])


def _run(name: str, scenario: str, adapter: AdapterSpec, metrics: list) -> RunSpec:
    return RunSpec(
        name=name,
        scenario_spec=ScenarioSpec(f"helm_definition_plugin.{scenario}", {}),
        adapter_spec=adapter,
        metric_specs=[MetricSpec(f"{METRICS}{kind}", arguments) for kind, arguments in metrics],
        groups=[],
    )
