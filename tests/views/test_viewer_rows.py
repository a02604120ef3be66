"""The rows of a run in the viewer: pages, filters, full-text search, instances; invalid requests get an error."""

import json
import time
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.views.viewer import Viewer
from helmframe.views.viewer_instance import LONGEST
from helmframe.views.viewer_rows import ROWS

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
    return respond(results, "page", page=number, filters=filters)


def respond(results: hf.Results, method: str, **params: Any) -> dict[str, Any]:
    """Return what a browser gets: JSON that JavaScript reads."""
    viewer = Viewer.of_results(results)
    request = {"method": method, "params": {"run": viewer.start["run"], **params}}
    response = json.loads(json.dumps(viewer.respond(request), allow_nan=False))
    result: dict[str, Any] = response.get("result", response)
    return result


def key_of(row: dict[str, Any]) -> dict[str, Any]:
    names = (
        "scenario",
        "instance_id",
        "perturbation",
        "perturbation_seed",
        "setting",
        "trial",
        "model",
        "output_index",
    )
    return {name: row[name] for name in names}


def test_opening_tells_what_can_be_chosen(results: hf.Results) -> None:
    found = respond(results, "filters")
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
        ({"subset": "music"}, pl.lit(value=True)),
    ],
)
def test_filters_leave_what_they_say(results: hf.Results, filters: dict[str, Any], condition: pl.Expr) -> None:
    expected = results.scores.filter(pl.col("metric") == "exact_match", condition).collect().height
    assert page(results, **filters)["total"] == expected


def test_the_lowest_score_can_come_first(results: hf.Results) -> None:
    scores = [row["score"] for row in page(results, order="lowest", metric="f1_bag")["rows"]]
    assert scores == sorted(scores)


def test_bars_are_the_means_of_the_rows(results: hf.Results) -> None:
    found = respond(results, "bars", by="model", filters={"perturbation": "original"})
    values = {bar["value"]: bar["mean"] for bar in found["bars"]}
    assert values["good"] == 1.0
    rows = results.scores.filter(metric="exact_match", model="bad", perturbation="original").collect()
    assert values["bad"] == pytest.approx(rows["score"].mean())


def test_an_instance_has_all_its_details(results: hf.Results) -> None:
    row = page(results, model="bad", perturbation="typos", low=1.0)["rows"][0]
    found = respond(results, "instance", key=key_of(row))
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
    found = respond(results, "instance", key=key_of(page(results, low=0.0)["rows"][0]))
    answer = found["completions"][0]
    assert answer["reasoning"]["text"] == "because"
    assert (answer["token_logprobs"], answer["tokens"]) == ([-0.5, None], 2)
    failed = page(results, only="unscored")["rows"]
    assert failed
    assert "no pianos" in failed[0]["error"]
    assert "no pianos" in respond(results, "instance", key=key_of(failed[0]))["completions"][0]["error"]["text"]


def test_a_long_text_is_cut_and_says_by_how_much() -> None:
    results = MUSIC.limit(1).generate(lambda prompt: "x" * (LONGEST + 7)).score()
    text = respond(results, "instance", key=key_of(page(results)["rows"][0]))["completions"][0]["completion"]
    assert (len(text["text"]), text["more"]) == (LONGEST, 7)
    assert len(page(results)["rows"][0]["completion"]) == 160


def test_a_score_that_joins_outputs_shows_all_of_them() -> None:
    results = MUSIC.limit(2).generate(hf.models.noisy(0.5), n=3).metrics("exact_match@3").score()
    row = page(results, metric=results.metric_names[0])["rows"][0]
    assert row["output_index"] is None
    found = respond(results, "instance", key=key_of(row), filters={"metric": results.metric_names[0]})
    assert [each["output_index"] for each in found["completions"]] == [0, 1, 2]


def test_results_without_scores_of_completions_are_explored_all_the_same() -> None:
    results = MUSIC.limit(3).generate(hf.models.oracle()).metrics("classification_macro_f1").score()
    assert [row["score"] for row in page(results)["rows"]] == [None] * 3


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("page", {"filters": {"modle": "x"}}, "Did you mean 'model'"),
        ("page", {"filters": {"model": "goood"}}, "Did you mean 'good'"),
        ("page", {"filters": {"metric": "exact_mach"}}, "Did you mean 'exact_match'"),
        ("page", {"filters": {"model": 3}}, "model must be a string"),
        ("page", {"filters": {"low": "a"}}, "low must be a number"),
        ("page", {"filters": []}, None),
        ("page", {"filters": [1]}, "must be an object, not list"),
        ("page", {"filters": {"order": "up"}}, "order='up'"),
        ("page", {"page": True}, "page must be an integer ≥ 0"),
        ("bars", {"by": "instance_id"}, "by='instance_id'"),
    ],
)
def test_invalid_requests_get_an_error(
    results: hf.Results, method: str, params: dict[str, Any], message: str | None
) -> None:
    response = respond(results, method, **params)
    assert ("error" in response) == (message is not None)
    assert (message or "") in response.get("error", "")


@pytest.mark.parametrize("text", ["the", "PIANO", "[", "\\d", "'; DROP TABLE x"])
def test_a_search_finds_inputs_and_completions_regardless_of_case(results: hf.Results, text: str) -> None:
    wide = results.rows()
    columns = [pl.col(name).str.to_lowercase() for name in ("instance_id", "perturbed_input", "completion")]
    expected = wide.filter(pl.any_horizontal(column.str.contains(text.lower(), literal=True) for column in columns))
    assert page(results, find=text)["total"] == expected.height
    assert page(results, find=text, model="bad")["total"] == expected.filter(model="bad").height


