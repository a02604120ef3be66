"""Local models: transformers checkpoints, GGUF files, and loaded (model, tokenizer) pairs."""

import functools
import json
import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from helmframe._core.cache_files import digest
from helmframe._core.specs import Call, frozen
from helmframe.errors import ArgumentError, CapabilityError, NotAModelError, SourceBrokenError
from helmframe.models.identity import identity, is_torch_module
from helmframe.models.local_files import (
    ADAPTER,
    ADAPTER_WEIGHTS,
    CODE,
    SMALL,
    Checkpoint,
    chat_template,
    check_model,
    convert_gguf,
    fetch_all,
    find_checkpoint,
    folder_state,
    is_gguf_file,
    read_json,
    verify_digests,
    window,
)
from helmframe.models.local_load import (
    IMAGES_STATE,
    Loaded,
    Options,
    check_options,
    engine_of,
    expected_state,
    imported_in_background,
    load,
    load_tokenizer,
    load_vision,
    runs_text_alone,
    takes_images,
    words_of,
)
from helmframe.models.model import ImagePrompt, Model, Prompt, Response, Seeded
from helmframe.models.prompts import as_prompt
from helmframe.models.reasoning import template_reasons
from helmframe.models.tokenizing import Tokenizing

if TYPE_CHECKING:
    from helmframe.models.vision_language import VisionLanguage

# Prompts of a call, by device: enough to share prefixes and to refill slots (half this number), and few enough to lose
# little when the process is killed.
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
    """Return a model that runs in this process.

    The files are checked now. The model is loaded for its first prompt. Options that change completions are part of the
    fingerprint, so they never share cached completions: a type other than float32, the files of the adapter, and
    whether the checkpoint's code runs.

        hf.models.local("models/SmolLM2-135M-Instruct", dtype="bfloat16", device="cpu")

    The example passes a loaded pair: a random model of four words.

    >>> import helmframe as hf
    >>> from tokenizers import Tokenizer
    >>> from tokenizers.models import WordLevel
    >>> from tokenizers.pre_tokenizers import Whitespace
    >>> from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
    >>> words = Tokenizer(WordLevel({"<end>": 0, "Is": 1, "it": 2, "art": 3}, unk_token="<end>"))
    >>> words.pre_tokenizer = Whitespace()
    >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>")
    >>> config = GPT2Config(vocab_size=4, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0)
    >>> network = GPT2LMHeadModel(config)
    >>> hf.models.local((network, tokenizer))
    Model('GPT2LMHeadModel': generates, scores, token_logprobs)

    Args:
        model: A folder, a Hub name, a GGUF file, or a loaded (model, tokenizer) pair, which takes no options.
        dtype: The type of the weights: "float32", "bfloat16", "float16", or "auto" for the checkpoint's type; also as
            `torch.bfloat16`. By default float32 on a CPU, and bfloat16 on a GPU. Types shorter than float32 change some
            completions, which `explain()` reports.
        device: The device: "cpu", "cuda", "cuda:1" or "mps". By default the first GPU, else the CPU.
        device_map: The map of layers to devices, as in transformers: "auto" or {module: device}. It loads models larger
            than one GPU.
        adapter: The folder or Hub name of a PEFT adapter that can be merged into the weights, such as LoRA.
        replicas: The number of copies that run concurrently. On GPUs each copy has its own GPU; on a CPU they share the
            threads.
        revision: The branch, tag or commit of a Hub name.
        trust_remote_code: Whether Python code of the checkpoint may run, with all your permissions.

    Raises:
        SourceMissingError: The model was not found; the message lists the searched paths.
        NotAModelError: The path isn't a checkpoint.
        ArgumentError, UnknownNameError: An argument is invalid.
        CapabilityError: This machine lacks the device or a package.
    """
    options = check_options(
        dtype=dtype, device=device, device_map=device_map, replicas=replicas, trust_remote_code=trust_remote_code
    )
    arguments = {
        "dtype": options.dtype,
        "device": options.device,
        "device_map": options.device_map,
        "adapter": None if adapter is None else str(adapter),
        "replicas": None if replicas == 1 else replicas,
        "revision": revision,
        "trust_remote_code": trust_remote_code or None,
    }
    non_default = {name: value for name, value in arguments.items() if value is not None}
    if isinstance(model, tuple):
        if non_default:
            raise ArgumentError(
                f"local({next(iter(non_default))}=…): a (model, tokenizer) pair is loaded already. Remove the option."
            )
        if len(model) != 2 or not any(map(is_torch_module, model)):
            raise NotAModelError.of(model, "pass the pair (model, tokenizer)")
        return from_pair(*model)
    if not isinstance(model, str | Path):
        raise NotAModelError.of(model, "hf.models.local takes a folder, a hub name, a GGUF file or (model, tokenizer)")
    source: object = Call("local", frozen({"model": str(model), **non_default})) if non_default else str(model)
    adapter_checkpoint = None if adapter is None else _adapter(str(adapter))
    if is_gguf_file(model):
        for name in ("revision", "trust_remote_code"):
            if name in non_default:
                raise ArgumentError(f"local({name}=…): {name} isn't supported for GGUF files.")
        converted = convert_gguf(model)
        converted_checkpoint = Checkpoint(converted.folder)
        return _build(
            converted_checkpoint,
            options,
            adapter_checkpoint,
            name=converted.name,
            source=source,
            notes=[converted.note],
        )
    patterns = (*SMALL, CODE) if trust_remote_code else SMALL
    checkpoint = find_checkpoint(str(model), revision=revision, patterns=patterns)
    return _build(checkpoint, options, adapter_checkpoint, name=_name(str(model), checkpoint), source=source)


