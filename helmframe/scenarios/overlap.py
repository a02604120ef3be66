"""The n-grams that instances share with a corpus: contamination as a join.

The corpus is streamed. A NumPy kernel hashes its n-grams over the bytes of many texts at once, and looks them up among
the n-grams of the instances. Memory grows with the instances, not with the corpus. Equal hashes are compared as texts.
"""

import os
import string
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from helmframe._core.safe_text import get_logger
from helmframe._schema import OVERLAP
from helmframe.errors import ArgumentError
from helmframe.scenarios.sources import open_files
from helmframe.scenarios.sql import identifier, text_list, text_literal

Numbers: TypeAlias = npt.NDArray[np.int64]
Hashes: TypeAlias = npt.NDArray[np.uint64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Corpus: TypeAlias = str | Path | Sequence[str | Path]

INPUT, REFERENCES, INTERSECTION = "input", "references", "intersection"
TOKENS = ("full", "light")
_SPACE, _END = 32, 10
# The white space of Python's str.split and re: in ASCII as bytes, and beyond it.
_ASCII_SPACES = " \t\n\r\f\v\x1c\x1d\x1e\x1f"
_OTHER_SPACES = "[\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
_WINDOW = 1 << 18  # tokens that are hashed together
_BATCH_BYTES, _BATCH_ROWS = 4 << 20, 2_048
_EXAMPLE = 200  # characters
_CHECK_SEED = 1 << 20  # of a second hash, by which different n-grams with one hash are recognised

logger = get_logger("helmframe.scenarios")


def overlap(
    instances: Iterable[pl.DataFrame],
    corpus: Corpus,
    n: int | Sequence[int] = 13,
    *,
    text: str = "text",
    tokens: str = "full",
) -> pl.DataFrame:
    """Return the n-grams that each instance shares with a corpus, by field.

    Args:
        instances: Frames of `INSTANCES`. Repeated instances count once.
        corpus: A file or glob pattern of Parquet or JSON Lines files, on disk, in a bucket or on the Hub; or a list.
        n: The number of tokens of an n-gram, or several numbers.
        text: The column of the corpus with the text.
        tokens: "full" lower-cases texts and splits them at white space and punctuation; "light" splits them at white
            space.

    Returns:
        `OVERLAP`, one row per instance, field and n, in the order of the instances.

    Raises:
        ArgumentError: `n` or `tokens` is invalid, the format of the corpus is unsupported, or no row has a text.
        SourceError: The corpus can't be read.

    Source: HELM's scripts/data_overlap (n-grams of input, references, and the tokens where both meet).
    """
    sizes = _sizes(n)
    if tokens not in TOKENS:
        raise ArgumentError.unknown_value(f"overlap(tokens={tokens!r})", tokens, TOKENS)
    keys, texts = _texts(instances)
    whole = _Part(texts.select("number", "field"), _tokenized(texts["text"], tokens))
    parts = {size: [whole, *_meetings(whole, size, tokens)] for size in sizes}
    seed, indexes = 0, _indexes(parts, 0)
    while indexes is None:
        seed += 1
        indexes = _indexes(parts, seed)
    _find(indexes, _Hasher(seed), corpus, text, tokens)
    counts = [_counts(part, indexes[size], number) for size in sizes for number, part in enumerate(parts[size])]
    return _table(keys, pl.concat(counts))


def _sizes(n: int | Sequence[int]) -> list[int]:
    sizes = [n] if isinstance(n, int) else list(n)
    if not sizes or not all(isinstance(size, int) and not isinstance(size, bool) and size >= 1 for size in sizes):
        raise ArgumentError(f"overlap(n={n!r}): n must be an integer ≥ 1, or a list of them, such as [5, 9, 13].")
    return list(dict.fromkeys(sizes))


_KEYS = ("scenario", "subset", "instance_id", "split")


def _texts(instances: Iterable[pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the keys of the instances by number, and their texts: number, field and text."""
    frames = [
        frame.select(*_KEYS, "input", references=pl.col("references").list.eval(pl.element().struct.field("text")))
        for frame in instances
    ]
    empty = pl.DataFrame(
        schema={**dict.fromkeys(_KEYS, pl.String), "input": pl.String, "references": pl.List(pl.String)}
    )
    rows = pl.concat([empty, *frames]).unique(["scenario", "instance_id"], keep="first", maintain_order=True)
    rows = rows.with_row_index("number")
    inputs = rows.select("number", field=pl.lit(INPUT), text=pl.col("input").fill_null(""))
    references = rows.select("number", field=pl.lit(REFERENCES), text="references").explode("text").drop_nulls("text")
    return rows.select("number", *_KEYS), pl.concat([inputs, references])


@dataclass(frozen=True)
class _Tokens:
    """The tokens of texts as bytes, one space or line break after each.

    Args:
        letters: The bytes of all texts.
        starts: The position of each token's first byte.
        ends: The position after each token's last byte.
        rows: The text of each token.
    """

    letters: npt.NDArray[np.uint8]
    starts: Numbers
    ends: Numbers
    rows: Numbers

    def text(self, first: int, n: int) -> bytes:
        """Return the bytes of n tokens."""
        return self.letters[self.starts[first] : self.ends[first + n - 1]].tobytes()


@dataclass(frozen=True)
class _Part:
    """Texts of instances and their tokens; `rows` has number and field of each text."""

    rows: pl.DataFrame
    tokens: _Tokens


def _separators(tokens: str) -> npt.NDArray[np.uint8]:
    """Return a table that maps bytes of separators to a space."""
    table = np.arange(256, dtype=np.uint8)
    separators = _ASCII_SPACES + (string.punctuation if tokens == "full" else "")
    table[np.frombuffer(separators.encode(), dtype=np.uint8)] = _SPACE
    return table


def _tokenized(texts: pl.Series, tokens: str, *, joined: bool = False) -> _Tokens:
    """Return the tokens of texts.

    "full" has HELM's empty tokens: before a separator at the start of a text, and after one at its end.

    Args:
        texts: The texts, without nulls.
        tokens: As in `overlap`.
        joined: Whether the texts are tokens with a space between them. Then all spaces separate tokens.
    """
    if tokens == "full":
        texts = texts.str.to_lowercase()
    if not (texts.str.len_bytes() == texts.str.len_chars()).all():
        texts = texts.str.replace_all(_OTHER_SPACES, " ")
    lines = (texts + "\n").to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offset_buffer, data = lines.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[lines.offset : lines.offset + len(lines) + 1]
    low, high = (int(offsets[0]), int(offsets[-1])) if len(lines) else (0, 0)
    # take() is twice as fast as an index
    source = np.frombuffer(data, dtype=np.uint8, count=high)[low:] if high else np.empty(0, np.uint8)
    letters = np.take(_separators(tokens), source)
    letters[offsets[1:] - 1 - low] = _END
    if not joined:
        is_space = letters == _SPACE
        follows = is_space[:-1] if tokens == "full" else is_space[:-1] | (letters[:-1] == _END)
        repeated = is_space.copy()
        repeated[1:] &= follows
        repeated[:1] &= tokens == "light"
        letters = letters[~repeated]
        if tokens == "light":  # no token is empty
            before_end = letters == _SPACE
            before_end[:-1] &= letters[1:] == _END
            letters = letters[~before_end]
    ends = np.flatnonzero((letters == _SPACE) | (letters == _END))
    is_last = letters[ends] == _END
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])[: len(ends)]
    rows = np.cumsum(is_last) - is_last
    whole = starts < ends if tokens == "light" else np.ones(len(ends), dtype=np.bool_)
    return _Tokens(letters, starts[whole], ends[whole], rows[whole])


def _meetings(whole: _Part, n: int, tokens: str) -> list[_Part]:
    """Return the tokens of the n-grams in which an input and a reference meet."""
    if n == 1:
        return []
    letters = whole.tokens.letters.tobytes().decode()
    split = whole.rows.with_columns(tokens=pl.Series(letters.split("\n")[:-1], dtype=pl.String).str.split(" "))
    if tokens == "light":
        split = split.with_columns(pl.col("tokens").list.eval(pl.element().filter(pl.element() != "")))
    inputs = split.filter(field=INPUT).select("number", last=pl.col("tokens").list.tail(n - 1))
    met = split.filter(field=REFERENCES).join(inputs, on="number", maintain_order="left")
    joined = met.select(
        "number",
        field=pl.lit(INTERSECTION),
        text=pl.concat_list("last", pl.col("tokens").list.head(n - 1)).list.join(" "),
    )
    return [_Part(joined.select("number", "field"), _tokenized(joined["text"], tokens, joined=True))]


class _Hasher:
    """A polynomial hash of bytes modulo 2^64: the hash of any part of a text follows from two sums."""

    def __init__(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self._values = generator.integers(0, 1 << 64, 256, dtype=np.uint64)
        self._base = int(generator.integers(0, 1 << 63)) * 2 + 1
        self._powers = self._inverses = np.ones(1, np.uint64)
        self._lock = threading.Lock()

    def _factors(self, size: int) -> tuple[Hashes, Hashes]:
        """Return at least `size` powers of the base, and their inverses."""
        with self._lock:
            if len(self._powers) < size:
                self._powers, self._inverses = (
                    np.cumprod(np.concatenate([np.ones(1, np.uint64), np.full(2 * size, base, np.uint64)]))
                    for base in (self._base, pow(self._base, -1, 1 << 64))
                )
            return self._powers, self._inverses

    def ngrams(self, tokens: _Tokens, sizes: Sequence[int]) -> Iterator[tuple[int, Numbers, Hashes]]:
        """Yield n, first tokens and hashes of the n-grams within one text, window by window."""
        total = len(tokens.ends)
        for begin in range(0, total, _WINDOW):
            low, high = tokens.starts[begin], tokens.ends[min(begin + _WINDOW + max(sizes), total) - 1]
            letters = tokens.letters[low:high]
            # an empty token may start after the last byte
            powers, inverses = self._factors(len(letters) + 1)
            sums = np.zeros(len(letters) + 1, dtype=np.uint64)
            values = np.take(self._values, letters)
            values *= powers[: len(letters)]
            np.cumsum(values, out=sums[1:])
            for size in sizes:
                stop = min(begin + _WINDOW, total - size + 1)
                if stop <= begin:
                    continue
                whole = tokens.rows[begin:stop] == tokens.rows[begin + size - 1 : stop + size - 1]
                first = np.flatnonzero(whole) + begin
                start, end = tokens.starts[first] - low, tokens.ends[first + size - 1] - low
                yield size, first, (sums[end] - sums[start]) * inverses[start]


@dataclass(frozen=True)
class _Index:
    """The distinct n-grams of the instances.

    Args:
        parts: The texts of the instances.
        n: The number of tokens.
        hashes: The hashes of the n-grams, sorted.
        samples: The part, and the first token, of one n-gram with each hash.
        first: For each part, the first token of its n-grams.
        ids: For each part, the position in `hashes` of its n-grams.
        found: Whether the corpus has the n-gram.
        bits: Whether one of the hashes starts with these bits.
        shift: The number of the other bits.
    """

    parts: Sequence[_Part]
    n: int
    hashes: Hashes
    samples: tuple[Numbers, Numbers]
    first: Sequence[Numbers]
    ids: Sequence[Numbers]
    found: Flags
    bits: Flags = field(repr=False)
    shift: np.uint64

    @classmethod
    def of(cls, parts: Sequence[_Part], n: int, hasher: _Hasher, other: _Hasher) -> "_Index | None":
        """Return the index of the n-grams of these parts; None if two n-grams with one hash differ in the other."""
        first, hashes = zip(*(_ngrams(part.tokens, n, hasher) for part in parts), strict=True)
        check = np.concatenate([_ngrams(part.tokens, n, other)[1] for part in parts])
        unique, sample, ids = np.unique(np.concatenate(hashes), return_index=True, return_inverse=True)
        if (check[sample][ids] != check).any():
            return None
        size = min(max(16, len(unique).bit_length() + 5), 27)
        shift = np.uint64(64 - size)
        bits = np.zeros(1 << size, dtype=np.bool_)
        bits[unique >> shift] = True
        lengths = [len(part) for part in hashes]
        samples = np.repeat(np.arange(len(parts)), lengths)[sample], np.concatenate(first)[sample]
        of_part = np.split(ids, np.cumsum(lengths)[:-1])
        return cls(parts, n, unique, samples, first, of_part, np.zeros(len(unique), np.bool_), bits, shift)

    def find(self, tokens: _Tokens, first: Numbers, hashes: Hashes) -> None:
        """Mark the n-grams that a part of the corpus has; texts with equal hashes are compared."""
        likely = np.flatnonzero(self.bits[hashes >> self.shift])
        if not len(likely):
            return
        numbers = np.minimum(np.searchsorted(self.hashes, hashes[likely]), len(self.hashes) - 1)
        new = (self.hashes[numbers] == hashes[likely]) & ~self.found[numbers]
        for number, token in zip(numbers[new].tolist(), first[likely[new]].tolist(), strict=True):
            if not self.found[number]:
                part, sample = (int(column[number]) for column in self.samples)
                same = self.parts[part].tokens.text(sample, self.n) == tokens.text(token, self.n)
                self.found[number] = same


def _indexes(parts: Mapping[int, Sequence[_Part]], seed: int) -> dict[int, _Index] | None:
    """Return the index of the n-grams of each n; None if two different n-grams have one hash."""
    hasher, other = _Hasher(seed), _Hasher(_CHECK_SEED)
    indexes = {size: _Index.of(some, size, hasher, other) for size, some in parts.items()}
    return None if None in indexes.values() else {size: index for size, index in indexes.items() if index is not None}


def _ngrams(tokens: _Tokens, n: int, hasher: _Hasher) -> tuple[Numbers, Hashes]:
    """Return the first tokens and the hashes of all n-grams."""
    pieces = [(first, hashes) for _, first, hashes in hasher.ngrams(tokens, [n])]
    first = np.concatenate([np.empty(0, np.int64), *(piece for piece, _ in pieces)])
    return first, np.concatenate([np.empty(0, np.uint64), *(piece for _, piece in pieces)])


def _find(
    indexes: Mapping[int, _Index],
    hasher: _Hasher,
    corpus: Corpus,
    text: str,
    tokens: str,
) -> None:
    """Mark the n-grams that the corpus has, in a pass over it."""

    def scan(texts: pl.Series) -> int:
        some = _tokenized(texts, tokens)
        for size, first, hashes in hasher.ngrams(some, list(indexes)):
            indexes[size].find(some, first, hashes)
        return len(texts)

    started, n_rows = time.monotonic(), 0
    n_threads = os.cpu_count() or 1
    running: deque[Future[int]] = deque()
    with ThreadPoolExecutor(n_threads) as pool:
        for texts in _batches(corpus, text):
            running.append(pool.submit(scan, texts))
            if len(running) > n_threads:
                n_rows += running.popleft().result()
        n_rows += sum(future.result() for future in running)
    if not n_rows:
        raise ArgumentError(
            f"overlap({str(corpus)!r}, text={text!r}): no row of the corpus has a text in {text!r}. Write the name of "
            "the column with the text."
        )
    logger.info("Read %s rows of the corpus in %.1f s.", f"{n_rows:,}", time.monotonic() - started)


def _batches(corpus: Corpus, text: str) -> Iterator[pl.Series]:
    """Yield the texts of a corpus in batches of a few megabytes, without nulls."""
    for address in [corpus] if isinstance(corpus, str | Path) else corpus:
        pieces: list[pl.Series] = []
        size = 0
        for piece in _stream(str(address), text):
            pieces.append(piece)
            size += int(piece.estimated_size())
            if size >= _BATCH_BYTES:
                yield pl.concat(pieces)
                pieces, size = [], 0
        if pieces:
            yield pl.concat(pieces)


# The reader of each format, by the end of its files' names.
_READERS = {
    "parquet": "read_parquet({files})",
    "jsonl": "read_json({files}, format = 'newline_delimited', columns = {columns})",
    "ndjson": "read_json({files}, format = 'newline_delimited', columns = {columns})",
    "json": "read_json({files}, format = 'auto', columns = {columns})",
}


def _stream(address: str, text: str) -> Iterator[pl.Series]:
    """Yield the texts of the files at an address, in small series."""
    scheme = address.partition("://")[0] if "://" in address else ""
    suffix = address.removesuffix(".gz").removesuffix(".zst").rpartition(".")[2].lower()
    if suffix not in _READERS or scheme not in ("", "s3", "hf"):
        raise ArgumentError(
            f"overlap({address!r}): the corpus must be Parquet or JSON Lines files, such as 's3://corpus/*.parquet' or "
            "'corpus/*.jsonl.gz'."
        )
    with open_files(address) as source:
        connection = source.connection
        connection.execute("SET enable_external_file_cache = false; SET preserve_insertion_order = false")
        columns = f"{{{text_literal(text)}: 'VARCHAR'}}"
        table = _READERS[suffix].format(files=text_list([source.address]), columns=columns)
        types = source.guarded(lambda: source.types(f"SELECT * FROM {table}"))
        if text not in types:
            raise ArgumentError.unknown_value(f"overlap({address!r}, text={text!r}): no column {text!r}", text, types)
        name = identifier(text)
        select = f"SELECT {name}::VARCHAR AS texts FROM {table} WHERE {name} IS NOT NULL"
        reader = source.guarded(lambda: connection.sql(select).to_arrow_reader(_BATCH_ROWS))
        while (batch := source.guarded(lambda: next(reader, None))) is not None:
            yield pl.DataFrame(pl.from_arrow(batch))["texts"]


def _counts(part: _Part, index: _Index, number: int) -> pl.DataFrame:
    """Return the counts of n-grams and tokens of each text of a part.

    Returns:
        number, field, n, n_ngrams, n_overlapping, n_tokens, n_covered, longest_span and example.
    """
    tokens, size, height = part.tokens, index.n, part.rows.height
    first, found = index.first[number], index.found[index.ids[number]]
    flags = np.zeros(len(tokens.rows) + 1, dtype=np.int64)
    flags[first[found]] = 1
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(flags)])
    position = np.arange(len(tokens.rows))
    covered = sums[position + 1] > sums[np.maximum(position + 1 - size, 0)]
    # a run of n-grams that follow one another in one text
    hits = first[found]
    is_start = np.ones(len(hits), dtype=np.bool_)
    is_start[1:] = (np.diff(hits) > 1) | (np.diff(tokens.rows[hits]) > 0)
    starts = hits[is_start]
    lengths = np.bincount(np.cumsum(is_start) - 1, minlength=len(starts)) + size - 1
    runs = (
        pl.DataFrame({"row": tokens.rows[starts], "start": starts, "longest_span": lengths})
        .sort("longest_span", descending=True, maintain_order=True)
        .unique("row", keep="first", maintain_order=True)
    )
    examples = [
        tokens.text(start, length).decode()[:_EXAMPLE] for start, length in runs.select("start", "longest_span").rows()
    ]
    counts = {
        "n_ngrams": np.bincount(tokens.rows[first], minlength=height),
        "n_overlapping": np.bincount(tokens.rows[hits], minlength=height),
        "n_tokens": np.bincount(tokens.rows, minlength=height),
        "n_covered": np.bincount(tokens.rows[covered], minlength=height),
    }
    return (
        part.rows.with_columns(pl.Series(name, values.astype(np.int64)) for name, values in counts.items())
        .with_row_index("row")
        .with_columns(pl.col("row").cast(pl.Int64), n=pl.lit(size, dtype=pl.Int64))
        .join(
            runs.select("row", "longest_span", example=pl.Series(examples, dtype=pl.String)),
            on="row",
            how="left",
            maintain_order="left",
        )
    )


def _table(keys: pl.DataFrame, counts: pl.DataFrame) -> pl.DataFrame:
    """Return `OVERLAP` of the instances, from the counts of their texts."""
    longest = pl.col("longest_span").fill_null(0)
    by_field = counts.group_by("number", "field", "n", maintain_order=True).agg(
        pl.col("n_ngrams", "n_overlapping", "n_tokens", "n_covered").sum(),
        longest_span=longest.max(),
        example=pl.col("example").sort_by(longest, descending=True, nulls_last=True).first(),
    )
    order = pl.col("field").replace_strict([INPUT, REFERENCES, INTERSECTION], [0, 1, 2])
    shares = {
        "fraction": pl.when(pl.col("n_ngrams") > 0).then(pl.col("n_overlapping") / pl.col("n_ngrams")),
        "token_fraction": pl.when(pl.col("n_ngrams") > 0).then(pl.col("n_covered") / pl.col("n_tokens")),
    }
    table = keys.join(by_field, on="number", how="inner", maintain_order="left").sort("number", order, "n")
    return table.with_columns(**shares).select(pl.col(name).cast(dtype) for name, dtype in OVERLAP.schema.items())
