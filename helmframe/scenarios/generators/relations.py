"""Numbers that follow a relation: given some points of it, what is its value at another?"""

import random

RELATIONS = ("linear", "parabola", "plane", "paraboloid")
_SPLITS = (("train", 100), ("test", 500))
_POINTS = 8
_COEFFICIENTS, _VALUES = 5, 10


def relations(relation: str) -> list[dict[str, str]]:
    """100 train and 500 test instances: eight points of a relation with whole coefficients, and the place of a ninth.

    y = ax + b, y = ax² + bx + c, z = ax + by + c, or z = ax² + by² + c. The task is HELM's (Liang et al. 2022,
    numeracy); its code is in no release any more, so the instances are ours: keyed by relation, split and place.
    """
    return [_row(relation, split, place) for split, count in _SPLITS for place in range(count)]


def _row(relation: str, split: str, place: int) -> dict[str, str]:
    stream = random.Random(f"numeracy {relation} {split} {place}")  # noqa: S311 - keyed, no secret
    a, b, c = (stream.randint(1, _COEFFICIENTS) for _ in range(3))
    two = relation in ("plane", "paraboloid")
    grid = [(x, y) for x in range(_VALUES) for y in (range(_VALUES) if two else (0,))]
    points = stream.sample(grid, _POINTS + 1)
    lines = []
    for x, y in points:
        if relation == "linear":
            value = a * x + b
        elif relation == "parabola":
            value = a * x * x + b * x + c
        elif relation == "plane":
            value = a * x + b * y + c
        else:
            value = a * x * x + b * y * y + c
        lines.append((f"({x}, {y})" if two else str(x), str(value)))
    *shown, (asked, target) = lines
    return {"split": split, "input": "\n".join([*map(" -> ".join, shown), f"{asked} ->"]), "target": target}
