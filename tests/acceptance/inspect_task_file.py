"""Tasks for Inspect with the solvers, scorers and epochs that its packages use."""

from inspect_ai import Epochs, Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, GenerateConfig
from inspect_ai.scorer import (
    Score,
    Scorer,
    Target,
    accuracy,
    answer,
    choice,
    exact,
    f1,
    grouped,
    includes,
    match,
    math,
    mean,
    model_graded_fact,
    model_graded_qa,
    pattern,
    scorer,
)
from inspect_ai.solver import (
    Generate,
    Solver,
    TaskState,
    assistant_message,
    chain,
    chain_of_thought,
    generate,
    multiple_choice,
    prompt_template,
    self_critique,
    solver,
    system_message,
    user_message,
)

SUMS = MemoryDataset(
    [
        Sample(input=f"What is {n} + {n * n}?", target=str(n + n * n), id=f"sum-{n}", metadata={"n": n, "kind": "sum"})
        for n in range(1, 13)
    ]
)
WORDS = MemoryDataset(
    [
        Sample(
            input="The capital of France?",
            target=["Paris", "the city of Paris"],
            metadata={"hint": {"name": ["It's {old}."]}},
        ),
        Sample(input="A number with braces {x}?", target="3.140", metadata={"hint": None}),
        Sample(input="Who wrote it?", target="A. N. Other", metadata={"hint": {"name": ["Ada", "Bob"]}}),
        Sample(input="Ünïcode?", target="Straße", metadata={"hint": {"name": [5, 2.50]}}),
        Sample(input="Yes or no?", target="Yes"),
        Sample(input="An article?", target="the"),
    ]
)
WORDS_WITHOUT_LISTS = WORDS.filter(lambda sample: isinstance(sample.target, str))
OPTIONS = MemoryDataset(
    [
        Sample(
            input=f"Which are at least {n}?", choices=["one", "two", "three", "four"][: 3 + n % 2], target=["B", "C"]
        )
        for n in range(5)
    ]
)


@task
def match_numeric() -> Task:
    return Task(SUMS, solver=[prompt_template("{prompt}\nNumber {n:03d}."), generate()], scorer=match(numeric=True))


@task
def match_locations() -> Task:
    scorers = [match("begin"), match("any", ignore_case=False), match("exact"), match("any", numeric=True)]
    return Task(WORDS, solver=generate(), scorer=scorers)


@task
def reasoning() -> Task:
    return Task(SUMS, solver=[chain_of_thought(), generate()], scorer=[answer("line"), answer("word"), includes()])


@task
def letters() -> Task:
    dataset = MemoryDataset([Sample(input=f"Letter {n}", target="ABC"[n % 3]) for n in range(6)])
    return Task(dataset, solver=generate(), scorer=answer("letter"))


@task
def patterns() -> Task:
    scorers = [
        pattern(r"####\s*(.+)"),
        pattern(r"(\w+)[ .,]+(\w+)?"),
        pattern(r"\w+", ignore_case=False),
        pattern(r"(\w+)(?: or (\w+))?", match_all=True),
    ]
    return Task(WORDS, solver=generate(), scorer=scorers)


@task
def words() -> Task:
    scorers = [exact(), f1(), f1(stop_words=["or", "city"])]
    return Task(WORDS, solver=[system_message("Be brief. {hint} {hint[name][0]} {other}"), generate()], scorer=scorers)


@task
def examples() -> Task:
    solver = chain(
        system_message("First {kind}."),
        system_message("Second {tone}.", tone="calm"),
        user_message("An example?"),
        assistant_message("An answer to {n}."),
        user_message("And {n!r:>4}?"),
        prompt_template("Please: {prompt} {kind}", kind="parameter"),
        generate(temperature=0.5, max_tokens=20),
    )
    return Task(SUMS, solver=solver, scorer=match(), config=GenerateConfig(top_p=0.9))


@task
def messages() -> Task:
    turns = [
        ChatMessageSystem(content="You add."),
        ChatMessageUser(content="1 + 1?"),
        ChatMessageAssistant(content="2"),
    ]
    samples = [Sample(input=[*turns, ChatMessageUser(content=f"{n} + 2?")], target=str(n + 2)) for n in range(4)]
    return Task(MemoryDataset(samples), solver=[prompt_template("Q: {prompt}"), generate()], scorer=includes())


@task
def several_correct() -> Task:
    return Task(OPTIONS, solver=multiple_choice(multiple_correct=True), scorer=choice())


@task
def several_correct_reasoning() -> Task:
    return Task(OPTIONS, solver=multiple_choice(multiple_correct=True, cot=True), scorer=choice())


@task
def many_options() -> Task:
    choices = [f"option {n}" for n in range(28)]
    samples = [Sample(input=f"Option {n}?", choices=choices, target=target) for n, target in enumerate(["A", "Z", "1"])]
    return Task(MemoryDataset(samples), solver=multiple_choice(cot=True), scorer=choice())


@task
def option_letters() -> Task:
    samples = [Sample(input=f"Option {n}?", choices=["x", "y", "z"], target="ABC"[n % 3]) for n in range(6)]
    return Task(MemoryDataset(samples), solver=multiple_choice(), scorer=[answer("letter"), choice()])


@task
def epochs_mode() -> Task:
    return Task(SUMS, solver=generate(), scorer=match(numeric=True), epochs=Epochs(3, ["mode", "max", "median"]))


@task
def epochs_pass() -> Task:
    reducers = ["mean", "pass_at_1", "pass_at_2", "at_least_2"]
    return Task(SUMS, solver=generate(), scorer=[includes(), match()], epochs=Epochs(4, reducers))


@task
def by_group() -> Task:
    return Task(SUMS, solver=generate(), scorer=match(numeric=True), metrics=[grouped(mean(), "kind")])


@task
def mathematics() -> Task:
    targets = [r"\frac{1}{2}", "3", "x + 1", r"\sqrt{2}"]
    samples = [Sample(input=f"Solve {n}.", target=target) for n, target in enumerate(targets)]
    return Task(MemoryDataset(samples), solver=generate(), scorer=math())


@task
def graded(partial: bool = False) -> Task:
    return Task(WORDS_WITHOUT_LISTS, solver=generate(), scorer=model_graded_qa(partial_credit=partial))


@task
def graded_facts() -> Task:
    return Task(WORDS_WITHOUT_LISTS, solver=generate(), scorer=model_graded_fact(model="mockllm/grader"))


@solver
def own_solver() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        return await generate(state)

    return solve


@scorer(metrics=[accuracy()])
def own_scorer() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        return Score(value=state.output.completion == target.text)

    return score


@task
def with_own_solver() -> Task:
    return Task(SUMS, solver=[system_message("x"), own_solver()], scorer=match())


@task
def with_own_scorer() -> Task:
    return Task(SUMS, solver=generate(), scorer=own_scorer())


@task
def with_sandbox() -> Task:
    return Task(SUMS, solver=generate(), scorer=match(), sandbox="local")


@task
def with_two_calls() -> Task:
    return Task(SUMS, solver=[generate(), self_critique()], scorer=match())
