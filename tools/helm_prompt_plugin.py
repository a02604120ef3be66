"""A plug-in for crfm-helm (`helm-run --plugins`): a scenario and an adapter from a file, and a tokenizer of bytes.

Read by HELM's own Python; `tools/record_helm_prompts.py` starts it.
"""

# mypy: ignore-errors
# (HELM is not installed beside us)

import json
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

from helm.benchmark.adaptation.adapter_spec import AdapterSpec, Substitution
from helm.benchmark.run_spec import RunSpec, run_spec_function
from helm.benchmark.scenarios.scenario import CORRECT_TAG, Input, Instance, Output, Reference, Scenario, ScenarioSpec
from helm.common.tokenization_request import (
    DecodeRequest,
    DecodeRequestResult,
    TokenizationRequest,
    TokenizationRequestResult,
    TokenizationToken,
)
from helm.tokenizers.tokenizer import Tokenizer

CASES = Path(os.environ["HELMFRAME_CASES"])
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "acceptance"))
from byte_tokens import decode, encode  # noqa: E402


class Recorded(Scenario):
    """The instances of one case, as they are."""

    name = "recorded"
    description = "instances from a file"
    tags: ClassVar[list[str]] = []

    def __init__(self, case: str) -> None:
        super().__init__()
        self.case = case

    def get_instances(self, output_path: str) -> list[Instance]:  # noqa: ARG002 - HELM gives it
        return [_instance(each) for each in _said(self.case)["instances"]]


class Bytes(Tokenizer):
    def tokenize(self, request: TokenizationRequest) -> TokenizationRequestResult:
        ids = encode(request.text)
        if request.truncation:
            ids = ids[: request.max_length]
        tokens = [TokenizationToken(each if request.encode else decode([each])) for each in ids]
        return TokenizationRequestResult(success=True, cached=False, tokens=tokens, text=request.text)

    def decode(self, request: DecodeRequest) -> DecodeRequestResult:
        return DecodeRequestResult(success=True, cached=False, text=decode(request.tokens))


@run_spec_function("recorded")
def recorded(case: str) -> RunSpec:
    said = dict(_said(case)["helm"])
    said["substitutions"] = [Substitution(**each) for each in said.get("substitutions", [])]
    return RunSpec(
        name=f"recorded:case={case}",
        scenario_spec=ScenarioSpec(class_name="helm_prompt_plugin.Recorded", args={"case": case}),
        adapter_spec=AdapterSpec(**said),
        metric_specs=[],
        groups=[],
    )


def _said(case: str) -> Any:
    return json.loads((CASES / f"{case}.json").read_text(encoding="utf-8"))


def _instance(said: Any) -> Instance:
    references = [
        Reference(Output(text=each["text"]), tags=[CORRECT_TAG] if each["correct"] else [])
        for each in said["references"]
    ]
    thought = said.get("chain_of_thought")
    return Instance(
        input=Input(text=said["input"], messages=said.get("messages")),
        references=references,
        split=said["split"],
        extra_data=None if thought is None else {"chain_of_thought": thought},
    )
