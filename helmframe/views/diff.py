"""Word-level differences between two texts, as plain text and as HTML with <ins> and <del>."""

import difflib
import re
from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import Any

import polars as pl

from helmframe._core.registry import view
from helmframe._core.safe_text import show_invisible
from helmframe.views.display import number

# Above this number of word pairs the middle of two texts is shown as one change: a full comparison takes minutes.
MOST_PAIRS = 4_000_000
ROWS_SHOWN = 50
LONGEST_SHOWN = 2_000


@view("Flips.with_diff")
def with_diff(flips: pl.DataFrame) -> pl.DataFrame:
    """Insert the column `diff` after the perturbed input."""
    pairs = flips.select("input", "perturbed_input").unique()
    texts = [word_diff(before or "", after or "") for before, after in pairs.iter_rows()]
    diffs = pairs.with_columns(diff=pl.Series(texts, dtype=pl.String))
    joined = flips.join(diffs, on=["input", "perturbed_input"], how="left", nulls_equal=True, maintain_order="left")
    index = flips.columns.index("perturbed_input") + 1
    return joined.select(*flips.columns[:index], "diff", *flips.columns[index:])


def word_diff(before: str, after: str) -> str:
    """Return the text with its changes as `[old→new]`; invisible characters are replaced by their code points.

    >>> word_diff("the quick fox", "uhm the quikc fox")
    '[→uhm ]the [quick→quikc] fox'
    >>> word_diff("one two", "one  two")
    'one[ →  ]two'
    """
    return "".join(
        old if old == new else f"[{show_invisible(old)}→{show_invisible(new)}]" for old, new in changes(before, after)
    )


def word_diff_html(before: str, after: str) -> str:
    """Return the text with its changes marked by <del> and <ins>, escaped.

    >>> word_diff_html("a <b>", "a <i>")
    'a <del>&lt;b&gt;</del><ins>&lt;i&gt;</ins>'
    """
    return "".join(
        escape(show_invisible(old)) if old == new else _marked("del", old) + _marked("ins", new)
        for old, new in changes(before, after)
    )


def changes(before: str, after: str) -> Iterator[tuple[str, str]]:
    """Yield aligned pieces of two texts, equal and changed pairs in turn; joined, they are the texts."""
    pieces = filter(any, _pieces(_words(before), _words(after)))
    for _, run in groupby(pieces, key=lambda pair: pair[0] == pair[1]):
        old, new = zip(*run, strict=True)
        yield "".join(old), "".join(new)


@view("Flips.html")
def flips_html(flips: pl.DataFrame) -> str:
    """Return an HTML table of the first flips: keys, input with changes marked, both completions; escaped."""
    heads = ["instance", "perturbation", "model", "flip", "score", "input", "completion", "perturbed completion"]
    rows = "".join(_row(row) for row in flips.head(ROWS_SHOWN).iter_rows(named=True))
    head = "".join(f"<th scope='col' style='text-align:left'>{escape(cell)}</th>" for cell in heads)
    more = flips.height - ROWS_SHOWN
    note = (
        f"<div style='opacity:.7;font-size:90%'>{flips.height:,} flips, {more:,} are not shown</div>"
        if more > 0
        else ""
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{note}"


def _words(text: str) -> list[tuple[str, str]]:
    """Split a text into words with the white space after them; the first entry is the leading white space."""
    return [("", text[: len(text) - len(text.lstrip())]), *re.findall(r"(\S+)(\s*)", text)]


def _pieces(old: list[tuple[str, str]], new: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield aligned pairs of words, and of the white space after them."""
    for kind, i, i_end, j, j_end in _blocks([word for word, _ in old], [word for word, _ in new]):
        if i_end - i == j_end - j:
            for (left, space), (right, other) in zip(old[i:i_end], new[j:j_end], strict=True):
                yield left, right
                yield space, other
        elif kind == "replace":
            yield (
                _joined(old[i:i_end])[: -len(old[i_end - 1][1]) or None],
                _joined(new[j:j_end])[: -len(new[j_end - 1][1]) or None],
            )
            yield old[i_end - 1][1], new[j_end - 1][1]
        else:
            yield _joined(old[i:i_end]), _joined(new[j:j_end])


def _blocks(old: list[str], new: list[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield difflib's opcodes; equal ends are stripped first, and a middle too long to compare is one change."""
    shorter = min(len(old), len(new))
    start = next((index for index in range(shorter) if old[index] != new[index]), shorter)
    end = next((index for index in range(shorter - start) if old[-1 - index] != new[-1 - index]), shorter - start)
    middle_old, middle_new = old[start : len(old) - end], new[start : len(new) - end]
    yield "equal", 0, start, 0, start
    if len(middle_old) * len(middle_new) > MOST_PAIRS:
        yield "replace", start, len(old) - end, start, len(new) - end
    else:
        matcher = difflib.SequenceMatcher(None, middle_old, middle_new, autojunk=False)
        for kind, i, i_end, j, j_end in matcher.get_opcodes():
            yield kind, start + i, start + i_end, start + j, start + j_end
    yield "equal", len(old) - end, len(old), len(new) - end, len(new)


def _joined(words: list[tuple[str, str]]) -> str:
    return "".join(word + space for word, space in words)


def _marked(tag: str, text: str) -> str:
    return f"<{tag}>{escape(show_invisible(text))}</{tag}>" if text else ""


def _row(row: dict[str, Any]) -> str:
    which = [row["instance_id"], row["perturbation"], row["model"], row["flip"]]
    scores = f"{number(row['score'])} → {number(row['perturbed_score'])}"
    prompt_diff = word_diff_html(_cut(row["input"]), _cut(row["perturbed_input"]))
    completions = [_cut(row["completion"]), _cut(row["perturbed_completion"])]
    cells = [
        *(escape(show_invisible(str(text))) for text in which),
        scores,
        prompt_diff,
        *(escape(show_invisible(text)) for text in completions),
    ]
    return "<tr>" + "".join(f"<td style='text-align:left;white-space:pre-wrap'>{cell}</td>" for cell in cells) + "</tr>"


def _cut(text: str | None) -> str:
    """Return the start of a text, about a screen of it."""
    text = text or ""
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"
