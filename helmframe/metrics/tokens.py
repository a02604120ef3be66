"""Words as numbers: a text becomes the list of its words' hashes, so that metrics compare and count integers."""

from typing import TYPE_CHECKING

import polars as pl

from helmframe._core.expressions import SPACES
from helmframe._core.text import alphanumeric
from helmframe.metrics.stem import stem
from helmframe.metrics.treebank import CUT, TWO_IN_ONE, chunk_words, cut_where_needed, split_sentences

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IDS = pl.List(pl.UInt64)
# white space as in Python's str.split, except ' ' and the mark before words that are already split
_SPACES = [char for char in SPACES if char not in (" ", CUT)]
_PLAIN = "^[A-Za-z0-9]+$"


def words(text: pl.Expr) -> pl.Expr:
    """Return the words of a text with single spaces, such as a normalised one."""
    hashes = text.str.split(" ").list.eval(pl.element().hash())
    # an empty text is split into one empty word
    return pl.when(text != "").then(hashes).when(text == "").then(pl.lit([], dtype=IDS))


def stems(text: pl.Expr) -> pl.Expr:
    """Return the words of ROUGE: lower-case letters a to z and digits; words of four and more are stemmed.

    Source: rouge_score.tokenize with use_stemmer=True.
    """
    return alphanumeric(text).map_batches(_stems, return_dtype=IDS, is_elementwise=True)


def terms(text: pl.Expr) -> pl.Expr:
    """Return the words of ROUGE without stemming."""
    return words(alphanumeric(text))


def treebank(text: pl.Expr) -> pl.Expr:
    """Return the words of a text as one sentence: NLTK's `word_tokenize` with preserve_line.

    The last full stop is a word. HELM's BLEU splits sentences first: `sentences`.
    """
    return text.map_batches(_treebank, return_dtype=IDS, is_elementwise=True)


def sentences(text: pl.Expr) -> pl.Expr:
    """Return the words of NLTK's `word_tokenize`: `treebank` of each sentence, with its full stop as a word."""
    return text.map_batches(_sentences, return_dtype=IDS, is_elementwise=True)


def _stems(texts: pl.Series) -> pl.Series:
    flat, counts = _single(texts)
    which, vocabulary = _vocabulary(flat, flat.hash().to_numpy())
    stemmed = pl.Series([stem(word) if len(word) > 3 else word for word in vocabulary], dtype=pl.String)
    return _lists(stemmed.hash().to_numpy()[which], counts, texts)


def _treebank(texts: pl.Series) -> pl.Series:
    import numpy as np
    import pyarrow as pa

    # a byte 0 does not end a word, as a byte 1 does not
    marked = cut_where_needed(texts.str.replace_all("\0", "\x01", literal=True))
    flat, counts = _flat(marked.str.replace_many(_SPACES, [" "]))
    ids = flat.hash().to_numpy()
    which, vocabulary = _vocabulary(flat, ids)
    # a chunk of letters and digits is one word at any position; others differ at the start and end of a text
    odd = ~(vocabulary.str.contains(_PLAIN) & ~vocabulary.str.to_lowercase().is_in(TWO_IN_ONE)).to_numpy()
    ends = np.cumsum(counts)
    position = np.zeros(len(which), np.int64)
    position[(ends - counts)[counts > 0]] += 1
    position[(ends - 1)[counts > 0]] += 2
    at = np.flatnonzero(odd[which])
    encoded = pa.array(which[at] * 4 + position[at]).dictionary_encode()
    pairs = encoded.dictionary.to_pylist()
    chunks = vocabulary.gather([pair >> 2 for pair in pairs]).to_list()
    cut = [chunk_words(chunk, pair & 1, pair & 2) for chunk, pair in zip(chunks, pairs, strict=True)]
    words = pl.Series([word for chunk_list in cut for word in chunk_list], dtype=pl.String).hash().to_numpy()
    lengths = np.array([len(chunk_list) for chunk_list in cut], np.int64)
    code = encoded.indices.to_numpy()
    sizes = np.ones(len(which), np.int64)
    sizes[at] = lengths[code]
    word_ids = np.repeat(ids, sizes)
    starts = np.cumsum(sizes) - sizes
    word_ids[_ragged(starts[at], lengths[code])] = words[_ragged((np.cumsum(lengths) - lengths)[code], lengths[code])]
    return _lists(word_ids, _sums(sizes, counts), texts)


