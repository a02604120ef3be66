"""Toxicity by classifiers of all kinds, good and bad."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, PlanError
from helmframe.metrics import expected_max_toxicity, max_toxicity_probability, toxic_frac
from helmframe.metrics._toxicity import Classify, endpoint, toxicity
from helmframe.metrics.protocol import METRICS, Metric, manifest_entry, resolve_metrics
from helmframe.metrics.score import score
from tests.frames import completions
from tests.metrics.options import of_instances

SAID = {"vile": 0.9, "rude": 0.5, "fine": 0.1, "good": 0.0}
FAMILY: dict[str, Callable[..., Metric]] = {
    "toxicity": toxicity,
    "expected_max_toxicity": expected_max_toxicity,
    "max_toxicity_probability": max_toxicity_probability,
    "toxic_frac": toxic_frac,
}


def known(texts: list[str]) -> list[float]:
    """Classify the texts in `SAID`."""
    return [SAID[text] for text in texts]


def of_one(texts: Sequence[str | None], metric: str | Metric) -> list[float | None]:
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
def test_of_the_completions_of_an_instance(texts: list[str], worst: float, any_toxic: float, share: float) -> None:
    assert of_one(texts, expected_max_toxicity(classifier=known)) == [worst]
    assert of_one(texts, max_toxicity_probability(classifier=known)) == [any_toxic]
    assert of_one(texts, toxic_frac(classifier=known)) == pytest.approx([share])


def test_of_each_completion() -> None:
    assert of_one(["vile", "", None, " \n"], toxicity(classifier=known)) == [0.9, 0.0, None, 0.0]


@pytest.mark.parametrize("name", [*FAMILY][1:])
def test_a_failed_request_leaves_the_instance_without_a_score(name: str) -> None:
    assert of_one(["vile", None], FAMILY[name](classifier=known)) == [None]


def test_each_different_text_is_classified_once() -> None:
    calls: list[list[str]] = []

    def classifier(texts: list[str]) -> list[float]:
        calls.append(texts)
        return known(texts)

    frame = completions(["vile", "fine", "vile"], [[]] * 3)
    for _ in range(2):
        score(frame.lazy(), [make(classifier=classifier) for make in FAMILY.values()]).collect()
    assert [sorted(call) for call in calls] == [["fine", "vile"]]


def test_texts_go_in_batches() -> None:
    sizes = []

    def classifier(texts: list[str]) -> list[float]:
        sizes.append(len(texts))
        return [0.0] * len(texts)

    frame = completions([f"text {place}" for place in range(10)], [[]] * 10)
    of_instances(frame, toxicity(classifier=classifier, batch=4))
    assert sizes == [4, 4, 2]


def test_the_classifier_gets_one_call_at_a_time() -> None:
    now, most = [0], [0]

    def classifier(texts: list[str]) -> list[float]:
        now[0] += 1
        most[0] = max(most[0], now[0])
        time.sleep(0.01)
        now[0] -= 1
        return [0.0] * len(texts)

    frames = [completions([f"{name} {place}" for place in range(4)], [[]] * 4) for name in "abcd"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda frame: of_instances(frame, toxicity(classifier=classifier)), frames))
    assert most == [1]


def test_a_text_that_breaks_the_classifier_has_no_score_and_the_others_have() -> None:
    def classifier(texts: list[str]) -> list[float]:
        if "bad" in texts:
            raise RuntimeError("can't read that")
        return [0.25] * len(texts)

    texts = ["bad" if place == 7 else f"text {place}" for place in range(20)]
    rows = score(completions(texts, [[]] * 20).lazy(), [toxicity(classifier=classifier)]).collect()
    assert rows["score"].to_list() == [None if text == "bad" else 0.25 for text in texts]
    assert rows["reason"].drop_nulls().len() == 1


def test_a_classifier_that_says_nothing_at_all_raises_what_it_raised() -> None:
    def classifier(texts: list[str]) -> list[float]:
        raise RuntimeError("no such model")

    with pytest.raises(RuntimeError, match="no such model"):
        of_one(["a", "b"], toxicity(classifier=classifier))


@pytest.mark.parametrize("given", [[0.5], [0.5, 1.5], [0.5, -0.1], [0.5, float("nan")]])
def test_an_invalid_rating_raises(given: list[float]) -> None:
    metric = toxicity(classifier=lambda texts: given if len(texts) == 2 else [2.0])
    with pytest.raises(ArgumentError, match="The classifier returned"):
        of_one(["a", "b"], metric)


ONE = hf.scenario(pl.DataFrame({"input": ["a"], "references": [["x"]]}), input="input").generate(hf.models.echo())


@pytest.mark.parametrize("name", FAMILY)
def test_without_a_classifier_the_error_says_what_to_write(name: str) -> None:
    with pytest.raises(ArgumentError, match=r"hf\.metrics\.toxicity\(classifier=function\)"):
        ONE.metrics(name).score()


def loudness(texts: list[str]) -> list[float]:
    return [float(text.count("!")) / 4 for text in texts]


def test_a_plan_from_end_to_end_records_which_classifier_scored() -> None:
    def model(prompt: str) -> str:
        return "oh!!!!" if "loud" in prompt else "oh!"

    results = (
        hf.scenario(pl.DataFrame({"input": ["loud", "soft"], "references": [["x"], ["x"]]}), input="input")
        .generate(model, n=2)
        .metrics([make(classifier=loudness) for make in FAMILY.values()])
        .score()
    )
    values = {name: results.value(name) for name in FAMILY}
    assert values == {
        "toxicity": 0.625, "expected_max_toxicity": 0.625, "max_toxicity_probability": 0.5, "toxic_frac": 0.5,
    }  # fmt: skip
    classifiers = {name: results.manifest["metrics"][name]["classifier"] for name in FAMILY}
    assert classifiers == dict.fromkeys(FAMILY, f"{__name__}.loudness")


@pytest.mark.parametrize(("classifier", "batch"), [("x.org", 4), (3, 4), (len, 0), (len, True), (len, 2.5)])
def test_an_invalid_classifier_raises(classifier: object, batch: object) -> None:
    for make in FAMILY.values():
        with pytest.raises(ArgumentError, match=r"classifier=|batch=|http://"):
            make(classifier=classifier, batch=batch)


def test_the_metric_reads_the_completion() -> None:
    assert toxicity(classifier=known).expression().meta.root_names() == ["completion"]
    assert METRICS["toxicity"].function(classifier="http://x").meta.root_names() == ["completion"]


def test_a_classifier_that_returns_a_set_is_an_error_that_names_its_type() -> None:
    def classifier(texts: list[str]) -> set[float]:
        return {SAID[text] for text in texts}

    with pytest.raises(ArgumentError, match=r"returned a value of type set\. Return a list"):
        of_one(["vile", "rude"], FAMILY["toxicity"](classifier=classifier))


def test_a_classifier_that_exits_for_one_text_has_no_score_for_it() -> None:
    def classifier(texts: list[str]) -> list[float]:
        if "rude" in texts:
            raise SystemExit(1)
        return [SAID[text] for text in texts]

    assert of_one(["vile", "rude", "fine"], toxicity(classifier=classifier)) == [0.9, None, 0.1]


def test_two_classifiers_score_beside_each_other_in_one_plan() -> None:
    strict: Classify = lambda texts: [1.0] * len(texts)  # noqa: E731
    metrics = [
        expected_max_toxicity(classifier=known),
        expected_max_toxicity(classifier=strict, name="strict"),
        toxicity(classifier=strict, name="each"),
    ]
    frame = completions(["fine"], [[]], instance_id=["id0"])
    assert dict(score(frame.lazy(), metrics).select("metric", "score").collect().rows()) == {
        "expected_max_toxicity": 0.1, "strict": 1.0, "each": 1.0,
    }  # fmt: skip


def test_plans_are_equal_if_their_classifiers_are() -> None:
    server = "http://localhost:1/predict"
    assert ONE.metrics(toxicity(classifier=known)) == ONE.metrics(toxicity(classifier=known))
    assert ONE.metrics(toxicity(classifier=server)) == ONE.metrics(toxicity(classifier=endpoint(server)))
    assert ONE.metrics(toxicity(classifier=known)) != ONE.metrics(toxicity(classifier=server))
    assert ONE.metrics(toxicity(classifier=server)) != ONE.metrics(toxicity(classifier=endpoint(server, label="hate")))


def test_a_function_has_no_yaml_and_an_address_has() -> None:
    named = hf.scenario("sampler").generate("oracle()").metrics("toxic_frac(classifier='http://localhost:1')")
    assert hf.Plan.from_yaml(named.to_yaml()) == named
    with pytest.raises(PlanError, match="toxicity"):
        named.metrics(toxicity(classifier=known)).to_yaml()


def test_a_classifier_that_can_not_be_hashed_is_compared_by_identity() -> None:
    class Counting:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, texts: list[str]) -> list[float]:
            return [0.5] * len(texts)

    one = Counting()
    assert toxicity(classifier=one) == toxicity(classifier=one)
    assert toxicity(classifier=one) != toxicity(classifier=Counting())
    assert of_one(["a"], toxicity(classifier=one)) == [0.5]


def test_the_manifest_shows_no_secret_of_an_address() -> None:
    with pytest.raises(ArgumentError, match="must not contain a user or a password") as refused:
        endpoint("HTTP://user:canary@localhost:8080/predict")
    assert "canary" not in str(refused.value)
    secret = endpoint("http://localhost:8080/predict?token=abc")
    assert manifest_entry(toxicity(classifier=secret))["classifier"] == "http://localhost:8080/predict (toxic)"
    with pytest.raises(ArgumentError, match=r"the address has a password or a query, and tables would show it"):
        resolve_metrics(["toxicity(classifier='http://localhost/predict?token=abc')"])
