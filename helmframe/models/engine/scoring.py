"""Log-probabilities of continuations with a loaded transformers model."""

from collections.abc import Sequence

from helmframe.models.continuations import splits
from helmframe.models.engine.reading import Part, Reader, Wanted
from helmframe.models.engine.sampling import norms
from helmframe.models.model import Answer, Given, Pair
from helmframe.models.tokenizing import Tokenizing


def score_pairs(reader: Reader, words: Tokenizing, pairs: Sequence[Pair], window: int | None) -> list[Given]:
    """Return the continuation of each pair with its log-probability (nats) after the context, in order.

    `splits` determines the continuation's tokens; without tokens it has no log-probability. A pair longer than the
    window, or the memory, is an error. Continuations of one context, and contexts with a common start, are read once as
    far as they are equal.

    Args:
        reader: The model's reader, in evaluation mode and without gradients.
        words: The model's tokenizer.
        pairs: The pairs to score.
        window: The number of tokens that the model reads at once.
    """
    pair_splits = splits(words, pairs)
    answers: list[Given] = [
        ValueError(f"the text has {len(split.tokens)} tokens; the model's window is {window}.") for split in pair_splits
    ]
    # the last token is predicted, not read
    fitting = [index for index, split in enumerate(pair_splits) if window is None or len(split.tokens) - 1 <= window]
    read: dict[int, Sequence[float] | MemoryError] = {index: () for index in fitting if not pair_splits[index].own}
    texts = {
        index: Wanted(pair_splits[index].tokens[:-1], pair_splits[index].start - 1)
        for index in fitting
        if pair_splits[index].own
    }
    indices = list(texts)
    for part in reader.read(list(texts.values())):
        part_indices = [indices[number] for number in part.indices]
        read.update(zip(part_indices, _logprobs(part, [pair_splits[index].own for index in part_indices]), strict=True))
    for index, values in read.items():
        if isinstance(values, MemoryError):
            answers[index] = values
            continue
        answer = Answer(pairs[index].continuation, prompt_tokens=pair_splits[index].start, output_tokens=len(values))
        answers[index] = answer.rated(values)
    return answers


def _logprobs(part: Part, targets: Sequence[list[int]]) -> list[list[float]] | list[MemoryError]:
    """Return for each text of the part the log-probability (nats) of its targets, one after each wanted position."""
    import torch

    if part.error is not None:
        return [part.error for _ in targets]
    logits = part.logits.float()
    summed = norms(logits)
    tokens = torch.tensor([token for target in targets for token in target], device=logits.device)
    rows = torch.cat(part.rows)
    values = iter((logits[rows, tokens] - summed[rows]).tolist())
    return [[next(values) for _ in target] for target in targets]