def _sentences(texts: pl.Series) -> pl.Series:
    import numpy as np

    # only a mark with something after it can end a sentence within the text
    several = texts.str.contains(r"(?s)[.?!].").fill_null(value=False)
    split = [
        split_sentences(text) if marked else [text] for text, marked in zip(texts.fill_null(""), several, strict=True)
    ]
    ids, counts = ragged(_treebank(pl.Series([sentence for text in split for sentence in text], dtype=pl.String)))
    return _lists(
        ids, _sums(counts, np.array([len(sentences_of_text) for sentences_of_text in split], np.int64)), texts
    )


# -- lists of numbers ------------------------------------------------------------------------------------------------


def ragged(lists: pl.Series) -> "tuple[NDArray[np.uint64], NDArray[np.int64]]":
    """Return the values of a list column end to end, and the length of each list; null is an empty list."""
    import numpy as np

    counts = lists.list.len().fill_null(0).to_numpy().astype(np.int64)
    return lists.explode(empty_as_null=False, keep_nulls=False).to_numpy(), counts


def _lists(ids: "NDArray[np.uint64]", counts: "NDArray[np.int64]", like: pl.Series) -> pl.Series:
    import numpy as np
    import pyarrow as pa

    offsets = np.concatenate([[0], np.cumsum(counts)])
    array = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(ids))
    column = pl.Series(like.name, pl.from_arrow(array), dtype=IDS)
    return column.set(like.is_null(), None) if like.null_count() else column


def _single(texts: pl.Series) -> "tuple[pl.Series, NDArray[np.int64]]":
    """Return `_flat` of texts with single spaces."""
    import numpy as np

    nonempty = (texts != "").fill_null(value=False)
    if nonempty.all():
        lists = texts.str.split(" ")
        return lists.explode(), lists.list.len().to_numpy().astype(np.int64)
    flat, some = _single(texts.filter(nonempty)) if nonempty.any() else (pl.Series([], dtype=pl.String), 0)
    counts = np.zeros(len(texts), np.int64)
    counts[nonempty.to_numpy()] = some
    return flat, counts


def _flat(texts: pl.Series) -> "tuple[pl.Series, NDArray[np.int64]]":
    """Return the chunks between spaces of all texts end to end, and the number of chunks of each text."""
    import numpy as np

    lists = texts.fill_null("").str.split(" ")
    flat, counts = lists.explode(), lists.list.len().to_numpy().astype(np.int64)
    nonempty = flat != ""
    return (
        (flat, counts)
        if nonempty.all()
        else (flat.filter(nonempty), _sums(nonempty.to_numpy().astype(np.int64), counts))
    )


def _vocabulary(flat: pl.Series, ids: "NDArray[np.uint64]") -> "tuple[NDArray[np.int64], pl.Series]":
    """Return the index of each word among the distinct words, and the distinct words."""
    import numpy as np
    import pyarrow as pa

    encoded = pa.array(ids).dictionary_encode()
    which = encoded.indices.to_numpy().astype(np.int64)
    first = np.zeros(len(encoded.dictionary), np.int64)
    first[which[::-1]] = np.arange(len(which))[::-1]
    return which, flat.gather(first)


def _ragged(starts: "NDArray[np.int64]", sizes: "NDArray[np.int64]") -> "NDArray[np.int64]":
    """Return the ranges of integers with these starts and sizes, end to end."""
    import numpy as np

    ends = np.cumsum(sizes)
    indices: NDArray[np.int64] = np.repeat(starts - (ends - sizes), sizes)
    indices += np.arange(len(indices))
    return indices


def _sums(values: "NDArray[np.int64]", counts: "NDArray[np.int64]") -> "NDArray[np.int64]":
    """Return sums over consecutive groups of these lengths."""
    import numpy as np

    total = np.concatenate([[0], np.cumsum(values)])
    ends = np.cumsum(counts)
    sums: NDArray[np.int64] = total[ends] - total[ends - counts]
    return sums
