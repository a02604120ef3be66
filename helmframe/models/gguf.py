"""One GGUF file as a model: converted once into a transformers folder in the user's cache."""

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

# Goes into the folder's key: another way to convert is another folder.
_FORMAT = "1"
_NEEDS = ("torch", "transformers", "gguf", "accelerate")
# A tokenizer beside the file is the model's own, and better than what GGUF says of it.
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
_NOTE = "converted from GGUF, weights as float32"
_GUESSED = (
    "its tokenizer is made from the GGUF file, which only names how text is split before (tokenizer.ggml.pre): "
    "numbers and rare scripts may become other tokens than in llama.cpp; put the model's tokenizer.json beside the file"
)


def is_file(given: str | Path) -> bool:
    """Whether a GGUF file is meant: by the name alone."""
    return str(given).lower().endswith(".gguf")


class Converted(NamedTuple):
    """A GGUF file as a transformers folder, and what `explain()` says of it."""

    folder: Path
    name: str
    note: str


def converted(given: str | Path) -> Converted:
    """The folder of a GGUF file: `./x.gguf`, or the same under `$HELMFRAME_MODELS`.

    The first time it is dequantised into a folder of the user's cache (about four times the size of a 8-bit file),
    named by the sha256 of the file and of the tokenizer beside it, if there is one; later that folder is there.

    Raises:
        SourceMissingError: found nowhere; lists the places looked at.
        NotAModelError: it is no GGUF file, or a package that reads it is missing.
        SourceBrokenError: transformers can't read it.
    """
    path = _found(given)
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise NotAModelError.of(given, f"{path} does not begin as a GGUF file does")
    beside = [path.parent / name for name in _TOKENIZER if (path.parent / name).is_file()]
    if not (path.parent / "tokenizer.json").is_file():
        beside = []
    folder = _cache() / digest(_FORMAT, *(part for each in (path, *beside) for part in ("", file_digest(each))))[:32]
    if not folder.is_dir():
        missing = [name for name in _NEEDS if find_spec(name) is None]
        if missing:
            raise NotAModelError.of(given, f"reading GGUF needs {', '.join(missing)}: pip install 'helmframe[gguf]'")
        logger.info("converting %s once, into %s", path, folder)
        _convert(path, beside, folder)
    if not beside and folder not in _warned:
        _warned.add(folder)
        logger.warning("%s: %s", path.name, _GUESSED)
    return Converted(folder, path.stem, _NOTE if beside else f"{_NOTE}; {_GUESSED}")


# Folders whose tokenizer has been warned of, once in a process.
_warned: set[Path] = set()


def _found(given: str | Path) -> Path:
    places = [from_home(str(given))]
    root = os.environ.get("HELMFRAME_MODELS")
    if root and not places[0].is_absolute():
        places.append(from_home(root) / places[0])
    for place in places:
        if place.is_file():
            return place
    raise SourceMissingError(f"no model at {str(given)!r}; looked at: {', '.join(map(str, places))}.")


def _cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("helmframe") / "gguf"


def _convert(path: Path, beside: Sequence[Path], folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # beside the target, so that the finished folder appears there in one step
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as work:
        made = Path(work) / "model"
        try:
            _save(path, beside, made)
        except Exception as error:  # whatever transformers says of a file it can't read
            reason = " ".join(error_text(error).split())[:400]
            raise SourceBrokenError(f"{path} can't be converted by transformers: {reason}") from error
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else somebody was faster, and may be reading it
                raise


def _save(path: Path, beside: Sequence[Path], folder: Path) -> None:
    import torch
    import transformers as package

    transformers: Any = package  # half of what is used here has no types
    where: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    with quiet():
        loaded = transformers.AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **where)
        # transformers refuses to save a model loaded from GGUF, so the weights, dequantised by now, move to a clean one
        config = type(loaded.config).from_dict(
            {key: value for key, value in loaded.config.to_dict().items() if key not in _LEFT_OUT}
        )
        model = type(loaded)(config).float()
        missing, unexpected = model.load_state_dict(loaded.state_dict(), strict=False)
        if unexpected or set(missing) - {"lm_head.weight"}:
            raise ValueError(f"it does not fit its own configuration: missing {missing}, unexpected {unexpected}")
        model.tie_weights()
        ends = {key: getattr(config, key, None) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
        model.generation_config = transformers.GenerationConfig(**ends)
        model.save_pretrained(folder)
        if beside:
            for each in beside:
                shutil.copyfile(each, folder / each.name)
            return
        tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, **where)
        # GGUF has no maximum for the tokenizer; the model's is the one that holds
        tokenizer.model_max_length = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
        tokenizer.save_pretrained(folder)


_LEFT_OUT = frozenset(
    {"quantization_config", "_name_or_path", "_model_name_or_path", "architectures", "dtype", "torch_dtype"}
)
