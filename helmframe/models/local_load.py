"""Loading of a checkpoint's weights and tokenizer by transformers."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from helmframe._core.safe_text import error_text
from helmframe.errors import CapabilityError, SourceBrokenError
from helmframe.models.local_files import INSTALL, read_json, window
from helmframe.models.local_options import FLOAT32, Options
from helmframe.models.model import Given, Prompt
from helmframe.models.tokenizing import Tokenizing


class Loaded(Protocol):
    """A loaded model that runs prompts."""

    @property
    def model(self) -> Any:
        """Return the transformers model."""

    @property
    def window(self) -> int | None:
        """Return the maximum of prompt and output tokens together."""

    def ask(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Given]:
        """Return one answer per prompt, in order."""

    def loglikelihood(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Given]:
        """Return the log-probability of each pair's continuation."""

    def state(self) -> str:
        """Return how it runs prompts, for `explain()`."""


def load(folder: Path, words: Tokenizing, options: Options, device: str, adapter: Path | None = None) -> Loaded:
    """Return the model of a folder, on a device, with its adapter merged into the weights.

    Raises:
        SourceBrokenError: It can't be loaded, or lacks weights.
        CapabilityError: The adapter can't be merged into weights, or peft is missing.
    """
    torch, transformers = packages()
    config = read_json(folder / "config.json")
    kind = transformers.AutoModelForSeq2SeqLM if config.get("is_encoder_decoder") else transformers.AutoModelForCausalLM
    with quiet(), _wrapped(folder):
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
    if adapter is not None:
        model = _with_adapter(model, adapter)
    if options.device_map is None:
        model = model.to(device)
    return engine_of(model.eval(), words, lasting=True)


def expected_state(folder: Path, options: Options) -> str:
    """Return how prompts will be read, for `explain()`: by the configuration alone, nothing is loaded.

    Raises:
        SourceBrokenError: The folder has no configuration that transformers can read.
    """
    # imported here, because they import NumPy
    from helmframe.models.encoder_decoder import STATE
    from helmframe.models.engine.gates import by_config, expectation

    if options.trust_remote_code and "auto_map" in read_json(folder / "config.json"):
        return "how prompts are read is chosen when its own code is loaded"
    _, transformers = packages()
    with _wrapped(folder):
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    if getattr(config, "is_encoder_decoder", False):
        return STATE
    return expectation(by_config(config, transformers.MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)))


def engine_of(model: Any, words: Tokenizing, *, lasting: bool = False) -> Loaded:
    """Return a loaded model with its tokenizer, ready to run; `lasting` if nobody else can change its weights."""
    # imported here, because they import NumPy
    from helmframe.models.encoder_decoder import EncoderDecoder
    from helmframe.models.engine import Engine

    most = window(model.config.to_dict(), {"model_max_length": words.tokenizer.model_max_length})
    if getattr(model.config, "is_encoder_decoder", False):
        return EncoderDecoder(model, words, most)
    return Engine(model, words, most, lasting=lasting)


def words_of(model: Any, tokenizer: Any) -> Tokenizing:
    """Return the tokenizer as it counts and writes for this model."""
    configs = (getattr(model, "generation_config", None), model.config)
    ends = [end for config in configs if (end := getattr(config, "eos_token_id", None)) is not None]
    return Tokenizing(lambda: tokenizer, next(iter(ends), None))


def load_tokenizer(folder: Path, options: Options) -> Any:
    """Return the tokenizer of a folder.

    Raises:
        SourceBrokenError: It can't be loaded.
    """
    _, transformers = packages()
    with quiet(), _wrapped(folder):
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=options.trust_remote_code
        )


def packages() -> tuple[Any, Any]:
    """Return torch and transformers.

    Raises:
        SourceBrokenError: They are not installed.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise SourceBrokenError(f"{INSTALL} ({error}).") from None
    return torch, transformers


@contextmanager
def imported_in_background() -> Iterator[None]:
    """Import transformers and its tokenizer loaders in a thread during the block, which takes seconds."""

    def work() -> None:
        with suppress(SourceBrokenError):  # the caller raises it
            _ = packages()[1].AutoTokenizer

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def quiet() -> Iterator[None]:
    """Disable progress bars for files read from disk."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _with_adapter(model: Any, folder: Path) -> Any:
    """Return the model with the adapter's changes merged into its weights."""
    import peft

    with _wrapped(folder, by="peft"):
        adapted = peft.PeftModel.from_pretrained(model, folder, torch_device="cpu")
    config: Any = adapted.peft_config[adapted.active_adapter]
    if config.is_prompt_learning or not hasattr(adapted, "merge_and_unload"):
        raise CapabilityError(
            f"{folder} holds an adapter of type {config.peft_type.value}, which can't be merged into weights."
        )
    with _wrapped(folder, by="peft"):
        return adapted.merge_and_unload()


@contextmanager
def _wrapped(folder: Path, by: str = "transformers") -> Iterator[None]:
    try:
        yield
    except Exception as error:  # transformers and peft raise anything for a folder they can't load
        reason = " ".join(error_text(error).split())[:400]
        raise SourceBrokenError(f"{folder} can't be loaded by {by}: {reason}") from error
