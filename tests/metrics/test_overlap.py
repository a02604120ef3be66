"""Words and n-grams in common: worked by hand, and against the packages that others use."""

import math

import polars as pl
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import sentence_bleu
from rouge_score.rouge_scorer import RougeScorer

import helmframe as hf
from helmframe.errors import CapabilityError
from helmframe.metrics import protocol
from helmframe.metrics.protocol import resolve_metrics
from helmframe.metrics.score import prepare_set_metric, score
from tests.frames import Options, completions, right, scored


@pytest.mark.parametrize(
    ("completion", "reference", "expected"),
    [
        ("the cat sat", "a cat", 2 / 3),
        ("cat", "cat", 1.0),
        ("cat cat cat sat", "cat sat sat", 1.0),  # sets: SQuAD's F1 would be 4/7
        ("sat cat", "cat sat", 1.0),
        ("dog", "cat", 0.0),
        ("The Cat!", "cat", 1.0),
        ("cat\u00a0sat", "cat sat", 1.0),
        ("a b c d", "b c x", 4 / 6),  # the article a goes
        ("", "cat", 0.0),
        ("the", "cat", 0.0),
        ("the", "a", 0.0),
        ("cat", "", 0.0),
    ],
)
def test_f1_score(completion: str, reference: str, expected: float) -> None:
    assert scored([completion], [right(reference)], "f1_score") == pytest.approx([expected], abs=1e-12)


def test_the_best_correct_reference_counts() -> None:
    references = [[("dog", True), ("cat sat", True), ("cat", False)]]
    assert scored(["cat"], references, "f1_score") == pytest.approx([2 / 3])


def test_each_row_has_its_own_references() -> None:
    assert scored(["cat", "dog", None, "x"], [right("cat"), right("cat"), right("cat"), []], "f1_score") == [
        1.0,
        0.0,
        None,
        0.0,
    ]


def test_no_completions() -> None:
    assert scored([], [], "f1_score") == []


