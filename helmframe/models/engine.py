"""A loaded transformers model and its tokenizer, answering prompts in batches of like length."""

import hashlib
import inspect
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from helmframe.models.batching import ENOUGH, first_batch, in_order
from helmframe.models.model import Answer, Given, Pair, Prompt
from helmframe.models.scored import scored

TAKES = frozenset({"max_tokens", "temperature", "top_p", "top_k", "seed", "stop"})
MAX_TOKENS = 100
# Padded tokens of a batch. Reading prompts is fastest in small batches on a CPU, writing answers in large ones.
TOKEN_BUDGET = {"cpu": 4096, "mps": 8192, "cuda": 32768}
READING, WRITING = 1024, 32
MAX_ROWS = {"cpu": 32, "mps": 32, "cuda": 128}
# Architectures whose answers were compared with and without a shared start.
REUSING = frozenset(
    {
        *("gemma", "gpt2", "gpt_bigcode", "gpt_neox", "llama", "mistral", "mixtral"),
        *("olmo2", "opt", "phi", "phi3", "qwen2", "qwen3", "stablelm"),
    }
)
MAX_LOGPROBS = 512
# Sampling looks at so many tokens first, and at the whole vocabulary only where the draw falls beyond them.
LIKELY = 1024


@dataclass(eq=False)
class Engine:
    """Answers with the model it holds; one call at a time, whoever calls.

    The model's own sampling defaults (temperature, repetition penalty, …) are out of force while it answers: a request
    without temperature is greedy. Padding is on the left, and a model may not see it: in float32 an answer is the same
    in any batch, up to float noise where two tokens are as likely.
    """

    model: Any
    tokenizer: Any
    window: int | None
    _most: int = 0
    _reuses: bool | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _tokens_lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Given]:
        """One answer per prompt, in order; a prompt that fits neither window nor memory is an error in its place.

        `logprob` and `token_logprobs` (nats) are those of the model's own distribution, whatever the temperature, over
        the tokens of the text, without the end-of-text token; null where more than 512 tokens were asked for.
        """
        texts = [prompt["prompt"] if isinstance(prompt, dict) else str(prompt) for prompt in prompts]
        tokens = self.tokens(texts)
        said = decoding.get("max_tokens")
        most = MAX_TOKENS if said is None else int(said)
        if most < 1:
            return [Answer("", finish_reason="length", prompt_tokens=len(each), output_tokens=0) for each in tokens]
        limits = [most if self.window is None else min(most, self.window - len(each)) for each in tokens]
        answers: list[Given] = [
            ValueError(f"the prompt has {len(each)} tokens; the model's window is {self.window}.") for each in tokens
        ]
        with self._lock, _as_we_ask(self.model):
            waiting = in_order(tokens, limits)
            share = len(waiting) >= ENOUGH and self._can_reuse()
            device = self.model.device.type
            budget = TOKEN_BUDGET.get(device, TOKEN_BUDGET["cpu"])
            if device == "cpu":
                budget = min(budget, READING + WRITING * most)
            prefixes: dict[tuple[int, ...], Any] = {}  # for this call only: weights may change before the next
            while waiting:
                at_once = self._most or MAX_ROWS.get(device, MAX_ROWS["cpu"])
                rows, shared = first_batch(waiting, tokens, limits, budget=budget, most=at_once, share=share)
                batch = [tokens[row] for row in rows]
                given: Sequence[Given]
                try:
                    cached = self._prefix(prefixes, tuple(batch[0][:shared])) if shared else None
                    given = self._generate(batch, [texts[row] for row in rows], limits[rows[0]], decoding, cached)
                except RuntimeError as error:
                    if not _is_out_of_memory(error):
                        raise
                    if len(rows) > 1:
                        self._most = len(rows) // 2
                        continue
                    given = [MemoryError(f"a prompt of {len(batch[0])} tokens does not fit the memory: {error}")]
                for row, answer in zip(rows, given, strict=True):
                    answers[row] = answer
                waiting = waiting[len(rows) :]
        return answers

    def loglikelihood(self, prompts: Sequence[Prompt], _: Mapping[str, Any]) -> list[Given]:
        """The log-probability of each pair's continuation, and of its tokens, in nats."""
        pairs = [each for each in prompts if isinstance(each, Pair)]
        with self._lock, _as_we_ask(self.model):
            return scored(self.model, self.tokens, pairs, self.window)

    def encode(self, text: str) -> list[int]:
        """The text's tokens, and none that the tokenizer adds."""
        with self._tokens_lock:
            return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens; of a character of which there is a part only, U+FFFD."""
        return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def prefix(self) -> str:
        """The token that texts begin with: the tokenizer's first, else that which ends them."""
        return str(self.tokenizer.bos_token or self.tokenizer.eos_token or "")

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, with what the tokenizer adds; a text that starts with its BOS gets no second one."""
        if not texts:
            return []
        bos = getattr(self.tokenizer, "bos_token", None)
        found: list[list[int]] = [[] for _ in texts]
        for has_bos in (False, True):
            places = [i for i, text in enumerate(texts) if bool(bos and text.startswith(bos)) is has_bos]
            if places:
                with self._tokens_lock:  # a fast tokenizer can't be used by two threads while it is being set up
                    ids = self.tokenizer([texts[i] for i in places], add_special_tokens=not has_bos, verbose=False)
                for place, each in zip(places, ids["input_ids"], strict=True):
                    found[place] = list(each)
        start = self.tokenizer.bos_token_id if bos else next(iter(self._ends()), 0)
        return [each or [start] for each in found]  # a model can't go on from nothing

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text as a prompt."""
        return [len(each) for each in self.tokens(texts)]

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The conversation as the prompt the tokenizer's chat template makes of it, ready for the assistant's turn."""
        turns = [dict(message) for message in messages]
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    def _can_reuse(self) -> bool:
        """Whether what prompts share can be computed once: for known architectures, and where a short trial says so."""
        if self._reuses is None:
            self._reuses = _may_reuse(self.model) and self._trial()
        # a hook may look at positions, and sees only part of the prompt then
        return self._reuses and not any(
            vars(each)["_forward_hooks"] or vars(each)["_forward_pre_hooks"] for each in self.model.modules()
        )

    def _trial(self) -> bool:
        """Whether uneven prompts are answered alike with and without reuse, and their start matters to the answer."""
        size = int(self.model.get_input_embeddings().weight.shape[0])
        start = [(7919 * place + 13) % size for place in range(24)]
        prompts = [[*start, 11 % size, 5 % size, 3 % size], [*start, 17 % size]]
        other = [[(each + 1) % size for each in start] + prompt[24:] for prompt in prompts]
        cached = self._prefix({}, tuple(start))
        with_reuse, plain, changed = (
            [answer.token_logprobs or () for answer in self._generate(rows, ["", ""], 2, {}, prefix)]
            for rows, prefix in ((prompts, cached), (prompts, None), (other, None))
        )
        precise = str(self.model.dtype) == "torch.float32"
        return _differ(with_reuse, plain) < (1e-4 if precise else 5e-2) and _differ(changed, plain) > 0

    def _prefix(self, prefixes: dict[tuple[int, ...], Any], start: tuple[int, ...]) -> "_Prefix":
        """Keys and values of the start, computed once; a shorter one known, if it is nearly as long, does as well."""
        import torch
        from transformers import DynamicCache

        for known, prefix in prefixes.items():
            if start[: len(known)] == known and len(known) >= 0.9 * len(start):
                return prefix  # type: ignore[no-any-return]
        cache = DynamicCache()
        ids = torch.tensor([start], device=self.model.device)
        self.model(input_ids=ids, use_cache=True, logits_to_keep=1, **_as_cache(self.model, cache))
        layers: Any = cache.layers
        found = prefixes[start] = _Prefix(len(start), [(layer.keys, layer.values) for layer in layers])
        return found

    def _generate(
        self,
        tokens: Sequence[list[int]],
        texts: Sequence[str],
        limit: int,
        decoding: Mapping[str, Any],
        prefix: "_Prefix | None" = None,
    ) -> list[Answer]:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        ends = self._ends()
        pad = next((i for i in (self.tokenizer.pad_token_id, *ends) if i is not None), 0)
        width, shared = max(map(len, tokens)), prefix.length if prefix else 0
        # the padding stands between what is shared and the row's own tokens
        gaps = [width - len(each) for each in tokens]
        rows = [each[:shared] + [pad] * gap + each[shared:] for each, gap in zip(tokens, gaps, strict=True)]
        masks = [[1] * shared + [0] * gap + [1] * (width - shared - gap) for gap in gaps]
        ids = torch.tensor(rows, device=self.model.device)
        mask = torch.tensor(masks, device=self.model.device)
        chooser = _Chooser.of(texts, decoding, keep=limit <= MAX_LOGPROBS)
        stopper = _Stopper(self.tokenizer, _stops(decoding), width, ends)
        self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            **(_as_cache(self.model, prefix.repeated(len(tokens))) if prefix else {}),
            generation_config=GenerationConfig(  # type: ignore[no-untyped-call]
                do_sample=False, max_new_tokens=limit, pad_token_id=pad, eos_token_id=ends or None, use_cache=True
            ),
            logits_processor=LogitsProcessorList([chooser]),
            stopping_criteria=StoppingCriteriaList([stopper]),
        )
        chosen = torch.stack(chooser.chosen, dim=1).tolist()
        logprobs = torch.stack(chooser.logprobs, dim=1).tolist() if chooser.logprobs else [None] * len(tokens)
        return [
            self._answer(each, outputs, row_logprobs, stopper.ended.get(row), ends)
            for row, (each, outputs, row_logprobs) in enumerate(zip(tokens, chosen, logprobs, strict=True))
        ]

    def _answer(
        self, prompt: list[int], outputs: list[int], logprobs: list[float] | None, ended: int | None, ends: list[int]
    ) -> Answer:
        # past its end a row holds whatever the model went on with
        count = min((place for place, token in enumerate(outputs) if token in ends), default=len(outputs))
        finished = count < len(outputs)
        if ended is not None and ended <= count:
            count, finished = ended, True
        logprobs = logprobs and logprobs[:count]
        return Answer(
            self._text(prompt, outputs[:count]),
            logprob=None if logprobs is None else float(sum(logprobs)),
            token_logprobs=None if logprobs is None else tuple(logprobs),
            finish_reason="stop" if finished else "length",
            prompt_tokens=len(prompt),
            output_tokens=count,
        )

    def _text(self, prompt: list[int], outputs: list[int]) -> str:
        """The output as it continues the prompt: some tokenizers drop the space before a first word."""
        before = prompt[-4:]
        start, whole = (
            str(self.tokenizer.decode(each, skip_special_tokens=True, clean_up_tokenization_spaces=False))
            for each in (before, before + outputs)
        )
        if whole.startswith(start):
            return whole[len(start) :]
        return str(self.tokenizer.decode(outputs, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _ends(self) -> list[int]:
        """The tokens that end an answer: the model's own, else the tokenizer's."""
        configs = (getattr(self.model, "generation_config", None), self.model.config, self.tokenizer)
        for config in configs:
            found = getattr(config, "eos_token_id", None)
            if found is not None:
                return [int(found)] if isinstance(found, int) else [int(each) for each in found]
        return []


@dataclass(frozen=True, eq=False)
class _Prefix:
    """Keys and values of a shared start, by layer."""

    length: int
    layers: list[tuple[Any, Any]]

    def repeated(self, rows: int) -> Any:
        """A cache to go on from, for so many rows; nothing is copied before it grows."""
        from transformers import DynamicCache

        cache = DynamicCache()
        for place, (keys, values) in enumerate(self.layers):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), place)
        return cache


def _as_cache(model: Any, cache: Any) -> dict[str, Any]:
    """The argument a model takes its cache by: transformers called it past_key_values up to 5.23."""
    named = "cache" in inspect.signature(type(model).forward).parameters
    return {"cache" if named else "past_key_values": cache}


def _may_reuse(model: Any) -> bool:
    """Whether every layer attends to everything before it, at positions that don't depend on the length."""
    config = model.config.get_text_config()
    if config.model_type not in REUSING or getattr(model, "peft_config", None):
        return False
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    rope = getattr(config, "rope_parameters", None) or {}
    return not windowed and layers == {"full_attention"} and rope.get("rope_type") not in ("dynamic", "longrope")


