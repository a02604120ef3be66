"""Resume a run that was killed: run this file again. Support: built in.

`use_cache` stores the completions. A model must pass each completion to the cache, else a killed run stores none.
"""

from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from own_csv import TASK
from own_function import UserModel


class CachedModel(UserModel):
    """The model, with its completions in the cache as soon as they exist."""

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Return a completion per request."""
        completions = []
        for request in requests:
            completions += super().generate_until([request])
            self.cache_hook.add_partial("generate_until", request.args, completions[-1])
        return completions


results = simple_evaluate(CachedModel(), tasks=[TASK], use_cache="cache/questions")
print(results["n-samples"]["questions"]["effective"])
