"""The decorator that makes a function the check of an instruction, and the call of a check by name."""

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from helmframe._core.registry import Registry
from helmframe.errors import ArgumentError

Check = Callable[..., bool]

INSTRUCTIONS: Registry[Check] = Registry("instruction", "Add one with @instruction.")

_RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "less than": lambda count, limit: count < limit,
    "at least": lambda count, limit: count >= limit,
}


def instruction(name: str) -> Callable[[Check], Check]:
    """Register a function (response, *, …) -> bool as the check of the instruction of this name."""

    def register(check: Check) -> Check:
        INSTRUCTIONS.add(name, check)
        return check

    return register


def follows(response: str, name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a response follows the instruction.

    Args:
        response: what the model wrote; an empty one follows nothing.
        name: as IFEval has it: "length_constraints:number_words".
        arguments: its arguments; null ones are left out, and so are those that it has not.

    Raises:
        UnknownNameError: no instruction is called that.
        ArgumentError: an argument is missing.
    """
    check = INSTRUCTIONS[name]
    parameters = [
        name_of_parameter for name_of_parameter in signature(check).parameters if name_of_parameter != "response"
    ]
    values = {
        name_of_parameter: arguments[name_of_parameter]
        for name_of_parameter in parameters
        if arguments.get(name_of_parameter) is not None
    }
    missing = [name_of_parameter for name_of_parameter in parameters if name_of_parameter not in values]
    if missing:
        raise ArgumentError(f"instruction {name!r} needs {', '.join(missing)}; its kwargs don't say.")
    return response.strip() != "" and check(response, **values)


def holds(count: int, relation: str, limit: int) -> bool:
    """Whether the count is "less than" or "at least" the limit.

    Raises:
        ArgumentError: another relation.
    """
    if relation not in _RELATIONS:
        raise ArgumentError.unknown_value(f"no relation is called {relation!r}", relation, _RELATIONS)
    return _RELATIONS[relation](count, limit)
