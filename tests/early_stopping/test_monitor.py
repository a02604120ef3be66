"""Runs that stop by themselves: how many are asked, in which order, and that nothing is asked twice."""

from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import helmframe as hf
from helmframe.early_stopping import monitor
from helmframe.early_stopping.monitor import StoppingMonitor
from helmframe.errors import ArgumentError, PlanError, UnknownNameError
from helmframe.results._data import reader_of

N = 800


def questions(n: int = N, **columns: Any) -> hf.Plan:
    rows = pl.DataFrame({"q": [f"question {place}?" for place in range(n)], "a": ["yes"] * n}).with_columns(**columns)
    pairs = (("subset", "subject"), ("cluster", "passage"))
    strata: dict[str, Any] = {key: name for key, name in pairs if name in columns}
    plan = hf.scenario(rows, input="q", references="a", name="asked", **strata)
    return plan.adapt(shots=0).metrics("exact_match")


class Counted:
    """Right in a share of questions, which their text decides; counts what it is asked."""

    made = 0

    def __init__(self, share: float) -> None:
        self.share = share
        Counted.made += 1
        self.number = Counted.made  # equal objects are one model, whose answers are remembered
        self.prompts: list[str] = []

    def generate(self, prompts: list[str]) -> list[str]:
        self.prompts += prompts
        number = [int("".join(filter(str.isdigit, prompt.splitlines()[-2])) or 0) for prompt in prompts]
        return ["yes" if each * 7919 % 1000 < 1000 * self.share else "no" for each in number]


@pytest.fixture
def counted() -> Callable[[float], tuple[hf.Model, Counted]]:
    def made(share: float, name: str = "m") -> tuple[hf.Model, Counted]:
        asked = Counted(share)
        return hf.model(asked, name=name), asked

    return made


def cells(results: hf.Results) -> Iterator[dict[str, Any]]:
    for looks in results.manifest["until"]["looks"].values():
        yield from looks["cells"]


def asked(results: hf.Results) -> dict[str, int]:
    return {f"{each['model']} {each['setting']} {each['perturbation']}": each["n_run"] for each in cells(results)}


def test_it_stops_once_the_interval_is_narrow_and_the_table_says_so() -> None:
    results = questions().generate(hf.models.noisy(0.8)).score(until=hf.precise(0.06))
    (row,) = results.table().to_dicts()
    assert row["ci_high"] - row["ci_low"] <= 0.12
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert row["interval"] == "prior–posterior ratio (anytime)"
    assert (row["n_run"], row["n_total"]) == (row["n"], N)
    assert row["n_run"] < N
    assert results.completions.select(pl.len()).collect().item() == row["n_run"]
    assert f"{row['n_run']} of 800" in repr(results)
    assert "stopped early by precise(0.06)" in repr(results)


def test_each_cell_of_a_grid_stops_by_itself() -> None:
    models = {"sure": hf.models.oracle(), "unsure": hf.models.noisy(0.5)}
    plan = questions().generate(models).perturb("lowercase").adapt(shots=[0, 1])
    found = asked(plan.score(until=hf.precise(0.06)))
    assert len(found) == 8
    assert {found[name] for name in found if name.startswith("sure")} == {100}
    assert min(found[name] for name in found if name.startswith("unsure")) > 200


def test_the_same_again_asks_nothing_and_gives_the_same(counted: Any) -> None:
    model, seen = counted(0.7)
    plan = questions().generate(model)
    first = plan.score(until=hf.precise(0.05))
    many = len(seen.prompts)
    again = plan.score(until=hf.precise(0.05))
    assert len(seen.prompts) == many == reader_of(first).n_generated()
    assert_frame_equal(first.table(), again.table())
    assert_frame_equal(plan.results(until=hf.precise(0.05)).table(), first.table())


def test_a_run_that_was_cut_short_goes_on_where_it_was(counted: Any) -> None:
    model, seen = counted(0.7)
    other, _ = counted(0.7)
    plan = questions().generate(model)
    cut = plan.score(until=hf.precise(0.05), max_requests=120)
    # the third look was not whole, and does not count
    assert asked(cut) == {"m  original": 100}
    assert cut.completions.select(pl.len()).collect().item() == 100
    rest = plan.score(until=hf.precise(0.05))
    assert len(seen.prompts) == len(set(seen.prompts)) == reader_of(rest).n_generated()
    assert_frame_equal(rest.table(), questions().generate(other).score(until=hf.precise(0.05)).table())


