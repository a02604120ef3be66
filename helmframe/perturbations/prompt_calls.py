"""The perturbations of the prompt as functions: options, instructions, examples and cue; the question stays.

As in `calls`: a list is a grid (for `instructions`, a list of lists), and defaults are left out of the name.
"""

from collections.abc import Sequence

from helmframe.perturbations.call import PerturbationCall
from helmframe.perturbations.calls import Count, Word, said
from helmframe.perturbations.prompt import INSTRUCTIONS, POINTING


def option_order(*, order: Word = "random", shift: Count = 1, unless: str = POINTING) -> PerturbationCall:
    """The options in another order; which are correct goes with them.

    Args:
        order: "random", "reverse", or "rotate": each goes `shift` places down.
        shift: for "rotate".
        unless: a regular expression; an instance with such an option stays. Default: options that point at others.
    """
    return said("option_order", {}, order=order, shift=shift, unless=unless)


def option_labels(*, prefix: Word = "1. ", unless: str = POINTING) -> PerturbationCall:
    """The options under other labels, in the examples too.

    Args:
        prefix: what stands before the first option: "1. ", "a. ", "(A) ", "i. ".
        unless: as for `option_order`.
    """
    return said("option_labels", {}, prefix=prefix, unless=unless)


def instructions(*, texts: Sequence[str] | Sequence[Sequence[str]] = INSTRUCTIONS) -> PerturbationCall:
    """Other instructions: each instance gets one of the texts, drawn evenly.

    Args:
        texts: paraphrases; `[["…"], ["…"]]` makes each a variant of its own. Default: ten neutral ones for choices.
    """
    return said("instructions", {}, texts=texts)


def example_order(*, order: Word = "random", orders: Count = 8) -> PerturbationCall:
    """The in-context examples in another order.

    Args:
        order: "random" or "reverse".
        orders: how many random orders there are; each instance gets one.
    """
    return said("example_order", {}, order=order, orders=orders)


def cue_space(*, space: Word = "space") -> PerturbationCall:
    """Other white space around the answer cue (`Answer:`), in the examples too.

    Args:
        space: "none", "space", "spaces" or "newline" after it, or a "blank_line" before it.
    """
    return said("cue_space", {}, space=space)
