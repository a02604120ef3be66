"""Local models: a folder or hub name in transformers format, or a loaded (model, tokenizer) pair."""

import functools
import hashlib
import json
import os
import re
import textwrap
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from helmframe.errors import NotAModelError, SourceBrokenError, SourceMissingError
from helmframe.models.engine import TAKES, Engine
from helmframe.models.identity import identity
from helmframe.models.model import Given, Model, Prompt, Tokens, digest
from helmframe.settings import from_home

BATCH = 64
SMALL = ("*.json", "*.model", "*.txt", "*.jinja")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
# What a trainer leaves in a folder does not answer.
NOT_CONTENT = re.compile(r"\..*|.*\.(md|png|gguf|onnx|pt|pth|log)|LICENSE.*|training_args\.bin|trainer_state\.json")
_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len", "seq_length")
_INSTALL = "local models need torch and transformers: pip install 'helmframe[local]'"


def from_name(given: str | Path) -> Model:
    """The model in a folder, or of that name: `./org/name`, `./name`, the same under `$HELMFRAME_MODELS`, then the hub.

    Nothing is loaded before the first prompt; the folder is looked at now.

    Raises:
        SourceMissingError: found nowhere; lists the places looked at.
        NotAModelError: something else than a transformers folder is there.
    """
    said = str(given)
    if re.match(r"[A-Za-z][\w+.-]+:", said):
        raise NotAModelError.of(given, f"{said!r} is an address; give a function that asks it")
    places = _places(said)
    for place in places:
        if place.is_dir():
            return _from_folder(place, said)
        if place.is_file():
            raise NotAModelError.of(given, f"{place} is a file; give the folder of a transformers checkpoint")
    if isinstance(given, str) and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", said) and not said.startswith("."):
        return _from_hub(said, places)
    raise SourceMissingError(f"no model at {said!r}; looked at: {', '.join(map(str, places))}.")


def from_pair(model: Any, tokenizer: Any) -> Model:
    """A loaded transformers model with its tokenizer; fingerprinted anew at each run, never kept on disk.

    It stays on its device and in its type, and is left in the mode (train or eval) it was in.

    Raises:
        NotAModelError: the second of the pair is no tokenizer.
    """
    if not hasattr(tokenizer, "apply_chat_template") or not callable(tokenizer):
        raise NotAModelError.of(
            (model, tokenizer), f"{type(tokenizer).__name__} is no tokenizer; give (model, tokenizer)"
        )
    if not callable(getattr(model, "generate", None)) or not hasattr(model, "config"):
        raise NotAModelError.of((model, tokenizer), f"{type(model).__name__} is no transformers model that generates")
    window = _window(model.config.to_dict(), {"model_max_length": tokenizer.model_max_length})
    engine = Engine(model, tokenizer, window)
    return Model(
        name=type(model).__name__,
        source=(model, tokenizer),
        ask=engine.ask,
        fingerprint=functools.partial(_pair_fingerprint, model, tokenizer),
        durable=False,
        takes=TAKES,
        batch=BATCH,
        window=window,
        count_tokens=engine.count_tokens,
        chat=engine.chat if tokenizer.chat_template else None,
        loglikelihood=engine.loglikelihood,
        tokens=Tokens(engine.encode, engine.decode, engine.prefix),
    )


def folder_digest(folder: Path) -> str:
    """sha256 (hex) over names and contents of the files in a checkpoint folder that answer.

    A file is read once per process, and again when its size, time or inode changes; a link stands for its target.
    """
    files = sorted(each for each in folder.iterdir() if each.is_file() and not NOT_CONTENT.fullmatch(each.name))
    return digest("folder", *(part for each in files for part in (each.name, file_digest(each))))


def _places(said: str) -> list[Path]:
    given = from_home(said)
    places = [given]
    if not given.is_absolute():
        places.append(Path(given.name))
        root = os.environ.get("HELMFRAME_MODELS")
        if root:
            places += [from_home(root) / given, from_home(root) / given.name]
    return list(dict.fromkeys(places))


def _from_folder(folder: Path, said: str) -> Model:
    _check_folder(folder)
    name = said if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", said) else folder.resolve().name
    return _from_source(_Folder(folder.resolve()), name, said)


def _from_source(source: "_Folder", name: str, said: str) -> Model:
    folder = source.folder
    settings = _json(folder / "tokenizer_config.json")
    has_chat = "chat_template" in settings or (folder / "chat_template.jinja").is_file()
    return Model(
        name=name,
        source=said,
        ask=source.ask,
        fingerprint=source.fingerprint,
        durable=True,
        takes=TAKES,
        batch=BATCH,
        window=_window(_json(folder / "config.json"), settings),
        count_tokens=source.count_tokens,
        chat=source.chat if has_chat else None,
        loglikelihood=source.loglikelihood,
        tokens=Tokens(source.encode, source.decode, source.prefix),
    )


def _check_folder(folder: Path) -> None:
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any(any(folder.glob(pattern)) for pattern in WEIGHTS):
        missing.append("weights (*.safetensors)")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        missing.append("a tokenizer (tokenizer.json)")
    if missing:
        raise NotAModelError.of(folder, f"{folder} has no {', no '.join(missing)}")
    if _json(folder / "config.json").get("is_encoder_decoder"):
        raise NotAModelError.of(folder, f"{folder} holds an encoder-decoder; only decoder-only models are loaded")


