"""Corpus metrics against sacrebleu's own."""

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

import helmframe as hf
from helmframe.metrics.protocol import chosen
from helmframe.metrics.score import for_sets
from tests.frames import Options, completions, right

THEIRS = {
    "corpus_bleu": sacrebleu.BLEU(),
    "corpus_chrf": sacrebleu.CHRF(),
    "corpus_chrf(words=True)": sacrebleu.CHRF(word_order=2),
    "corpus_ter": sacrebleu.TER(),
}


def corpus(name: str, texts: list[str | None], references: list[Options]) -> float | None:
    rows, value = for_sets(completions(texts, references).lazy(), chosen([name])[0])
    found = rows.select(value).collect().item()
    assert found is None or isinstance(found, float)
    return found


WORDS = st.lists(st.sampled_from(["the", "cat", "sat", "on", "mat", ".", "Cats"]), min_size=1, max_size=10).map(
    " ".join
)


@settings(deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=5))
def test_it_is_sacrebleus(rows: list[tuple[str, str, str]]) -> None:
    outputs, first, second = ([row[place] for row in rows] for place in range(3))
    golds = [right(*pair) for pair in zip(first, second, strict=True)]
    for name, theirs in THEIRS.items():
        expected = theirs.corpus_score(outputs, [first, second]).score
        assert corpus(name, list(outputs), golds) == pytest.approx(expected, abs=1e-9)


def test_failed_requests_are_left_out() -> None:
    assert corpus("corpus_bleu", ["the cat sat on", None], [right("the cat sat on"), right("x")]) == pytest.approx(100)


def test_nothing_to_score_has_no_value() -> None:
    assert corpus("corpus_bleu", [None], [right("x")]) is None
    assert corpus("corpus_ter", [], []) is None


def test_in_a_table_it_has_an_interval() -> None:
    plan = hf.scenario("sampler").generate(hf.models.noisy(0.5)).metrics("corpus_chrf")
    row = plan.score().table().row(0, named=True)
    assert row["ci_low"] < row["value"] < row["ci_high"]
