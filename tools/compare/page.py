"""The page docs/benchmarks.md and its charts, from the measurements alone."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl

from tools.compare.cases import STORY_TOOLS
from tools.compare.environments import TOOLS

TITLES = {**{name: tool.title for name, tool in TOOLS.items()}, "datasets_filters": "datasets with `filters=`"}
# figure → unit
UNITS = {
    "wall_s": "s",
    "cpu_s": "s",
    "peak_mb": "MB",
    "first_request_s": "s",
    "rows_per_s": "rows/s",
    "read_s": "s",
    "megabytes_read": "MB",
    "repeated": "requests",
    "rows_lost": "rows",
    "lines": "lines",
    "megabytes": "MB",
    "packages": "packages",
    "megabytes_core": "MB",
    "packages_core": "packages",
    "score": "",
}
OURS = "helmframe"
_SUPPORT = {0.0: "", 1.0: " by hand", 2.0: " not possible"}
# group → heading, and the sentences above its table
SECTIONS = {
    "end to end": (
        "End to end: MMLU and HellaSwag",
        (
            "SmolLM2-135M-Instruct without its chat template, in float32. Times are those of the whole process,"
            " with start and loading. For MMLU, helmframe, HELM and Inspect generate a letter, and lm-eval"
            " compares the likelihoods of four letters. HELM runs four threads (its default), lm-eval batches of"
            " 1, and Inspect 8 connections. Scores differ by a few questions: each tool uses its own prompts"
            " and its own rule for an answer."
        ),
    ),
    "overhead": (
        "Overhead of the framework",
        (
            "The model returns at once. Each tool builds 5-shot prompts of MMLU, runs them, scores them and"
            " writes its logs. HELM tokenizes the prompts, because it truncates them; the other tools don't."
            " lm-eval sends four requests per instance."
        ),
    ),
    "start": (
        "Start and listings",
        (
            "The first row is the time from the start of the process to the first request that the model"
            " receives. The run has 5 instances of MMLU."
        ),
    ),
    "perturbations": (
        "Perturbations",
        (
            "HELM's classes and helmframe's expressions, with the same arguments, on the same questions, in one"
            " process. Reading and starting are not counted. HELM's perturbations whose word lists are downloads"
            " are excluded."
        ),
    ),
    "metrics": (
        "Metrics",
        (
            "HELM's functions and helmframe's expressions, on the same pairs of reference and completion, in one"
            " process. A pass over all pairs is repeated for half a second, after one that isn't timed. BLEU runs"
            " without a split into sentences in both."
        ),
    ),
    "results": (
        "Result tables",
        (
            "`hf.load(folder).to_frame()` and Inspect's `samples_df(folder)`: one row per result, in a new process."
            " Rates exclude the start. Peak memory includes helmframe's aggregated table, `results.table()`."
        ),
    ),
    "bucket": (
        "One subject of a table in a bucket",
        (
            "The rows of all MMLU subjects are one Parquet file in a local S3 server (SeaweedFS). helmframe and"
            " the package `datasets` read the rows of one subject. Bytes are from the server's own counter."
        ),
    ),
    "resume": (
        "Resume after `kill -9`",
        (
            "The model takes 0.05 s per request. The process is killed at half of the requests, and the same file"
            " is run again. Repeated requests are those that the first process had completed. Lost rows are"
            " missing in the result."
            " helmframe writes completions every two seconds; `HELMFRAME_FLUSH_SECONDS` sets another interval."
        ),
    ),
    "stories": (
        "Six user stories",
        (
            "Lines of code and seconds of a runnable file per tool in"
            " [tools/compare/stories](../tools/compare/stories). Lines exclude docstrings, comments and blank"
            " lines. A story may import the data and the model of the first two stories. *By hand* means that the"
            " tool has no such feature, and that the file computes the result from the tool's outputs."
        ),
    ),
    "install": (
        "Install size",
        (
            "The package with all its requirements, without bytecode. The first row has what a local checkpoint"
            " needs, with torch and transformers."
        ),
    ),
}
# group → optional tool → the sentences that follow if the tool has figures
OPTIONAL = {
    "end to end": {
        "lighteval": "lighteval compares likelihoods of the same prompts as lm-eval, in batches of one instance.",
        "evalscope": "evalscope generates a letter, in batches of 1.",
    },
    "overhead": {"lighteval": "lighteval sends one request per instance, with four options."},
    "start": {
        "lighteval": (
            "lighteval runs without its tasks `tiny_benchmarks`, `mt_bench` and `mix_eval`: the import of the first one"
            " downloads a file, and the others fail with recent releases of `huggingface_hub`."
        )
    },
    "install": {"lighteval": "lighteval needs torch and transformers for every model."},
}
# the further figures of a section's table
FURTHER = {
    "end to end": ("cpu_s", "peak_mb", "score"),
    "overhead": ("cpu_s", "peak_mb"),
    "start": (),
    "perturbations": (),
    "metrics": (),
    "results": ("peak_mb",),
    "bucket": ("megabytes_read",),
    "resume": ("rows_lost",),
    "stories": ("wall_s",),
    "install": ("packages", "megabytes_core", "packages_core"),
}
_NAMES = {
    "wall_s": "wall time",
    "cpu_s": "CPU time",
    "peak_mb": "peak memory",
    "first_request_s": "time",
    "rows_per_s": "rate",
    "read_s": "time",
    "megabytes_read": "bytes read",
    "repeated": "requests sent twice",
    "rows_lost": "rows lost",
    "lines": "lines of code",
    "megabytes": "size",
    "packages": "packages",
    "megabytes_core": "size without local models",
    "packages_core": "packages without local models",
    "score": "score",
}
_HIGHER = {"score"}


@dataclass(frozen=True)
class Cell:
    """The median and the spread of a figure of one tool in one case."""

    middle: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Line:
    """One row of a table: a figure of a case, by tool."""

    case: str
    title: str
    group: str
    figure: str
    lower: bool
    cells: dict[str, Cell]

    @property
    def unit(self) -> str:
        """Return the unit of the figure; those of perturbations and metrics are rates."""
        return UNITS.get(self.figure, "per s")

    def factor(self, tool: str) -> float | None:
        """Return how many times better helmframe is than a tool; below 1 it is worse; None for incomparable figures."""
        if tool == OURS or OURS not in self.cells or tool not in self.cells or self.figure == "score":
            return None
        if self.lower and self.cells[OURS].n != self.cells[tool].n:
            return None  # times and sizes of other rows
        ours, theirs = self.cells[OURS].middle, self.cells[tool].middle
        above, below = (theirs, ours) if self.lower else (ours, theirs)
        if below == 0:
            return 1.0 if above == 0 else float("inf")
        return above / below

    def overlap(self, tool: str) -> bool:
        """Return whether the spreads of helmframe and a tool overlap."""
        ours, theirs = self.cells[OURS], self.cells[tool]
        return ours.low <= theirs.high and theirs.low <= ours.high


# Fewer repeats than this, or more cores in use by other processes, make figures preliminary.
_REPEATS, _BUSY = 3, 0.2


def write_page(measurements: Path, docs: Path) -> None:
    """Write benchmarks.md and the charts into the folder of the documentation."""
    table = pl.read_parquet(measurements)
    (docs / "benchmarks.md").write_text(build_page(table), encoding="utf-8")
    for mode in ("light", "dark"):
        draw(table, mode).save(docs / "images" / f"benchmarks-{mode}.svg")


def build_page(table: pl.DataFrame) -> str:
    """Return the page of a table of measurements."""
    lines = list(read(table))
    *titles, last = [TITLES[name] for name in TOOLS if name in STORY_TOOLS or name in _optional(lines)]
    parts = [
        f"# Benchmarks: {', '.join(titles)} and {last}",
        (
            "All tools run on the same machine, with the same rows and the same model. Each case is a process of its"
            " own, and the tools take turns. `make compare` measures again and writes this page from"
            " [the measurements](benchmarks/measurements.parquet)."
        ),
        (
            "Cells have the median, and the minimum and maximum in parentheses. × is the ratio to helmframe: above 1,"
            " helmframe is better; below 1, the other tool is better."
        ),
        *_warning(table),
        _picture(lines),
        "## Machine and versions",
        *_machine(table),
        "## Where helmframe loses",
        *_losses(lines),
    ]
    for group, (heading, text) in SECTIONS.items():
        selected = [line for line in lines if line.group == group]
        if selected:
            further = OPTIONAL.get(group, {})
            sentences = [text, *(further[name] for name in _optional(selected) if name in further)]
            parts += [f"## {heading}", " ".join(sentences), _table(selected), *_remarks(table, selected)]
    parts += ["## Measure again", _AGAIN]
    return "\n\n".join(part for part in parts if part) + "\n"


def _optional(lines: Sequence[Line]) -> list[str]:
    """Return the optional tools that have figures."""
    return [name for name, tool in TOOLS.items() if tool.optional and any(name in line.cells for line in lines)]


_AGAIN = """```sh
make compare                                  # rows from the Hugging Face Hub, five repeats
make compare DATA=folder REPEATS=3            # a folder in the Hub's layout: folder/mmlu/philosophy/test-….parquet
make compare ONLY="mmlu resume"               # some cases; the other rows of the file stay
python -m tools.compare agree second.parquet  # whether a second sitting is within the spread of this one
```

