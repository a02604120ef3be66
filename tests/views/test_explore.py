"""The explorer responds with pages and instances; invalid requests get an error."""

import json
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.views.explore import ROWS, Explorer, Filters
from helmframe.views.explore_instance import LONGEST

MUSIC = hf.scenario("sampler").where(subject="music")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> hf.Results:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELMFRAME_STORE", str(tmp_path_factory.mktemp("store")))
        models = {"good": hf.models.oracle(), "bad": hf.models.noisy(0.3)}
        made = MUSIC.perturb("typos").generate(models).metrics("exact_match", "f1").score()
    # read again, as from a run of another day
    assert made.path is not None
    return hf.load(made.path)


def page(results: hf.Results, number: int = 0, **filters: Any) -> dict[str, Any]:
    return asked(results, kind="page", page=number, filters=filters)


def asked(results: hf.Results, **question: Any) -> dict[str, Any]:
    """What a browser gets: JSON that JavaScript reads."""
    text = json.dumps(Explorer(results).respond(question), allow_nan=False)
    found: dict[str, Any] = json.loads(text)
    return found


def test_opening_tells_what_can_be_chosen(results: hf.Results) -> None:
    found = asked(results, kind="open")
    assert found["axes"] == {"model": ["bad", "good"], "perturbation": ["original", "typos"]}
    assert found["metrics"] == ["exact_match", "f1_bag"]
    assert found["mains"] == ["exact_match"]


