"""The n-grams that instances share with a corpus, beside a plain Python version of HELM's definition."""

import gzip
import json
import random
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._schema import OVERLAP
from helmframe.errors import ArgumentError, SourceBrokenError, SourceMissingError
from helmframe.scenarios import overlap as module
from helmframe.scenarios.overlap import _tokenized, overlap
from tests.counting_proxy import counting_proxy
from tests.s3_server import BUCKET, S3Server

SENTENCE = (
    "The Center for Research on Foundation Models (CRFM) is an interdisciplinary initiative born out of the Stanford "
    "Institute for Human-Centered Artificial Intelligence (HAI) that aims to make fundamental advances."
)


def helm_tokens(text: str, tokens: str) -> list[str]:
    """Return tokens as HELM's DefaultTokenizer ("full") and LightTokenizer do."""
    return text.split() if tokens == "light" else re.split(rf"[\s{re.escape(string.punctuation)}]+", text.lower())


def ngrams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]


def covered(tokens: Sequence[str], n: int, common: set[tuple[str, ...]]) -> list[bool]:
    flags = [False] * len(tokens)
    for start, ngram in enumerate(ngrams(tokens, n)):
        if ngram in common:
            flags[start : start + n] = [True] * n
    return flags


def longest_run(found: Sequence[bool], n: int) -> int:
    longest = run = 0
    for flag in found:
        run = run + 1 if flag else 0
        longest = max(longest, run + n - 1 if run else 0)
    return longest


def expected(
    instances: Sequence[tuple[str, list[str]]], corpus: Sequence[str], n: int, tokens: str
) -> list[dict[str, Any]]:
    """Return rows of `OVERLAP` by plain Python."""
    common = {ngram for document in corpus for ngram in ngrams(helm_tokens(document, tokens), n)}
    rows = []
    for number, (text, references) in enumerate(instances):
        words = helm_tokens(text, tokens)
        all_references = [helm_tokens(reference, tokens) for reference in references]
        met = [words[-(n - 1) :] + reference[: n - 1] for reference in all_references] if n > 1 else []
        for field, texts in (("input", [words]), ("references", all_references), ("intersection", met)):
            if not texts:
                continue
            found = [[ngram in common for ngram in ngrams(words, n)] for words in texts]
            flat = [flag for flags in found for flag in flags]
            cover = [flag for words in texts for flag in covered(words, n, common)]
            rows.append(
                {
                    "instance_id": f"id{number}",
                    "field": field,
                    "n": n,
                    "n_ngrams": len(flat),
                    "n_overlapping": sum(flat),
                    "fraction": sum(flat) / len(flat) if flat else None,
                    "token_fraction": sum(cover) / len(cover) if flat else None,
                    "longest_span": max(longest_run(flags, n) for flags in found),
                }
            )
    return rows


def plan(instances: Sequence[tuple[str, list[str]]]) -> hf.Plan:
    frame = pl.DataFrame({"input": [text for text, _ in instances], "references": [texts for _, texts in instances]})
    return hf.scenario(frame, input="input", references="references")


def write(folder: Path, texts: Sequence[str | None]) -> Path:
    file = folder / "corpus.parquet"
    pl.DataFrame({"text": texts}, schema={"text": pl.String}).write_parquet(file)
    return file


INSTANCES = [
    (SENTENCE, ["an interdisciplinary initiative", "born out of"]),
    ("Is 2 + 2 = 4, true or false?", ["True", "False"]),
    ("is 2+2 4 true or false", ["true"]),
    ("Größe  und\u00a0Maß: Ünïcode, ΣΊΣΥΦΟΣ und Größe", ["\u3000Maß"]),
    ("", [""]),
    ("... punctuation ...", ["--", "of the Stanford Institute for Human"]),
]
CORPUS = [
    "Born OUT of the stanford, institute for human centered things",
    "They say: is 2 + 2 = 4, true or false: true!",
    "größe und maß ünïcode σίσυφος und größe",
    "",
    "an interdisciplinary initiative born out of a cellar",
    "punctuation ",
]


