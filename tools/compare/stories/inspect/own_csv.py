"""Score a model on the questions of a CSV file. Support: built in."""

from inspect_ai import Task, eval, task
from inspect_ai.dataset import FieldSpec, csv_dataset
from inspect_ai.scorer import match
from inspect_ai.solver import generate


@task
def questions() -> Task:
    """Return the rows of questions.csv."""
    dataset = csv_dataset("questions.csv", FieldSpec(input="question", target="answer"))
    return Task(dataset=dataset, solver=generate(), scorer=match())


if __name__ == "__main__":
    import own_function  # noqa: F401 registers the model

    print(eval(questions(), model="user/answer", display="none")[0].results)
