"""Characters that leave no mark, or move others: a text of someone else's is shown with their names instead."""

import unicodedata

# controls, formats (zero width, direction), spaces other than the usual one, unassigned and private
_UNSEEN = ("Cc", "Cf", "Co", "Cn", "Zl", "Zp")


def seen(text: str) -> str:
    r"""The text with characters that leave no mark named.

    >>> seen("a\u200bb\x1b[31m")
    'a⟨U+200B⟩b⟨U+001B⟩[31m'
    """
    if text.isprintable():
        return text
    return "".join(
        f"⟨U+{ord(each):04X}⟩" if unicodedata.category(each) in _UNSEEN and each not in "\n\t" else each
        for each in text
    )
