"""What the documentation site is made of besides docs/: the notebooks, and pages written from what the package knows.

A hook of MkDocs (mkdocs.yml): pages are made when the site is built, so none can say something else than the code.
"""

import base64
import contextlib
import html
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import helmframe as hf
from helmframe import errors
from helmframe.cli.app import main

ROOT = Path(__file__).parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """MkDocs calls it when it has the files of docs/."""
    for name, content in pages():
        files.append(File.generated(config, name, content=content))
    return files


def pages() -> Iterator[tuple[str, str | bytes]]:
    """Path within the site, and content, of each page and picture."""
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        yield from notebook_pages(notebook)
    yield "reference/scenarios.md", _scenarios()
    yield "reference/perturbations.md", _perturbations()
    yield "reference/metrics.md", _metrics()
    yield "reference/columns.md", _columns()
    yield "reference/command_line.md", _command_line()
    yield "reference/errors.md", _errors()


def notebook_pages(path: Path) -> Iterator[tuple[str, str | bytes]]:
    """A notebook as a page, outputs and all, and its pictures."""
    lines = []
    for place, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            lines.append(re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.md)", source))
            continue
        lines.append(f"```python\n{source}\n```")
        for number, output in enumerate(cell["outputs"]):
            picture = f"{path.stem}-{place}-{number}.png"
            data = output.get("data", {})
            shown = {kind: "".join(text) for kind, text in data.items() if isinstance(text, str | list)}
            if "image/png" in shown:
                lines.append(f"![Output of the cell above]({picture}){{ width=600 }}")
                yield f"notebooks/{picture}", base64.b64decode(shown["image/png"])
            elif "image/svg+xml" in shown:
                picture = picture.removesuffix("png") + "svg"
                lines.append(f"![Output of the cell above]({picture})")
                yield f"notebooks/{picture}", shown["image/svg+xml"]
            elif "text/html" in shown:
                block = re.sub(r"\n\s*\n", "\n", shown["text/html"])  # a blank line would end it
                lines.append(f'<div class="output">{block}</div>')
            else:
                text = shown.get("text/plain") or "".join(output["text"])
                lines.append(f"```text\n{text.rstrip()}\n```")
    lines.append(f"*This page is `notebooks/{path.name}`, as it ran.*")
    yield f"notebooks/{path.stem}.md", "\n\n".join(lines)


def _scenarios() -> str:
    table = hf.list_scenarios().select(
        scenario=_code("name"),
        what=pl.col("description"),
        subsets=pl.col("subsets").list.join(", "),
        method=_code("method"),
        main=_code("main"),
        license=pl.col("license"),
        rows=pl.col("hub").fill_null(pl.col("status")),
    )
    return _page(
        "Scenarios",
        "`hf.list_scenarios()`: what `hf.scenario(name)` knows by name. `rows` is where they come from without a "
        "bucket of yours: a data set of the hub, or how to get them. `hf.scenario` takes frames and spec files too.",
        _table(table),
        wide=True,
    )


def _perturbations() -> str:
    table = hf.list_perturbations().select(
        perturbation=_code("name"),
        meaning=pl.col("meaning"),
        arguments=_code("arguments"),
        kind=pl.col("kind"),
        in_HELM=pl.when("helm").then(pl.lit("yes")).otherwise(pl.lit("")),
        source=pl.col("source"),
    )
    return _page(
        "Perturbations",
        "`hf.list_perturbations()`: what `perturb(…)` knows by name; `hf.perturbations.typos(prob=.1)` and the text "
        "`'typos(prob=.1)'` are the same. `kind` says whether it counts as robustness or fairness.",
        _table(table),
        wide=True,
    )


def _metrics() -> str:
    both = hf.list_metrics().filter((pl.col("helm") != "") | (pl.col("lm_eval") != ""))
    names = both.select(helmframe=_code("name"), HELM=_code("helm"), lm_eval=_code("lm_eval"))
    table = hf.list_metrics().select(
        metric=_code("name"),
        what=pl.col("what"),
        level=pl.col("level"),
        unit=pl.col("unit"),
        better=pl.col("direction"),
        needs=_code("needs"),
        arguments=_code("arguments"),
        source=pl.col("source"),
    )
    return _page(
        "Metrics",
        "`hf.list_metrics()`: what `metrics(…)` knows by name. Each metric of single outputs is there as `name@k` too, "
        "the best of k outputs.",
        _table(table),
        "## The same metric elsewhere",
        "What it is called in HELM and in lm-evaluation-harness.",
        _table(names),
        wide=True,
    )


def _columns() -> str:
    parts = []
    for (name,), rows in hf.schema().group_by("table", maintain_order=True):
        parts.append(f"## {name}")
        parts.append(
            _table(
                rows.select(
                    column=_code("column"), type=_code("dtype"), meaning=pl.col("meaning"), unit=pl.col("unit"),
                    always=pl.when("required").then(pl.lit("yes")).otherwise(pl.lit("")),
                )
            )
        )  # fmt: skip
    return _page("Columns", "`hf.schema()`: every column of every table, from where they are defined.", *parts)


def _command_line() -> str:
    said = _help()
    commands = re.findall(r"^    (\w+) ", said, re.MULTILINE)
    parts = [f"## {name}\n\n```text\n{_help(name)}\n```" for name in commands]
    return _page("Command line", f"```text\n{said}\n```", *parts)


def _errors() -> str:
    kinds = [name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)]
    parts = [f"::: helmframe.errors.{name}\n    options:\n      members: false" for name in kinds]
    return _page("Errors", f"```text\n{errors.__doc__}\n```", *parts)


def _help(*command: str) -> str:
    os.environ["COLUMNS"] = "100"  # argparse's width
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        main([*command, "--help"])
    return shown.getvalue().rstrip()


def _page(title: str, *paragraphs: str, wide: bool = False) -> str:
    head = ["---\nhide: [toc]\n---"] if wide else []
    return "\n\n".join((*head, f"# {title}", *paragraphs))


def _table(rows: pl.DataFrame) -> str:
    lines = [" | ".join(rows.columns), " | ".join("---" for _ in rows.columns)]
    lines += [" | ".join(map(_cell, row)) for row in rows.iter_rows()]
    return "\n".join(f"| {line} |" for line in lines)


def _cell(value: Any) -> str:
    text = " ".join(str("" if value is None else value).split())
    if text.startswith("`"):
        return text.replace("|", "\\|")
    return re.sub(r"([|*\[\]])", r"\\\1", html.escape(text, quote=False))


def _code(column: str) -> pl.Expr:
    """A column in backticks, where it says something."""
    text = pl.col(column)
    return pl.when(text.fill_null("") == "").then(pl.lit("")).otherwise("`" + text + "`")
