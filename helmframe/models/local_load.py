"""The options of local models, and the loading of weights and tokenizers by transformers."""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from helmframe._core.checks import is_integer
from helmframe._core.images import pillow
from helmframe._core.safe_text import error_text
from helmframe.errors import ArgumentError, CapabilityError, SourceBrokenError, UnknownNameError
from helmframe.models.local_files import INSTALL, quiet, read_json, window
from helmframe.models.model import Prompt, Response
from helmframe.models.tokenizing import Tokenizing

if TYPE_CHECKING:
    from helmframe.models.vision_language import VisionLanguage

FLOAT32 = "float32"
DTYPES = (FLOAT32, "bfloat16", "float16")
# The type of the checkpoint's weights.
AUTO = "auto"
# How prompts with images run, for `explain()`.
IMAGES_STATE = "prompts with images are run in padded batches"
_DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?")
_IMPORTING = threading.Lock()


@dataclass(frozen=True)
class Options:
    """The options for loading a local model.

    Args:
        dtype: The type of weights and arithmetic; None: float32 on a CPU, bfloat16 on a GPU, or float16 if the GPU
            doesn't support bfloat16.
        device: The device; None: the first GPU, else the CPU.
        device_map: The devices of layers, as in accelerate, in place of one device.
        replicas: The number of copies that run concurrently, one per GPU; on a CPU they share its threads.
        trust_remote_code: Whether Python code of the checkpoint may run.
    """

    dtype: str | None = None
    device: str | None = None
    device_map: str | Mapping[str, Any] | None = None
    replicas: int = 1
    trust_remote_code: bool = False

    def devices(self) -> list[str]:
        """Return the device of each replica. Imports torch, unless the device is "cpu".

        Raises:
            CapabilityError: This machine lacks the devices.
        """
        if self.device == "cpu":
            return ["cpu"] * self.replicas
        seen = list_devices()
        kind = self.device or seen[0].partition(":")[0]
        if kind == "cpu":
            return ["cpu"] * self.replicas
        usable = [device for device in seen if device.partition(":")[0] == kind or device == kind]
        if len(usable) < self.replicas or not usable:
            wanted = f"replicas={self.replicas}" if usable else f"device={self.device!r}"
            raise CapabilityError(f"local({wanted}): torch finds only {', '.join(seen)} on this machine.")
        return usable[: self.replicas]

    def resolved(self, config: Mapping[str, Any]) -> "Options":
        """Return the options with a named type in place of "auto" or None. This may import torch.

        Args:
            config: The configuration of the checkpoint.
        """
        if self.dtype == AUTO:
            return replace(self, dtype=str(config.get("dtype") or config.get("torch_dtype") or FLOAT32))
        if self.dtype is None:
            return replace(self, dtype={"cpu": FLOAT32, "mps": "float16"}.get(self.devices()[0]) or _gpus_dtype())
        return self

    def changes(self) -> list[str]:
        """Return the options that change completions, for the fingerprint; empty for the default options."""
        dtypes = [] if self.dtype in (None, FLOAT32) else [f"dtype {self.dtype}"]
        return [*dtypes, *(["trust_remote_code"] if self.trust_remote_code else [])]

    def notes(self) -> list[str]:
        """Return the notes for `explain()` about options that change completions."""
        differs = (
            f"computes in {self.dtype}: completions may differ from float32's where two tokens are about as likely"
        )
        notes = [] if self.dtype in (None, FLOAT32) else [differs]
        return [*notes, *(["runs the checkpoint's own code"] if self.trust_remote_code else [])]


