"""The perturbations as functions, for sentences: `hf.typos(prob=.1)`, and `.on(…)` for frames outside of them."""

from typing import Any

from helmframe.perturbations.perturb import PerturbationCall, call


def again() -> PerturbationCall:
    """The unchanged text, asked once more: the placebo beside which the others are seen."""
    return call("again")


def extra_space(**arguments: Any) -> PerturbationCall:
    """`extra_space(num_spaces=2)`: every space becomes `num_spaces` spaces."""
    return call("extra_space", **arguments)


def lowercase() -> PerturbationCall:
    """The text in lower case."""
    return call("lowercase")


def space(**arguments: Any) -> PerturbationCall:
    """`space(max_spaces=3)`: each run of spaces becomes 1 to `max_spaces` spaces."""
    return call("space", **arguments)


def typos(**arguments: Any) -> PerturbationCall:
    """`typos(prob=0.05)`: each letter becomes, with probability `prob`, one of the keys beside it.

    >>> import polars as pl
    >>> frame = pl.DataFrame({"id": ["a"], "question": ["Who wrote it?"]})
    >>> frame.select(typos(prob=0.3).on(pl.col("question"), id="id")).item()
    'Whp wrote it?'
    """
    return call("typos", **arguments)
