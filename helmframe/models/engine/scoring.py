"""How likely given texts are to a loaded transformers model."""

from collections.abc import Callable, Sequence

from helmframe.models.engine.reading import Part, Reader, Wanted
from helmframe.models.engine.sampling import norms
from helmframe.models.model import Answer, Given, Pair


def scored(
    reader: Reader, tokens: Callable[[Sequence[str]], list[list[int]]], pairs: Sequence[Pair], window: int | None
) -> list[Given]:
    """The continuation of each pair with its log-probability (nats) after the context, in order.

    The text is tokenized as a whole; tokens of the continuation are those beyond the context's. An empty context is the
    token that texts begin with. A pair longer than the window, or the memory, is an error in its place. Continuations
    of one context, and contexts that begin alike, are read once as far as they are the same.

    Args:
        reader: of the model, in evaluation mode and without gradients.
        tokens: token ids of texts, with what the tokenizer puts before them.
        pairs: what is asked.
        window: tokens that the model reads at once.
    """
    starts = tokens([pair.context for pair in pairs])
    wholes = [
        _joined(start, whole, pair)
        for start, whole, pair in zip(
            starts, tokens([pair.context + pair.continuation for pair in pairs]), pairs, strict=True
        )
    ]
    asked = [max(len(whole) - len(start), 0) for whole, start in zip(wholes, starts, strict=True)]
    answers: list[Given] = [
        ValueError(f"the text has {len(whole)} tokens; the model's window is {window}.") for whole in wholes
    ]
    # the last token is predicted, and not read
    able = [place for place, whole in enumerate(wholes) if window is None or len(whole) - 1 <= window]
    read: dict[int, Sequence[float] | MemoryError] = {place: () for place in able if not asked[place]}
    texts = {place: Wanted(wholes[place][:-1], len(wholes[place]) - 1 - asked[place]) for place in able if asked[place]}
    places = list(texts)
    for part in reader.read(list(texts.values())):
        of_part = [places[number] for number in part.places]
        read.update(zip(of_part, _logprobs(part, [wholes[place][-asked[place] :] for place in of_part]), strict=True))
    for place, logprobs in read.items():
        if isinstance(logprobs, MemoryError):
            answers[place] = logprobs
            continue
        answers[place] = Answer(
            pairs[place].continuation,
            logprob=float(sum(logprobs)),
            token_logprobs=tuple(logprobs),
            prompt_tokens=len(wholes[place]) - asked[place],
            output_tokens=asked[place],
        )
    return answers


def _joined(start: list[int], whole: list[int], pair: Pair) -> list[int]:
    """The tokens of context and continuation, with the token that texts begin with where there is no context."""
    if pair.context or whole[: len(start)] == start:
        return whole
    return start + (whole if pair.continuation else [])


def _logprobs(part: Part, targets: Sequence[list[int]]) -> list[list[float]] | list[MemoryError]:
    """Of each text of the part the log-probability (nats) of its tokens, one after each place wanted."""
    import torch

    if part.error is not None:
        return [part.error for _ in targets]
    logits = part.logits.float()
    summed = norms(logits)
    tokens = torch.tensor([token for each in targets for token in each], device=logits.device)
    rows = torch.cat(part.rows)
    found = iter((logits[rows, tokens] - summed[rows]).tolist())
    return [[next(found) for _ in each] for each in targets]
