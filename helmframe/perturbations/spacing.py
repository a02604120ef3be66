"""Perturbations of white space."""

import polars as pl

from helmframe.errors import ArgumentError
from helmframe.perturbations.registry import perturbation
from helmframe.perturbations.text_kernel import respaced

# a larger number for every space of a text does not fit into memory
_MOST = 1000


@perturbation("extra_space")
def extra_space(text: pl.Expr, num_spaces: int = 2) -> pl.Expr:
    """Every space becomes `num_spaces` spaces. Source: HELM `ExtraSpacePerturbation`."""
    _check("extra_space", "num_spaces", num_spaces)
    return text.str.replace_all(" ", " " * num_spaces, literal=True)


@perturbation("space")
def space(text: pl.Expr, key: pl.Expr, max_spaces: int = 3) -> pl.Expr:
    """Each run of spaces becomes 1 to `max_spaces` spaces, drawn evenly. Source: HELM `SpacePerturbation`."""
    _check("space", "max_spaces", max_spaces)
    return respaced(text, key, max_spaces)


def _check(perturbation: str, argument: str, spaces: object) -> None:
    if isinstance(spaces, bool) or not isinstance(spaces, int) or not 1 <= spaces <= _MOST:
        raise ArgumentError(f"{perturbation}({argument}={spaces!r}): {argument} must be an integer from 1 to {_MOST}.")
