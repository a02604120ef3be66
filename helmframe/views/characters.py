"""Characters that leave no mark, or move others: a text of someone else's is shown with their names instead."""

import unicodedata
from collections.abc import Iterable

# controls, formats (zero width, direction), spaces other than the usual one, unassigned and private
_INVISIBLE = ("Cc", "Cf", "Co", "Cn", "Zl", "Zp")


def show_invisible(text: str) -> str:
    r"""The text with characters that leave no mark named.

    >>> show_invisible("a\u200bb\x1b[31m")
    'a⟨U+200B⟩b⟨U+001B⟩[31m'
    """
    if text.isprintable():
        return text
    return "".join(
        f"⟨U+{ord(character):04X}⟩"
        if unicodedata.category(character) in _INVISIBLE and character not in "\n\t"
        else character
        for character in text
    )


def display_labels(texts: Iterable[str], longest: int = 80) -> dict[str, str]:
    r"""Each text as a label: one line, of at most so many characters, the unseen ones named; no two alike.

    >>> display_labels(["a\u202eb", "one\ntwo"])
    {'a\u202eb': 'a⟨U+202E⟩b', 'one\ntwo': 'one two'}
    """
    shown: dict[str, str] = {}
    for text in dict.fromkeys(texts):
        line = show_invisible(" ".join(text[: 4 * longest].split()))
        short = line if len(line) <= longest and len(text) <= 4 * longest else f"{line[: longest - 1]}…"
        taken = set(shown.values())
        numbered = (f"{short} ({number})" for number in range(2, len(shown) + 3))
        shown[text] = short if short not in taken else next(label for label in numbered if label not in taken)
    return shown
