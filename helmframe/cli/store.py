"""`helmframe store`: list, show, verify, compact, remove and export cached completions."""

import argparse
import textwrap
import time
from pathlib import Path

import polars as pl

from helmframe import config
from helmframe.cli.command import command, print_status
from helmframe.errors import ArgumentError, StoreError, UnknownNameError
from helmframe.store.contents import StoreEntry, contents, count_rows, export, list_entries, read_completions
from helmframe.store.files import Address, address_of
from helmframe.store.maintenance import compact, remove_completions, verify
from helmframe.store.parts import set_aside
from helmframe.views.display import text_table


@command("store", help="answers kept: ls, show, verify, compact, rm, export", order=110)
def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `store`."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    ls = actions.add_parser("ls", help="models and scenarios: parts, rows, bytes, age")
    show = actions.add_parser("show", help="some answers with their prompts")
    show.add_argument("what", metavar="MODEL|PART", help="a model's name, the start of its fingerprint, or a part")
    show.add_argument("-n", type=int, default=5, metavar="N", help="how many; default 5")
    check = actions.add_parser("verify", help="read every part whole; exit 1 if one is damaged")
    check.add_argument("--set-aside", action="store_true", help="move damaged parts to the store's folder `damaged`")
    merge = actions.add_parser("compact", help="merge small parts, and drop answers that newer ones replaced")
    merge.add_argument("model", nargs="?", metavar="MODEL", help="only this one; default all")
    rm = actions.add_parser("rm", help="remove a model's answers for good")
    rm.add_argument("model", metavar="MODEL")
    rm.add_argument("--yes", action="store_true", help="do it; without, say only what would go")
    out = actions.add_parser("export", help="prompts and completions as one file")
    out.add_argument("file", metavar="FILE", help=".parquet or .jsonl; may be s3://…")
    out.add_argument("--model", metavar="MODEL", help="only this one; default all")
    for action in (show, merge, rm, out):
        action.add_argument("--scenario", metavar="NAME", help="only this scenario")
    for action, run in ((ls, _ls), (show, _show), (check, _verify), (merge, _compact), (rm, _rm), (out, _export)):
        action.add_argument("--store", metavar="ADDRESS", help="a folder or s3://…; default $HELMFRAME_STORE")
        action.add_argument("--verbose", action="store_true", help="log, and tracebacks of errors")
        action.set_defaults(run=run)


def size_text(size: int) -> str:
    """Return a number of bytes with a unit that people read.

    >>> size_text(999), size_text(1_234_567)
    ('999 B', '1.2 MB')
    """
    amount, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 999.95 or unit == "TB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def age_text(seconds: float) -> str:
    """Return a duration with a unit that people read.

    >>> age_text(90), age_text(200_000)
    ('1 min', '2 d')
    """
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _ls(arguments: argparse.Namespace) -> None:
    root = _root(arguments)
    table = contents(root)
    now = time.time()
    rows = [
        [
            row["model"],
            row["fingerprint"][:8],
            row["scenario"],
            f"{row['parts']:,}",
            f"{row['rows']:,}",
            size_text(row["bytes"]),
            age_text(now - row["newest"].timestamp()) if row["newest"] else "",
        ]
        for row in table.iter_rows(named=True)
    ]
    if rows:
        print(text_table(["model", "fingerprint", "scenario", "parts", "rows", "size", "newest"], rows))
    models, size = table["fingerprint"].n_unique(), int(table["bytes"].sum())
    print_status(f"{root}: {table['rows'].sum():,} answers of {models:,} models, {size_text(size)}")


def _show(arguments: argparse.Namespace) -> None:
    root = _root(arguments)
    rows = pl.concat(_read_some(root, arguments.what, arguments.scenario, arguments.n)).head(arguments.n)
    for row in rows.iter_rows(named=True):
        print(f"{row['model']}  {row['scenario']}  {row['instance_id']}  {row['perturbation']}")
        print(f"  prompt      {_narrow(row['prompt'])}")
        print(f"  completion  {_narrow(row['completion'])}")


def _read_some(root: Address, what: str, scenario: str | None, n: int) -> list[pl.DataFrame]:
    """Return at least n rows, if stored, of a part, or of the newest parts of a model; reads as few parts as needed."""
    if what.endswith(".parquet"):
        name = what.replace("\\", "/").rpartition("/")[2]
        for entry in list_entries(root):
            for part in entry.parts:
                if part.file.name.rpartition("/")[2] == name:
                    return [read_completions(root, entry, [part])]
        raise UnknownNameError(f"no part of the store {root} is called {name}.\nList them: helmframe store ls.")
    frames = []
    for entry in list_entries(root, what, scenario):
        chosen = []
        for part in sorted(entry.parts, key=lambda part: part.age, reverse=True):
            chosen.append(part)
            if count_rows(chosen) >= n:
                break
        frames.append(read_completions(root, entry, chosen))
    return frames


def _verify(arguments: argparse.Namespace) -> None:
    root = _root(arguments)
    n_files = n_damaged = size = 0
    for check in verify(root):
        n_files, size = n_files + 1, size + check.file.size
        if check.why is not None:
            n_damaged += 1
            print(f"{check.file.address}: {check.why}")
            if arguments.set_aside and not check.missing:
                set_aside(root, check.file, check.why)
    summary = f"{root}: {n_files:,} files, {size_text(size)}"
    if n_damaged:
        hint = "they are set aside" if arguments.set_aside else "helmframe store verify --set-aside moves them away"
        raise StoreError(f"{summary}; {n_damaged:,} damaged ({hint}; what they held is asked again).")
    print_status(f"{summary}; all are what was written")


def _compact(arguments: argparse.Namespace) -> None:
    for entry in compact(_root(arguments), arguments.model, arguments.scenario):
        print(f"{entry.model}  {entry.scenario}: {entry.before:,} files are {entry.after:,} now")


def _rm(arguments: argparse.Namespace) -> None:
    entries = list_entries(_root(arguments), arguments.model, arguments.scenario)
    what = "\n".join(map(_size_line, entries))
    if not arguments.yes:
        raise ArgumentError(f"this would remove for good:\n{what}\nIf that is meant, add --yes.")
    remove_completions(entries)
    print(f"removed:\n{what}")


def _size_line(entry: StoreEntry) -> str:
    size = size_text(sum(file.size for file in entry.files))
    return f"{entry.model}  {entry.scenario}: {count_rows(entry.parts):,} answers, {size}"


def _export(arguments: argparse.Namespace) -> None:
    rows = export(_root(arguments), address_of(arguments.file), arguments.model, arguments.scenario)
    print_status(f"written: {rows:,} rows to {arguments.file}")


def _root(arguments: argparse.Namespace) -> Address:
    root = address_of(arguments.store or config.store_root())
    if isinstance(root, Path) and not root.is_dir():
        raise StoreError(f"there is no store at {root}. Name one: --store, or HELMFRAME_STORE.")
    return root


def _narrow(text: str | None) -> str:
    """Return one line: the start and the end of a long text, since a prompt ends with the question."""
    if text is None:
        return "(none)"
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{textwrap.shorten(line, 36, placeholder='')} … {line[-60:]}"
