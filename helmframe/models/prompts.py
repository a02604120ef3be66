"""What a queue is asked, made of requests when it is looked at."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

import polars as pl

from helmframe._schema import NO, YES
from helmframe.models.model import Row

P = TypeVar("P")


class Prompts(Sequence[str]):
    """Prompts glued from prefix and suffix when they are looked at, so that a shared prefix is held once."""

    def __init__(self, requests: pl.DataFrame, prefixes: pl.DataFrame) -> None:
        self._prefixes = dict(prefixes.select("prefix_id", "prefix").iter_rows())
        self._prefix_ids = requests["prefix_id"].to_list()
        self._suffixes = requests["suffix"].to_list()

    def __len__(self) -> int:
        return len(self._suffixes)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        """One prompt, or a list of them."""
        if isinstance(place, int):
            return str(self._prefixes[self._prefix_ids[place]] + self._suffixes[place])
        pairs = zip(self._prefix_ids[place], self._suffixes[place], strict=True)
        return [self._prefixes[prefix_id] + suffix for prefix_id, suffix in pairs]


class Beside(Sequence[P]):
    """Prompts, each made one with what belongs to it: `Pair` with its continuation, `Seeded` with its seed."""

    def __init__(self, make: Callable[[str, Any], P], prompts: Sequence[str], others: Sequence[Any]) -> None:
        self._make = make
        self._prompts = prompts
        self._others = others

    def __len__(self) -> int:
        return len(self._others)

    @overload
    def __getitem__(self, place: int) -> P: ...
    @overload
    def __getitem__(self, place: slice) -> list[P]: ...
    def __getitem__(self, place: int | slice) -> P | list[P]:
        """One of them, or a list."""
        if isinstance(place, int):
            return self._make(self._prompts[place], self._others[place])
        return list(map(self._make, self._prompts[place], self._others[place]))


def rows_of(requests: pl.DataFrame, prefixes: pl.DataFrame) -> list[Row]:
    """Return what mock models read beside the prompt."""
    prompts = Prompts(requests, prefixes)
    rows: list[Row] = []
    names = (
        "scenario", "instance_id", "perturbation", "perturbation_seed", "output_index", "continuation",
        "reference_index", "request_mode",
    )  # fmt: skip
    for place, row in enumerate(requests.iter_rows(named=True)):
        references = row["perturbed_references"]
        said = row["choices"] or [reference["text"] for reference in references]
        correct = [bool(reference["correct"]) for reference in references]
        answers = list(zip(said, correct, strict=True))
        if row["reference_index"] is not None:  # whether this one is right
            is_right = correct[row["reference_index"]]
            answers = [(YES, is_right), (NO, not is_right)]
        content = row["blocks"][-1]["content"]
        rows.append(
            {
                "prompt": prompts[place],
                **{name: row[name] for name in names},  # type: ignore[typeddict-item]
                "right": [text for text, is_right in answers if is_right],
                "wrong": [text for text, is_right in answers if not is_right],
                "content": content if any(part["type"] != "text" for part in content) else None,
                "correct": correct,
            }
        )
    return rows
