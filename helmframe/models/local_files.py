"""Checkpoint files: their location (a folder, the Hub, or a GGUF file to convert), content and digests."""

import hashlib
import os
import re
import shutil
import tempfile
import textwrap
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from helmframe._core.cache_files import cache_folder, changed_recently, digest, save
from helmframe._core.safe_text import error_text, get_logger
from helmframe._core.yaml import decode_json
from helmframe.config import from_home
from helmframe.errors import CapabilityError, NotAModelError, SourceBrokenError, SourceMissingError, near
from helmframe.models.providers import providers

INSTALL = "Local models need torch and transformers: pip install 'helmframe[local]'"
# The preferred format first. The second is pickled; transformers and peft unpickle only tensors and plain values.
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
# Files that are not part of the model, such as those of a trainer.
NOT_CONTENT = re.compile(r"\..*|.*\.(md|png|gguf|onnx|pt|pth|log)|LICENSE.*|training_args\.bin|trainer_state\.json")
# Files of a Hub model that are fetched before its first prompt; code is fetched only if it may run.
SMALL = ("*.json", "*.model", "*.txt", "*.jinja")
CODE = "*.py"
# Bytes to hash at a time: large, so that the thread rarely waits for the interpreter.
READ = 1 << 25
_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len", "seq_length")


@dataclass(frozen=True)
class Checkpoint:
    """The files of a model or an adapter: a folder, or the folder of a Hub name, whose name is the commit."""

    folder: Path
    hub: str = ""

    def digest(self) -> str:
        """Return the sha256 (hex) of the files, or of the Hub name and commit, which identify them."""
        return digest("hub", self.hub, self.folder.name) if self.hub else folder_digest(self.folder)


def find_checkpoint(name: str, *, revision: str | None = None, patterns: Sequence[str] = SMALL) -> Checkpoint:
    """Return the checkpoint of a name.

    The paths `./org/name` and `./name` are searched first, then the same paths in HELMFRAME_MODELS, then the Hub.

    Args:
        name: A path or a name.
        revision: A branch, tag or commit of the Hub. If it is set, folders are not searched.
        patterns: The patterns of files of the Hub to fetch now.

    Raises:
        SourceMissingError: The checkpoint was not found; the message lists the searched paths.
        CapabilityError: No folder has the name, and the packages that read the Hub are missing.
        NotAModelError: The name is an address or a file.
    """
    if _SERVER.fullmatch(name):
        raise NotAModelError.of(name, f"the scheme is missing. Did you mean 'http://{name}'?")
    prefix, colon, rest = name.partition(":")
    if colon and re.fullmatch(r"[A-Za-z][\w+.-]+", prefix):
        close = [] if rest.startswith("//") else near(prefix, [*providers(), "vllm"], n=1)
        if close:
            raise NotAModelError.of(name, f"unknown provider {prefix!r}. Did you mean {f'{close[0]}:{rest}'!r}?")
        raise NotAModelError.of(name, f"{name!r} is an address; write a function that calls it")
    paths = candidate_paths(name)
    for path in paths if revision is None else ():
        if path.is_dir():
            return Checkpoint(path.resolve())
        if path.is_file():
            raise NotAModelError.of(name, f"{path} is a file; pass the folder of a transformers checkpoint")
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) and not name.startswith("."):
        return _from_hub(name, revision, paths, patterns)
    hub = f" revision={revision!r} applies to names on the Hub only." if revision is not None else ""
    raise SourceMissingError(
        f"No model found at {name!r}. Searched: {', '.join(map(str, paths))}.{hub}\n"
        "Write the folder of a checkpoint, or its name on the Hub: org/name."
    )


# A server's address without its scheme: a host with a port.
_SERVER = re.compile(r"[\w.-]+:\d{1,5}([/#].*)?")
# The providers of models whose names start with these words; the provider of other models is "openai".
_FAMILIES = {"claude": "anthropic", "deepseek": "deepseek", "gemini": "gemini", "mistral": "mistral"}


