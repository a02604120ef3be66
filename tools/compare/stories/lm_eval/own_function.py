"""Evaluate a Python function as a model. Support: built in."""

from collections.abc import Callable

from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.utils import make_table
from user_model import answer


class UserModel(LM):
    """A model that calls a function."""

    def __init__(self, function: Callable[[str], str] = answer) -> None:
        super().__init__()
        self.function = function

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Return a completion per request."""
        return [self.function(request.args[0]) for request in requests]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Refuse: functions return text only."""
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Refuse: functions return text only."""
        raise NotImplementedError


if __name__ == "__main__":
    from own_csv import TASK

    print(make_table(simple_evaluate(UserModel(), tasks=[TASK])))
