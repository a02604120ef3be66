"""Several sentences, one queue."""

from dataclasses import dataclass

from helmframe.engines import local
from helmframe.engines.background import Run
from helmframe.errors import ArgumentError
from helmframe.models.budget import Budget, Prices
from helmframe.plan import Plan
from helmframe.results import Results


@dataclass(frozen=True)
class Suite:
    """Plans that run together: requests to the same model share its queue and fill the same batches."""

    plans: tuple[Plan, ...]

    def score(
        self,
        *,
        fresh: bool = False,
        max_requests: int | None = None,
        max_cost: float | None = None,
        prices: Prices | None = None,
        priority: int = 0,
    ) -> Results:
        """Run all plans side by side; one `Results` for all of them. Arguments as for `Plan.score`.

        What a model can't do is left out and told (`results.manifest["left_out"]`), and the rest goes on.
        """
        return local.run(self.plans, fresh=fresh, budget=Budget(max_requests, max_cost, prices, priority))

    def submit(
        self,
        *,
        fresh: bool = False,
        max_requests: int | None = None,
        max_cost: float | None = None,
        prices: Prices | None = None,
        priority: int = 0,
    ) -> Run:
        """As `score`, in the background."""
        return Run.start(self.plans, budget=Budget(max_requests, max_cost, prices, priority), fresh=fresh)

    def results(self) -> Results:
        """What the store has of them now; asks nothing."""
        return local.run(self.plans, ask=False)

    def explain(self) -> str:
        """What each plan would do."""
        return "\n\n".join(plan.explain() for plan in self.plans)


def suite(*plans: Plan) -> Suite:
    """Several plans as one.

    Raises:
        ArgumentError: none, or something that is no plan.
    """
    for plan in plans:
        if not isinstance(plan, Plan):
            raise ArgumentError(f"hf.suite({plan!r}): give plans, as hf.scenario(…) makes them.")
    if not plans:
        raise ArgumentError("hf.suite(): give at least one plan.")
    return Suite(tuple(dict.fromkeys(plans)))
