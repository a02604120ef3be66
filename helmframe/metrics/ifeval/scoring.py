"""The metrics of IFEval: by prompt and by instruction, strict and loose.

A scenario has its instructions in two columns, as on the Hub. `instruction_id_list` is a list of names. `kwargs` is a
list of structs of the same length, with null for arguments that the instruction does not have.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from helmframe.metrics.ifeval.instructions import follows, may_check
from helmframe.metrics.protocol import metric

_SOURCE = "Zhou et al. 2023 (IFEval), evaluation_main.py"
_COLUMNS = ("instruction_id_list", "kwargs")

Arguments = Sequence[Mapping[str, Any]]


@metric(
    "ifeval_strict_accuracy",
    needs=_COLUMNS,
    check=may_check,
    source=f"HELM, ifeval_metrics.py; {_SOURCE}",
    helm="ifeval_strict_accuracy",
)
def ifeval_strict_accuracy(output: str, instruction_id_list: Sequence[str], kwargs: Arguments) -> float:
    """Return the share of a prompt's instructions that the response follows.

    HELM's value differs in two cases. HELM counts a random letter if the letter to count is "#" or "!". It also detects
    the language of an unclear text at random, such as French in capital letters.

    Example: 1 of 2 instructions followed: 0.5.

    Args:
        output: The response.
        instruction_id_list: The names of the instructions.
        kwargs: The arguments of each instruction.
    """
    return _share(_followed(output, instruction_id_list, kwargs))


@metric("ifeval_loose_accuracy", needs=_COLUMNS, check=may_check, source=_SOURCE)
def ifeval_loose_accuracy(output: str, instruction_id_list: Sequence[str], kwargs: Arguments) -> float:
    """Return the share of a prompt's instructions that one of the response's loose forms follows.

    The loose forms are the response itself and the response without its first line, its last line, or both, each with
    and without asterisks.

    Example: "Sure, here:" and on the next line "no commas", with commas forbidden: without its first line it is 1.

    Args:
        output: The response.
        instruction_id_list: The names of the instructions.
        kwargs: The arguments of each instruction.
    """
    return _share(_followed_loosely(output, instruction_id_list, kwargs))


@metric(
    "ifeval_prompt_strict",
    needs=_COLUMNS,
    check=may_check,
    source=_SOURCE,
    lm_eval="prompt_level_strict_acc",
    correctness=True,
)
def ifeval_prompt_strict(output: str, instruction_id_list: Sequence[str], kwargs: Arguments) -> float:
    """Return 1 if the response follows every instruction of its prompt, else 0.

    Example: With 2 of 3 instructions followed it is 0.

    Args:
        output: The response.
        instruction_id_list: The names of the instructions.
        kwargs: The arguments of each instruction.
    """
    return float(all(_followed(output, instruction_id_list, kwargs)))


@metric(
    "ifeval_prompt_loose",
    needs=_COLUMNS,
    check=may_check,
    source=_SOURCE,
    lm_eval="prompt_level_loose_acc",
    correctness=True,
)
def ifeval_prompt_loose(output: str, instruction_id_list: Sequence[str], kwargs: Arguments) -> float:
    """Return 1 if the response follows every instruction of its prompt in a loose form, else 0.

    The loose forms are those of `ifeval_loose_accuracy`.

    Example: With 2 of 3 instructions followed it is 0.

    Args:
        output: The response.
        instruction_id_list: The names of the instructions.
        kwargs: The arguments of each instruction.
    """
    return float(all(_followed_loosely(output, instruction_id_list, kwargs)))


@metric(
    "ifeval_instruction_strict",
    level="set",
    needs=_COLUMNS,
    check=may_check,
    source=_SOURCE,
    lm_eval="inst_level_strict_acc",
)
def ifeval_instruction_strict() -> pl.Expr:
    """Return the share of all instructions of all prompts that are followed.

    A prompt with three instructions counts three times.

    Example: 2 of 3 instructions and 1 of 1 followed: 3/4.
    """
    return _instruction_metric(_followed)


@metric(
    "ifeval_instruction_loose",
    level="set",
    needs=_COLUMNS,
    check=may_check,
    source=_SOURCE,
    lm_eval="inst_level_loose_acc",
)
def ifeval_instruction_loose() -> pl.Expr:
    """Return the share of all instructions of all prompts that are followed in a loose form.

    The loose forms are those of `ifeval_loose_accuracy`.

    Example: 2 of 3 instructions and 1 of 1 followed: 3/4.
    """
    return _instruction_metric(_followed_loosely)


def _followed(response: str, names: Sequence[str], arguments: Arguments) -> list[bool]:
    return [follows(response, name, kwargs) for name, kwargs in zip(names, arguments, strict=True)]


def _followed_loosely(response: str, names: Sequence[str], arguments: Arguments) -> list[bool]:
    forms = _loose_forms(response)
    return [any(follows(form, name, kwargs) for form in forms) for name, kwargs in zip(names, arguments, strict=True)]


def _loose_forms(response: str) -> list[str]:
    lines = response.split("\n")
    cut = [response, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return list(dict.fromkeys([*cut, *(form.replace("*", "") for form in cut)]))


def _share(followed: Sequence[bool]) -> float:
    return sum(followed) / len(followed)


def _instruction_metric(judge: Callable[[str, Sequence[str], Arguments], list[bool]]) -> pl.Expr:
    # an interval needs the same rows up to 200 times
    n_followed: dict[int, int] = {}

    def count(columns: Any) -> pl.Series:
        rows = pl.DataFrame([column.alias(f"{index}") for index, column in enumerate(columns)])
        keys = rows.hash_rows()
        new = ~keys.is_in(list(n_followed))
        for key, (output, names, arguments) in zip(keys.filter(new), rows.filter(new).iter_rows(), strict=True):
            n_followed[key] = sum(judge(output or "", names, arguments))
        return pl.Series([n_followed[key] for key in keys], dtype=pl.Float64)

    followed = pl.map_batches(["output", *_COLUMNS], count, return_dtype=pl.Float64, is_elementwise=True)
    return followed.sum() / pl.col("instruction_id_list").list.len().sum()
