"""GGUF files as models: a file is converted once into a transformers folder in the user's cache."""

import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from helmframe._core.safe_text import error_text
from helmframe.config import from_home
from helmframe.errors import NotAModelError, SourceBrokenError, SourceMissingError
from helmframe.models.local_files import file_digest
from helmframe.models.local_load import quiet
from helmframe.models.model import digest

logger = logging.getLogger("helmframe.models")

# Part of the folder's key: another conversion is another folder.
_FORMAT = "1"
_NEEDS = ("torch", "transformers", "gguf", "accelerate")
# Tokenizer files next to the file are better than what GGUF contains of the tokenizer.
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
_NOTE = "converted from GGUF, weights as float32"
_GUESSED = (
    "its tokenizer is made from the GGUF file, which only names how text is split before (tokenizer.ggml.pre): "
    "numbers and rare scripts may become other tokens than in llama.cpp; put the model's tokenizer.json beside the file"
)


def is_gguf_file(path: str | Path) -> bool:
    """Return whether a path names a GGUF file, by its suffix."""
    return str(path).lower().endswith(".gguf")


class Converted(NamedTuple):
    """A GGUF file as a transformers folder, with a note for `explain()`."""

    folder: Path
    name: str
    note: str


def convert_gguf(model: str | Path) -> Converted:
    """Return the folder of a GGUF file: `./x.gguf`, or the same path under `$HELMFRAME_MODELS`.

    On first use the file is dequantised into a folder of the user's cache (about four times the size of an 8-bit file),
    named by the sha256 of the file and of the tokenizer files next to it, if any; later calls return that folder.

    Raises:
        SourceMissingError: No path exists; lists the paths.
        NotAModelError: The file isn't GGUF, or a package that reads it is missing.
        SourceBrokenError: transformers can't read it.
    """
    path = _find_file(model)
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise NotAModelError.of(model, f"{path} does not begin as a GGUF file does")
    tokenizer_files = [path.parent / name for name in _TOKENIZER if (path.parent / name).is_file()]
    if not (path.parent / "tokenizer.json").is_file():
        tokenizer_files = []
    folder = (
        _cache()
        / digest(_FORMAT, *(part for file_path in (path, *tokenizer_files) for part in ("", file_digest(file_path))))[
            :32
        ]
    )
    if not folder.is_dir():
        missing = [name for name in _NEEDS if find_spec(name) is None]
        if missing:
            raise NotAModelError.of(model, f"reading GGUF needs {', '.join(missing)}: pip install 'helmframe[gguf]'")
        logger.info("converting %s once, into %s", path, folder)
        _convert(path, tokenizer_files, folder)
    if not tokenizer_files and folder not in _warned:
        _warned.add(folder)
        logger.warning("%s: %s", path.name, _GUESSED)
    return Converted(folder, path.stem, _NOTE if tokenizer_files else f"{_NOTE}; {_GUESSED}")


# Folders with a warning about the tokenizer, once per process.
_warned: set[Path] = set()


def _find_file(model: str | Path) -> Path:
    paths = [from_home(str(model))]
    root = os.environ.get("HELMFRAME_MODELS")
    if root and not paths[0].is_absolute():
        paths.append(from_home(root) / paths[0])
    for path in paths:
        if path.is_file():
            return path
    raise SourceMissingError(f"no model at {str(model)!r}; looked at: {', '.join(map(str, paths))}.")


def _cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("helmframe") / "gguf"


def _convert(path: Path, tokenizer_files: Sequence[Path], folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # in the target's parent, so that the finished folder appears in one step
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as work:
        target = Path(work) / "model"
        try:
            _save(path, tokenizer_files, target)
        except Exception as error:  # transformers raises anything for a file that it can't read
            reason = " ".join(error_text(error).split())[:400]
            raise SourceBrokenError(f"{path} can't be converted by transformers: {reason}") from error
        try:
            target.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, and may be reading it
                raise


def _save(path: Path, tokenizer_files: Sequence[Path], folder: Path) -> None:
    import torch
    import transformers as package

    transformers: Any = package  # partly untyped
    where: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    with quiet():
        loaded = transformers.AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **where)
        # transformers refuses to save a model loaded from GGUF, so the weights, dequantised by now, move to a clean one
        config = type(loaded.config).from_dict(
            {key: value for key, value in loaded.config.to_dict().items() if key not in _SKIPPED_KEYS}
        )
        model = type(loaded)(config).float()
        missing, unexpected = model.load_state_dict(loaded.state_dict(), strict=False)
        if unexpected or set(missing) - {"lm_head.weight"}:
            raise ValueError(f"it does not fit its own configuration: missing {missing}, unexpected {unexpected}")
        model.tie_weights()
        ends = {key: getattr(config, key, None) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
        model.generation_config = transformers.GenerationConfig(**ends)
        model.save_pretrained(folder)
        if tokenizer_files:
            for tokenizer_file in tokenizer_files:
                shutil.copyfile(tokenizer_file, folder / tokenizer_file.name)
            return
        tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, **where)
        # GGUF has no maximum for the tokenizer; the model's applies
        tokenizer.model_max_length = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
        tokenizer.save_pretrained(folder)


_SKIPPED_KEYS = frozenset(
    {"quantization_config", "_name_or_path", "_model_name_or_path", "architectures", "dtype", "torch_dtype"}
)
