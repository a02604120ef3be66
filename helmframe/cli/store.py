"""`helmframe store`: what the store holds, and its upkeep."""

import argparse
import sys
import textwrap
import time
from pathlib import Path

import polars as pl

from helmframe import config
from helmframe.cli.output import Commands
from helmframe.errors import ArgumentError, StoreError, UnknownNameError
from helmframe.store.contents import StoreEntry, contents, count_rows, export, list_entries, read_completions
from helmframe.store.files import Address, address_of
from helmframe.store.maintenance import compact, remove_completions, verify
from helmframe.store.parts import set_aside
from helmframe.views.display import text_table


def add_store(commands: Commands) -> None:
    """Add the command to those of `helmframe`."""
    parser = commands.add_parser("store", help="answers kept: ls, show, verify, compact, rm, export")
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
    for each in (show, merge, rm, out):
        each.add_argument("--scenario", metavar="NAME", help="only this scenario")
    for each, run in ((ls, _ls), (show, _show), (check, _verify), (merge, _compact), (rm, _rm), (out, _export)):
        each.add_argument("--store", metavar="ADDRESS", help="a folder or s3://…; default $HELMFRAME_STORE")
        each.add_argument("--verbose", action="store_true", help="log, and tracebacks of errors")
        each.set_defaults(run=run)


def size_text(size: int) -> str:
    """The bytes as people say them.

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
    """The time as people say it.

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
    _tell(f"{root}: {table['rows'].sum():,} answers of {models:,} models, {size_text(size)}")


def _show(arguments: argparse.Namespace) -> None:
    root = _root(arguments)
    rows = pl.concat(_some(root, arguments.what, arguments.scenario, arguments.n)).head(arguments.n)
    for row in rows.iter_rows(named=True):
        print(f"{row['model']}  {row['scenario']}  {row['instance_id']}  {row['perturbation']}")
        print(f"  prompt      {_narrow(row['prompt'])}")
        print(f"  completion  {_narrow(row['completion'])}")


def _some(root: Address, what: str, scenario: str | None, n: int) -> list[pl.DataFrame]:
    """Rows of a part, or the newest of a model, from as few parts as hold that many."""
    if what.endswith(".parquet"):
        name = what.replace("\\", "/").rpartition("/")[2]
        for shelf in list_entries(root):
            for part in shelf.parts:
                if part.file.name.rpartition("/")[2] == name:
                    return [read_completions(root, shelf, [part])]
        raise UnknownNameError(f"no part of the store {root} is called {name}.\nList them: helmframe store ls.")
    frames = []
    for shelf in list_entries(root, what, scenario):
        chosen = []
        for part in sorted(shelf.parts, key=lambda part: part.age, reverse=True):
            chosen.append(part)
            if count_rows(chosen) >= n:
                break
        frames.append(read_completions(root, shelf, chosen))
    return frames


def _verify(arguments: argparse.Namespace) -> None:
    root = _root(arguments)
    looked = bad = size = 0
    for found in verify(root):
        looked, size = looked + 1, size + found.file.size
        if found.why is not None:
            bad += 1
            print(f"{found.file.address}: {found.why}")
            if arguments.set_aside and not found.missing:
                set_aside(root, found.file, found.why)
    said = f"{root}: {looked:,} files, {size_text(size)}"
    if bad:
        hint = "they are set aside" if arguments.set_aside else "helmframe store verify --set-aside moves them away"
        raise StoreError(f"{said}; {bad:,} damaged ({hint}; what they held is asked again).")
    _tell(f"{said}; all are what was written")


def _compact(arguments: argparse.Namespace) -> None:
    for each in compact(_root(arguments), arguments.model, arguments.scenario):
        print(f"{each.model}  {each.scenario}: {each.before:,} files are {each.after:,} now")


def _rm(arguments: argparse.Namespace) -> None:
    chosen = list_entries(_root(arguments), arguments.model, arguments.scenario)
    what = "\n".join(map(_weight, chosen))
    if not arguments.yes:
        raise ArgumentError(f"this would remove for good:\n{what}\nIf that is meant, add --yes.")
    remove_completions(chosen)
    print(f"removed:\n{what}")


def _weight(shelf: StoreEntry) -> str:
    size = size_text(sum(file.size for file in shelf.files))
    return f"{shelf.model}  {shelf.scenario}: {count_rows(shelf.parts):,} answers, {size}"


def _export(arguments: argparse.Namespace) -> None:
    rows = export(_root(arguments), address_of(arguments.file), arguments.model, arguments.scenario)
    _tell(f"written: {rows:,} rows to {arguments.file}")


def _root(arguments: argparse.Namespace) -> Address:
    root = address_of(arguments.store or config.store_root())
    if isinstance(root, Path) and not root.is_dir():
        raise StoreError(f"there is no store at {root}. Name one: --store, or HELMFRAME_STORE.")
    return root


def _narrow(text: str | None) -> str:
    """One line: the start and the end of a long text, which for a prompt is the question."""
    if text is None:
        return "(none)"
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{textwrap.shorten(line, 36, placeholder='')} … {line[-60:]}"


def _tell(message: str) -> None:
    print(f"helmframe: {message}", file=sys.stderr, flush=True)
