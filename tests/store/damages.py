"""Random damage of run folders and of stored completions, on disk or in a bucket, and what a reader makes of it."""

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest

import helmframe as hf
from helmframe._schema import COMPLETIONS
from helmframe.engines.logs import read_logs
from helmframe.errors import HelmframeError
from helmframe.store import Address, RunFolder, below
from helmframe.store.contents import export
from helmframe.store.files import File, listing, read, remove, write

TABLES = ("completions", "scores", "prefixes", "verdicts")
Tables = dict[str, pl.DataFrame]


class Model:
    """A model with a pinned version, whose completions depend on the prompt and on `first` alone."""

    def __init__(self, *, first: bool) -> None:
        self.letters = "BCDA" if first else "ABCD"

    def generate(self, prompts: list[str]) -> list[str]:
        return [self.letters[len(prompt) % 4] for prompt in prompts]


def plan(*, first: bool = False) -> hf.Suite:
    """Two scenarios, three perturbations, two models; all completions are cached.

    The completions of `plan(first=True)` are other ones of the same requests, to be replaced by `score(fresh=True)`.
    """
    frame = pl.DataFrame({"q": [f"What is {n} + {n}?" for n in range(12)], "a": [str(2 * n) for n in range(12)]})
    models = {name: hf.model(Model(first=first), name=name, version="1") for name in ("one", "two")}
    sums = hf.scenario(frame, input="q", references="a", name="sums").generate(models)
    return hf.suite(hf.scenario("sampler").where(subject="music").limit(12).perturb("typos").generate(models), sums)


def tables(results: hf.Results) -> Tables:
    """Return all that a run's folder contains, and the aggregated table."""
    assert results.path is not None
    rows = {name: getattr(results, name).collect() for name in TABLES}
    return rows | {"table": results.table(), "logs": read_logs(RunFolder(results.path))}


def copied(source: Address, target: Address) -> Address:
    """Copy all files of a folder."""
    if isinstance(source, Path):
        return Path(shutil.copytree(source, target))
    for file in listing(source):
        write(read(file.address), below(target, *file.name.split("/")))
    return target


# -- damage -----------------------------------------------------------------------------------------------------------


def flip(files: list[File], draw: random.Random) -> None:
    """Flip one bit of a file."""
    address = draw.choice([file for file in files if file.size]).address
    data = bytearray(read(address))
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    write(bytes(data), address)


def truncate(files: list[File], draw: random.Random) -> None:
    """Cut a file short, or empty it."""
    address = draw.choice([file for file in files if file.size]).address
    data = read(address)
    write(data[: draw.choice([0, len(data) - 1, draw.randrange(len(data))])], address)


def delete(files: list[File], draw: random.Random) -> None:
    """Remove a file."""
    remove([draw.choice(files).address])


def duplicate(files: list[File], draw: random.Random) -> None:
    """Copy a file: under another name of the usual form, or into another file's folder."""
    parts = [file for file in files if file.name.endswith(".parquet")]
    file = draw.choice(parts)
    start, _, name = str(file.address).rpartition("/")
    folders = sorted({str(part.address).rpartition("/")[0] for part in parts} - {start})
    if folders and draw.random() < 0.5:
        start = draw.choice(folders)
    else:
        # prefixes-… has the checksum alone to change
        start_of_name = f"{draw.randrange(10**6):06d}{name[6:]}"
        name = start_of_name if name[0].isdigit() else f"{name[:-16]}{draw.randbytes(4).hex()}.parquet"
    write(read(file.address), _beside(file.address, f"{start}/{name}"))


def swap(files: list[File], draw: random.Random) -> None:
    """Exchange two files of different bytes: their bytes, or their folders."""
    first = second = b""
    while first == second:
        one, two = draw.sample([file for file in files if file.name.endswith(".parquet")], 2)
        first, second = read(one.address), read(two.address)
    (start, _, name), (other, _, other_name) = (str(file.address).rpartition("/") for file in (one, two))
    if start == other or draw.random() < 0.5:
        write(first, two.address)
        write(second, one.address)
        return
    remove([one.address, two.address])
    write(first, _beside(one.address, f"{other}/{name}"))
    write(second, _beside(two.address, f"{start}/{other_name}"))


