"""What a queue is asked, made of requests when it is looked at."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

import polars as pl

from helmframe._schema import NO, YES
from helmframe.models.model import Row

P = TypeVar("P")


class Prompts(Sequence[str]):
    """Prompts that are joined from prefix and suffix on access, so that a shared prefix is stored once."""

    def __init__(self, requests: pl.DataFrame, prefixes: pl.DataFrame) -> None:
        self._prefixes = dict(prefixes.select("prefix_id", "prefix").iter_rows())
        self._prefix_ids = requests["prefix_id"].to_list()
        self._suffixes = requests["suffix"].to_list()

    def __len__(self) -> int:
        return len(self._suffixes)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return one prompt, or a list of prompts for a slice."""
        if isinstance(index, int):
            return str(self._prefixes[self._prefix_ids[index]] + self._suffixes[index])
        pairs = zip(self._prefix_ids[index], self._suffixes[index], strict=True)
        return [self._prefixes[prefix_id] + suffix for prefix_id, suffix in pairs]


class PairedPrompts(Sequence[P]):
    """Prompts joined on access with another value: a `Pair` with its continuation, a `Seeded` with its seed."""

    def __init__(self, make: Callable[[str, Any], P], prompts: Sequence[str], others: Sequence[Any]) -> None:
        self._make = make
        self._prompts = prompts
        self._others = others

    def __len__(self) -> int:
        return len(self._others)

    @overload
    def __getitem__(self, index: int) -> P: ...
    @overload
    def __getitem__(self, index: slice) -> list[P]: ...
    def __getitem__(self, index: int | slice) -> P | list[P]:
        """Return one paired prompt, or a list for a slice."""
        if isinstance(index, int):
            return self._make(self._prompts[index], self._others[index])
        return list(map(self._make, self._prompts[index], self._others[index]))


def rows_of(requests: pl.DataFrame, prefixes: pl.DataFrame) -> list[Row]:
    """Return the rows that mock models get in place of prompts."""
    prompts = Prompts(requests, prefixes)
    rows: list[Row] = []
    names = (
        "scenario", "instance_id", "perturbation", "perturbation_seed", "output_index", "continuation",
        "reference_index", "request_mode",
    )  # fmt: skip
    for index, row in enumerate(requests.iter_rows(named=True)):
        references = row["perturbed_references"]
        texts = row["choices"] or [reference["text"] for reference in references]
        correct = [bool(reference["correct"]) for reference in references]
        options = list(zip(texts, correct, strict=True))
        if row["reference_index"] is not None:  # the question is whether this reference is correct
            is_right = correct[row["reference_index"]]
            options = [(YES, is_right), (NO, not is_right)]
        content = row["blocks"][-1]["content"]
        rows.append(
            {
                "prompt": prompts[index],
                **{name: row[name] for name in names},  # type: ignore[typeddict-item]
                "right": [text for text, is_right in options if is_right],
                "wrong": [text for text, is_right in options if not is_right],
                "content": content if any(part["type"] != "text" for part in content) else None,
                "correct": correct,
            }
        )
    return rows