@pytest.mark.parametrize("tokens", ["full", "light"])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_counts_equal_those_of_helms_definition(tmp_path: Path, n: int, tokens: str) -> None:
    table = plan(INSTANCES).overlap(write(tmp_path, CORPUS), n, tokens=tokens)
    rows = expected(INSTANCES, CORPUS, n, tokens)
    assert table.select(rows[0].keys()).to_dicts() == rows


@pytest.mark.parametrize("tokens", ["full", "light"])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_counts_equal_those_of_helms_definition_for_any_text(tmp_path: Path, n: int, tokens: str) -> None:
    generator = random.Random(n)
    words = ["a", "A", "b", "é", "İ", "ς", ""]
    separators = [" ", " ", " ", "  ", ",", "'s ", "\u00a0", "\n", "\u2028", "\x1f", "\u0085", ""]

    def text() -> str:
        length = generator.randrange(10)
        return "".join(generator.choice(words) + generator.choice(separators) for _ in range(length))

    instances = [(text(), [text() for _ in range(generator.randrange(1, 3))]) for _ in range(300)]
    corpus = [text() for _ in range(40)]
    table = plan(instances).overlap(write(tmp_path, corpus), n, tokens=tokens)
    rows = expected(instances, corpus, n, tokens)
    assert 0 < table["n_overlapping"].sum() < table["n_ngrams"].sum()
    assert table.select(rows[0].keys()).to_dicts() == rows


@pytest.mark.parametrize("tokens", ["full", "light"])
def test_tokens_are_helms(tokens: str) -> None:
    texts = [SENTENCE, "THis ,,iS a SiMPlE t-EsT cAsE", "  ", "", ".a.", "\u2003x\x1cy\u0085"]
    tokenized = _tokenized(pl.Series(texts), tokens)
    words = [tokenized.text(token, 1).decode() for token in range(len(tokenized.ends))]
    by_text = [[word for word, row in zip(words, tokenized.rows, strict=True) if row == number] for number in range(6)]
    assert by_text == [helm_tokens(text, tokens) for text in texts]


def test_several_numbers_take_one_pass_and_have_their_own_rows(tmp_path: Path) -> None:
    table = plan(INSTANCES).overlap(write(tmp_path, CORPUS), [5, 3])
    assert dict(table.schema) == OVERLAP.schema
    for n in (3, 5):
        alone = plan(INSTANCES).overlap(write(tmp_path, CORPUS), n)
        assert table.filter(n=n).equals(alone)


def test_an_example_is_the_longest_span(tmp_path: Path) -> None:
    table = plan([(SENTENCE, ["x"])]).overlap(write(tmp_path, CORPUS[:1]), 3).filter(field="input")
    assert table["example"].to_list() == ["born out of the stanford institute for human centered"]
    assert table["longest_span"].to_list() == [9]


def test_windows_and_batches_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = plan(INSTANCES).overlap(write(tmp_path, CORPUS), [2, 4])
    for name, value in (("_WINDOW", 3), ("_BATCH_BYTES", 1), ("_BATCH_ROWS", 1)):
        monkeypatch.setattr(module, name, value)
    assert plan(INSTANCES).overlap(write(tmp_path, CORPUS), [2, 4]).equals(whole)


def test_equal_hashes_of_different_texts_are_no_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Colliding(module._Hasher):
        """The sum of letters: a b c and c b a have one hash."""

        def __init__(self, seed: int) -> None:
            super().__init__(seed)
            if seed == 0:
                self._base = 1

    monkeypatch.setattr(module, "_Hasher", Colliding)
    corpus = write(tmp_path, ["c b a", "x y z"])
    assert plan([("a b c", ["y"])]).overlap(corpus, 3)["n_overlapping"].sum() == 0
    # two n-grams of the instances collide: another seed is used
    assert plan([("a b c b a", ["y"])]).overlap(corpus, 3)["n_overlapping"].to_list()[0] == 1


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.ndjson", "corpus.jsonl.gz"])
def test_a_corpus_may_be_json_lines(tmp_path: Path, name: str) -> None:
    lines = "".join(json.dumps({"id": number, "body": text}) + "\n" for number, text in enumerate(CORPUS)).encode()
    (tmp_path / name).write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
    table = plan(INSTANCES).overlap(tmp_path / name, 3, text="body")
    assert table.equals(plan(INSTANCES).overlap(write(tmp_path, CORPUS), 3))


