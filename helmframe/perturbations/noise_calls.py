"""The perturbations that HELM does not have, as functions: noise in letters, words and Unicode.

As in `calls`: a list is a grid, defaults are left out of the name, and each takes `**common` (fields, protect).
"""

from typing import Unpack

from helmframe.perturbations.call import PerturbationCall
from helmframe.perturbations.calls import Common, Number, Word, said

# -- letters: `prob` is per letter, or with per="word" per word, one letter of which is then hit; keep_edges leaves the
# -- first and last character of each word alone


def keyboard(
    *,
    prob: Number = 0.05,
    per: Word = "letter",
    keep_edges: bool = False,
    digits: bool = False,
    **common: Unpack[Common],
) -> PerturbationCall:
    """Letters become a key beside them on a QWERTY keyboard, with `digits` digits too: "which" → "whivh"."""
    return said("keyboard", common, prob=prob, per=per, keep_edges=keep_edges, digits=digits)


def ocr(
    *, prob: Number = 0.1, per: Word = "letter", keep_edges: bool = False, **common: Unpack[Common]
) -> PerturbationCall:
    """Shapes are taken for others like them, digits too: "modern 10" → "modem l0"; `protect="numbers"` spares them."""
    return said("ocr", common, prob=prob, per=per, keep_edges=keep_edges)


def swap_letters(
    *, prob: Number = 0.1, per: Word = "letter", keep_edges: bool = False, **common: Unpack[Common]
) -> PerturbationCall:
    """Letters change places with the one beside them: "which" → "whcih"; `prob` is per pair."""
    return said("swap_letters", common, prob=prob, per=per, keep_edges=keep_edges)


def delete_letters(
    *, prob: Number = 0.05, per: Word = "letter", keep_edges: bool = False, **common: Unpack[Common]
) -> PerturbationCall:
    """Letters go missing: "which" → "whch"."""
    return said("delete_letters", common, prob=prob, per=per, keep_edges=keep_edges)


def insert_letters(
    *, prob: Number = 0.05, per: Word = "letter", keep_edges: bool = False, **common: Unpack[Common]
) -> PerturbationCall:
    """Letters come in beside others: "which" → "whiwch"."""
    return said("insert_letters", common, prob=prob, per=per, keep_edges=keep_edges)


def repeat_letters(
    *, prob: Number = 0.05, per: Word = "letter", keep_edges: bool = False, **common: Unpack[Common]
) -> PerturbationCall:
    """Letters are typed twice: "which" → "whhich"."""
    return said("repeat_letters", common, prob=prob, per=per, keep_edges=keep_edges)


def leet(*, prob: Number = 0.5, **common: Unpack[Common]) -> PerturbationCall:
    """Letters become digits that look like them, with probability `prob` each: "elite" → "3l1t3"."""
    return said("leet", common, prob=prob)


# -- case


def random_case(*, prob: Number = 0.5, **common: Unpack[Common]) -> PerturbationCall:
    """Letters change their case, with probability `prob` each: "which" → "wHiCh"."""
    return said("random_case", common, prob=prob)


def uppercase(**common: Unpack[Common]) -> PerturbationCall:
    """The text in capitals."""
    return said("uppercase", common)


def titlecase(**common: Unpack[Common]) -> PerturbationCall:
    """Each word with a capital: "who wrote it" → "Who Wrote It"."""
    return said("titlecase", common)


# -- words, punctuation, numbers


def drop_words(*, prob: Number = 0.1, **common: Unpack[Common]) -> PerturbationCall:
    """Words go missing, with probability `prob` each; one of a text always stays."""
    return said("drop_words", common, prob=prob)


def swap_words(*, prob: Number = 0.1, **common: Unpack[Common]) -> PerturbationCall:
    """Neighbouring words change places: "who wrote it" → "wrote who it"; `prob` is per pair."""
    return said("swap_words", common, prob=prob)


def repeat_words(*, prob: Number = 0.1, **common: Unpack[Common]) -> PerturbationCall:
    """Words are said twice, with probability `prob` each: "who wrote it" → "who who wrote it"."""
    return said("repeat_words", common, prob=prob)


def punctuation(*, prob: Number = 0.3, mode: Word = "drop", **common: Unpack[Common]) -> PerturbationCall:
    """Marks are dropped, doubled or inserted, as `mode` says; `prob` is per mark, or per word for "insert"."""
    return said("punctuation", common, prob=prob, mode=mode)


def change_numbers(*, prob: Number = 1.0, **common: Unpack[Common]) -> PerturbationCall:
    """Numbers become others with as many digits. This changes what is asked, and counts as no robustness."""
    return said("change_numbers", common, prob=prob)


# -- what a reader does not see


def homoglyphs(*, prob: Number = 0.1, alphabet: Word = "cyrillic", **common: Unpack[Common]) -> PerturbationCall:
    """Latin letters become ones that look the same, of the alphabet "cyrillic", "greek" or "both"."""
    return said("homoglyphs", common, prob=prob, alphabet=alphabet)


def zero_width(*, prob: Number = 0.1, **common: Unpack[Common]) -> PerturbationCall:
    """Characters without width come between the letters, with probability `prob` after each."""
    return said("zero_width", common, prob=prob)
