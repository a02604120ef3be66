"""A plugin of crfm-helm: its own scenarios on files that are here, and a deterministic model.

`helm-run --plugins helm_sources_plugin` imports it by the Python of a venv that has crfm-helm. The environment variable
HELM_SOURCES is the path of a JSON file: what `helm_scenario_child.patched` takes, `perturbation_files` {part of a URL:
path} that perturbations would download, and `words`, of which the model chooses its completions.
"""

# mypy: ignore-errors
# (HELM is not installed beside us)

import importlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from helm.clients.client import CachingClient
from helm.common.request import GeneratedOutput, Request, RequestResult, Token

# files beside this one, which is imported on its own
helm_metrics_child: Any = importlib.import_module("helm_metrics_child")
helm_plugin: Any = importlib.import_module("helm_plugin")
helm_scenario_child: Any = importlib.import_module("helm_scenario_child")

SOURCES: dict[str, Any] = json.loads(Path(os.environ["HELM_SOURCES"]).read_text(encoding="utf-8"))


class Chosen(CachingClient):
    """A model whose completions and log-probabilities are hashes of the prompt."""

    def make_request(self, request: Request) -> RequestResult:
        hashed = helm_plugin.hashed
        outputs = []
        for number in range(request.num_completions):
            words = SOURCES["words"]
            text = (
                request.prompt if request.echo_prompt else words[int(hashed(f"{number} {request.prompt}") * len(words))]
            )
            tokens = [
                Token(text=helm_plugin.shown(piece), logprob=-hashed(f"{index} {number} {request.prompt}"))
                for index, piece in enumerate(helm_plugin.pieces(text))
            ]
            logprob = sum(token.logprob for token in tokens)
            outputs.append(GeneratedOutput(text=text, logprob=logprob, tokens=tokens, finish_reason={"reason": "stop"}))
        return RequestResult(success=True, cached=False, request_time=0.5, completions=outputs, embedding=[])


def _copied(source_url: str, target_path: str, **_: Any) -> None:
    (path,) = [path for part, path in SOURCES["perturbation_files"].items() if part in source_url]
    Path(target_path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target_path)


helm_metrics_child.write_sentence_model()
helm_scenario_child.patched(SOURCES)
for name in ("dialect", "person_name"):
    module: Any = importlib.import_module(f"helm.benchmark.augmentations.{name}_perturbation")
    module.ensure_file_downloaded = _copied