def from_text(text: str) -> Model:
    """Return the local model of a plan's text: `local(model='./x', dtype='bfloat16')`.

    Raises:
        ArgumentError: An argument is unknown, or `model` is missing.
    """
    arguments: dict[str, Any] = dict(Call.parse(text).arguments)
    for key in arguments:
        if key not in _ARGUMENTS:
            raise ArgumentError.unknown_argument("local()", key, _ARGUMENTS)
    if "model" not in arguments:
        raise ArgumentError(f"Model {text!r}: model=… is missing.")
    return local(**arguments)


_ARGUMENTS = ("model", "dtype", "device", "device_map", "adapter", "replicas", "revision", "trust_remote_code")


def from_pair(model: Any, tokenizer: Any) -> Model:
    """Return the model of a loaded transformers model and its tokenizer.

    Its device and type don't change, and its mode (train or eval) is restored after each call. Its weights are
    fingerprinted for each run, and its completions are stored with the run only.

    Raises:
        NotAModelError: `model` isn't a transformers model, or `tokenizer` isn't a tokenizer.
    """
    if not hasattr(tokenizer, "apply_chat_template") or not callable(tokenizer):
        raise NotAModelError.of(
            (model, tokenizer), f"{type(tokenizer).__name__} isn't a tokenizer; pass (model, tokenizer)"
        )
    if not callable(getattr(model, "generate", None)) or not hasattr(model, "config"):
        raise NotAModelError.of(
            (model, tokenizer), f"{type(model).__name__} isn't a transformers model that generates text"
        )
    from helmframe.models.engine import TAKES

    words = words_of(model, tokenizer)
    engine = engine_of(model, words)
    return Model(
        name=type(model).__name__,
        source=(model, tokenizer),
        generate=engine.generate,
        fingerprint=functools.partial(_pair_fingerprint, model, tokenizer),
        durable=False,
        takes=TAKES | {"reasoning"},
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
        reasons="chat" if template_reasons(tokenizer.chat_template) else "",
    )


def _name(model: str, checkpoint: Checkpoint) -> str:
    return model if checkpoint.hub or re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model) else checkpoint.folder.name


def _adapter(name: str) -> Checkpoint:
    """Return the checkpoint of an adapter."""
    if find_spec("peft") is None:
        raise CapabilityError("local(adapter=…) needs the package peft: pip install 'helmframe[peft]'.")
    checkpoint = find_checkpoint(name, patterns=(*SMALL, *ADAPTER_WEIGHTS))
    missing = [] if (checkpoint.folder / ADAPTER).is_file() else [ADAPTER]
    if not any((checkpoint.folder / file).is_file() for file in ADAPTER_WEIGHTS):
        missing.append(f"weights ({ADAPTER_WEIGHTS[0]})")
    if missing:
        raise NotAModelError.of(name, f"{checkpoint.folder} isn't an adapter: it has no {', no '.join(missing)}")
    return checkpoint