def _provider_advice(name: str) -> str:
    """Return a line about models of providers, for a name without an organisation; else an empty text."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        return ""
    provider = next((provider for word, provider in _FAMILIES.items() if name.lower().startswith(word)), "openai")
    return f"\nFor a model of a provider, write its provider: '{provider}:{name}'."


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
        NotAModelError: A file is missing, or the folder contains an adapter.
    """
    if (folder / ADAPTER).is_file() and not (folder / "config.json").is_file():
        base = read_json(folder / ADAPTER).get("base_model_name_or_path") or "org/base"
        raise NotAModelError.of(
            folder, f"{folder} contains an adapter; write hf.models.local({base!r}, adapter={str(folder)!r})"
        )
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any(any(folder.glob(pattern)) for pattern in WEIGHTS):
        missing.append("weights (*.safetensors)")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        missing.append("tokenizer (tokenizer.json)")
    if missing:
        raise NotAModelError.of(folder, f"{folder} has no {', no '.join(missing)}")


def fetch(name: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """Return the cached folder of a Hub model, whose name is the commit; without a network, the cached commit."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))


def fetch_all(checkpoint: Checkpoint, patterns: Sequence[str]) -> None:
    """Fetch the files of a Hub model that match the patterns, and its weights: safetensors if it has them.

    Raises:
        NotAModelError: The model has no weights.
    """
    for kind in WEIGHTS:
        if any(fetch(checkpoint.hub, checkpoint.folder.name, (*patterns, kind)).glob(kind)):
            return
    raise NotAModelError.of(checkpoint.hub, f"{checkpoint.hub} has no weights ({', '.join(WEIGHTS)})")


def folder_digest(folder: Path) -> str:
    """Return the sha256 (hex) of the names and contents of the checkpoint files in a folder; links are followed."""
    return digest("folder", *(part for path in _files(folder) for part in (path.name, file_digest(path))))


def folder_state(folder: Path) -> list[tuple[str, int, int, int]]:
    """Return path, size, time and inode of the checkpoint files in a folder; equal as long as no file changes."""
    return [_file_state(path) for path in _files(folder)]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not NOT_CONTENT.fullmatch(path.name))


def _file_state(path: Path) -> tuple[str, int, int, int]:
    stat = path.stat()
    # the time of a change can't be set back, unlike that of the content
    return str(path.resolve()), stat.st_size, max(stat.st_mtime_ns, stat.st_ctime_ns), stat.st_ino


def file_digest(path: Path) -> str:
    """Return the file's sha256 (hex). A file is read again only if its size, time or inode changes.

    The digest of a large file may come from an earlier process. `verify_digests` reads the file before completions that
    depend on it are stored.
    """
    key = _file_state(path)
    if key not in _digests:
        saved = _load_digest(key)
        if saved:
            _unverified.add(key)
        _digests[key] = saved or _hashed(path)
        if not saved:
            _save_digest(key, path)
    return _digests[key]


def verify_digests(folder: Path) -> None:
    """Read the files whose digests come from an earlier process, and correct wrong digests; thread-safe."""
    with _verifying:
        for path in _files(folder) if _unverified else ():
            key = _file_state(path)
            if key not in _unverified:
                continue
            saved, _digests[key] = _digests[key], _hashed(path)
            _unverified.discard(key)
            if _digests[key] != saved:
                with suppress(OSError):
                    _digest_file(key).unlink()


_digests: dict[tuple[str, int, int, int], str] = {}
_unverified: set[tuple[str, int, int, int]] = set()
_verifying = threading.Lock()
# Bytes of the smallest file whose digest is saved.
LARGE = 1 << 26


def _hashed(path: Path) -> str:
    digest, part = hashlib.sha256(), memoryview(bytearray(READ))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(part):
            digest.update(part[:size])
    return digest.hexdigest()


def _load_digest(key: tuple[str, int, int, int]) -> str:
    """Return the digest that an earlier process saved; "" if there is none."""
    if key[1] < LARGE:
        return ""
    try:
        saved = _digest_file(key).read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
    return saved if re.fullmatch(r"[0-9a-f]{64}", saved) else ""


def _save_digest(key: tuple[str, int, int, int], path: Path) -> None:
    """Save the digest for later processes, unless the file has just changed or the folder is read-only."""
    if key[1] < LARGE:
        return
    with suppress(OSError):
        stat = path.stat()
        if not changed_recently(max(stat.st_mtime, stat.st_ctime)):
            save(_digest_file(key), _digests[key])


def _digest_file(key: tuple[str, int, int, int]) -> Path:
    return cache_folder("digests") / digest("file", *map(str, key))[:32]


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; {} if the file is missing or isn't an object.

    Raises:
        SourceBrokenError: The file can't be read.
    """
    try:
        content = decode_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SourceBrokenError(f"Can't read {path}: {error}") from error
    return content if isinstance(content, dict) else {}


def chat_template(folder: Path, settings: Mapping[str, Any]) -> object:
    """Return the chat template of a tokenizer: its text, or named templates; None if it has none.

    Args:
        folder: The folder of the checkpoint.
        settings: The content of its tokenizer_config.json.
    """
    file = folder / "chat_template.jinja"
    return file.read_text(encoding="utf-8") if file.is_file() else settings.get("chat_template")


def window(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> int | None:
    """Return the maximum of prompt and output tokens: the lower of the model's and the tokenizer's maximum."""
    text = config.get("text_config")
    config = {**config, **(text if isinstance(text, Mapping) else {})}
    sizes = [config[key] for key in _POSITIONS if isinstance(config.get(key), int)][:1]
    max_length = tokenizer.get("model_max_length")
    if isinstance(max_length, int | float) and 0 < max_length < 1e9:  # 1e30 means unknown
        sizes.append(int(max_length))
    return min(sizes) if sizes else None


def _from_hub(name: str, revision: str | None, paths: Sequence[Path], patterns: Sequence[str]) -> Checkpoint:
    """Return a Hub model at its current commit; small files are fetched now, weights before the first prompt."""
    listed = ", ".join(map(str, paths)) if revision is None else f"revision {revision!r}"
    try:
        return Checkpoint(fetch(name, revision, patterns), hub=name)
    except ImportError:
        raise CapabilityError(
            f"No model {name!r} found. Searched: {listed}, without the Hub. {INSTALL}.{_provider_advice(name)}"
        ) from None
    except (OSError, ValueError, RuntimeError) as error:
        reason = textwrap.shorten(str(error), 300, placeholder=" …") or type(error).__name__
        raise SourceMissingError(
            f"No model {name!r} found. Searched: {listed}, and the Hub, which reports: {reason}{_provider_advice(name)}"
        ) from error


logger = get_logger("helmframe.models")

# The version of the conversion, which is part of the folder's key.
_GGUF_FORMAT = "1"
_GGUF_PACKAGES = ("torch", "transformers", "gguf", "accelerate")
# Tokenizer files next to the GGUF file replace the tokenizer in it, which is incomplete.
_GGUF_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
_GGUF_NOTE = "converted from GGUF, weights as float32"
_GGUF_GUESSED = (
    "the tokenizer is rebuilt from the GGUF file, which contains only the name of the pre-tokenizer "
    "(tokenizer.ggml.pre), so numbers and rare scripts may become other tokens than in llama.cpp; put the model's "
    "tokenizer.json next to the file"
)


def is_gguf_file(path: str | Path) -> bool:
    """Return whether a path has the suffix of a GGUF file."""
    return str(path).lower().endswith(".gguf")


class Converted(NamedTuple):
    """The transformers folder of a converted GGUF file, with a note for `explain()`."""

    folder: Path
    name: str
    note: str


def convert_gguf(model: str | Path) -> Converted:
    """Return the transformers folder of a GGUF file: `./x.gguf`, or the same path in HELMFRAME_MODELS.

    On first use the file is dequantised into a folder of the user's cache, of about four times the size of an 8-bit
    file. The name of the folder is the sha256 of the file and of the tokenizer files next to it. Later calls return the
    same folder.

    Raises:
        SourceMissingError: The file was not found; the message lists the searched paths.
        NotAModelError: The file isn't GGUF.
        CapabilityError: A package that reads GGUF is missing.
        SourceBrokenError: transformers can't read the file.
    """
    path = _gguf_file(model)
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise NotAModelError.of(model, f"{path} isn't a GGUF file, which starts with the bytes GGUF")
    tokenizer_files = [path.parent / name for name in _GGUF_TOKENIZER if (path.parent / name).is_file()]
    if not (path.parent / "tokenizer.json").is_file():
        tokenizer_files = []
    folder = (
        cache_folder("gguf")
        / digest(
            _GGUF_FORMAT, *(part for file_path in (path, *tokenizer_files) for part in ("", file_digest(file_path)))
        )[:32]
    )
    if not folder.is_dir():
        missing = [name for name in _GGUF_PACKAGES if find_spec(name) is None]
        if missing:
            raise CapabilityError(f"GGUF files need {', '.join(missing)}: pip install 'helmframe[gguf]'.")
        logger.info("Converting %s once, into %s", path, folder)
        _convert_file(path, tokenizer_files, folder)
    if not tokenizer_files and folder not in _warned:
        _warned.add(folder)
        logger.warning("%s: %s", path.name, _GGUF_GUESSED)
    return Converted(folder, path.stem, _GGUF_NOTE if tokenizer_files else f"{_GGUF_NOTE}; {_GGUF_GUESSED}")


# Folders whose warning about the tokenizer was logged in this process.
_warned: set[Path] = set()


def _gguf_file(model: str | Path) -> Path:
    paths = [from_home(str(model))]
    root = os.environ.get("HELMFRAME_MODELS")
    if root and not paths[0].is_absolute():
        paths.append(from_home(root) / paths[0])
    for path in paths:
        if path.is_file():
            return path
    raise SourceMissingError(f"No model found at {str(model)!r}. Searched: {', '.join(map(str, paths))}.")


def _convert_file(path: Path, tokenizer_files: Sequence[Path], folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # in the parent of the target, so that a rename publishes the finished folder
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as work:
        target = Path(work) / "model"
        try:
            _save_converted(path, tokenizer_files, target)
        except Exception as error:  # transformers raises errors of any type for unreadable files
            reason = " ".join(error_text(error).split())[:400]
            raise SourceBrokenError(f"transformers can't convert {path}: {reason}") from error
        try:
            target.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process has created it
                raise


def _save_converted(path: Path, tokenizer_files: Sequence[Path], folder: Path) -> None:
    import torch
    import transformers as package

    transformers: Any = package  # partly untyped
    options: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    with quiet():
        loaded = transformers.AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **options)
        # transformers doesn't save a model loaded from GGUF, so its dequantised weights move to a new model
        config = type(loaded.config).from_dict(
            {key: value for key, value in loaded.config.to_dict().items() if key not in _SKIPPED_KEYS}
        )
        model = type(loaded)(config).float()
        missing, unexpected = model.load_state_dict(loaded.state_dict(), strict=False)
        if unexpected or set(missing) - {"lm_head.weight"}:
            raise ValueError(f"the weights don't fit the configuration: missing {missing}, unexpected {unexpected}")
        model.tie_weights()
        ends = {key: getattr(config, key, None) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
        model.generation_config = transformers.GenerationConfig(**ends)
        model.save_pretrained(folder)
        if tokenizer_files:
            for tokenizer_file in tokenizer_files:
                shutil.copyfile(tokenizer_file, folder / tokenizer_file.name)
            return
        tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, **options)
        # GGUF has no maximum for the tokenizer, so the model's applies
        tokenizer.model_max_length = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
        tokenizer.save_pretrained(folder)


_SKIPPED_KEYS = frozenset(
    {"quantization_config", "_name_or_path", "_model_name_or_path", "architectures", "dtype", "torch_dtype"}
)


@contextmanager
def quiet() -> Iterator[None]:
    """Disable the progress bars of transformers during the block."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
