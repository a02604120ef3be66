"""Where a checkpoint is (a folder, or on the hub at a commit), whether it is one, and what its files hold."""

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
# The better first. The others are pickled; transformers and peft unpickle nothing but tensors and plain values.
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
# What a trainer leaves in a folder does not answer.
NOT_CONTENT = re.compile(r"\..*|.*\.(md|png|gguf|onnx|pt|pth|log)|LICENSE.*|training_args\.bin|trainer_state\.json")
# Of a hub model, what is fetched before it is first asked; code only where it may run.
SMALL = ("*.json", "*.model", "*.txt", "*.jinja")
CODE = "*.py"
# Bytes of a file at a time: so many that other threads' Python is hardly waited for in between.
READ = 1 << 25
_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len", "seq_length")


@dataclass(frozen=True)
class Checkpoint:
    """Files of a model or an adapter: in a folder, or of a hub name at the commit that the folder is called by."""

    folder: Path
    hub: str = ""

    def digest(self) -> str:
        """sha256 (hex) of what is there: of the files, or of name and commit, which stand for them."""
        return digest("hub", self.hub, self.folder.name) if self.hub else folder_digest(self.folder)


def found(said: str, *, revision: str | None = None, patterns: Sequence[str] = SMALL) -> Checkpoint:
    """The checkpoint of that name: `./org/name`, `./name`, the same under `$HELMFRAME_MODELS`, then the hub.

    Args:
        said: a path or a name.
        revision: branch, tag or commit of the hub's; then folders are not looked at.
        patterns: files of the hub that are fetched now.

    Raises:
        SourceMissingError: found nowhere; lists the places looked at.
        NotAModelError: an address, or a file.
    """
    if re.match(r"[A-Za-z][\w+.-]+:", said):
        raise NotAModelError.of(said, f"{said!r} is an address; give a function that asks it")
    places = places_of(said)
    for place in places if revision is None else ():
        if place.is_dir():
            return Checkpoint(place.resolve())
        if place.is_file():
            raise NotAModelError.of(said, f"{place} is a file; give the folder of a transformers checkpoint")
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", said) and not said.startswith("."):
        return _from_hub(said, revision, places, patterns)
    hub = f" A revision is of a name on the hub, not of a path: {revision!r}." if revision is not None else ""
    raise SourceMissingError(f"no model at {said!r}; looked at: {', '.join(map(str, places))}.{hub}")


def places_of(said: str) -> list[Path]:
    """The paths that a name may stand for."""
    given = from_home(said)
    places = [given]
    if not given.is_absolute():
        places.append(Path(given.name))
        root = os.environ.get("HELMFRAME_MODELS")
        if root:
            places += [from_home(root) / given, from_home(root) / given.name]
    return list(dict.fromkeys(places))


def check_model(folder: Path) -> None:
    """That a folder holds a model.

    Raises:
        NotAModelError: something is missing; says what.
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


def fetched(name: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The folder of a hub model, named by its commit, in the hub's own cache; without a network what is there."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))


def fetched_whole(checkpoint: Checkpoint, patterns: Sequence[str]) -> None:
    """Fetch what a hub model has of these patterns, and its weights: as safetensors, or where it has none as torch's.

    Raises:
        NotAModelError: it has neither.
    """
    for kind in WEIGHTS:
        if any(fetched(checkpoint.hub, checkpoint.folder.name, (*patterns, kind)).glob(kind)):
            return
    raise NotAModelError.of(checkpoint.hub, f"{checkpoint.hub} has no weights ({', '.join(WEIGHTS)})")


def folder_digest(folder: Path) -> str:
    """sha256 (hex) over names and contents of the files in a checkpoint folder that answer.

    A file is read once per process, and again when its size, time or inode changes; a link stands for its target.
    """
    files = sorted(each for each in folder.iterdir() if each.is_file() and not NOT_CONTENT.fullmatch(each.name))
    return digest("folder", *(part for each in files for part in (each.name, file_digest(each))))


def file_digest(path: Path) -> str:
    """The file's sha256 (hex), read once per process and again when its size, time or inode changes."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if key not in _digests:
        found, part = hashlib.sha256(), memoryview(bytearray(min(READ, stat.st_size)))
        with path.open("rb", buffering=0) as file:
            while size := file.readinto(part):
                found.update(part[:size])
        _digests[key] = found.hexdigest()
    return _digests[key]


_digests: dict[tuple[str, int, int, int], str] = {}


def read_json(path: Path) -> dict[str, Any]:
    """What the file holds; {} where there is none.

    Raises:
        SourceBrokenError: it can't be read.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SourceBrokenError(f"{path}: {error}") from error
    return said if isinstance(said, dict) else {}


def window(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> int | None:
    """Tokens for prompt and output: what the model has positions for, or less if its tokenizer says so."""
    text = config.get("text_config")
    config = {**config, **(text if isinstance(text, Mapping) else {})}
    said = [config[key] for key in _POSITIONS if isinstance(config.get(key), int)][:1]
    most = tokenizer.get("model_max_length")
    if isinstance(most, int | float) and 0 < most < 1e9:  # unknown is written as 1e30
        said.append(int(most))
    return min(said) if said else None


def _from_hub(name: str, revision: str | None, looked: Sequence[Path], patterns: Sequence[str]) -> Checkpoint:
    """A hub model at the commit that is there now; its small files are fetched now, weights when it is first asked."""
    places = ", ".join(map(str, looked)) if revision is None else f"revision {revision!r}"
    try:
        return Checkpoint(fetched(name, revision, patterns), hub=name)
    except ImportError:
        raise SourceMissingError(f"no model {name!r}; looked at: {places}. To look on the hub, {INSTALL}.") from None
    except (OSError, ValueError, RuntimeError) as error:
        reason = textwrap.shorten(str(error), 300, placeholder=" …") or type(error).__name__
        raise SourceMissingError(f"no model {name!r}; looked at: {places}, and the hub: {reason}") from error