def check_options(
    *,
    dtype: Any = None,
    device: Any = None,
    device_map: Any = None,
    replicas: Any = 1,
    trust_remote_code: Any = False,
) -> Options:
    """Return validated options. A type may be a name, or an object such as `torch.bfloat16`.

    Raises:
        ArgumentError: A value is invalid, or two values contradict each other.
        UnknownNameError: The type is unknown.
        CapabilityError: This machine lacks the device or a package.
    """
    if dtype is not None:
        dtype = str(dtype).removeprefix("torch.")
        if dtype not in (*DTYPES, AUTO):
            raise UnknownNameError.among("dtype", dtype, [*DTYPES, AUTO])
    if device is not None:
        device = str(device)
        if not _DEVICE.fullmatch(device):
            raise ArgumentError(f"local(device={device!r}): device must be 'cpu', 'cuda', 'cuda:1' or 'mps'.")
    if not is_integer(replicas) or replicas < 1:
        raise ArgumentError(f"local(replicas={replicas!r}): replicas must be an integer ≥ 1.")
    if not isinstance(trust_remote_code, bool):
        raise ArgumentError(f"local(trust_remote_code={trust_remote_code!r}): trust_remote_code must be True or False.")
    if device_map is not None:
        device_map = _check_map(device_map)
        for name, value in (("device", device), ("replicas", None if replicas == 1 else replicas)):
            if value is not None:
                raise ArgumentError(
                    f"local({name}={value!r}, device_map=…): device_map places the layers already. Remove {name}."
                )
    if replicas > 1 and device is not None and ":" in device:
        raise ArgumentError(
            f"local(device={device!r}, replicas={replicas}): each replica needs its own GPU. Write device='cuda'."
        )
    options = Options(dtype, device, device_map, replicas, trust_remote_code)
    if device not in (None, "cpu") or replicas > 1:
        options.devices()
    return options


def list_devices() -> list[str]:
    """Return the devices of this machine: GPUs by number, then the CPU; only the CPU if torch is missing."""
    if find_spec("torch") is None:
        return ["cpu"]
    import torch

    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*gpus, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def _gpus_dtype() -> str:
    import torch

    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def _check_map(value: Any) -> str | dict[str, Any]:
    if find_spec("accelerate") is None:
        raise CapabilityError("local(device_map=…) needs the package accelerate: pip install accelerate.")
    if isinstance(value, str):
        if value not in _MAPS:
            raise UnknownNameError.among("device_map", value, _MAPS)
        return value
    try:
        devices = {str(name): device for name, device in dict(value).items()}
    except (TypeError, ValueError):
        devices = {}
    if not devices or not all(
        isinstance(device, int | str) and not isinstance(device, bool) for device in devices.values()
    ):
        raise ArgumentError(
            f"local(device_map={value!r}): device_map must be 'auto' or {{module: device}}, such as {{'': 'cpu'}}."
        )
    return devices


_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")


class Loaded(Protocol):
    """A loaded model that runs prompts."""

    @property
    def model(self) -> Any:
        """Return the transformers model."""

    @property
    def window(self) -> int | None:
        """Return the maximum of prompt and output tokens together."""

    def generate(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        """Return one response per prompt, in order."""

    def loglikelihood(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        """Return the log-probability of each pair's continuation."""

    def state(self) -> str:
        """Return how the model runs prompts, for `explain()`."""


def load(
    folder: Path,
    words: Tokenizing,
    options: Options,
    device: str,
    adapter: Path | None = None,
    *,
    fingerprint: str = "",
) -> Loaded:
    """Return the loaded model of a folder, on a device, with the adapter merged into the weights.

    Checks and timings of the engine are cached by the fingerprint, if it is known.

    Raises:
        SourceBrokenError: The model doesn't load, or lacks weights.
        CapabilityError: The adapter has no mergeable weights, or peft is missing.
    """
    torch, transformers = packages()
    config = read_json(folder / "config.json")
    kind = transformers.AutoModelForSeq2SeqLM if config.get("is_encoder_decoder") else transformers.AutoModelForCausalLM
    with quiet(), _wrapped(folder):
        model = _pretrained(kind, folder, options, torch)
    if adapter is not None:
        model = _with_adapter(model, adapter)
    if options.device_map is None:
        model = model.to(device)
    return engine_of(model.eval(), words, lasting=True, fingerprint=fingerprint)


def takes_images(config: Mapping[str, Any]) -> bool:
    """Return whether the configuration is that of an image-text-to-text model."""
    return "vision_config" in config


def runs_text_alone(config: Mapping[str, Any]) -> bool:
    """Return whether transformers also has a text model for an image-text-to-text configuration."""
    packages()
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return config.get("model_type") in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def load_vision(folder: Path, options: Options, device: str) -> "VisionLanguage":
    """Return the loaded image-text-to-text model of a folder, on a device.

    Raises:
        SourceBrokenError: The model or its processor doesn't load, or lacks weights.
        CapabilityError: A package is missing.
    """
    from helmframe.models.vision_language import VisionLanguage

    pillow()
    torch, transformers = packages()
    with quiet(), _wrapped(folder):
        processor = transformers.AutoProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=options.trust_remote_code
        )
        model = _pretrained(transformers.AutoModelForImageTextToText, folder, options, torch)
    if options.device_map is None:
        model = model.to(device)
    return VisionLanguage(model.eval(), processor)


def expected_state(folder: Path, options: Options) -> str:
    """Return how prompts will be read, for `explain()`, from the configuration: nothing is loaded.

    Raises:
        SourceBrokenError: The folder has no configuration that transformers can read.
    """
    from helmframe.models.encoder_decoder import STATE
    from helmframe.models.engine.choice import by_config, expectation

    if options.trust_remote_code and "auto_map" in read_json(folder / "config.json"):
        return "how prompts are read is decided when the checkpoint's own code is loaded"
    _, transformers = packages()
    with _wrapped(folder):
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    if getattr(config, "is_encoder_decoder", False):
        return STATE
    return expectation(by_config(config, transformers.MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)))


