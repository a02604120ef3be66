"""The cases: what each tool runs, and the figure that the page compares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tools.compare.environments import TOOLS
from tools.compare.rows import Sizes

STORIES = {
    "own_function": "own function as a model",
    "own_csv": "own CSV file",
    "new_perturbation": "new perturbation",
    "paired_comparison": "paired comparison of two models",
    "resume": "resume after a crash",
    "dashboard": "table and page of all results",
}
STORY_TOOLS = ("helmframe", "helm", "lm_eval", "inspect")
_LISTINGS = {
    "helmframe": ("-m", "helmframe", "list", "scenarios"),
    "lm_eval": ("-m", "lm_eval", "ls", "tasks"),
    "lighteval": ("-m", "tools.compare.workers.lighteval", "listing"),
    "evalscope": ("-m", "evalscope.cli.cli", "benchmark-info", "--list"),
}


@dataclass(frozen=True)
class Case:
    """A case: one subprocess per tool and repeat.

    Attributes:
        name: The name for `--only`.
        title: The name on the page.
        group: The section of the page.
        figure: The figure that the page compares.
        n: Tool → number of rows.
        commands: Tool → arguments of its Python.
        lower: Whether a lower figure is better.
        absent: Tool → why it has no figure.
    """

    name: str
    title: str
    group: str
    figure: str
    n: Mapping[str, int]
    commands: Mapping[str, Sequence[str]]
    lower: bool = True
    absent: Mapping[str, str] = field(default_factory=dict)


def cases(sizes: Sizes) -> list[Case]:
    """Return all cases, for a number of rows each."""
    *both, largest = sizes.overhead
    tools = ("helmframe", "helm", "lm_eval", "inspect", "lighteval", "evalscope")
    likelihood = {name: f"{TOOLS[name].title} scores no likelihoods of options" for name in ("inspect", "evalscope")}
    return [
        _worker("mmlu", "MMLU {n:,} questions, 5-shot", "end to end", "wall_s", tools, sizes.mmlu),
        _worker(
            "hellaswag",
            "HellaSwag {n:,} contexts, likelihoods of endings",
            "end to end",
            "wall_s",
            [name for name in tools if name not in likelihood],
            sizes.hellaswag,
            absent=likelihood,
        ),
        *(
            _worker(f"overhead_{n}", "instant model, {n:,} instances", "overhead", "wall_s", tools, n, run="overhead")
            for n in both
        ),
        _worker(
            f"overhead_{largest}",
            "instant model, {n:,} instances",
            "overhead",
            "wall_s",
            tools[:1],
            largest,
            run="overhead",
            absent=dict.fromkeys(tools[1:], "not run at this size"),
        ),
        _worker("startup", "start to the first request", "start", "first_request_s", tools, 5, run="overhead"),
        Case(
            "listing",
            "list all scenarios or tasks",
            "start",
            "wall_s",
            dict.fromkeys(_LISTINGS, 0),
            _LISTINGS,
            absent={"helm": "HELM has no such command", "inspect": "Inspect lists the tasks of a folder only"},
        ),
        _worker("perturbations", "perturb {n:,} questions", "perturbations", "", tools[:2], sizes.texts, lower=False),
        _worker("metrics", "score {n:,} pairs of texts", "metrics", "", tools[:2], sizes.texts, lower=False),
        Case(
            "table",
            "read all results into one frame",
            "results",
            "rows_per_s",
            {"helmframe": sizes.table, "inspect": sizes.inspect_table},
            {name: ("-m", f"tools.compare.workers.{name}", "table") for name in ("helmframe", "inspect")},
            lower=False,
        ),
        Case(
            "bucket",
            "read one subject of a table in a bucket",
            "bucket",
            "read_s",
            {"helmframe": largest, "datasets": largest, "datasets_filters": largest},
            {
                "helmframe": ("-m", "tools.compare.workers.helmframe", "bucket"),
                "datasets": ("-m", "tools.compare.workers.datasets", "bucket"),
                "datasets_filters": ("-m", "tools.compare.workers.datasets", "bucket_filters"),
            },
        ),
        Case(
            "resume",
            "resume {n:,} requests after `kill -9`",
            "resume",
            "repeated",
            dict.fromkeys(STORY_TOOLS, sizes.questions),
            dict.fromkeys(STORY_TOOLS, ("resume.py",)),
        ),
        *(
            Case(
                f"story_{name}",
                title,
                "stories",
                "lines",
                dict.fromkeys(STORY_TOOLS, 0),
                dict.fromkeys(STORY_TOOLS, (f"{name}.py",)),
            )
            for name, title in STORIES.items()
        ),
        Case(
            "install",
            "install for local models",
            "install",
            "megabytes",
            dict.fromkeys(tools, 0),
            dict.fromkeys(tools, ()),
        ),
    ]


def _worker(
    name: str,
    title: str,
    group: str,
    figure: str,
    tools: Sequence[str],
    n: int,
    *,
    run: str = "",
    lower: bool = True,
    absent: Mapping[str, str] | None = None,
) -> Case:
    commands = {tool: ("-m", f"tools.compare.workers.{tool}", run or name) for tool in tools}
    return Case(name, title, group, figure, dict.fromkeys(tools, n), commands, lower, absent or {})
