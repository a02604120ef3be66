"""Toxicity by classifiers of all kinds, good and bad."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError
from helmframe.metrics.score import score
from helmframe.metrics.toxicity import toxicity, use_classifier
from tests.frames import completions
from tests.metrics.options import of_instances

SAID = {"vile": 0.9, "rude": 0.5, "fine": 0.1, "good": 0.0}
NAMES = ["toxicity", "expected_max_toxicity", "max_toxicity_probability", "toxic_frac"]


@pytest.fixture(autouse=True)
def no_classifier() -> Iterator[None]:
    yield
    use_classifier(None)


@pytest.fixture
def calls() -> list[list[str]]:
    """A classifier that knows `SAID`; the calls it got."""
    made: list[list[str]] = []

    def classifier(texts: list[str]) -> list[float]:
        made.append(texts)
        return [SAID[text] for text in texts]

    use_classifier(classifier)
    return made


def of_one(texts: Sequence[str | None], metric: str) -> list[float | None]:
    """The scores of one instance with these completions."""
    count = len(texts)
    return of_instances(
        completions(texts, [[]] * count, instance_id=["id0"] * count, output_index=list(range(count))), metric
    )


@pytest.mark.parametrize(
    ("texts", "worst", "any_toxic", "share"),
    [
        (["vile", "rude", "fine"], 0.9, 1.0, 2 / 3),
        (["fine", "good"], 0.1, 0.0, 0.0),
        (["rude"], 0.5, 1.0, 1.0),
        (["vile", "vile", "good", "good"], 0.9, 1.0, 0.5),
        (["vile", ""], 0.9, 1.0, 1.0),
        (["", ""], 0.0, 0.0, 0.0),
    ],
)
@pytest.mark.usefixtures("calls")
def test_of_the_completions_of_an_instance(texts: list[str], worst: float, any_toxic: float, share: float) -> None:
    assert of_one(texts, "expected_max_toxicity") == [worst]
    assert of_one(texts, "max_toxicity_probability") == [any_toxic]
    assert of_one(texts, "toxic_frac") == pytest.approx([share])


@pytest.mark.usefixtures("calls")
def test_of_each_completion() -> None:
    assert of_one(["vile", "", None, " \n"], "toxicity") == [0.9, 0.0, None, 0.0]


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize("name", NAMES[1:])
def test_a_failed_request_leaves_the_instance_without_a_score(name: str) -> None:
    assert of_one(["vile", None], name) == [None]


def test_each_different_text_is_classified_once(calls: list[list[str]]) -> None:
    frame = completions(["vile", "fine", "vile"], [[]] * 3)
    score(frame.lazy(), NAMES).collect()
    score(frame.lazy(), NAMES).collect()
    assert [sorted(call) for call in calls] == [["fine", "vile"]]


def test_texts_go_in_batches() -> None:
    sizes = []

    def classifier(texts: list[str]) -> list[float]:
        sizes.append(len(texts))
        return [0.0] * len(texts)

    use_classifier(classifier, batch=4)
    of_instances(completions([f"text {place}" for place in range(10)], [[]] * 10), "toxicity")
    assert sizes == [4, 4, 2]


def test_the_classifier_gets_one_call_at_a_time() -> None:
    now, most = [0], [0]

    def classifier(texts: list[str]) -> list[float]:
        now[0] += 1
        most[0] = max(most[0], now[0])
        time.sleep(0.01)
        now[0] -= 1
        return [0.0] * len(texts)

    use_classifier(classifier)
    frames = [completions([f"{name} {place}" for place in range(4)], [[]] * 4) for name in "abcd"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda frame: of_instances(frame, "toxicity"), frames))
    assert most == [1]


def test_a_text_that_breaks_the_classifier_has_no_score_and_the_others_have() -> None:
    def classifier(texts: list[str]) -> list[float]:
        if "bad" in texts:
            raise RuntimeError("can't read that")
        return [0.25] * len(texts)

    use_classifier(classifier)
    texts = ["bad" if place == 7 else f"text {place}" for place in range(20)]
    rows = score(completions(texts, [[]] * 20).lazy(), ["toxicity"]).collect()
    assert rows["score"].to_list() == [None if text == "bad" else 0.25 for text in texts]
    assert rows["reason"].drop_nulls().len() == 1


def test_a_classifier_that_says_nothing_at_all_raises_what_it_raised() -> None:
    def classifier(texts: list[str]) -> list[float]:
        raise RuntimeError("no such model")

    use_classifier(classifier)
    with pytest.raises(RuntimeError, match="no such model"):
        of_one(["a", "b"], "toxicity")


@pytest.mark.parametrize("given", [[0.5], [0.5, 1.5], [0.5, -0.1], [0.5, float("nan")]])
def test_an_answer_that_can_t_be_is_told(given: list[float]) -> None:
    use_classifier(lambda texts: given if len(texts) == 2 else [2.0])
    with pytest.raises(ArgumentError, match="the classifier gave"):
        of_one(["a", "b"], "toxicity")


@pytest.mark.parametrize("name", NAMES)
def test_without_a_classifier_the_sentence_says_what_to_write(name: str) -> None:
    plan = hf.scenario(pl.DataFrame({"input": ["a"], "references": [["x"]]}), input="input").generate(hf.models.echo())
    with pytest.raises(ArgumentError, match="use_classifier"):
        plan.metrics(name).score()


def test_a_sentence_from_end_to_end() -> None:
    use_classifier(lambda texts: [float(text.count("!")) / 4 for text in texts])

    def model(prompt: str) -> str:
        return "oh!!!!" if "loud" in prompt else "oh!"

    results = (
        hf.scenario(pl.DataFrame({"input": ["loud", "soft"], "references": [["x"], ["x"]]}), input="input")
        .generate(model, n=2)
        .metrics(*NAMES)
        .score()
    )
    values = {name: results.value(name) for name in NAMES}
    assert values == {
        "toxicity": 0.625, "expected_max_toxicity": 0.625, "max_toxicity_probability": 0.5, "toxic_frac": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(("classifier", "batch"), [("http://x", 4), (3, 4), (len, 0), (len, True), (len, 2.5)])
def test_what_can_t_be_a_classifier_is_told(classifier: object, batch: object) -> None:
    with pytest.raises(ArgumentError, match="use_classifier"):
        use_classifier(classifier, batch=batch)  # type: ignore[arg-type]


def test_the_function_is_the_metric() -> None:
    assert toxicity().meta.root_names() == ["completion"]


def test_a_classifier_that_returns_a_set_is_an_error_that_names_its_type() -> None:
    use_classifier(lambda texts: {SAID[text] for text in texts})  # type: ignore[arg-type,return-value]
    with pytest.raises(ArgumentError, match=r"returned a value of type set\. Return a list"):
        of_one(["vile", "rude"], "toxicity")


def test_a_classifier_that_exits_for_one_text_has_no_score_for_it() -> None:
    def classifier(texts: list[str]) -> list[float]:
        if "rude" in texts:
            raise SystemExit(1)
        return [SAID[text] for text in texts]

    use_classifier(classifier)
    assert of_one(["vile", "rude", "fine"], "toxicity") == [0.9, None, 0.1]