DAMAGES: tuple[Callable[[list[File], random.Random], None], ...] = (flip, truncate, delete, duplicate, swap)


def _beside(address: Address, path: str) -> Address:
    return path if isinstance(address, str) else type(address)(path)


# -- what a reader makes of it ----------------------------------------------------------------------------------------


def outcome(read_all: Callable[[], Tables], expected: Tables) -> str:
    """Return "healed" for the tables as they were, "typed" for an error of ours, else "silent" or "untyped"."""
    try:
        result = read_all()
    except HelmframeError:
        return "typed"
    except (Exception, pl.exceptions.PanicException) as error:
        return f"untyped: {type(error).__name__}: {error}"
    different = [name for name, table in expected.items() if not result[name].equals(table, null_equal=True)]
    return f"silent: {different}" if different else "healed"


def damaged_runs(source: Address, scratch: Address, n: int, seed: int) -> Iterator[tuple[str, str]]:
    """Damage n copies of a run's folder; yield each damage and its outcome."""
    draw = random.Random(seed)
    expected = tables(hf.load(str(source)))
    for number in range(n):
        folder = copied(source, below(scratch, f"run-{uuid4().hex}"))
        damage = DAMAGES[number % len(DAMAGES)]
        # README.md and schema.json describe an export; they are no results
        files = [file for file in listing(folder) if file.name not in ("README.md", "schema.json")]
        # the manifest is one file of many: damage it in one copy of six
        manifest = [file for file in files if file.name == "manifest.json"]
        chosen = manifest if damage in (flip, truncate, delete) and draw.random() < 1 / 6 else files
        damage(chosen, draw)
        yield damage.__name__, outcome(lambda folder=folder: tables(hf.load(str(folder))), expected)  # type: ignore[misc]


def damaged_answers(
    source: Address, scratch: Address, n: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, str]]:
    """Damage n copies of the completions of a store, and run the plan on each; yield each damage and its outcome."""
    draw = random.Random(seed)
    expected = scored(source, monkeypatch)
    for number in range(n):
        root = below(scratch, f"store-{uuid4().hex}")
        copied(below(source, "completions"), below(root, "completions"))
        damage = DAMAGES[number % len(DAMAGES)]
        files = listing(below(root, "completions"))
        prefixes = [file for file in files if "/prefixes-" in file.name]
        chosen = prefixes if damage in (flip, truncate, delete) and draw.random() < 1 / 3 else files
        damage(chosen, draw)
        yield damage.__name__, outcome(lambda root=root: scored(root, monkeypatch), expected)  # type: ignore[misc]


def scored(root: Address, monkeypatch: pytest.MonkeyPatch) -> Tables:
    """Run the plan on a store; return its tables, and prompts and completions as `helmframe store export` writes them.

    Columns that differ between two runs, such as latency, are left out.
    """
    monkeypatch.setenv("HELMFRAME_STORE", str(root))
    result = tables(plan().score())
    file = below(root, "export.parquet")
    export(root, file)
    exported = pl.read_parquet(read(file))
    exported = exported.select("model", "scenario", "instance_id", "perturbation", "prompt", "completion")
    return {
        "completions": result["completions"].drop("latency", "cached", "attempts").sort(COMPLETIONS.key),
        "scores": result["scores"].sort(*COMPLETIONS.key, "metric"),
        "table": result["table"],
        "export": exported.sort(exported.columns),
    }


def count(what: str, outcomes: Iterator[tuple[str, str]]) -> Counter[str]:
    """Return how often each outcome occurred; print those that are neither healed nor typed."""
    counts: Counter[str] = Counter()
    for damage, result in outcomes:
        kind = result.partition(":")[0]
        counts[kind] += 1
        if kind not in ("healed", "typed"):
            print(f"\n{what}, {damage}: {result}")
    return counts