def test_a_corpus_may_be_many_files_with_nulls(tmp_path: Path) -> None:
    for number, text in enumerate(CORPUS):
        (tmp_path / str(number)).mkdir()
        write(tmp_path / str(number), [None, text])
    files = [tmp_path / str(number) / "corpus.parquet" for number in range(len(CORPUS))]
    whole = plan(INSTANCES).overlap(files, 3)
    assert plan(INSTANCES).overlap(str(tmp_path / "*" / "*.parquet"), 3).equals(whole)
    assert whole.equals(plan(INSTANCES).overlap(write(tmp_path, CORPUS), 3))


def test_a_suite_reads_the_corpus_once_for_all_plans(tmp_path: Path) -> None:
    corpus = write(tmp_path, ["Which planet is known as the red planet?"])
    plans = [hf.scenario("sampler").where(subject=subject) for subject in ("music", "biology", "music")]
    table = hf.suite(*plans).overlap(corpus, 3)
    assert table["instance_id"].n_unique() == sum(each.instances().collect().height for each in plans[:2])
    assert table.group_by("instance_id", "field", "n").len()["len"].max() == 1


@pytest.mark.shared
def test_a_corpus_may_be_in_a_bucket(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filesystem = s3.filesystem()
    for number, text in enumerate(CORPUS):
        filesystem.put(str(write(tmp_path, [text])), f"{BUCKET}/corpus/{number}.parquet")
    with counting_proxy(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with proxy.counted() as traffic:
            table = plan(INSTANCES).overlap(f"s3://{BUCKET}/corpus/*.parquet", 3)
        with pytest.raises(SourceMissingError, match=f"corpus s3://{BUCKET}/nowhere"):
            plan(INSTANCES).overlap(f"s3://{BUCKET}/nowhere/*.parquet", 3)
    assert table.equals(plan(INSTANCES).overlap(write(tmp_path, CORPUS), 3))
    assert traffic.requests["HEAD"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, r"overlap\(n=0\): n must be an integer ≥ 1"),
        ({"n": []}, r"overlap\(n=\[\]\)"),
        ({"n": True}, r"overlap\(n=True\)"),
        ({"tokens": "ful"}, "Did you mean 'full'"),
        ({"text": "txt"}, "Did you mean 'text'"),
    ],
)
def test_a_wrong_argument_is_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        plan(INSTANCES).overlap(write(tmp_path, CORPUS), **options)


def test_a_corpus_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="must be Parquet or JSON Lines files"):
        plan(INSTANCES).overlap(tmp_path, 3)
    with pytest.raises(SourceMissingError, match="nothing"):
        plan(INSTANCES).overlap(tmp_path / "nothing*.parquet", 3)
    (tmp_path / "broken.parquet").write_bytes(b"broken")
    with pytest.raises(SourceBrokenError, match=r"corpus .*broken\.parquet"):
        plan(INSTANCES).overlap(tmp_path / "broken.parquet", 3)
    (tmp_path / "other.jsonl").write_text('{"body": "a text"}\n')
    with pytest.raises(ArgumentError, match="no row of the corpus has a text in 'text'"):
        plan(INSTANCES).overlap(tmp_path / "other.jsonl", 3)


def test_no_instances_have_no_rows(tmp_path: Path) -> None:
    table = overlap([], write(tmp_path, CORPUS), 3)
    assert dict(table.schema) == OVERLAP.schema
    assert table.is_empty()
