"""Metrics of answers that are one number."""

import re
from decimal import Decimal

from helmframe.metrics.match import HELM
from helmframe.metrics.protocol import metric

_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")


@metric("final_number_equal", source="as HELM's final_number_exact_match, mended", correctness=True)
def final_number_equal(output: str, gold: str) -> float:
    """1 where the last number of the output equals the last number of the reference, as numbers.

    "about $1,200.00." against "#### 1200" is 1; `final_number_exact_match` compares their digits. A minus after a digit
    is a hyphen: the last number of "3-4" is 4.
    """
    output_number, gold_number = last_number(output), last_number(gold)
    return float(output_number is not None and output_number == gold_number)


@metric(
    "absolute_value_difference", unit="difference", higher_is_better=False, range=(0.0, None), source=HELM,
    helm="absolute_value_difference",
)  # fmt: skip
def absolute_value_difference(output: str, gold: str) -> float:
    """How far the output is from the reference, as whole numbers: "1,010" against "1000" is 10.

    HELM's: what is no whole number counts as 0. Of several references the nearest counts; HELM takes the farthest.
    """
    return float(abs(_whole(output) - _whole(gold)))


def last_number(text: str) -> Decimal | None:
    """The last number in the text; None where there is none.

    >>> last_number("from 3-4 to 1,250.50 dollars")
    Decimal('1250.50')
    """
    match = None
    for match in _NUMBER.finditer(text):  # noqa: B007 - the last is wanted
        pass
    if match is None:
        return None
    number = match[0].replace(",", "")
    after_digit = match.start() > 0 and text[match.start() - 1].isalnum()
    return Decimal(number.removeprefix("-") if after_digit else number)


def _whole(text: str) -> int:
    try:
        return int(text.replace(",", ""))
    except ValueError:
        return 0