`ONLY` takes names of cases or the first letters of names. The command installs the tools into `build/compare/venvs`.
Pass `TOOLS="--python helm=PATH"` to use an existing environment."""


def read(table: pl.DataFrame) -> Iterator[Line]:
    """Yield a row per case and figure of the tables: the compared figure first."""
    values = table.filter(pl.col("value").is_not_null())
    for group in SECTIONS:
        cases = values.filter(group=group)
        for case in cases["case"].unique(maintain_order=True):
            rows = cases.filter(case=case)
            compared = rows.filter("compared")["figure"].unique(maintain_order=True).to_list()
            for figure in [*compared, *(name for name in FURTHER[group] if name in rows["figure"])]:
                selected = rows.filter(figure=figure)
                cells = {
                    str(tool): _cell(selected.filter(tool=tool))
                    for tool in selected["tool"].unique(maintain_order=True)
                }
                lower = figure not in _HIGHER and (
                    bool(rows["lower"][0]) or (figure in UNITS and figure not in compared)
                )
                yield Line(str(case), str(rows["title"][0]), group, figure, lower, cells)


def draw(table: pl.DataFrame, mode: str) -> Any:
    """Return the chart of wall times: a point per tool and case, with a line from minimum to maximum."""
    import altair as alt

    from helmframe.views.charts.offline import Chart, LayerChart
    from helmframe.views.charts.theme import SHAPES, apply_theme, look

    lines = [line for line in read(table) if _in_chart(line)]
    rows = [
        {"case": line.title, "tool": TITLES[tool], "median": cell.middle, "low": cell.low, "high": cell.high}
        for line in lines
        for tool, cell in line.cells.items()
    ]
    tools = [TITLES[name] for name in TITLES if any(name in line.cells for line in lines)]
    frame = pl.DataFrame(rows)
    scale = alt.Scale(domain=tools, range=list(look(mode).models[: len(tools)]))
    shapes = alt.Scale(domain=tools, range=list(SHAPES[: len(tools)]))
    y = alt.Y("case:N", title=None, sort=None)
    x = alt.X("median:Q", title="seconds, logarithmic", scale=alt.Scale(type="log"))
    colour = alt.Color("tool:N", title=None, scale=scale)
    spread = Chart(frame).mark_rule(strokeWidth=2).encode(y, alt.X("low:Q"), alt.X2("high:Q"), colour)
    points = Chart(frame).mark_point(filled=True, size=80, opacity=1).encode(y, x, colour)
    points = points.encode(alt.Shape("tool:N", title=None, scale=shapes))
    layers = LayerChart(layer=[spread, points]).properties(width=380, height=34 * len(lines))
    return apply_theme(layers, mode, "Wall time of the same work", ["median, minimum and maximum"])


def agreement(first: Path, second: Path) -> str:
    """Return which medians of a second sitting are outside the spread of the first, and by how much they differ."""
    before = {(line.case, line.figure): line for line in read(pl.read_parquet(first))}
    inside, near, outside = 0, 0, []
    for line in read(pl.read_parquet(second)):
        for tool, cell in line.cells.items():
            earlier = before.get((line.case, line.figure))
            if earlier is None or tool not in earlier.cells:
                continue
            spread = earlier.cells[tool]
            if spread.low <= cell.middle <= spread.high:
                inside += 1
            elif abs(cell.middle - spread.middle) <= _NEAR * spread.middle:
                near += 1
            else:
                outside.append(
                    f"{line.case} {line.figure} {tool}: {_number(cell.middle)}, {_spread(spread, line.unit)}"
                )
    total = inside + near + len(outside)
    return "\n".join(
        [
            f"{inside} of {total} medians are within the minimum and maximum of the first sitting,",
            f"{near} others differ by at most {_NEAR:.0%} from its median, {len(outside)} by more:",
            *outside,
        ]
    )


_NEAR = 0.2


def _cell(rows: pl.DataFrame) -> Cell:
    values = rows["value"].to_list()
    return Cell(median(values), min(values), max(values), int(rows["n"].max() or 0))  # type: ignore[arg-type]


def _in_chart(line: Line) -> bool:
    return line.group in ("end to end", "overhead", "start") and line.figure in ("wall_s", "first_request_s")


def _picture(lines: Sequence[Line]) -> str:
    if not any(map(_in_chart, lines)):
        return ""
    return (
        "<picture>\n"
        '  <source media="(prefers-color-scheme: dark)" srcset="images/benchmarks-dark.svg">\n'
        '  <img alt="Wall time of each tool and case, on a logarithmic axis"'
        ' src="images/benchmarks-light.svg" width="640">\n'
        "</picture>"
    )


def _warning(table: pl.DataFrame) -> Iterator[str]:
    """Yield a warning if the figures are of a busy machine, or of fewer than three repeats."""
    timed = table.filter(pl.col("value").is_not_null(), figure="wall_s")
    repeats = timed.group_by("case").agg(pl.col("repeat").max())["repeat"].to_list()
    loads = sorted(timed["other_load"].to_list())
    reasons = []
    if min(repeats, default=_REPEATS) < _REPEATS:
        reasons.append(f"Some cases ran fewer than {_REPEATS} times.")
    if loads and loads[len(loads) // 2] >= _BUSY:
        reasons.append(f"Other processes used {loads[len(loads) // 2]:.1f} cores.")
    if reasons:
        yield f"**These figures are preliminary.** {' '.join(reasons)} Don't draw conclusions from small differences."


def _machine(table: pl.DataFrame) -> Iterator[str]:
    sittings = table.filter(pl.col("value").is_not_null()).group_by("sitting", maintain_order=True)
    rows = []
    for (sitting,), frame in sittings:
        first = frame.row(0, named=True)
        timed = frame.filter(figure="wall_s")
        load = float(timed["other_load"].median() or 0) if timed.height else 0.0  # type: ignore[arg-type]
        rows.append(
            [
                f"{sitting:%Y-%m-%d %H:%M} UTC",
                ", ".join(_short_names(frame["case"].unique(maintain_order=True).to_list())),
                first["cpu"],
                str(first["cores"]),
                f"{first['memory_gb']:g} GB",
                first["system"],
                str(frame["repeat"].max()),
                f"{load:.1f}",
            ]
        )
    heads = ["sitting", "cases", "CPU", "cores", "memory", "system", "repeats", "cores in use by others"]
    yield _markdown(heads, rows)
    if any(float(row[-1]) >= _BUSY for row in rows):
        yield (
            "The last column is the median number of cores that other processes used during a case. Above 0.2, times"
            " are longer than on an idle machine, and the spread is wider."
        )
    versions: dict[str, dict[str, str]] = {}
    for tool, text in table.select("tool", "versions").unique(maintain_order=True).iter_rows():
        if text != "{}":
            versions[tool.removesuffix("_filters")] = json.loads(text)
    names = [name for name in TOOLS if name in versions]
    yield _markdown(
        ["environment", "versions"],
        [
            [TITLES[name], ", ".join(f"{key} {value}" for key, value in versions[name].items() if value)]
            for name in names
        ],
    )


def _losses(lines: Sequence[Line]) -> Iterator[str]:
    items = []
    for line in lines:
        for tool in line.cells:
            factor = line.factor(tool)
            if factor is None or factor >= 1 or _shared_value(line, tool):
                continue
            ours, theirs = line.cells[OURS], line.cells[tool]
            text = f"{_described(line)}: {_amount(ours.middle, line.unit)} against {_amount(theirs.middle, line.unit)}"
            overlap = " The spreads overlap." if line.overlap(tool) else ""
            items.append(f"- **{TITLES[tool]}**, {text}.{overlap}")
    if not items:
        yield "No other tool has a better median in any row of this page."
        return
    total = sum(1 for line in lines for tool in line.cells if line.factor(tool) is not None)
    share = f"{len(items)} of {total} comparisons"
    yield f"The other tool has the better median in {share}. The first figure is helmframe's."
    yield "\n".join(items)


def _shared_value(line: Line, tool: str) -> bool:
    return line.cells[OURS].middle == line.cells[tool].middle


def _described(line: Line) -> str:
    return f"{line.title}, {_NAMES.get(line.figure, line.figure)}"


def _table(lines: Sequence[Line]) -> str:
    tools = [name for name in TITLES if any(name in line.cells for line in lines)]
    rows = []
    for line in lines:
        cells = [_text(line, tool) for tool in tools]
        rows.append([line.title, _NAMES.get(line.figure, f"`{line.figure}`"), *cells])
    return _markdown(["case", "figure", *(TITLES[tool] for tool in tools)], rows)


def _text(line: Line, tool: str) -> str:
    cell = line.cells.get(tool)
    if cell is None:
        return "–"
    text = _amount(cell.middle, line.unit)
    if cell.low != cell.high:
        text += f" ({_number(cell.low)}–{_number(cell.high)})"
    factor = line.factor(tool)
    if factor is None or line.figure in ("rows_lost", "repeated"):
        return text
    return f"{text}, ×{_number(factor)}"


def _remarks(table: pl.DataFrame, lines: Sequence[Line]) -> Iterator[str]:
    """Yield why figures are missing, which tools had other sizes, and which stories a tool has no feature for."""
    names = {line.case for line in lines}
    absent = table.filter(pl.col("case").is_in(list(names)) & (pl.col("note") != ""))
    notes = [
        f"- {TITLES[tool]}, {title}: {note}." for title, tool, note in absent.select("title", "tool", "note").rows()
    ]
    for line in lines:
        sizes = {TITLES[tool]: cell.n for tool, cell in line.cells.items()}
        if len(set(sizes.values())) > 1:
            notes.append(f"- {line.title}: " + ", ".join(f"{tool} {n:,} rows" for tool, n in sizes.items()) + ".")
    hand = table.filter(pl.col("case").is_in(list(names)), figure="by_hand").filter(pl.col("value") > 0)
    for title, tool, value in hand.select("title", "tool", "value").unique(maintain_order=True).rows():
        notes.append(f"- {TITLES[tool]}, {title}:{_SUPPORT[value]}.")
    if notes:
        yield "\n".join(dict.fromkeys(notes))


def _short_names(cases: Sequence[str]) -> list[str]:
    names = ["stories" if name.startswith("story_") else name for name in cases]
    return list(dict.fromkeys(f"`{name}`" for name in names))


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def _amount(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}".strip()


def _spread(cell: Cell, unit: str) -> str:
    return f"{_number(cell.low)}–{_amount(cell.high, unit)}"


def _number(value: float) -> str:
    """Return a number with three significant digits."""
    if value == float("inf"):
        return "∞"
    if abs(value) >= 100 or value == int(value):
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"