def test_wrong_flipped_and_disagreeing_rows(results: hf.Results) -> None:
    wide = results.rows()
    assert page(results, only="wrong")["total"] == wide.filter(exact_match=0).height
    flips = pl.DataFrame(results.flips())
    assert flips.height > 0
    assert page(results, only="flipped")["total"] == flips.height
    assert page(results, only="worse")["total"] == flips.filter(flip="worse").height
    shown = {(row["instance_id"], row["model"]) for row in page(results, only="worse", perturbation="typos")["rows"]}
    assert shown == set(flips.filter(flip="worse").select("instance_id", "model").rows())
    key = ["instance_id", "perturbation"]
    spread = wide.group_by(key).agg(differ=pl.col("exact_match").n_unique() > 1).filter(pl.col("differ"))
    assert page(results, only="disagree")["total"] == wide.join(spread, on=key, how="semi").height


def test_slow_and_failed_requests() -> None:
    def model(prompt: str) -> str:
        time.sleep(0.2 if "piano" in prompt.rpartition("Question:")[2] else 0)
        if "keys" in prompt.rpartition("Question:")[2]:
            raise ValueError("no keys")
        return "A"

    results = MUSIC.adapt(shots=0).generate(model).score()
    completions = results.completions.collect()
    failed = completions.filter(pl.col("error").is_not_null())
    assert page(results, only="failed")["total"] == failed.height
    slowest = page(results, order="slowest")["rows"]
    latencies = [row["latency"] for row in slowest]
    known = [latency for latency in latencies if latency is not None]
    assert known == sorted(known, reverse=True)
    limit = completions["latency"].quantile(0.95)
    assert page(results, only="slow")["total"] == completions.filter(pl.col("latency") > limit).height


def test_the_random_order_is_that_of_to_label(results: hf.Results) -> None:
    keys = results.to_label(20).select("instance_id", "perturbation", "model").rows()
    rows = page(results, order="random")["rows"][:20]
    assert [(row["instance_id"], row["perturbation"], row["model"]) for row in rows] == keys


def test_a_histogram_counts_every_scored_row(results: hf.Results) -> None:
    found = respond(results, "bars", by="model", filters={"metric": "f1_bag"})
    assert sum(bar["n"] for bar in found["histogram"]) == sum(bar["n"] - bar["without"] for bar in found["bars"])


def test_rows_have_the_right_answer(results: hf.Results) -> None:
    row = page(results, model="good", perturbation="original")["rows"][0]
    wide = results.rows(instance_id=row["instance_id"], model="good", perturbation="original").row(0, named=True)
    assert row["right"].endswith(wide["correct"][0][:40])
    assert row["right"][:2] == f"{wide['completion'].strip()}."


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"model": "bad", "high": 0.5},
        {"only": "wrong", "model": "bad"},
        {"only": "flipped", "perturbation": "typos"},
        {"only": "failed"},
        {"only": "unparsed"},
        {"find": "The", "model": "good"},
    ],
)
def test_the_copied_python_selects_the_same_rows(results: hf.Results, filters: dict[str, Any]) -> None:
    code = respond(results, "code", filters=filters)["python"]
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["rows"].height == page(results, **filters)["total"]


def test_the_copied_python_of_an_instance_selects_one_row(results: hf.Results) -> None:
    row = page(results, model="bad", perturbation="typos")["rows"][0]
    names: dict[str, Any] = {}
    exec(respond(results, "instance", key=key_of(row))["python"], names)
    assert names["rows"].height == 1
    assert names["rows"]["instance_id"].item() == row["instance_id"]


def test_copied_python_quotes_texts() -> None:
    text = "'); import os; ('"
    results = MUSIC.limit(2).generate({text: hf.models.oracle(), "b": hf.models.echo()}).score()
    names: dict[str, Any] = {}
    exec(respond(results, "code", filters={"model": text, "find": text})["python"], names)
    assert "os" not in names
    assert names["rows"].height == 0


def test_an_instance_has_the_verdicts_of_judges() -> None:
    results = MUSIC.limit(2).generate(hf.models.echo()).score()
    reply = "<reasoning>harmless</reasoning><score>1</score>"
    judged = results.judge(hf.judge(lambda prompt: reply, "safety"))
    row = page(judged)["rows"][0]
    (verdict,) = respond(judged, "instance", key=key_of(row))["verdicts"]
    assert (verdict["judge"], verdict["value"], verdict["reasoning"]["text"]) == ("lambda", 1.0, "harmless")
    assert respond(judged, "filters")["scale"][0] == 0.0


def test_scores_and_siblings_of_an_instance_are_those_of_the_tables(results: hf.Results) -> None:
    row = page(results, model="good", perturbation="original")["rows"][0]
    found = respond(results, "instance", key=key_of(row))
    wide = results.rows(instance_id=row["instance_id"])
    scores = {(each["model"], each["perturbation"]): each["score"] for each in found["siblings"]}
    assert scores == {
        (model, name): score for model, name, score in wide.select("model", "perturbation", "exact_match").rows()
    }
    assert found["right"] == row["right"]