def _build(
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
    template = chat_template(folder, settings)
    words = Tokenizing(functools.partial(load_tokenizer, folder, options), config.get("eos_token_id"))
    images = takes_images(config) and adapter is None
    for_images = images and not runs_text_alone(config)
    loader = _Local(checkpoint, words, options, adapter, for_images=for_images)
    if adapter is not None:
        name = f"{name}+{adapter.hub or adapter.folder.name}"
        notes = [*notes, f"adapter {adapter.hub or adapter.folder} merged into the weights"]
    return Model(
        name=name,
        source=source,
        generate=loader.generate,
        fingerprint=loader.fingerprint,
        durable=True,
        takes=TAKES | {"reasoning"},
        seeded=True,
        images=images,
        batch=BATCH[options.devices()[0].partition(":")[0]],
        workers=options.replicas,
        # the processor of images renders and counts prompts when they run
        window=None if for_images else window(config, settings),
        count_tokens=None if for_images else words.count_tokens,
        chat=None if template is None else as_prompt if for_images else words.chat,
        loglikelihood=None if for_images else loader.loglikelihood,
        tokens=None if for_images else words.as_tokens,
        token_logprobs=True,
        note="; ".join([*notes, *options.notes()]),
        state=loader.state,
        reasons="chat" if template_reasons(template) else "",
    )


@dataclass(eq=False)
class Replicas:
    """Copies of a model. Each copy runs one call at a time, and a call uses a free copy.

    On a CPU, each copy uses its share of torch's threads while it runs.
    """

    engines: Sequence[Loaded]
    _free: "SimpleQueue[Loaded]" = field(default_factory=SimpleQueue)
    _threads: int = 0

    def __post_init__(self) -> None:
        import torch

        self._threads = torch.get_num_threads()
        for engine in self.engines:
            self._free.put(engine)

    def generate(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        with self._taken() as engine:
            return engine.generate(prompts, decoding)

    def loglikelihood(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        with self._taken() as engine:
            return engine.loglikelihood(prompts, decoding)

    def state(self) -> str:
        """Return the number of copies, and how they run prompts."""
        return f"{len(self.engines)} copies; {self.engines[0].state()}"

    @contextmanager
    def _taken(self) -> Iterator[Loaded]:
        """Yield a copy that no other thread uses."""
        import torch

        engine = self._free.get()
        on_cpu = engine.model.device.type == "cpu"
        try:
            if on_cpu:  # the setting applies to this thread
                torch.set_num_threads(max(1, self._threads // len(self.engines)))
            yield engine
        finally:
            if on_cpu:
                torch.set_num_threads(self._threads)
            self._free.put(engine)


@dataclass(eq=False)
class _Local:
    """A checkpoint that is loaded for its first prompt, with the files of the fingerprint."""

    checkpoint: Checkpoint
    words: Tokenizing
    options: Options
    adapter: Checkpoint | None
    for_images: bool = False  # whether the checkpoint has no text model
    _stamp: str = ""
    _verified_stamp: str = ""
    _loaded: Loaded | Replicas | None = None
    _vision: "VisionLanguage | None" = None
    _state: list[tuple[str, int, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._state = folder_state(self.checkpoint.folder)

    def fingerprint(self) -> str:
        changes = self.options.changes()
        with imported_in_background():
            if self.adapter is not None:
                changes.append(f"adapter {self.adapter.digest()}")
            base = self.checkpoint.digest()
        self._stamp = digest("loaded", base, *changes) if changes else base
        return self._stamp

    def generate(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        with self._verified():
            pictured = [index for index, prompt in enumerate(prompts) if self.for_images or _has_images(prompt)]
            if not pictured:
                return self._ready().generate(prompts, decoding)
            of_images = iter(self._ready_vision().generate([prompts[index] for index in pictured], decoding))
            indices = set(pictured)
            texts = [prompt for index, prompt in enumerate(prompts) if index not in indices]
            of_texts = iter(self._ready().generate(texts, decoding) if texts else ())
            return [next(of_images if index in indices else of_texts) for index in range(len(prompts))]

    def loglikelihood(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        with self._verified():
            return self._ready().loglikelihood(prompts, decoding)

    @contextmanager
    def _verified(self) -> Iterator[None]:
        """Read the files whose digests come from an earlier process, during the first call.

        Raises:
            SourceBrokenError: A file has other content.
        """
        stamp = self._key()[0]
        if self._verified_stamp == stamp:
            yield
            return
        threading.Thread(target=self._verify, name="helmframe-verify", daemon=True).start()
        try:
            yield
        except SourceBrokenError:
            self._verify()
            self.fingerprint()  # the next call needs the right one
            raise
        self._verify()  # waits for the thread
        if self.fingerprint() != stamp:
            raise self._changed()
        self._verified_stamp = stamp

    def _verify(self) -> None:
        for checkpoint in (self.checkpoint, self.adapter):
            if checkpoint is not None and not checkpoint.hub:
                verify_digests(checkpoint.folder)

    def _changed(self) -> SourceBrokenError:
        return SourceBrokenError(f"{self.checkpoint.folder} changed since the run began. Rerun the plan.")

    def state(self) -> str:
        if self._vision is not None or self.for_images:
            return IMAGES_STATE
        loaded = self._loaded or _loaded_models.get(self._key())
        return expected_state(self.checkpoint.folder, self.options) if loaded is None else loaded.state()

    def _key(self) -> tuple[str, str]:
        return self._stamp or self.fingerprint(), str(self.options.device_map or self.options.devices())

    def _ready_vision(self) -> "VisionLanguage":
        """Return the loaded model for prompts with images, on the first device.

        Raises:
            SourceBrokenError: The files have changed since the last fingerprint, or don't load.
        """
        with _loading:
            stamp, devices = self._key()
            loaded = _vision_models.get((stamp, devices))
            if loaded is None:
                if self.checkpoint.hub:
                    fetch_all(self.checkpoint, (*SMALL, CODE) if self.options.trust_remote_code else SMALL)
                loaded = load_vision(self.checkpoint.folder, self.options, self.options.devices()[0])
                if self.fingerprint() != stamp:
                    raise self._changed()
                _vision_models[stamp, devices] = loaded
            self._vision = loaded
            _recent.append(loaded)
            return loaded

    def _ready(self) -> Loaded | Replicas:
        """Return the loaded model, whose files are those of the last fingerprint.

        Raises:
            SourceBrokenError: The files have changed since, or don't load.
        """
        with _loading:
            key = self._key()
            loaded = _loaded_models.get(key)
            if loaded is None:
                if self.checkpoint.hub:
                    fetch_all(self.checkpoint, (*SMALL, CODE) if self.options.trust_remote_code else SMALL)
                adapter = None if self.adapter is None else self.adapter.folder
                devices, folder = self.options.devices(), self.checkpoint.folder
                # the files may have changed since tokens were first counted
                words = self.words if folder_state(folder) == self._state else self.words.unloaded()
                engines = [load(folder, words, self.options, device, adapter, fingerprint=key[0]) for device in devices]
                if self.fingerprint() != key[0]:
                    raise self._changed()
                loaded = _loaded_models[key] = engines[0] if len(engines) == 1 else Replicas(engines)
            self._loaded = loaded
            _recent.append(loaded)
            return loaded


def _has_images(prompt: Prompt) -> bool:
    plain: Any = prompt.text if isinstance(prompt, Seeded) else prompt
    return isinstance(plain, ImagePrompt)


# Models stay loaded as long as a `Model` refers to them. The last one used stays, for the next plan of a notebook.
_loaded_models: "WeakValueDictionary[tuple[str, str], Loaded | Replicas]" = WeakValueDictionary()
_vision_models: "WeakValueDictionary[tuple[str, str], VisionLanguage]" = WeakValueDictionary()
_recent: "deque[Loaded | Replicas | VisionLanguage]" = deque(maxlen=1)
_loading = threading.Lock()


def _pair_fingerprint(model: Any, tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    words = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    config = json.dumps(model.config.to_dict(), sort_keys=True, default=str)
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    special = json.dumps(tokenizer.special_tokens_map, sort_keys=True, default=str)
    return digest("pair", identity(model), config, str(ends), words, special, str(tokenizer.chat_template))
