"""Abstract patterns: which one made a result, what one makes, or which one two results share."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MODES = ("pattern_match", "variable_substitution", "induction")
_SYMBOLS = ("X", "Y", "Z")
_SIGNS = ("+", "-", "*", "=")
_ANIMALS = "zebra cobra stork penguin shark lion buffalo whale seal eagle horse rat"
_FRUITS = "apple peach watermelon banana grape kiwi pear strawberry blueberry blackberry"
_WORDS = (*_ANIMALS.split(), *_FRUITS.split())
_SPLITS = (("train", 1000), ("valid", 5000), ("test", 5000))
_SEED = 42


def patterns(mode: str) -> list[dict[str, str]]:
    """1,000 train, 5,000 valid and 5,000 test instances of one mode.

    Source: after Wu et al. 2021 (LIME); HELM, synthetic_reasoning_scenario.py, whose random stream is drawn from in
    its order.
    """
    import numpy as np

    stream = np.random.RandomState(_SEED)
    rows = []
    for split, count in _SPLITS:
        for _ in range(count):
            text, target = _problem(stream, mode)
            rows.append({"split": split, "input": text, "target": target})
    return rows


def _problem(stream: "np.random.RandomState", mode: str) -> tuple[str, str]:
    drawn = _some(stream, _SYMBOLS, stream.randint(2, 4))
    symbols = sorted(set(drawn))
    signs = _some(stream, _SIGNS, stream.randint(2, 4))
    pattern = _shuffled(stream, [*drawn, *signs])
    first, second = _substitutes(stream, symbols), _substitutes(stream, symbols)
    said, result = " ".join(pattern), _result(pattern, first)
    if mode == "induction":
        return f"Two results: {result} | {_result(pattern, second)}", f"Rule: {said}"
    if mode == "variable_substitution":
        by = " , ".join(f'{symbol} by " {words} "' for symbol, words in first.items())
        return f"Rules: {said} | Substitutions: {by}", result
    others = [" ".join(_shuffled(stream, [*symbols, *signs])) for _ in range(3)]
    return f"Rules: {' | '.join(_shuffled(stream, [*others, said]))} | Result: {result}", said


def _some(stream: "np.random.RandomState", of: tuple[str, ...], count: int) -> list[str]:
    return [of[place] for place in stream.randint(0, len(of), size=count)]


def _shuffled(stream: "np.random.RandomState", texts: list[str]) -> list[str]:
    stream.shuffle(texts)
    return texts


def _substitutes(stream: "np.random.RandomState", symbols: list[str]) -> dict[str, str]:
    """One or two words for each symbol."""
    return {symbol: " ".join(_some(stream, _WORDS, stream.randint(1, 3))) for symbol in symbols}


def _result(pattern: list[str], substitutes: dict[str, str]) -> str:
    return " ".join(substitutes.get(each, each) for each in pattern)