def test_pages_hold_every_row_once(results: hf.Results) -> None:
    total = results.scores.filter(metric="exact_match").collect().height
    first = page(results)
    assert (first["total"], first["pages"]) == (total, -(-total // ROWS))
    numbers = [row["row"] for number in range(first["pages"]) for row in page(results, number)["rows"]]
    assert sorted(numbers) == list(range(total))


def test_a_page_beyond_the_last_is_the_last(results: hf.Results) -> None:
    found = page(results, 10_000)
    assert found["page"] == found["pages"] - 1


def test_rows_carry_the_texts_of_their_own_completion(results: hf.Results) -> None:
    wide = results.rows()
    for row in page(results, model="bad", perturbation="typos")["rows"]:
        mine = wide.filter(instance_id=row["instance_id"], model="bad", perturbation="typos").row(0, named=True)
        assert row["completion"] == mine["completion"][:160]
        assert row["input"] == mine["perturbed_input"][:160]
        assert row["score"] == mine["exact_match"]


@pytest.mark.parametrize(
    ("filters", "condition"),
    [
        ({"model": "bad"}, pl.col("model") == "bad"),
        ({"perturbation": "typos", "high": 0.0}, (pl.col("perturbation") == "typos") & (pl.col("score") == 0)),
        ({"low": 0.5}, pl.col("score") >= 0.5),
        ({"only": "unscored"}, pl.col("score").is_null()),
        ({"only": "unparsed"}, ~pl.col("parsed")),
        ({"find": "id1"}, pl.col("instance_id").str.contains("id1")),
    ],
)
def test_filters_leave_what_they_say(results: hf.Results, filters: dict[str, Any], condition: pl.Expr) -> None:
    expected = results.scores.filter(pl.col("metric") == "exact_match", condition).collect().height
    assert page(results, **filters)["total"] == expected


def test_the_lowest_score_can_come_first(results: hf.Results) -> None:
    scores = [row["score"] for row in page(results, order="lowest", metric="f1_bag")["rows"]]
    assert scores == sorted(scores)


def test_bars_are_the_means_of_the_rows(results: hf.Results) -> None:
    found = asked(results, kind="bars", by="model", filters={"perturbation": "original"})
    values = {bar["value"]: bar["mean"] for bar in found["bars"]}
    assert values["good"] == 1.0
    rows = results.scores.filter(metric="exact_match", model="bad", perturbation="original").collect()
    assert values["bad"] == pytest.approx(rows["score"].mean())


def test_an_instance_has_all_its_details(results: hf.Results) -> None:
    row = page(results, model="bad", perturbation="typos", low=1.0)["rows"][0]
    found = asked(results, kind="instance", row=row["row"])
    wide = results.rows(instance_id=row["instance_id"], model="bad", perturbation="typos").row(0, named=True)
    (answer,) = found["completions"]
    assert answer["prefix"]["text"] + answer["suffix"]["text"] == wide["prompt"]
    assert answer["completion"]["text"] == wide["completion"]
    assert answer["output"]["text"] == wide["output"]
    assert "".join(old for old, _ in found["change"]) == wide["input"]
    assert "".join(new for _, new in found["change"]) == wide["perturbed_input"]
    assert {each["metric"]: each["score"] for each in found["scores"]} == {"exact_match": 1.0, "f1_bag": wide["f1_bag"]}
    assert [each["text"]["text"] for each in found["references"] if each["correct"]] == list(wide["correct"])
    assert {(each["model"], each["perturbation"]) for each in found["siblings"]} == {
        (model, perturbation) for model in ("good", "bad") for perturbation in ("original", "typos")
    }
    assert ["subject", {"text": "music", "more": 0}] in found["own"]


def test_failures_reasoning_and_log_probabilities_are_shown() -> None:
    def model(prompt: str) -> hf.models.Completion:
        if "piano" in prompt or "keys" in prompt:
            raise ValueError("no pianos")
        return hf.models.Completion("A", reasoning="because", token_logprobs=(-0.5, float("-inf")))

    results = MUSIC.adapt(shots=0).generate(model).score()
    found = asked(results, kind="instance", row=page(results, low=0.0)["rows"][0]["row"])
    answer = found["completions"][0]
    assert answer["reasoning"]["text"] == "because"
    assert (answer["token_logprobs"], answer["tokens"]) == ([-0.5, None], 2)
    failed = page(results, only="unscored")["rows"]
    assert failed
    assert "no pianos" in failed[0]["error"]
    assert "no pianos" in asked(results, kind="instance", row=failed[0]["row"])["completions"][0]["error"]["text"]


def test_a_long_text_is_cut_and_says_by_how_much() -> None:
    results = MUSIC.limit(1).generate(lambda prompt: "x" * (LONGEST + 7)).score()
    text = asked(results, kind="instance", row=0)["completions"][0]["completion"]
    assert (len(text["text"]), text["more"]) == (LONGEST, 7)
    assert len(page(results)["rows"][0]["completion"]) == 160


def test_a_score_that_joins_outputs_shows_all_of_them() -> None:
    results = MUSIC.limit(2).generate(hf.models.noisy(0.5), n=3).metrics("exact_match@3").score()
    row = page(results, metric=results.metric_names[0])["rows"][0]
    assert row["output_index"] is None
    found = asked(results, kind="instance", row=row["row"], filters={"metric": results.metric_names[0]})
    assert [each["output_index"] for each in found["completions"]] == [0, 1, 2]


def test_results_without_scores_of_completions_are_explored_all_the_same() -> None:
    results = MUSIC.limit(3).generate(hf.models.oracle()).metrics("classification_macro_f1").score()
    assert [row["score"] for row in page(results)["rows"]] == [None] * 3


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"kind": "everything"}, "kind='everything'"),
        ({"kind": "page", "filters": {"modle": "x"}}, "Did you mean 'model'"),
        ({"kind": "page", "filters": {"model": "goood"}}, "Did you mean 'good'"),
        ({"kind": "page", "filters": {"metric": "exact_mach"}}, "Did you mean 'exact_match'"),
        ({"kind": "page", "filters": {"model": 3}}, "model must be a string"),
        ({"kind": "page", "filters": {"low": "a"}}, "low must be a number"),
        ({"kind": "page", "filters": []}, None),
        ({"kind": "page", "filters": [1]}, "must be an object, not list"),
        ({"kind": "page", "filters": {"order": "up"}}, "order='up'"),
        ({"kind": "page", "page": -1}, "page must be an integer ≥ 0"),
        ({"kind": "page", "page": True}, "page must be an integer ≥ 0"),
        ({"kind": "bars", "by": "subset"}, "by='subset'"),
        ({"kind": "instance", "row": 10**9}, "row must be < "),
        ({"kind": "instance"}, "row must be an integer ≥ 0"),
    ],
)
def test_invalid_requests_get_an_error(results: hf.Results, question: dict[str, Any], message: str | None) -> None:
    found = asked(results, **question)
    assert ("error" in found) == (message is not None)
    assert (message or "") in found.get("error", "")


def test_the_initial_filters_are_checked(results: hf.Results) -> None:
    widget = results.explore(model="bad", high=0)
    assert widget._explorer.respond({"kind": "open"})["start"]["model"] == "bad"
    with pytest.raises(UnknownNameError, match="Did you mean 'good'"):
        results.explore(model="goood")
    with pytest.raises(TypeError, match="unexpected keyword argument 'modle'"):
        results.explore(modle="good")  # type: ignore[call-arg]
    with pytest.raises(ArgumentError, match="Did you mean 'model'"):
        Filters.of({"modle": "good"})
    assert Filters.of(Filters(low=0.5).to_dict()) == Filters(low=0.5)


def test_without_a_widget_the_first_page_is_html_with_every_text_escaped() -> None:
    results = MUSIC.limit(2).generate({"<b>m</b>": lambda prompt: "<script>alert(1)</script>"}).score()
    bundle = results.explore()._repr_mimebundle_()
    assert bundle is not None
    html = bundle[0]["text/html"]
    assert "<script>" not in html
    assert "<b>m" not in html
    assert "&lt;script&gt;" in html
    assert "2 of 2 rows" in html
