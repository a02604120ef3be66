"""How likely given texts are to a loaded transformers model."""

from collections.abc import Sequence

from helmframe.models.continuations import splits
from helmframe.models.engine.reading import Part, Reader, Wanted
from helmframe.models.engine.sampling import norms
from helmframe.models.model import Completion, Pair, Response
from helmframe.models.tokenizing import Tokenizing


def scored(reader: Reader, words: Tokenizing, pairs: Sequence[Pair], window: int | None) -> list[Response]:
    """The continuation of each pair with its log-probability (nats) after the context, in order.

    `splits` says which tokens are the continuation's; one that has none has no log-probability either. A pair longer
    than the window, or the memory, is an error in its place. Continuations of one context, and contexts that begin
    alike, are read once as far as they are the same.

    Args:
        reader: of the model, in evaluation mode and without gradients.
        words: the model's tokenizer.
        pairs: what is asked.
        window: tokens that the model reads at once.
    """
    found = splits(words, pairs)
    answers: list[Response] = [
        ValueError(f"the text has {len(each.tokens)} tokens; the model's window is {window}.") for each in found
    ]
    # the last token is predicted, and not read
    able = [place for place, each in enumerate(found) if window is None or len(each.tokens) - 1 <= window]
    read: dict[int, Sequence[float] | MemoryError] = {place: () for place in able if not found[place].continuation}
    texts = {
        place: Wanted(found[place].tokens[:-1], found[place].start - 1) for place in able if found[place].continuation
    }
    places = list(texts)
    for part in reader.read(list(texts.values())):
        of_part = [places[number] for number in part.places]
        read.update(zip(of_part, _logprobs(part, [found[place].continuation for place in of_part]), strict=True))
    for place, logprobs in read.items():
        if isinstance(logprobs, MemoryError):
            answers[place] = logprobs
            continue
        answer = Completion(pairs[place].continuation, prompt_tokens=found[place].start, output_tokens=len(logprobs))
        answers[place] = answer.with_logprobs(logprobs)
    return answers


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
