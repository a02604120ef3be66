"""`helmframe list` and `helmframe show`: names of plug-ins, specs, and the results in a folder."""

import argparse
import inspect
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path

from helmframe._core.yaml import read_yaml, specs_root
from helmframe.cli.command import command
from helmframe.cli.helm import list_helm_entries
from helmframe.interop.suites import suite_names
from helmframe.metrics.protocol import METRICS
from helmframe.perturbations.registry import PERTURBATIONS
from helmframe.results import Results
from helmframe.scenarios.catalogue import find_scenario, scenario_names, status
from helmframe.views.display import text_table


@command("list", help="scenarios, suites, perturbations, metrics, states of HELM's entries", order=30)
def add_list(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `list`."""
    kinds = ["all", "scenarios", "suites", "perturbations", "metrics", "helm-entries"]
    parser.add_argument("kind", nargs="?", default="all", choices=kinds)
    parser.add_argument(
        "-c", "--conf-paths", nargs="+", default=[], metavar="FILE", help="for helm-entries: .conf files, or folders"
    )
    parser.add_argument("--verbose", action="store_true", help="tracebacks of errors")
    parser.set_defaults(run=_list)


@command("show", help="the spec of a scenario or suite, or the results in a folder", order=40)
def add_show(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `show`."""
    parser.add_argument("what", metavar="SCENARIO|SUITE|FOLDER")
    parser.add_argument("--verbose", action="store_true", help="tracebacks of errors")
    parser.set_defaults(run=_show)


def _list(arguments: argparse.Namespace) -> None:
    if arguments.kind == "helm-entries":
        list_helm_entries(arguments.conf_paths)
        return
    tables = {
        "scenarios": (["scenario", "rows", "main metric", "what"], map(_scenario, scenario_names())),
        "suites": (["suite", "what"], map(_suite, suite_names())),
        "perturbations": (["perturbation", "arguments", "what"], map(_perturbation, PERTURBATIONS)),
        "metrics": (["metric", "level", "what"], map(_metric, METRICS)),
    }
    chosen = tables if arguments.kind == "all" else {arguments.kind: tables[arguments.kind]}
    print("\n\n".join(_narrow(heads, list(rows)) for heads, rows in chosen.values()))


def _scenario(name: str) -> list[str]:
    spec = find_scenario(name)
    main = spec.main.metric.partition("(")[0]
    return [name, status(spec), main if len(main) <= 22 else f"{main[:21]}…", spec.description]


def _suite(name: str) -> list[str]:
    spec = read_yaml(specs_root() / "suites" / f"{name}.yaml")
    return [name, str(spec["description"])]


def _perturbation(name: str) -> list[str]:
    entry = PERTURBATIONS[name]
    signature = textwrap.shorten(entry.signature, 40, placeholder=" …")
    return [name, signature, inspect.getdoc(entry.function) or ""]


def _metric(name: str) -> list[str]:
    entry = METRICS[name]
    return [name, entry.level, inspect.getdoc(entry.function) or ""]


def _narrow(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose last column is cut to its first sentence and to the terminal's width."""
    used = sum(max(map(len, column)) + 2 for column in zip(*(row[:-1] for row in (heads, *rows)), strict=True))
    width = max(30, shutil.get_terminal_size((120, 24)).columns - used)
    sentences = [" ".join(row[-1].split()).partition(". ")[0].rstrip(".") for row in rows]
    shortened = [textwrap.shorten(sentence, width, placeholder=" …") for sentence in sentences]
    return text_table(heads, [[*row[:-1], text] for row, text in zip(rows, shortened, strict=True)])


def _show(arguments: argparse.Namespace) -> None:
    if "://" in arguments.what or Path(arguments.what).is_dir():
        print(Results.load(arguments.what))
    elif arguments.what in suite_names() and arguments.what not in scenario_names():
        print((specs_root() / "suites" / f"{arguments.what}.yaml").read_text(encoding="utf-8").rstrip())
    else:
        print(Path(find_scenario(arguments.what).origin).read_text(encoding="utf-8").rstrip())
