"""Add a perturbation and measure its effect. Support: built in."""

import polars as pl
from own_csv import plan
from own_function import answer

import helmframe as hf


@hf.perturbation("shouting")
def shouting(text: pl.Expr) -> pl.Expr:
    """Convert to capitals."""
    return text.str.to_uppercase()


print(plan.perturb("shouting").generate(answer).score().robustness())
