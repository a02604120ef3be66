"""Overlap of two lists of words, for all rows of a column at once: words, n-grams, the longest common subsequence."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from helmframe.metrics.tokens import ragged

BLOCK = 2048  # rows per block: intermediate arrays fit into the processor's cache
FEWER = 192  # rows of about 100 words per block: each array is smaller than 128 KB
AFTER_SURROGATES = 0xE000
CHARACTERS = 0x110000 - AFTER_SURROGATES


class Shared(NamedTuple):
    """Counts per row: n-grams that output and reference have in common, repeated ones included, and those of each."""

    common: NDArray[np.int64]
    output: NDArray[np.int64]
    gold: NDArray[np.int64]


def shared_ngrams(outputs: pl.Series, golds: pl.Series, n: int) -> Shared:
    """Return counts of n-grams over two columns of `tokens.IDS`."""
    blocks = [
        _shared(outputs.slice(start, BLOCK), golds.slice(start, BLOCK), n) for start in range(0, len(outputs), BLOCK)
    ]
    if not blocks:
        return Shared(*(np.zeros(0, np.int64) for _ in range(3)))
    return Shared(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def shared_distinct(outputs: pl.Series, golds: pl.Series) -> Shared:
    """Return counts of distinct values over two columns of `tokens.IDS`: in both lists, and in each."""
    (output_ids, of_output), (gold_ids, of_gold) = ragged(outputs), ragged(golds)
    starts, gold_starts = (np.concatenate([[0], np.cumsum(lengths)]) for lengths in (of_output, of_gold))
    counts = np.zeros((len(outputs), 4), np.int64)
    for first in range(0, len(outputs), FEWER):
        rows, last = slice(first, first + FEWER), min(first + FEWER, len(outputs))
        values = output_ids[starts[first] : starts[last]], gold_ids[gold_starts[first] : gold_starts[last]]
        keys, below = _keys(*values, of_output[rows], of_gold[rows])
        # an equal neighbour is a repetition within output or reference; a neighbour that differs in the last bit only
        # is the same value in both
        change = keys[1:] ^ keys[:-1]
        at = np.flatnonzero(change <= 1)
        left = keys[at]
        kinds = (left >> below << np.uint64(2)) | (change[at] << np.uint64(1)) | (left & np.uint64(1))
        counts[rows] = np.bincount(kinds.view(np.int64), minlength=4 * (last - first)).reshape(-1, 4)
    return Shared(counts[:, 2], of_output - counts[:, 0], of_gold - counts[:, 1])


def distinct_ngrams(lists: pl.Series, n: int, *, together: bool = False) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, per row, the number of distinct n-grams and of all n-grams in a column of `tokens.IDS`.

    With `together`, an n-gram that an earlier row has does not count as distinct.
    """
    grams, counts = _ngrams(lists, n)
    rows = np.repeat(np.arange(len(counts)), counts)
    keys = grams if together else _mixed(grams ^ _mixed(rows.astype(np.uint64)))
    _, first = np.unique(keys, return_index=True)
    return np.bincount(rows[first], minlength=len(lists)), counts


def common_subsequence(outputs: pl.Series, golds: pl.Series) -> NDArray[np.int64]:
    """Return, per row, the length of the longest common subsequence of two columns of `tokens.IDS`."""
    from rapidfuzz.distance import LCSseq

    (out_ids, out_counts), (gold_ids, gold_counts) = ragged(outputs), ragged(golds)
    texts = _as_texts(np.concatenate([out_ids, gold_ids]), np.concatenate([out_counts, gold_counts]))
    pairs = zip(texts[: len(outputs)], texts[len(outputs) :], strict=True)
    return np.fromiter((LCSseq.similarity(output, gold) for output, gold in pairs), np.int64, len(outputs))


def _as_texts(ids: NDArray[np.uint64], counts: NDArray[np.int64]) -> Sequence[Sequence[Hashable]]:
    """Return each list as a text with one character per distinct number; RapidFuzz compares texts fastest."""
    import pyarrow as pa

    encoded = pa.array(ids).dictionary_encode()
    ends = np.cumsum(counts).tolist()
    bounds = list(zip([0, *ends], ends, strict=False))
    if len(encoded.dictionary) > CHARACTERS:
        return [ids[start:end].tolist() for start, end in bounds]
    codes = encoded.indices.to_numpy().astype(np.uint32) + np.uint32(AFTER_SURROGATES)
    whole = codes.tobytes().decode("utf-32-le")
    return [whole[start:end] for start, end in bounds]


def _shared(outputs: pl.Series, golds: pl.Series, n: int) -> Shared:
    (output_hashes, of_output), (gold_hashes, of_gold) = _ngrams(outputs, n), _ngrams(golds, n)
    keys, below = _keys(output_hashes, gold_hashes, of_output, of_gold)
    if not len(keys):
        return Shared(np.zeros(len(outputs), np.int64), of_output, of_gold)
    first = np.flatnonzero(np.append(True, (keys[1:] ^ keys[:-1]) > 1))
    golds_of = np.add.reduceat(keys & np.uint64(1), first).astype(np.int64)
    outputs_of = np.diff(np.append(first, len(keys))) - golds_of
    row = (keys[first] >> below).view(np.int64)
    common = np.bincount(row, np.minimum(outputs_of, golds_of), len(outputs)).astype(np.int64)
    return Shared(common, of_output, of_gold)


def _keys(
    output_hashes: NDArray[np.uint64],
    gold_hashes: NDArray[np.uint64],
    of_output: NDArray[np.int64],
    of_gold: NDArray[np.int64],
) -> tuple[NDArray[np.uint64], np.uint64]:
    """Return the hashes of both as sorted numbers, and the number of their bits below the row.

    A number contains the row, then the bits of the hash that fit, and in its last bit whether it is a gold's.
    """
    shift = np.uint64(max(len(of_output) - 1, 1).bit_length())
    below = np.uint64(64) - shift
    rows = np.arange(len(of_output), dtype=np.uint64) << below
    keys = np.concatenate([output_hashes, gold_hashes])
    keys >>= shift
    keys &= ~np.uint64(1)
    keys[len(output_hashes) :] |= np.uint64(1)
    keys[: len(output_hashes)] |= np.repeat(rows, of_output)
    keys[len(output_hashes) :] |= np.repeat(rows, of_gold)
    keys.sort()
    return keys, below


def _ngrams(lists: pl.Series, n: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return a hash per n-gram, row after row, and the number of n-grams of each row."""
    ids, counts = ragged(lists)
    grams = ids
    for offset in range(1, n):
        grams = _mixed(grams[:-1]) ^ ids[offset:]
    whole = np.ones(len(ids), bool)
    ends = np.cumsum(counts)
    for offset in range(1, n):  # no n-gram starts at the last words of a row
        whole[(ends - offset)[counts >= offset]] = False
    return (grams[whole[: len(grams)]] if n > 1 else grams), np.maximum(counts - (n - 1), 0)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the values with their bits spread, by splitmix64's finaliser."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
