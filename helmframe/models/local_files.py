"""Checkpoint files: where they are (a folder, or the hub at a commit), whether they are complete, what they contain."""

import hashlib
import json
import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helmframe.config import from_home
from helmframe.errors import NotAModelError, SourceBrokenError, SourceMissingError
from helmframe.models.model import digest

INSTALL = "local models need torch and transformers: pip install 'helmframe[local]'"
# Preferred first. The others are pickled; transformers and peft unpickle only tensors and plain values.
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
# Files of a trainer are not part of the model.
NOT_CONTENT = re.compile(r"\..*|.*\.(md|png|gguf|onnx|pt|pth|log)|LICENSE.*|training_args\.bin|trainer_state\.json")
# Files of a hub model that are fetched before its first prompt; code only if it may run.
SMALL = ("*.json", "*.model", "*.txt", "*.jinja")
CODE = "*.py"
# Bytes to hash at a time: large, so that the thread rarely waits for the interpreter in between.
READ = 1 << 25
_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len", "seq_length")


@dataclass(frozen=True)
class Checkpoint:
    """Files of a model or an adapter: in a folder, or of a hub name at the commit that names the folder."""

    folder: Path
    hub: str = ""

    def digest(self) -> str:
        """Return the sha256 (hex) of the files, or of name and commit, which identify them."""
        return digest("hub", self.hub, self.folder.name) if self.hub else folder_digest(self.folder)


def find_checkpoint(name: str, *, revision: str | None = None, patterns: Sequence[str] = SMALL) -> Checkpoint:
    """Return the checkpoint of a name: `./org/name`, `./name`, the same under `$HELMFRAME_MODELS`, then the hub.

    Args:
        name: A path or a name.
        revision: A branch, tag or commit of the hub; then folders are ignored.
        patterns: Files of the hub to fetch now.

    Raises:
        SourceMissingError: No path exists; lists the paths.
        NotAModelError: An address, or a file.
    """
    if re.match(r"[A-Za-z][\w+.-]+:", name):
        raise NotAModelError.of(name, f"{name!r} is an address; give a function that asks it")
    paths = candidate_paths(name)
    for path in paths if revision is None else ():
        if path.is_dir():
            return Checkpoint(path.resolve())
        if path.is_file():
            raise NotAModelError.of(name, f"{path} is a file; give the folder of a transformers checkpoint")
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) and not name.startswith("."):
        return _from_hub(name, revision, paths, patterns)
    hub = f" A revision is of a name on the hub, not of a path: {revision!r}." if revision is not None else ""
    raise SourceMissingError(f"no model at {name!r}; looked at: {', '.join(map(str, paths))}.{hub}")


def candidate_paths(name: str) -> list[Path]:
    """Return the paths that a name may refer to."""
    path = from_home(name)
    paths = [path]
    if not path.is_absolute():
        paths.append(Path(path.name))
        root = os.environ.get("HELMFRAME_MODELS")
        if root:
            paths += [from_home(root) / path, from_home(root) / path.name]
    return list(dict.fromkeys(paths))


def check_model(folder: Path) -> None:
    """Check that a folder contains a model.

    Raises:
        NotAModelError: A file is missing.
    """
    if (folder / ADAPTER).is_file() and not (folder / "config.json").is_file():
        base = read_json(folder / ADAPTER).get("base_model_name_or_path") or "org/base"
        raise NotAModelError.of(
            folder, f"{folder} holds an adapter; write hf.models.local({base!r}, adapter={str(folder)!r})"
        )
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any(any(folder.glob(pattern)) for pattern in WEIGHTS):
        missing.append("weights (*.safetensors)")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        missing.append("a tokenizer (tokenizer.json)")
    if missing:
        raise NotAModelError.of(folder, f"{folder} has no {', no '.join(missing)}")


def fetch(name: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """Return the cached folder of a hub model, named by its commit; without a network the cached commit."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))


def fetch_all(checkpoint: Checkpoint, patterns: Sequence[str]) -> None:
    """Fetch a hub model's files of these patterns, and its weights: safetensors, else torch's.

    Raises:
        NotAModelError: It has neither.
    """
    for kind in WEIGHTS:
        if any(fetch(checkpoint.hub, checkpoint.folder.name, (*patterns, kind)).glob(kind)):
            return
    raise NotAModelError.of(checkpoint.hub, f"{checkpoint.hub} has no weights ({', '.join(WEIGHTS)})")


def folder_digest(folder: Path) -> str:
    """Return the sha256 (hex) over names and contents of the checkpoint files in a folder.

    A file is read once per process, and again when its size, time or inode changes; links are followed.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and not NOT_CONTENT.fullmatch(path.name))
    return digest("folder", *(part for path in files for part in (path.name, file_digest(path))))


def file_digest(path: Path) -> str:
    """Return the file's sha256 (hex); it is read once per process and again when size, time or inode change."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if key not in _digests:
        find_checkpoint, part = hashlib.sha256(), memoryview(bytearray(min(READ, stat.st_size)))
        with path.open("rb", buffering=0) as file:
            while size := file.readinto(part):
                find_checkpoint.update(part[:size])
        _digests[key] = find_checkpoint.hexdigest()
    return _digests[key]


_digests: dict[tuple[str, int, int, int], str] = {}


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON object; {} if the file is missing or not an object.

    Raises:
        SourceBrokenError: The file can't be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SourceBrokenError(f"{path}: {error}") from error
    return content if isinstance(content, dict) else {}


def window(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> int | None:
    """Return the maximum of prompt and output tokens: the model's positions, or less if its tokenizer has less."""
    text = config.get("text_config")
    config = {**config, **(text if isinstance(text, Mapping) else {})}
    sizes = [config[key] for key in _POSITIONS if isinstance(config.get(key), int)][:1]
    most = tokenizer.get("model_max_length")
    if isinstance(most, int | float) and 0 < most < 1e9:  # unknown is written as 1e30
        sizes.append(int(most))
    return min(sizes) if sizes else None


def _from_hub(name: str, revision: str | None, paths: Sequence[Path], patterns: Sequence[str]) -> Checkpoint:
    """Return a hub model at its current commit; small files are fetched now, weights before the first prompt."""
    listed = ", ".join(map(str, paths)) if revision is None else f"revision {revision!r}"
    try:
        return Checkpoint(fetch(name, revision, patterns), hub=name)
    except ImportError:
        raise SourceMissingError(f"no model {name!r}; looked at: {listed}. To look on the hub, {INSTALL}.") from None
    except (OSError, ValueError, RuntimeError) as error:
        reason = textwrap.shorten(str(error), 300, placeholder=" …") or type(error).__name__
        raise SourceMissingError(f"no model {name!r}; looked at: {listed}, and the hub: {reason}") from error