def _differ(some: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> float:
    """The largest difference between log-probabilities; infinite where other numbers of tokens were given."""
    if [len(each) for each in some] != [len(each) for each in others]:
        return math.inf
    pairs = zip((x for each in some for x in each), (x for each in others for x in each), strict=True)
    return max((abs(one - other) for one, other in pairs), default=math.inf)


@contextmanager
def _as_we_ask(model: Any) -> Iterator[None]:
    """The model in evaluation mode and without sampling defaults of its own; afterwards as it was."""
    import torch
    from transformers import GenerationConfig

    training = [module for module in model.modules() if module.training]
    own = model.generation_config
    model.eval()
    ends = own.eos_token_id if own is not None else None
    model.generation_config = GenerationConfig(eos_token_id=ends)  # type: ignore[no-untyped-call]
    try:
        with torch.no_grad():
            yield
    finally:
        model.generation_config = own
        for module in training:
            module.training = True


@dataclass(eq=False)
class _Chooser:
    """A logits processor that chooses each row's next token, and keeps it and its log-probability.

    Draws are keyed by (seed, prompt, step), so a sample depends on no other row of the batch; without a seed each call
    is a new draw.
    """

    keys: list[bytes]
    temperature: float
    top_k: int
    top_p: float
    keep: bool
    chosen: list[Any] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, texts: Sequence[str], decoding: Mapping[str, Any], *, keep: bool) -> "_Chooser":
        seed = decoding.get("seed")
        keys = [
            os.urandom(32) if seed is None else hashlib.sha256(f"{seed}\0{text}".encode("utf-8", "replace")).digest()
            for text in texts
        ]
        top_p = decoding.get("top_p")
        return cls(
            keys,
            temperature=float(decoding.get("temperature") or 0),
            top_k=int(decoding.get("top_k") or 0),
            top_p=1.0 if top_p is None else float(top_p),
            keep=keep,
        )

    def __call__(self, _: Any, scores: Any) -> Any:
        import torch

        scores = scores.float()
        best = scores.argmax(dim=-1)
        chosen = self._drawn(scores) if self.temperature > 0 else best
        if self.keep:
            picked = scores.gather(1, chosen[:, None]).squeeze(1)
            self.logprobs.append(picked - torch.logsumexp(scores, dim=-1))
        self.chosen.append(chosen)
        if self.temperature > 0:
            # the loop around takes the most likely token: make it the one drawn
            scores = torch.full_like(scores, -torch.inf).scatter(1, chosen[:, None], 0.0)
        return scores

    def _drawn(self, scores: Any) -> Any:
        import torch

        step = len(self.chosen)
        draws = torch.tensor([_uniform(key, step) for key in self.keys], dtype=torch.float64)
        size = scores.shape[-1]
        probabilities = torch.softmax(scores.double().cpu() / self.temperature, dim=-1)
        # sorted by probability: float noise then moves a draw less often to another token than in vocabulary order
        count = min(size, self.top_k or LIKELY)
        likely, tokens = probabilities.topk(count, dim=-1)
        mass = torch.full((len(draws),), 1.0, dtype=torch.float64) if not self.top_k else likely.sum(dim=-1)
        chosen = []
        for row, draw in enumerate(draws):
            ranked, ids = likely[row], tokens[row]
            total = mass[row] * min(self.top_p, 1.0)
            if ranked.sum() < total and count < size and not self.top_k:
                ranked, ids = probabilities[row].sort(descending=True)
            cumulated = ranked.cumsum(0)
            if self.top_p < 1:
                kept = int((cumulated - ranked < total).sum())  # the first whose mass before it is below top_p
                ranked, cumulated = ranked[: max(1, kept)], cumulated[: max(1, kept)]
            place = int(torch.searchsorted(cumulated, draw * cumulated[-1], right=True))
            chosen.append(ids[min(place, len(ranked) - 1)])
        return torch.stack(chosen).to(scores.device)


