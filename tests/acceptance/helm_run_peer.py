"""HELM's own `helm-run` on MMLU with the demo model, in a venv of its own that sees this one's packages; made once."""

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from tests.acceptance.eval_peers import made_venv
from tests.demo import demo_model

HELM_RUN = Path(sys.prefix) / ".helm_run"
ENTRY = "mmlu:subject={subject},method=multiple_choice_joint,model=huggingface/{model}"
# HELM reads no chat template then, and asks for no other class of tokenizer than transformers' own.
UNLIKE_OURS = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 8192}


class Helm(NamedTuple):
    """One run of HELM: the seconds its model took, once loaded, and the answer to each prompt."""

    seconds: float
    answers: dict[str, str]


def helm_on(folder: Path, data: Path, subject: str, n: int) -> list[str]:
    """The command by which HELM runs the first `n` questions of an MMLU subject; what it needs is put in the folder.

    Args:
        folder: where it writes; `read` finds there what it found.
        data: of the scenarios, in the hub's layout; HELM would download it, and is given it as files instead.
        subject: of MMLU.
        n: questions.
    """
    for split, rows in (("dev", None), ("test", n)):
        frame = pl.concat([pl.read_parquet(file) for file in sorted((data / "mmlu" / subject).glob(f"{split}-*"))])
        target = folder / "scenarios" / "mmlu" / "data" / split / f"{subject}_{split}.csv"
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            for row in frame.head(rows or len(frame)).iter_rows(named=True):
                writer.writerow([row["question"], *row["choices"], "ABCD"[row["answer"]]])
    model = _model(folder / "smollm2_base")
    entry = ENTRY.format(subject=subject, model=model.name)
    helm = str(Path(made_venv(HELM_RUN, ["crfm-helm==0.5.16"])).with_name("helm-run"))
    return [
        *(helm, "--run-entries", entry, "--enable-local-huggingface-models", str(model), "--suite", "v1", "-n", "1"),
        *("--max-eval-instances", str(n), "-o", str(folder), "--local-path", str(folder / "prod_env")),
    ]


def read(folder: Path, said: str) -> Helm:
    """What a run found, by what it wrote into the folder and said on its way."""
    phase = said.split("Executor.execute {", 1)[1].split("AnnotationExecutor", 1)[0]
    loading = _seconds(phase.split("Loading Hugging Face model", 1)[1])[0]
    state = next(folder.glob("runs/v1/*/scenario_state.json"))
    states: list[dict[str, Any]] = json.loads(state.read_text(encoding="utf-8"))["request_states"]
    answers = {each["request"]["prompt"]: each["result"]["completions"][0]["text"] for each in states}
    return Helm(_seconds(phase)[-1] - loading, answers)


def _seconds(said: str) -> list[float]:
    """What HELM says at the end of each block: `} [2m33.5s]`."""
    found = re.findall(r"\} \[(?:(\d+)h)?(?:(\d+)m)?([\d.]+)s\]", said)
    return [3600 * int(hours or 0) + 60 * int(minutes or 0) + float(rest) for hours, minutes, rest in found]


def _model(folder: Path) -> Path:
    """The demo model without its chat template, for HELM would use that."""
    folder.mkdir()
    for name in ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).symlink_to(demo_model() / name)
    said = json.loads((demo_model() / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**said, **UNLIKE_OURS}), encoding="utf-8")
    return folder
