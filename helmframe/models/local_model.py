"""Local models: a folder or hub name in transformers format, a GGUF file, or a loaded (model, tokenizer) pair."""

import functools
import json
import re
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from helmframe._core.specs import Call, frozen
from helmframe.errors import ArgumentError, CapabilityError, NotAModelError, SourceBrokenError
from helmframe.models import gguf
from helmframe.models.identity import identity, is_torch_module
from helmframe.models.local_files import (
    ADAPTER,
    ADAPTER_WEIGHTS,
    CODE,
    SMALL,
    Checkpoint,
    check_model,
    fetched_whole,
    found,
    read_json,
    window,
)
from helmframe.models.local_load import Loaded, engine_of, foreseen, imported_beside, load, load_tokenizer, words_of
from helmframe.models.local_options import Options, checked
from helmframe.models.model import Model, Prompt, Response, digest
from helmframe.models.replicas import Replicas
from helmframe.models.tokenizing import Tokenizing

# Prompts of a call, by device: so many that what they share is read once for many, and slots are refilled (of which the
# engine has half as many); few enough that not much is lost with a process that is killed.
BATCH = {"cpu": 128, "mps": 128, "cuda": 512}


def local(
    model: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    device_map: Any = None,
    adapter: str | Path | None = None,
    replicas: int = 1,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Model:
    """A model that runs in this process, with what there is to say about how it is loaded.

    Nothing is loaded before the first prompt; the files are looked at now. What changes answers is part of the
    fingerprint, so that answers are never shared: the type unless it is float32, the adapter's files, and whether the
    checkpoint's code runs.

    Args:
        model: a folder, a hub name, a GGUF file, or a loaded (model, tokenizer) pair, of which nothing else can be
            said.
        dtype: "float32", "bfloat16" or "float16", also as `torch.bfloat16`; "auto": as the checkpoint was saved.
            Default float32 on a CPU, on a GPU bfloat16. Less than float32 moves some answers: `explain()` says so.
        device: "cpu", "cuda", "cuda:1", "mps"; default the first GPU, else the CPU.
        device_map: as transformers takes it ("auto", {module: device}), for models larger than one GPU.
        adapter: folder or hub name of a PEFT adapter (LoRA and others that can be merged into the weights).
        replicas: copies that answer side by side: one on each of so many GPUs; on a CPU they share its threads.
        revision: branch, tag or commit of a hub name.
        trust_remote_code: run Python code that comes with the checkpoint. It can do all that you can.

    Raises:
        SourceMissingError: found nowhere; lists the places looked at.
        NotAModelError: something else is there.
        ArgumentError, UnknownNameError: an argument that can't be.
        CapabilityError: no such device on this machine, or a package is missing.
    """
    options = checked(
        dtype=dtype, device=device, device_map=device_map, replicas=replicas, trust_remote_code=trust_remote_code
    )
    given = {
        "dtype": options.dtype,
        "device": options.device,
        "device_map": options.device_map,
        "adapter": None if adapter is None else str(adapter),
        "replicas": None if replicas == 1 else replicas,
        "revision": revision,
        "trust_remote_code": trust_remote_code or None,
    }
    said = {name: value for name, value in given.items() if value is not None}
    if isinstance(model, tuple):
        if said:
            raise ArgumentError(f"local({next(iter(said))}=…): the pair is loaded already, and asked as it is.")
        if len(model) != 2 or not any(map(is_torch_module, model)):
            raise NotAModelError.of(model, "give the pair (model, tokenizer)")
        return from_pair(*model)
    if not isinstance(model, str | Path):
        raise NotAModelError.of(model, "hf.models.local takes a folder, a hub name, a GGUF file or (model, tokenizer)")
    source: object = Call("local", frozen({"model": str(model), **said})) if said else str(model)
    adapting = None if adapter is None else _adapter(str(adapter))
    if gguf.is_file(model):
        for name in ("revision", "trust_remote_code"):
            if name in said:
                raise ArgumentError(f"local({name}=…): a GGUF file has none.")
        converted = gguf.converted(model)
        made = Checkpoint(converted.folder)
        return _made(made, options, adapting, name=converted.name, source=source, notes=[converted.note])
    patterns = (*SMALL, CODE) if trust_remote_code else SMALL
    checkpoint = found(str(model), revision=revision, patterns=patterns)
    return _made(checkpoint, options, adapting, name=_name(str(model), checkpoint), source=source)


def from_text(said: str) -> Model:
    """A local model as plans write it: `local(model='./x', dtype='bfloat16')`.

    Raises:
        ArgumentError: it has no such argument, or names no model.
    """
    arguments: dict[str, Any] = dict(Call.parse(said).arguments)
    for key in arguments:
        if key not in _ARGUMENTS:
            raise ArgumentError.unknown_argument("local()", key, _ARGUMENTS)
    if "model" not in arguments:
        raise ArgumentError(f"model {said!r}: model= is missing.")
    return local(**arguments)


_ARGUMENTS = ("model", "dtype", "device", "device_map", "adapter", "replicas", "revision", "trust_remote_code")


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
    from helmframe.models.engine import TAKES

    words = words_of(model, tokenizer)
    engine = engine_of(model, words)
    return Model(
        name=type(model).__name__,
        source=(model, tokenizer),
        generate=engine.ask,
        fingerprint=functools.partial(_pair_fingerprint, model, tokenizer),
        durable=False,
        takes=TAKES,
        seeded=True,
        batch=BATCH.get(model.device.type, BATCH["cpu"]),
        window=engine.window,
        count_tokens=words.count_tokens,
        chat=words.chat if tokenizer.chat_template else None,
        loglikelihood=engine.loglikelihood,
        tokens=words.as_tokens,
        token_logprobs=True,
        note="; ".join(Options(str(model.dtype).removeprefix("torch.")).notes()),
        state=engine.state,
    )


def _name(said: str, checkpoint: Checkpoint) -> str:
    return said if checkpoint.hub or re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", said) else checkpoint.folder.name


def _adapter(said: str) -> Checkpoint:
    """The adapter of that name."""
    if find_spec("peft") is None:
        raise CapabilityError("local(adapter=…) needs the package peft: pip install 'helmframe[peft]'.")
    checkpoint = found(said, patterns=(*SMALL, *ADAPTER_WEIGHTS))
    missing = [] if (checkpoint.folder / ADAPTER).is_file() else [ADAPTER]
    if not any((checkpoint.folder / name).is_file() for name in ADAPTER_WEIGHTS):
        missing.append(f"weights ({ADAPTER_WEIGHTS[0]})")
    if missing:
        raise NotAModelError.of(said, f"{checkpoint.folder} is no adapter: it has no {', no '.join(missing)}")
    return checkpoint


def _made(
    checkpoint: Checkpoint,
    options: Options,
    adapter: Checkpoint | None,
    *,
    name: str,
    source: object,
    notes: Sequence[str] = (),
) -> Model:
    from helmframe.models.engine import TAKES

    folder = checkpoint.folder
    if not checkpoint.hub:
        check_model(folder)
    config, settings = read_json(folder / "config.json"), read_json(folder / "tokenizer_config.json")
    options = options.resolved(config)
    has_chat = "chat_template" in settings or (folder / "chat_template.jinja").is_file()
    words = Tokenizing(functools.partial(load_tokenizer, folder, options), config.get("eos_token_id"))
    asked = _Local(checkpoint, words, options, adapter)
    if adapter is not None:
        name = f"{name}+{adapter.hub or adapter.folder.name}"
        notes = [*notes, f"adapter {adapter.hub or adapter.folder} merged into the weights"]
    return Model(
        name=name,
        source=source,
        generate=asked.ask,
        fingerprint=asked.fingerprint,
        durable=True,
        takes=TAKES,
        seeded=True,
        batch=BATCH[options.devices()[0].partition(":")[0]],
        workers=options.replicas,
        window=window(config, settings),
        count_tokens=words.count_tokens,
        chat=words.chat if has_chat else None,
        loglikelihood=asked.loglikelihood,
        tokens=words.as_tokens,
        token_logprobs=True,
        note="; ".join([*notes, *options.notes()]),
        state=asked.state,
    )


@dataclass(eq=False)
class _Local:
    """A checkpoint, loaded when first asked; what is loaded is what the fingerprint said."""

    checkpoint: Checkpoint
    words: Tokenizing
    options: Options
    adapter: Checkpoint | None
    _stamp: str = ""
    _loaded: Loaded | Replicas | None = None

    def fingerprint(self) -> str:
        changes = self.options.changes()
        with imported_beside():
            if self.adapter is not None:
                changes.append(f"adapter {self.adapter.digest()}")
            base = self.checkpoint.digest()
        self._stamp = digest("loaded", base, *changes) if changes else base
        return self._stamp

    def ask(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        return self._ready().ask(prompts, decoding)

    def loglikelihood(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        return self._ready().loglikelihood(prompts, decoding)

    def state(self) -> str:
        loaded = self._loaded or _answering.get(self._key())
        return foreseen(self.checkpoint.folder, self.options) if loaded is None else loaded.state()

    def _key(self) -> tuple[str, str]:
        return self._stamp or self.fingerprint(), str(self.options.device_map or self.options.devices())

    def _ready(self) -> Loaded | Replicas:
        """What answers, of the content last fingerprinted.

        Raises:
            SourceBrokenError: the files changed since, or can't be loaded.
        """
        with _loading:
            key = self._key()
            loaded = _answering.get(key)
            if loaded is None:
                if self.checkpoint.hub:
                    fetched_whole(self.checkpoint, (*SMALL, CODE) if self.options.trust_remote_code else SMALL)
                adapter = None if self.adapter is None else self.adapter.folder
                # the files may have changed since tokens were first counted
                words = self.words.anew()
                devices, folder = self.options.devices(), self.checkpoint.folder
                engines = [load(folder, words, self.options, device, adapter) for device in devices]
                if self.fingerprint() != key[0]:
                    raise SourceBrokenError(f"{self.checkpoint.folder} changed since the run began; run it again.")
                loaded = _answering[key] = engines[0] if len(engines) == 1 else Replicas(engines)
            self._loaded = loaded
            _recent.append(loaded)
            return loaded


# What answers lives as long as a model value that holds it; the last one used lives on, for a notebook's next plan.
_answering: "WeakValueDictionary[tuple[str, str], Loaded | Replicas]" = WeakValueDictionary()
_recent: deque[Loaded | Replicas] = deque(maxlen=1)
_loading = threading.Lock()


def _pair_fingerprint(model: Any, tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    words = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    config = json.dumps(model.config.to_dict(), sort_keys=True, default=str)
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    special = json.dumps(tokenizer.special_tokens_map, sort_keys=True, default=str)
    return digest("pair", identity(model), config, str(ends), words, special, str(tokenizer.chat_template))