@dataclass(eq=False)
class _Stopper:
    """A stopping criterion: a row ends where its text holds a stop string; `ended` has its tokens by then."""

    tokenizer: Any
    stops: list[str]
    width: int
    ends: list[int]
    ended: dict[int, int] = field(default_factory=dict)

    def __call__(self, ids: Any, *_: Any, **__: Any) -> Any:
        import torch

        count = ids.shape[1] - self.width
        done = [row in self.ended for row in range(len(ids))]
        if self.stops and not all(done):
            # a character may take four tokens, one per byte
            tail = 4 * max(map(len, self.stops)) + 4
            outputs = ids[:, self.width :][:, -tail:].tolist()
            texts = self.tokenizer.batch_decode(outputs, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            for row, text in enumerate(texts):
                if not done[row] and any(stop in text for stop in self.stops):
                    self.ended[row] = count
                    done[row] = True
        return torch.tensor(done, device=ids.device)


def _stops(decoding: Mapping[str, Any]) -> list[str]:
    said = decoding.get("stop") or []
    return [said] if isinstance(said, str) else [str(each) for each in said if each]


def _uniform(key: bytes, step: int) -> float:
    digest = hashlib.blake2b(step.to_bytes(8, "big"), key=key, digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return "out of memory" in text or "allocate memory" in text or "not enough memory" in text