def test_two_models_get_the_same_instances(counted: Any) -> None:
    (a, _), (b, seen) = counted(0.5), counted(0.5)
    plan = questions().generate({"a": a, "b": b, "c": hf.models.oracle()})
    plan.generate({"a": a}).score(until=hf.precise(0.1, seed=1))
    # a's answers are there, b's are not
    results = plan.results(until=hf.decided("a", "b", seed=1))
    assert (asked(results), seen.prompts) == ({"a  original": 50}, [])
    many = asked(plan.score(until=hf.decided("a", "b", seed=1), max_requests=160))
    # the look in which b ran out of requests is a's last too
    assert 0 <= many["a  original"] - many["b  original"] <= 50
    assert many["a  original"] < N / 2


def test_a_run_without_it_asks_only_the_rest_and_is_as_if_never_stopped(counted: Any) -> None:
    model, seen = counted(0.7)
    other, _ = counted(0.7)
    questions().generate(model).score(until=hf.precise(0.05))
    whole = questions().generate(model).score()
    assert len(seen.prompts) == len(set(seen.prompts)) == N
    assert_frame_equal(whole.table(), questions().generate(other).score().table())
    assert "until" not in whole.manifest


def test_only_the_seed_decides_the_order_of_instances(counted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def ids(results: hf.Results) -> set[str]:
        return set(results.completions.select("instance_id").collect().to_series())

    one, two = (ids(questions().generate(counted(0.7)[0]).score(until=hf.precise(0.1, seed=seed))) for seed in (0, 1))
    assert one != two
    # read a few at a time, in another source order
    monkeypatch.setattr(monitor, "READ_ROWS", 60)
    monkeypatch.setattr(monitor, "MOST_ROWS", 60)
    assert ids(questions().generate(counted(0.7)[0]).score(until=hf.precise(0.1))) == one


def test_two_models_run_until_the_difference_is_significant() -> None:
    plan = questions().generate({"a": hf.models.noisy(0.9), "b": hf.models.noisy(0.6)})
    results = plan.score(until=hf.decided("a", "b"))
    (found,) = {str(each["estimate"]): each for each in cells(results)}.values()
    assert found["met"]
    assert found["estimate"]["ci_low"] > 0
    assert found["n_run"] < N / 2
    assert "asked, test, original: decided, difference 0." in repr(results)


def test_equal_models_run_on_all_instances_and_are_undecided() -> None:
    plan = questions(120).generate({"a": hf.models.oracle(), "b": hf.models.oracle(), "c": hf.models.noisy(0.5)})
    results = plan.score(until=hf.decided("a", "b"))
    assert set(asked(results).values()) == {120}
    assert not any(each["met"] for each in cells(results))
    assert "undecided, difference 0.000 [−" in repr(results).replace("[-", "[−")
    assert "120 of 120 instances" in repr(results)


def test_whole_clusters_are_drawn_and_bets_are_on_their_means(counted: Any) -> None:
    plan = questions(passage=pl.int_range(pl.len()).floordiv(8).cast(pl.String))
    results = plan.generate(counted(0.8)[0]).score(until=hf.precise(0.06))
    sizes = results.completions.group_by("cluster").len().collect()["len"]
    assert set(sizes) == {8}
    (row,) = results.table().to_dicts()
    assert row["interval"] == "betting (anytime)"
    assert row["n_run"] < N


def test_subsets_of_unlike_size_weigh_alike_in_a_macro_mean(counted: Any) -> None:
    subset = pl.when(pl.int_range(pl.len()) < 100).then(pl.lit("small")).otherwise(pl.lit("large"))
    plan = questions(subject=subset).generate(hf.model(lambda prompt: "yes" if len(prompt) % 2 else "no", name="m"))
    whole = plan.score()
    macro = plan.score(until=hf.precise(0.1)).table().row(0, named=True)
    micro = plan.score(until=hf.precise(0.1, mean="micro")).table().row(0, named=True)
    assert macro["ci_low"] <= whole.table(mean="macro")["value"].item() <= macro["ci_high"]
    assert micro["ci_low"] <= whole.table(mean="micro")["value"].item() <= micro["ci_high"]
    assert macro["n_run"] > micro["n_run"]
    assert (macro["interval"][:5], micro["interval"][:5]) == ("betti", "prior")


def test_failed_requests_may_have_been_anything() -> None:
    def sometimes(prompt: str) -> str:
        if "9?" in prompt:
            raise RuntimeError("no")
        return "yes"

    plan = questions(200).generate(hf.model(sometimes, name="m"))
    results = plan.score(until=hf.precise(0.03, population="benchmark"))
    (row,) = results.table().to_dicts()
    # a tenth failed: were they all wrong, .9 would be right
    assert (row["n_run"], row["n_error"], row["value"]) == (200, 20, 1.0)
    assert (row["ci_low"], row["ci_high"]) == (pytest.approx(0.9), 1.0)


def test_all_instances_run_if_some_have_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    saw = StoppingMonitor.add_scores
    monkeypatch.setattr(StoppingMonitor, "add_scores", lambda self, scores: saw(self, scores.slice(1)))
    results = questions(120).generate(hf.models.oracle()).score(until=hf.precise(0.2))
    assert [(each["complete"], each["met"]) for each in cells(results)] == [(False, False)]
    (row,) = results.table().to_dicts()
    assert (row["n"], row["ci_low"]) == (120, None)
    assert row["interval"] == "no interval: stopped early, and not every instance has this variant"


def test_a_suite_and_a_run_in_the_background_stop_too() -> None:
    easy = questions().generate(hf.models.oracle())
    hard = hf.scenario("sampler").where(subject="music").generate(hf.models.noisy(0.5))
    results = hf.suite(easy, hard).score(until=hf.precise(0.05))
    table = results.table(metrics="exact_match")
    assert table.select("scenario", "n_run").rows() == [("asked", 100), ("sampler", table["n_total"][1])]
    run = easy.submit(until=hf.precise(0.05))
    assert reader_of(run.wait()).n_generated() == 100
    assert run.results().table()["n_total"].to_list() == [N]


def test_an_unsupported_rule_raises_before_any_request(counted: Any) -> None:
    model, seen = counted(0.7)
    plan = questions().generate(model)
    for until, error, message in (
        (hf.precise(0.1, metric="exact_mach"), UnknownNameError, "Did you mean 'exact_match'"),
        (hf.decided("m", "n"), UnknownNameError, "decided"),
    ):
        for start in (plan.score, plan.submit):
            with pytest.raises(error, match=message):
                start(until=until)
    lengths = plan.metrics("output_words", "exact_match")
    with pytest.raises(PlanError, match=r"'output_words'.* has no bounds.*metric='exact_match'"):
        lengths.score(until=hf.precise(0.1, metric="output_words"))
    with pytest.raises(PlanError, match="is computed over the whole set"):
        plan.metrics("classification_macro_f1").score(until=hf.precise(0.1))
    assert seen.prompts == []
    assert reader_of(lengths.score(until=hf.precise(0.1, metric="exact_match"))).n_generated() < N


def test_a_rule_about_the_benchmark_alone_needs_fewer_instances_and_is_named() -> None:
    plan = questions(400).generate(hf.models.noisy(0.7))
    population, benchmark = (
        plan.score(until=hf.precise(0.06, population=about)) for about in ("population", "benchmark")
    )
    (wide,), (narrow,) = population.table().to_dicts(), benchmark.table().to_dicts()
    assert narrow["n_run"] < wide["n_run"] <= 400
    assert (wide["interval"], narrow["interval"]) == (
        "prior–posterior ratio (anytime)",
        "prior–posterior ratio (anytime, this benchmark only)",
    )
    assert "this benchmark only" in repr(benchmark)
    assert "for the mean over this benchmark's own instances only" in repr(benchmark)
    assert "benchmark" not in repr(population)


def test_an_unknown_population_raises() -> None:
    with pytest.raises(ArgumentError, match="precise\\(population='sample'\\)"):
        hf.precise(0.1, population="sample")


def test_equal_models_are_undecided_unless_the_benchmark_alone_counts() -> None:
    plan = questions(200).generate({"a": hf.models.noisy(0.7), "b": hf.models.noisy(0.7, seed=1)})
    met = {
        about: next(cells(plan.score(until=hf.decided("a", "b", population=about))))["met"]
        for about in ("population", "benchmark")
    }
    assert met == {"population": False, "benchmark": True}
