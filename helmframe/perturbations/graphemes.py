"""What each code point is, and where a reader sees a character begin: Unicode's categories and grapheme clusters."""

import unicodedata
from functools import cache

from helmframe.perturbations.arrays import Bytes, Flags, Numbers, Points

LETTER, UPPER, DIGIT, SPACE, PUNCTUATION, EXTENDS, JOINS, CONTROL = (1 << bit for bit in range(8))


def kinds(points: Points) -> Bytes:
    """What each code point is, as bits: LETTER, UPPER, DIGIT, SPACE, PUNCTUATION, EXTENDS, JOINS, CONTROL."""
    import numpy as np

    places: Points = np.minimum(points, 0x20000) + (points >= 0xE0000)
    return _kinds()[places]


def other_case(points: Points) -> Points:
    """Each code point in the other case; itself where it has none, or one that does not lead back (ß, ς)."""
    import numpy as np

    table = _other_cases()
    return np.where(points < len(table), table[np.minimum(points, len(table) - 1)], points)


def begins(points: Points, rows: Numbers) -> Flags:
    """Where a character begins, near to UAX #29; where in doubt, together (consonants joined by a virama)."""
    import numpy as np

    begins = np.ones(len(points), bool)
    if len(points) < 2:
        return begins
    crlf = (points[1:] == 0x0A) & (points[:-1] == 0x0D)
    begins[1:] = ~crlf
    if points.max() >= 0x300:
        kind = kinds(points)
        extends = (kind[1:] & EXTENDS > 0) & (kind[:-1] & CONTROL == 0)
        # a virama joins over other marks that follow it
        place = np.arange(len(points))
        last_joining = np.maximum.accumulate(np.where(kind & JOINS > 0, place, -1))
        last_base = np.maximum.accumulate(np.where(kind & EXTENDS == 0, place, -1))
        joined = (last_joining >= last_base)[:-1] & (kind[1:] & CONTROL == 0) & (last_joining[:-1] >= 0)
        begins[1:] &= ~(extends | joined | _syllable(points) | _flag(points, rows))
    begins[1:] |= rows[1:] != rows[:-1]
    return begins


def _syllable(points: Points) -> Flags:
    """Where a Hangul vowel or final goes on with the syllable before it."""
    before, after = points[:-1], points[1:]
    block = (before >= 0xAC00) & (before <= 0xD7A3)
    open_block: Flags = block & ((before - 0xAC00) % 28 == 0)
    after_leading = _leading(before) & (_leading(after) | _vowel(after) | (after >= 0xAC00) & (after <= 0xD7A3))
    after_vowel = (_vowel(before) | open_block) & (_vowel(after) | _final(after))
    return after_leading | after_vowel | (_final(before) | block & ~open_block) & _final(after)


def _leading(points: Points) -> Flags:
    return (points >= 0x1100) & (points <= 0x115F) | (points >= 0xA960) & (points <= 0xA97C)


def _vowel(points: Points) -> Flags:
    return (points >= 0x1160) & (points <= 0x11A7) | (points >= 0xD7B0) & (points <= 0xD7C6)


def _final(points: Points) -> Flags:
    return (points >= 0x11A8) & (points <= 0x11FF) | (points >= 0xD7CB) & (points <= 0xD7FB)


def _flag(points: Points, rows: Numbers) -> Flags:
    """Where the second letter of a flag follows its first."""
    import numpy as np

    letter: Flags = (points >= 0x1F1E6) & (points <= 0x1F1FF)
    if not letter.any():
        return np.zeros(len(points) - 1, bool)
    opens = letter.copy()
    opens[1:] &= ~(letter[:-1] & (rows[1:] == rows[:-1]))
    place = np.arange(len(points))
    since_opened: Numbers = place - np.maximum.accumulate(np.where(opens, place, 0))
    second: Flags = since_opened % 2 == 1
    return (letter & second)[1:]


@cache
def _kinds() -> Bytes:
    """The kind of each code point below 0x20000; of those above (Chinese); of those from 0xE0000 on (tags)."""
    import numpy as np

    of_category = {
        "Lu": LETTER | UPPER, "Lt": LETTER | UPPER, "Ll": LETTER, "Lm": LETTER, "Lo": LETTER, "Nd": DIGIT,
        "Mn": EXTENDS, "Mc": EXTENDS, "Me": EXTENDS, "Cc": CONTROL, "Zl": CONTROL | SPACE, "Zp": CONTROL | SPACE,
        "Zs": SPACE, "Cf": CONTROL, "Pc": PUNCTUATION, "Pd": PUNCTUATION, "Ps": PUNCTUATION, "Pe": PUNCTUATION,
        "Pi": PUNCTUATION, "Pf": PUNCTUATION, "Po": PUNCTUATION,
    }  # fmt: skip
    table = np.array([of_category.get(unicodedata.category(chr(point)), 0) for point in range(0x20000)], np.uint8)
    table[[0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0x1F, 0x85]] |= SPACE
    table[[0x200C, *range(0x1F3FB, 0x1F400)]] = EXTENDS
    table[[0xFF9E, 0xFF9F, 0x0E33, 0x0EB3]] = EXTENDS | LETTER
    table[0x200D] = EXTENDS | JOINS
    viramas = [point for point in range(0x20000) if unicodedata.combining(chr(point)) == 9]
    table[viramas] |= JOINS
    table[[*range(0x0600, 0x0606), 0x06DD, 0x070F, 0x08E2, 0x110BD, 0x110CD]] = JOINS  # signs before what they mark
    return np.append(table, np.array([LETTER, EXTENDS], np.uint8))


@cache
def _other_cases() -> Points:
    import numpy as np

    table = np.arange(0x20000, dtype=np.uint32)
    for point in range(0x20000):
        other = chr(point).swapcase()
        if len(other) == 1 and other.swapcase() == chr(point):
            table[point] = ord(other)
    return table
