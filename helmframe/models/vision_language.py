"""Image-text-to-text models of transformers, which run prompts with images in padded batches."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from helmframe._core.images import decoded
from helmframe.errors import CapabilityError, ImageError
from helmframe.models.engine.memory import is_out_of_memory
from helmframe.models.engine.sampling import Sampling, key_of, logprobs
from helmframe.models.model import Completion, ImagePrompt, Prompt, Response, Seeded
from helmframe.models.prompts import as_messages
from helmframe.models.tokenizing import StopDetector, count_before_stop, ending_tokens, stops_of, text_of

MAX_TOKENS = 100
# The maximum number of prompts of a batch, by device: its images are decoded together.
MAX_ROWS = {"cpu": 8, "cuda": 32}


@dataclass
class _Row:
    """A prompt as the processor takes it, and the tokens that the model generates for it."""

    turns: list[dict[str, Any]]
    key: bytes
    detector: StopDetector
    outputs: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    ended: bool = False


@dataclass(eq=False)
class VisionLanguage:
    """A loaded image-text-to-text model, which runs one call at a time.

    The processor's chat template renders each prompt, with its images in place.
    """

    model: Any
    processor: Any
    _rows: int = 0  # the maximum of rows after memory ran out
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        if not getattr(self.processor, "chat_template", None):
            raise CapabilityError(
                f"{type(self.processor).__name__} has no chat template, which prompts with images need. Use an "
                "instruction-tuned checkpoint, or add chat_template.jinja to the folder."
            )
        self.processor.tokenizer.padding_side = "left"  # the completion follows the last token of each prompt
        if self.processor.tokenizer.pad_token is None:
            self.processor.tokenizer.pad_token = self.processor.tokenizer.eos_token

    def generate(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        """Return one response per prompt, in order. The limit of tokens excludes the prompt."""
        max_tokens = decoding.get("max_tokens")
        limit = MAX_TOKENS if max_tokens is None else int(max_tokens)
        responses: list[Response] = []
        while len(responses) < len(prompts):
            rows = self._rows or MAX_ROWS.get(self.model.device.type, MAX_ROWS["cpu"])
            batch = prompts[len(responses) : len(responses) + rows]
            try:
                responses += self._batch(batch, limit, decoding)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) > 1:
                    self._rows = len(batch) // 2
                    continue
                responses.append(MemoryError(f"a prompt with images doesn't fit into memory: {error}"))
        return responses

    def _batch(self, prompts: Sequence[Prompt], limit: int, decoding: Mapping[str, Any]) -> list[Response]:
        rows: list[_Row] = []
        responses: list[Response | None] = []
        for prompt in prompts:
            try:
                rows.append(self._row(prompt, decoding))
                responses.append(None)
            except ImageError as error:  # one damaged image is the error of its prompt alone
                responses.append(error)
        completions = iter(self._completions(rows, limit, decoding) if rows else ())
        return [next(completions) if response is None else response for response in responses]

    def _row(self, prompt: Prompt, decoding: Mapping[str, Any]) -> _Row:
        seed = prompt.seed if isinstance(prompt, Seeded) else decoding.get("seed")
        plain: Any = prompt.text if isinstance(prompt, Seeded) else prompt
        pictured = plain if isinstance(plain, ImagePrompt) else ImagePrompt(str(plain), (), 0)
        turns: list[dict[str, Any]] = [
            {"role": turn["role"], "content": [{"type": "text", "text": turn["content"]}]}
            for turn in as_messages(pictured.text) or [{"role": "user", "content": pictured.text}]
        ]
        pieces = pictured.pieces(turns[-1]["content"][0]["text"])
        turns[-1]["content"] = [
            {"type": "text", "text": piece}
            if isinstance(piece, str)
            else {"type": "image", "image": decoded(piece.load())}
            for piece in pieces
        ]
        detector = StopDetector(self.processor.tokenizer, [], stops_of(decoding))
        return _Row(turns, key_of(seed, pictured.text), detector)

    def _completions(self, rows: Sequence[_Row], limit: int, decoding: Mapping[str, Any]) -> list[Completion]:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        tokenizer, stops = self.processor.tokenizer, stops_of(decoding)
        ends = set(ending_tokens(self.model, tokenizer, stops))
        sampling = Sampling.of(decoding)

        def choose(_: Any, scores: Any) -> Any:
            """Return scores whose maximum is the sampled token, and add it to the rows."""
            chosen = sampling.choose(scores.float(), [row.key for row in rows], [len(row.outputs) for row in rows])
            values = logprobs(scores.float(), chosen).tolist()
            for row, token, value in zip(rows, chosen.tolist(), values, strict=True):
                if row.ended or token in ends:
                    row.ended = True
                    continue
                row.outputs.append(token)
                row.values.append(value)
                row.ended = bool(stops) and row.detector.ends(token)
            return torch.full_like(scores, float("-inf")).scatter_(1, chosen[:, None], 0.0)

        def ended(_: Any, __: Any, **___: Any) -> Any:
            return torch.tensor([row.ended for row in rows], device=self.model.device)

        with self._lock, torch.no_grad():
            inputs = self._inputs(rows).to(self.model.device, dtype=self.model.dtype)
            settings: Any = GenerationConfig(  # type: ignore[no-untyped-call]
                max_new_tokens=max(limit, 1),
                do_sample=False,
                repetition_penalty=1.0,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=sorted(ends) or None,
            )
            if limit > 0:
                self.model.generate(
                    **inputs,
                    generation_config=settings,
                    logits_processor=LogitsProcessorList([choose]),
                    stopping_criteria=StoppingCriteriaList([ended]),
                )
        counts = inputs["attention_mask"].sum(dim=1).tolist()
        return [self._completion(row, count, stops) for row, count in zip(rows, counts, strict=True)]

    def _inputs(self, rows: Sequence[_Row]) -> Any:
        """Return the rendered prompts and their images as the model takes them."""
        texts = [
            str(self.processor.apply_chat_template(row.turns, tokenize=False, add_generation_prompt=True))
            for row in rows
        ]
        images = [
            [part["image"] for turn in row.turns for part in turn["content"] if part["type"] == "image"] for row in rows
        ]
        bos = self.processor.tokenizer.bos_token
        has_bos = bool(bos) and all(text.startswith(bos) for text in texts)
        return self.processor(
            text=texts,
            images=images if any(images) else None,
            padding=True,
            return_tensors="pt",
            add_special_tokens=not has_bos,
        )

    def _completion(self, row: _Row, prompt_tokens: int, stops: Sequence[str]) -> Completion:
        tokenizer = self.processor.tokenizer
        return Completion(
            text_of(tokenizer, [], row.outputs),
            finish_reason="stop" if row.ended else "length",
            prompt_tokens=prompt_tokens,
            output_tokens=len(row.outputs),
        ).with_logprobs(row.values[: count_before_stop(tokenizer, [], row.outputs, stops)])
