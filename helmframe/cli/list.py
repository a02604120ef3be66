"""`helmframe list` and `helmframe show`: list scenarios and plug-ins, print a spec or results."""

import argparse
import inspect
import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from helmframe._core.safe_text import text_table
from helmframe._core.yaml import read_yaml, specs_root
from helmframe._run import load_results
from helmframe._suite import suite_names
from helmframe.cli.command import add_allow_substitution, add_verbose, command, print_text
from helmframe.metrics.protocol import METRICS
from helmframe.perturbations.registry import PERTURBATIONS
from helmframe.scenarios.catalogue import find_scenario, scenario_names, scenario_rows

_LIST = """\
examples:
  helmframe list metrics
  helmframe list helm-entries --conf-paths run_specs.conf"""
_SHOW = """\
example:
  helmframe show mmlu"""


@command("list", help="List scenarios, suites, perturbations, metrics, or HELM's run entries", order=30)
def add_list(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `list`."""
    parser.epilog = _LIST
    kinds = ["all", "scenarios", "suites", "perturbations", "metrics", "helm-entries"]
    parser.add_argument("kind", nargs="?", default="all", choices=kinds, metavar="KIND", help=", ".join(kinds))
    parser.add_argument(
        "-c",
        "--conf-paths",
        nargs="+",
        default=[],
        metavar="FILE",
        help="for helm-entries: .conf files, or folders with .conf files",
    )
    add_allow_substitution(parser)
    add_verbose(parser)
    parser.set_defaults(run=_list)


@command("show", help="Print the spec of a scenario or suite, or the scores in a folder", order=40)
def add_show(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `show`."""
    parser.epilog = _SHOW
    parser.add_argument(
        "target", metavar="SCENARIO|SUITE|FOLDER", help="name of a scenario or suite, or folder with results"
    )
    add_verbose(parser)
    parser.set_defaults(run=_show)


def _list(arguments: argparse.Namespace) -> None:
    if arguments.kind == "helm-entries":
        from helmframe.cli.helm import list_helm_entries

        list_helm_entries(arguments.conf_paths, allow_substitution=arguments.allow_substitution)
        return
    tables = {
        "scenarios": (["scenario", "rows", "main metric", "description"], _scenarios()),
        "suites": (["suite", "description"], map(_suite, suite_names())),
        "perturbations": (["perturbation", "arguments", "description"], map(_perturbation, PERTURBATIONS)),
        "metrics": (["metric", "level", "description"], map(_metric, METRICS)),
    }
    chosen = tables if arguments.kind == "all" else {arguments.kind: tables[arguments.kind]}
    print_text("\n\n".join(_narrow(heads, list(rows)) for heads, rows in chosen.values()))


def _scenarios() -> Iterator[list[str]]:
    for row in scenario_rows():
        main = re.split("[(@]", row["main"])[0]
        yield [row["name"], row["status"], main if len(main) <= 22 else f"{main[:21]}…", row["description"]]


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
    """Return a table with the last column cut to its first sentence and to the width of the terminal."""
    used = sum(max(map(len, column)) + 2 for column in zip(*(row[:-1] for row in (heads, *rows)), strict=True))
    width = max(20, shutil.get_terminal_size((120, 24)).columns - used)
    sentences = [" ".join(row[-1].split()).partition(". ")[0].rstrip(".") for row in rows]
    shortened = [textwrap.shorten(sentence, width, placeholder=" …") for sentence in sentences]
    return text_table(heads, [[*row[:-1], text] for row, text in zip(rows, shortened, strict=True)])


def _show(arguments: argparse.Namespace) -> None:
    if "://" in arguments.target or Path(arguments.target).is_dir():
        print_text(load_results(arguments.target))
    elif arguments.target in suite_names() and arguments.target not in scenario_names():
        print_text((specs_root() / "suites" / f"{arguments.target}.yaml").read_text(encoding="utf-8").rstrip())
    else:
        print_text(Path(find_scenario(arguments.target).origin).read_text(encoding="utf-8").rstrip())
