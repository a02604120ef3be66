"""`helmframe store`: list, show, verify, compact, remove and export cached completions."""

import argparse
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

from helmframe import config
from helmframe._core.safe_text import text_table
from helmframe.cli.command import add_verbose, command, print_status, print_text
from helmframe.errors import ArgumentError, StoreError, UnknownNameError
from helmframe.store.claims import remove_orphans
from helmframe.store.contents import StoreEntry, contents, count_rows, export, list_entries, read_completions
from helmframe.store.files import Address, address_of
from helmframe.store.maintenance import compact, remove_completions, verify
from helmframe.store.parts import set_aside

_SCENARIO = "only completions of this scenario (default: all)"
_EPILOG = """\
examples:
  helmframe store ls
  helmframe store show org/name -n 3
  helmframe store rm org/name --scenario mmlu --yes

Use `helmframe store ACTION --help` for the options of an action."""


@command("store", help="List, show, verify, compact, remove or export cached completions", order=110)
def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `store`."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")

    def add(name: str, help: str, example: str, run: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        epilog = f"example:\n  helmframe store {example}"
        action = actions.add_parser(name, help=help, description=f"{help}.", epilog=epilog)
        action.add_argument(
            "--store", metavar="ADDRESS", help="folder or s3://bucket/prefix of the store (default: $HELMFRAME_STORE)"
        )
        add_verbose(action)
        action.set_defaults(run=run)
        return action

    add("ls", "List models and scenarios with number of files, rows, size and age", "ls", _ls)
    show = add("show", "Print some completions with their prompts", "show org/name -n 3", _show)
    show.add_argument(
        "target", metavar="MODEL|FILE", help="name of a model, start of its fingerprint, or a Parquet file"
    )
    show.add_argument("-n", type=int, default=5, metavar="N", help="number of completions")
    check = add("verify", "Verify the checksum of every file; exit with 1 if one is damaged", "verify", _verify)
    check.description = f"{check.description} Unfinished files of ended processes are removed."
    check.add_argument(
        "--set-aside", action="store_true", help="move damaged files to the folder `damaged` of the store"
    )
    merge = add("compact", "Merge small files, and drop completions that newer ones replaced", "compact", _compact)
    merge.add_argument("model", nargs="?", metavar="MODEL", help="only this model (default: all)")
    remove = add("rm", "Remove the completions of a model permanently", "rm org/name --scenario mmlu --yes", _rm)
    remove.add_argument("model", metavar="MODEL", help="name of the model, or start of its fingerprint")
    remove.add_argument("--yes", action="store_true", help="remove them; without --yes, list what would be removed")
    out = add("export", "Export prompts and completions as one file", "export completions.parquet", _export)
    out.add_argument("file", metavar="FILE", help="file to write: .parquet or .jsonl; may be s3://…")
    out.add_argument("--model", metavar="MODEL", help="only this model (default: all)")
    for action in (show, merge, remove, out):
        action.add_argument("--scenario", metavar="NAME", help=_SCENARIO)


def size_text(size: int) -> str:
    """Return a number of bytes with a unit.

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
    """Return a duration with a unit.

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
        print_text(text_table(["model", "fingerprint", "scenario", "files", "rows", "size", "newest"], rows))
    models, size = table["fingerprint"].n_unique(), int(table["bytes"].sum())
    print_status(f"{root}: {table['rows'].sum():,} completions of {models:,} models, {size_text(size)}")


def _show(arguments: argparse.Namespace) -> None:
    root = _root(arguments)
    rows = pl.concat(_read_some(root, arguments.target, arguments.scenario, arguments.n)).head(arguments.n)
    for row in rows.iter_rows(named=True):
        print_text(f"{row['model']}  {row['scenario']}  {row['instance_id']}  {row['perturbation']}")
        print_text(f"  prompt      {_narrow(row['prompt'])}")
        print_text(f"  completion  {_narrow(row['completion'])}")


def _read_some(root: Address, target: str, scenario: str | None, n: int) -> list[pl.DataFrame]:
    """Return at least n stored rows of a part, or of the newest parts of a model; read no more parts than needed."""
    if target.endswith(".parquet"):
        name = target.replace("\\", "/").rpartition("/")[2]
        for entry in list_entries(root):
            for part in entry.parts:
                if part.file.name.rpartition("/")[2] == name:
                    return [read_completions(root, entry, [part])]
        raise UnknownNameError(f"File {name!r} not found in the store {root}. `helmframe store ls` lists the models.")
    frames = []
    for entry in list_entries(root, target, scenario):
        chosen = []
        for part in sorted(entry.parts, key=lambda part: part.age, reverse=True):
            chosen.append(part)
            if count_rows(chosen) >= n:
                break
        frames.append(read_completions(root, entry, chosen))
    return frames


def _verify(arguments: argparse.Namespace) -> None:
    root = _root(arguments)
    try:
        orphans = remove_orphans(root)
    except StoreError as error:  # a store that may only be read is verified too
        print_status(f"Removing the files of ended processes failed: {error}")
        orphans = []
    if orphans:
        print_status(f"removed {len(orphans):,} unfinished files of ended processes")
    n_files = n_damaged = size = 0
    for check in verify(root):
        n_files, size = n_files + 1, size + check.file.size
        if check.why is not None:
            n_damaged += 1
            print_text(f"{check.file.address}: {check.why}")
            if arguments.set_aside and not check.missing:
                set_aside(root, check.file, check.why)
    summary = f"{root}: {n_files:,} files, {size_text(size)}"
    if n_damaged:
        hint = "They were moved to `damaged`." if arguments.set_aside else "Use --set-aside to move them to `damaged`."
        raise StoreError(f"{summary}: {n_damaged:,} damaged. {hint} Their completions will be generated again.")
    print_status(f"{summary}: no damage found")


def _compact(arguments: argparse.Namespace) -> None:
    for entry in compact(_root(arguments), arguments.model, arguments.scenario):
        print_text(f"{entry.model}  {entry.scenario}: {entry.before:,} files merged into {entry.after:,}")


def _rm(arguments: argparse.Namespace) -> None:
    entries = list_entries(_root(arguments), arguments.model, arguments.scenario)
    summary = "\n".join(map(_size_line, entries))
    if not arguments.yes:
        raise ArgumentError(f"This would remove permanently:\n{summary}\nAdd --yes to remove them.")
    remove_completions(entries)
    print_text(f"removed:\n{summary}")


def _size_line(entry: StoreEntry) -> str:
    size = size_text(sum(file.size for file in entry.files))
    return f"{entry.model}  {entry.scenario}: {count_rows(entry.parts):,} completions, {size}"


def _export(arguments: argparse.Namespace) -> None:
    rows = export(_root(arguments), address_of(arguments.file), arguments.model, arguments.scenario)
    print_status(f"wrote {rows:,} rows to {arguments.file}")


def _root(arguments: argparse.Namespace) -> Address:
    root = address_of(arguments.store or config.store_root())
    if isinstance(root, Path) and not root.is_dir():
        raise StoreError(f"No store found at {root}. Set --store or HELMFRAME_STORE.")
    return root


def _narrow(text: str | None) -> str:
    """Return one line: a long text is cut in the middle, since a prompt ends with the question."""
    if text is None:
        return "(none)"
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{textwrap.shorten(line, 36, placeholder='')} … {line[-60:]}"
