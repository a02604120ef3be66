"""Display of untrusted text: invisible characters are replaced by their code points."""

import unicodedata
from collections.abc import Iterable

# controls, formats (zero width, direction), line and paragraph separators, unassigned and private characters
_INVISIBLE = ("Cc", "Cf", "Co", "Cn", "Zl", "Zp")


def show_invisible(text: str) -> str:
    r"""Return the text with each invisible character replaced by its code point.

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
    r"""Map each text to a unique label: one line of at most `longest` characters, without invisible characters.

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
