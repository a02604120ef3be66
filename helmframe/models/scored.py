"""How likely given texts are to a loaded transformers model: one pass over each, in batches of like length."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from helmframe.models.model import Answer, Given, Pair

# Logits held at once: tokens of a batch × words of the vocabulary. 400 MB in float32.
LOGITS = 100_000_000


def scored(
    model: Any, tokens: Callable[[Sequence[str]], list[list[int]]], pairs: Sequence[Pair], window: int | None
) -> list[Given]:
    """The continuation of each pair with its log-probability (nats) after the context, in order.

    The text is tokenized as a whole; tokens of the continuation are those beyond the context's. An empty context is the
    token that texts begin with. A pair longer than the window is an error in its place.

    Args:
        model: in evaluation mode, without gradients.
        tokens: token ids of texts, with what the tokenizer puts before them.
        pairs: what is asked.
        window: tokens that the model reads at once.
    """
    starts = tokens([each.context for each in pairs])
    wholes = [
        _joined(start, whole, pair)
        for start, whole, pair in zip(
            starts, tokens([each.context + each.continuation for each in pairs]), pairs, strict=True
        )
    ]
    answers: list[Given] = [
        ValueError(f"the text has {len(each)} tokens; the model's window is {window}.") for each in wholes
    ]
    # the last token is predicted, and not read
    able = [place for place, each in enumerate(wholes) if window is None or len(each) - 1 <= window]
    size = int(model.get_output_embeddings().weight.shape[0])
    for batch in _batches(sorted(able, key=lambda place: len(wholes[place])), wholes, LOGITS // size):
        found = _logprobs(model, [wholes[place] for place in batch])
        for place, of_tokens in zip(batch, found, strict=True):
            asked = len(wholes[place]) - min(len(starts[place]), len(wholes[place]))
            mine = tuple(of_tokens[len(of_tokens) - asked :])
            answers[place] = Answer(
                pairs[place].continuation,
                logprob=float(sum(mine)),
                token_logprobs=mine,
                prompt_tokens=len(wholes[place]) - asked,
                output_tokens=asked,
            )
    return answers


def _joined(start: list[int], whole: list[int], pair: Pair) -> list[int]:
    """The tokens of context and continuation, with the token that texts begin with where there is no context."""
    if pair.context or whole[: len(start)] == start:
        return whole
    return start + (whole if pair.continuation else [])


def _batches(places: Sequence[int], wholes: Sequence[list[int]], most: int) -> Iterator[list[int]]:
    """Places in order of length, as many at a time as their tokens, padded, are no more than allowed."""
    batch: list[int] = []
    for place in places:
        if batch and (len(batch) + 1) * len(wholes[place]) > most:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _logprobs(model: Any, rows: Sequence[list[int]]) -> list[list[float]]:
    """Of each row the log-probability of every token but the first."""
    import torch

    width = max(map(len, rows))
    # what follows a row's tokens is not seen by them
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
    if width < 2:
        return [[] for _ in rows]
    logits = model(input_ids=ids[:, :-1], attention_mask=mask[:, :-1], use_cache=False).logits.float()
    chosen = logits.gather(-1, ids[:, 1:, None]).squeeze(-1) - torch.logsumexp(logits, dim=-1)
    return [line[: len(row) - 1] for line, row in zip(chosen.tolist(), rows, strict=True)]