def _from_hub(name: str, looked: Sequence[Path]) -> Model:
    """A hub model at the commit that is there now; its small files are fetched now, weights when it is first asked."""
    places = ", ".join(map(str, looked))
    try:
        folder = _fetched(name, None, SMALL)
    except ImportError:
        raise SourceMissingError(f"no model {name!r}; looked at: {places}. To look on the hub, {_INSTALL}.") from None
    except (OSError, ValueError, RuntimeError) as error:
        reason = textwrap.shorten(str(error), 300, placeholder=" …") or type(error).__name__
        raise SourceMissingError(f"no model {name!r}; looked at: {places}, and the hub: {reason}") from error
    return _from_source(_Folder(folder, hub=name), name, name)


def _fetched(name: str, commit: str | None, patterns: Sequence[str]) -> Path:
    """The folder of a hub model, named by its commit, in the hub's own cache; without a network what is there."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=commit, allow_patterns=list(patterns)))


@dataclass(eq=False)
class _Folder:
    """A checkpoint folder, loaded when first asked; what is loaded is what the fingerprint said."""

    folder: Path
    hub: str = ""
    _stamp: str = ""
    _engine: Engine | None = None
    _tokenizer: Engine | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fingerprint(self) -> str:
        self._stamp = digest("hub", self.hub, self.folder.name) if self.hub else folder_digest(self.folder)
        return self._stamp

    def ask(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Given]:
        return self._loaded().ask(prompts, decoding)

    def loglikelihood(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Given]:
        return self._loaded().loglikelihood(prompts, decoding)

    def encode(self, text: str) -> list[int]:
        return self._with_tokenizer().encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self._with_tokenizer().decode(ids)

    def prefix(self) -> str:
        return self._with_tokenizer().prefix()

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._with_tokenizer().count_tokens(texts)

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        return self._with_tokenizer().chat(messages)

    def _loaded(self) -> Engine:
        """The engine of the content last fingerprinted.

        Raises:
            SourceBrokenError: the files changed since, or can't be loaded.
        """
        stamp = self._stamp or self.fingerprint()
        with _loading:
            engine = _engines.get(stamp)
            if engine is None:
                if self.hub:
                    _fetched(self.hub, self.folder.name, (*SMALL, "*.safetensors"))
                engine = _load(self.folder)
                if not self.hub and folder_digest(self.folder) != stamp:
                    raise SourceBrokenError(f"{self.folder} changed since the run began; run it again.")
                _engines[stamp] = engine
            self._engine = engine
            _recent.append(engine)
            return engine

    def _with_tokenizer(self) -> Engine:
        """An engine that can count: the loaded one, else one that holds the tokenizer alone."""
        with self._lock:
            if self._engine is None and self._tokenizer is None:
                config = _Config(_json(self.folder / "config.json").get("eos_token_id"))
                self._tokenizer = Engine(_Unloaded(config), _load_tokenizer(self.folder), None)
            return self._engine or self._tokenizer  # type: ignore[return-value]


@dataclass(frozen=True)
class _Config:
    eos_token_id: int | list[int] | None


@dataclass(frozen=True)
class _Unloaded:
    """Stands for the weights where only tokens are counted."""

    config: _Config


# An engine lives as long as a model value that holds it; the last one used lives on, for the next plan in a notebook.
_engines: WeakValueDictionary[str, Engine] = WeakValueDictionary()
_recent: deque[Engine] = deque(maxlen=1)
_loading = threading.Lock()


def _load(folder: Path) -> Engine:
    torch, transformers = _packages()
    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    low = torch.float16 if device == "mps" else torch.bfloat16 if device == "cuda" else torch.float32
    if device == "cuda" and not torch.cuda.is_bf16_supported():
        low = torch.float16
    tokenizer = _load_tokenizer(folder)
    with quiet(), _wrapped(folder):
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=low, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise SourceBrokenError(
            f"{folder}: the checkpoint lacks weights: {', '.join(missing[:3])} ({len(missing)} in all)."
        )
    window = _window(model.config.to_dict(), {"model_max_length": tokenizer.model_max_length})
    return Engine(model.to(device).eval(), tokenizer, window)


def _load_tokenizer(folder: Path) -> Any:
    _, transformers = _packages()
    with quiet(), _wrapped(folder):
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _packages() -> tuple[Any, Any]:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise SourceBrokenError(f"{_INSTALL} ({error}).") from None
    return torch, transformers


@contextmanager
def _wrapped(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever transformers says of a folder it can't load
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:400]
        raise SourceBrokenError(f"{folder} can't be loaded by transformers: {reason}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bar for files read from disk."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _window(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> int | None:
    """Tokens for prompt and output: what the model has positions for, or less if its tokenizer says so."""
    text = config.get("text_config")
    config = {**config, **(text if isinstance(text, Mapping) else {})}
    said = [config[key] for key in _POSITIONS if isinstance(config.get(key), int)][:1]
    most = tokenizer.get("model_max_length")
    if isinstance(most, int | float) and 0 < most < 1e9:  # unknown is written as 1e30
        said.append(int(most))
    return min(said) if said else None


def _pair_fingerprint(model: Any, tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    words = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    config = json.dumps(model.config.to_dict(), sort_keys=True, default=str)
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    special = json.dumps(tokenizer.special_tokens_map, sort_keys=True, default=str)
    return digest("pair", identity(model), config, str(ends), words, special, str(tokenizer.chat_template))


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SourceBrokenError(f"{path}: {error}") from error
    return found if isinstance(found, dict) else {}


_digests: dict[tuple[str, int, int, int], str] = {}


def file_digest(path: Path) -> str:
    """The file's sha256 (hex), read once per process and again when its size, time or inode changes."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if key not in _digests:
        with path.open("rb") as file:
            _digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _digests[key]
