"""Add a perturbation and measure its effect. Support: by hand.

Inspect has no perturbations. A second task changes its samples, and the difference of the two scores is the effect.
"""

import own_function  # noqa: F401 registers the model
from inspect_ai import Task, eval, task
from inspect_ai.solver import Generate, Solver, TaskState, chain, generate, solver
from own_csv import questions


@solver
def shouting() -> Solver:
    """Convert the question to capitals."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state.user_prompt.text = state.user_prompt.text.upper()
        return state

    return solve


@task
def shouted() -> Task:
    """Return the questions in capitals."""
    return Task(dataset=questions().dataset, solver=chain(shouting(), generate()), scorer=questions().scorer)


logs = eval([questions(), shouted()], model="user/answer", display="none")
original, changed = (log.results.scores[0].metrics["accuracy"].value for log in logs)
print({"original": original, "shouting": changed, "change": changed - original})