def engine_of(model: Any, words: Tokenizing, *, lasting: bool = False, fingerprint: str = "") -> Loaded:
    """Return a loaded model, ready to run; with `lasting`, no other code can change its weights."""
    from helmframe.models.encoder_decoder import EncoderDecoder
    from helmframe.models.engine import Engine

    max_length = window(model.config.to_dict(), {"model_max_length": words.tokenizer.model_max_length})
    if getattr(model.config, "is_encoder_decoder", False):
        return EncoderDecoder(model, words, max_length)
    return Engine(model, words, max_length, lasting=lasting, fingerprint=fingerprint)


def words_of(model: Any, tokenizer: Any) -> Tokenizing:
    """Return the tokenizer with the end token of this model."""
    configs = (getattr(model, "generation_config", None), model.config)
    ends = [end for config in configs if (end := getattr(config, "eos_token_id", None)) is not None]
    return Tokenizing(lambda: tokenizer, next(iter(ends), None))


def load_tokenizer(folder: Path, options: Options) -> Any:
    """Return the tokenizer of a folder.

    Raises:
        SourceBrokenError: The tokenizer doesn't load.
    """
    _, transformers = packages()
    with quiet(), _wrapped(folder):
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=options.trust_remote_code
        )


def packages() -> tuple[Any, Any]:
    """Return torch and transformers.

    Raises:
        CapabilityError: A package is not installed.
    """
    try:
        # transformers replaces its module at the end of its import, and a second thread would get the incomplete one
        with _IMPORTING:
            import torch
            import transformers
    except ImportError as error:
        raise CapabilityError(f"{INSTALL} ({error}).") from None
    return torch, transformers


@contextmanager
def imported_in_background() -> Iterator[None]:
    """Import transformers and its tokenizer loaders, which takes seconds, in a thread during the block."""

    def work() -> None:
        with suppress(CapabilityError):  # the caller raises it
            _ = packages()[1].AutoTokenizer

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _with_adapter(model: Any, folder: Path) -> Any:
    """Return the model with the adapter merged into its weights."""
    import peft

    with _wrapped(folder, by="peft"):
        adapted = peft.PeftModel.from_pretrained(model, folder, torch_device="cpu")
    config: Any = adapted.peft_config[adapted.active_adapter]
    if config.is_prompt_learning or not hasattr(adapted, "merge_and_unload"):
        raise CapabilityError(
            f"{folder} contains an adapter of type {config.peft_type.value}, which doesn't support a merge into the "
            "model's weights."
        )
    with _wrapped(folder, by="peft"):
        return adapted.merge_and_unload()


def _pretrained(kind: Any, folder: Path, options: Options, torch: Any) -> Any:
    """Return the transformers model of a folder, with all its weights."""
    model, report = kind.from_pretrained(
        folder,
        dtype=getattr(torch, options.dtype or FLOAT32),
        device_map=options.device_map,
        local_files_only=True,
        trust_remote_code=options.trust_remote_code,
        output_loading_info=True,
    )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise SourceBrokenError(
            f"{folder}: the checkpoint lacks weights: {', '.join(missing[:3])} ({len(missing)} in all)."
        )
    return model


@contextmanager
def _wrapped(folder: Path, by: str = "transformers") -> Iterator[None]:
    try:
        yield
    except SourceBrokenError:
        raise
    except Exception as error:  # transformers and peft raise errors of any type for invalid folders
        reason = " ".join(error_text(error).split())[:400]
        raise SourceBrokenError(f"{by} can't load {folder}: {reason}") from error