@pytest.mark.parametrize(
    ("metric", "completion", "reference", "expected"),
    [
        ("f1_bag", "cat cat sat", "cat sat sat", 2 / 3),
        ("f1_bag", "cat cat cat sat", "cat sat sat", 4 / 7),
        ("f1_bag", "the", "the", 0.0),
        ("rouge_1", "cats sat", "the cat sat", 0.8),
        ("rouge_1", "The CATS, they sat!", "the cat they sat", 1.0),
        ("rouge_1", "cat cat", "cat", 2 / 3),
        ("rouge_1", "\u00e9t\u00e9", "t", 1.0),  # only a to z and digits are words
        ("rouge_2", "cats sat", "the cat sat", 2 / 3),
        ("rouge_2", "cat", "cat", 0.0),
        ("rouge_1(stemmed=False)", "cats sat", "the cat sat", 0.4),
        ("rouge_2(stemmed=False)", "cats sat", "the cat sat", 0.0),
        ("rouge_l(stemmed=False)", "The cats sat!", "the cats sit", 2 / 3),
        ("rouge_l", "sat a cat", "cat sat", 0.4),
        ("rouge_l", "a b c d", "a c d", 6 / 7),
        ("rouge_l", "", "cat", 0.0),
        ("bleu_1", "the the cat", "the cat sat", 2 / 3),
        ("bleu_1", "cat", "the cat sat", math.exp(1 - 3)),
        ("bleu_1", "", "cat", 0.0),
        ("bleu_1", "cat", "", 0.0),
        ("bleu_4", "a b c d x", "a b c d e", 0.5),
        ("bleu_4", "a b c", "a b c", 0.0),
        ("bleu_cumulative", "a b c d x", "a b c d e", (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25),
        ("bleu_cumulative", "a b c x", "a b c d", 0.0),
        ("bleu_1", "It sat. It ran.", "It sat. It ran.", 1.0),
        # words: It sat . Go . / It ran . It sat .
        ("bleu_1", "It sat. Go.", "It ran. It sat .", math.exp(1 - 6 / 5) * 4 / 5),
        ("bleu_4", "It sat. Go.", "He sat. Go.", 0.5),
        ("bleu_1_unsplit", "It sat. Go.", "It ran. It sat .", math.exp(1 - 5 / 4) / 2),
        ("bleu_4_unsplit", "It sat. Go.", "He sat. Go.", 0.0),
        ("bleu_cumulative(sentences=True)", "It sat. Go.", "It sat. Go.", 1.0),
    ],
)
def test_overlaps(metric: str, completion: str, reference: str, expected: float) -> None:
    assert scored([completion], [right(reference)], metric) == pytest.approx([expected], abs=1e-12)


def test_bleu_1_splits_each_stop_of_an_ellipsis_as_nltk_does() -> None:
    # NLTK has 8 words, since every stop but the first is a sentence of its own: It goes . . . . Far .
    assert scored(["It goes. . . . Far."], [right("Far .")], "bleu_1") == pytest.approx([2 / 8])


@pytest.mark.parametrize("name", ["bleu_1", "bleu_4"])
def test_bleu_needs_the_sentence_model(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(protocol, "find_spec", lambda package: None if package == "punkt" else package)
    with pytest.raises(CapabilityError, match=rf"'{name}' needs punkt: pip install 'helmframe\[metrics\]'"):
        scored(["cat"], [right("cat")], name)
    assert scored(["cat"], [right("cat")], "bleu_1_unsplit") == [1.0]


WORDS = st.lists(
    st.sampled_from(["the", "cat", "Cats", "sat", "on", "mat", "a", ".", "sitting", "the-cat"]), max_size=14
)


@settings(deadline=None)
@given(st.lists(st.tuples(WORDS.map(" ".join), WORDS.map(" ".join)), min_size=1, max_size=6))
def test_rouge_is_rouge_scores(pairs: list[tuple[str, str]]) -> None:
    golds = [right(gold) for _, gold in pairs]
    for stemmed in (True, False):
        scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=stemmed)
        for ours, theirs in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
            expected = [scorer.score(gold, output)[theirs].fmeasure for output, gold in pairs]
            found = scored([output for output, _ in pairs], golds, f"{ours}(stemmed={stemmed})")
            assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("weights", [(1, 0, 0, 0), (0, 0, 0, 1), (0.25, 0.25, 0.25, 0.25)])
@pytest.mark.filterwarnings("ignore:(?s).*The hypothesis contains 0 counts")
@settings(deadline=None)
@given(st.lists(st.tuples(WORDS.map(" ".join), WORDS.map(" ".join)), min_size=1, max_size=6))
def test_bleu_is_nltks(weights: tuple[float, ...], pairs: list[tuple[str, str]]) -> None:
    # words with stops among them, which a sentence split would part
    name = "bleu_1_unsplit" if weights[0] == 1 else "bleu_4_unsplit" if weights[3] == 1 else "bleu_cumulative"
    expected = [sentence_bleu([gold.split()], output.split(), weights=weights) for output, gold in pairs]
    ours = scored([output for output, _ in pairs], [right(gold) for _, gold in pairs], name)
    assert ours == pytest.approx([float(each) if each > 1e-70 else 0.0 for each in expected], abs=1e-9)


SACREBLEU = {
    "corpus_bleu": sacrebleu.BLEU(),
    "corpus_chrf": sacrebleu.CHRF(),
    "corpus_chrf(words=True)": sacrebleu.CHRF(word_order=2),
    "corpus_ter": sacrebleu.TER(),
}


def corpus(name: str, texts: list[str | None], references: list[Options]) -> float | None:
    rows, value = prepare_set_metric(completions(texts, references).lazy(), resolve_metrics([name])[0])
    found = rows.select(value).collect().item()
    assert found is None or isinstance(found, float)
    return found


SENTENCES = st.lists(st.sampled_from(["the", "cat", "sat", "on", "mat", ".", "Cats"]), min_size=1, max_size=10).map(
    " ".join
)


@settings(deadline=None)
@given(st.lists(st.tuples(SENTENCES, SENTENCES, SENTENCES), min_size=1, max_size=5))
def test_it_is_sacrebleus(rows: list[tuple[str, str, str]]) -> None:
    outputs, first, second = ([row[place] for row in rows] for place in range(3))
    golds = [right(*pair) for pair in zip(first, second, strict=True)]
    for name, theirs in SACREBLEU.items():
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


def drop_scores(completion: str, answers: list[list[str]]) -> tuple[float, float]:
    frame = completions([completion], [right("")]).with_columns(data_answers=pl.Series([answers]))
    table = score(frame.lazy(), ["drop_f1", "drop_em"]).collect()
    by_metric = dict(table.select("metric", "score").iter_rows())
    return by_metric["drop_f1"], by_metric["drop_em"]


@pytest.mark.parametrize(
    ("completion", "answers", "expected"),
    [
        ("12", [["12"]], (1.0, 1.0)),
        ("12 yards", [["12"]], (0.67, 0.0)),
        ("the 12.0", [["12"]], (1.0, 1.0)),
        ("13 yards", [["12 yards"]], (0.0, 0.0)),
        ("Tom Brady", [["Tom Brady", "Randy Moss"]], (0.5, 0.0)),
        ("brady", [["Manning"], ["Tom Brady"]], (0.67, 0.0)),
        ("forty-yard", [["forty yard"]], (1.0, 1.0)),
        ("", [["12"]], (0.0, 0.0)),
        ("x", [[""]], (0.0, 0.0)),
    ],
)
def test_drop(completion: str, answers: list[list[str]], expected: tuple[float, float]) -> None:
    assert drop_scores(completion, answers) == expected


@pytest.mark.parametrize(
    ("completion", "reference", "language", "f1", "exact"),
    [
        ("di kota Bandung", "Bandung, Indonesia", "id", 0.4, 0.0),
        ("Hà Nội.", " hà  nội", "vi", 1.0, 1.0),
        ("the cat sat", "cat sat", "en", 1.0, 1.0),
        ("the cat sat", "cat sat", "id", 0.8, 0.0),  # articles count outside English
        ("cat cat sat", "cat sat sat", "ta", 2 / 3, 0.0),  # repeated words count
        ("dog", "cat", "id", 0.0, 0.0),
        ("", "cat", "id", 0.0, 0.0),
        ("!", "?", "id", 0.0, 1.0),  # as in HELM, two texts without words are equal
    ],
)
def test_squad_scores_of_a_language(completion: str, reference: str, language: str, f1: float, exact: float) -> None:
    for name, expected in (("squad_f1_score", f1), ("squad_exact_match_score", exact)):
        scores = scored([completion], [right(reference)], f"{name}(language={language!r})")
        assert scores == pytest.approx([expected], abs=1e-12)


def test_thai_words_need_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helmframe.metrics.overlap.find_spec", lambda _: None)
    (metric,) = resolve_metrics(["squad_f1_score(language='th')"])
    with pytest.raises(CapabilityError, match=r"pythainlp: pip install 'helmframe\[thai\]'"):
        metric.check_usable()
    (other,) = resolve_metrics(["squad_f1_score(language='vi')"])
    other.check_usable()


@pytest.mark.parametrize(
    ("completion", "references"),
    [("The cat sat", ["The cat sat."]), ("con mèo", ["con chó", "con mèo đen"]), ("", ["x"]), (" a b ", ["a b"])],
)
def test_chr_f_plus_plus_is_sacrebleus_sentence_score(completion: str, references: list[str]) -> None:
    expected = sacrebleu.sentence_chrf(completion.strip(), references, word_order=2).score
    assert scored([completion], [right(*references)], "chr_f_plus_plus") == pytest.approx([expected], abs=1e-9)
