"""Tables by HELM's definitions: one of n outputs, and the mean over trials."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._pipeline import plan_tasks
from helmframe._plan import Plan, spec_of
from helmframe.errors import ArgumentError, HelmframeWarning, UnknownNameError
from helmframe.metrics.protocol import METRICS
from helmframe.models import Completion
from helmframe.results import Results
from helmframe.results._pairing import ShortTable

ROWS = pl.DataFrame({"q": ["a", "b"], "r": ["yes", "yes"]})
# of each prompt's three outputs one is right: that of the highest log-probability for "a" alone
OUTPUTS = {
    "a": [("no", -2.0), ("yes", -1.0), ("no", -3.0)],
    "b": [("no", -1.0), ("yes", -2.0), ("no", -3.0)],
}


class Sampler:
    """A model whose n outputs to a prompt are those of `OUTPUTS`, in turn."""

    def __init__(self) -> None:
        self.turns: dict[str, int] = {}

    def generate(self, prompts: list[str], **decoding: Any) -> list[Any]:
        completions = []
        for prompt in prompts:
            turn = self.turns[str(prompt)] = self.turns.get(str(prompt), -1) + 1
            text, logprob = OUTPUTS[str(prompt).split("Question: ")[-1][0]][turn]
            completions.append(hf.models.Completion(text, logprob=logprob, token_logprobs=(logprob,)))
        return completions


def results(compat: str | None = None) -> Results:
    plan = hf.scenario(ROWS, input="q", references="r", name="twice", compat=compat).adapt(shots=0)
    return plan.generate({"m": Sampler()}, n=3, temperature=1.0).metrics("exact_match", "exact_match@3").score()


def test_the_mean_over_outputs_is_the_default_and_helm_scores_the_likeliest() -> None:
    made = results()
    assert made.value("exact_match") == pytest.approx(1 / 3)
    assert made.value("exact_match", definition="helm") == 0.5
    assert made.value("exact_match@3", definition="helm") == 1.0


def test_a_plan_by_helms_rules_scores_the_likeliest_output() -> None:
    made = results(compat="helm")
    assert made.value("exact_match") == 0.5
    assert made.value("exact_match", definition="helm") == 0.5
    assert made.rescore("quasi_exact_match").value() == 0.5
    assert made.rows().sort("instance_id", "output_index")["exact_match"].to_list() == [
        None, 1.0, None, 0.0, None, None,
    ]  # fmt: skip


def test_run_entries_score_the_likeliest_output() -> None:
    plan = hf.entry("sampler:subject=music,num_outputs=3")
    assert isinstance(plan, Plan)
    setting = plan_tasks(spec_of(plan.generate({"m": Sampler()})))[0].settings[0]
    assert setting.adapter.scored_outputs == "helm"


def test_helms_robustness_is_of_the_likeliest_output() -> None:
    plan = hf.scenario(ROWS, input="q", references="r", name="twice").adapt(shots=0).perturb("space")
    made = plan.generate({"m": Sampler()}, n=3, temperature=1.0).metrics("exact_match").score()
    table = made.robustness(definition="helm")
    assert table.filter(perturbation="original")["original"].to_list() == [0.5]


def test_a_metric_of_a_set_is_pooled_over_trials_and_helm_averages_them() -> None:
    rows = pl.DataFrame(
        {
            "q": [*"abcdef"],
            "r": ["x", "y", "x", "x", "y", "y"],
            "s": ["train", "train", "test", "test", "test", "test"],
        }
    )
    plan = hf.scenario(rows, input="q", references="r", split="s", name="trials").adapt(shots=1, trials=3)

    def copy(prompt: str) -> str:
        """Return the label of the example."""
        return prompt.split("Answer: ")[1].split("\n", maxsplit=1)[0]

    results = plan.generate(copy).metrics("classification_macro_f1").score()
    by_trial = results.table("trial")["value"]
    assert by_trial.len() == 3
    assert by_trial.to_list() == [pytest.approx(1 / 3)] * 3  # always one label, which half of the instances have
    pooled, averaged = (results.value(definition=definition) for definition in ("helmframe", "helm"))
    assert averaged == pytest.approx(1 / 3)
    assert pooled > averaged
    table = results.table(definition="helm")
    assert table["ci_low"][0] < averaged < table["ci_high"][0]


@pytest.mark.parametrize("compat", [None, "helm"])
def test_helms_files_have_the_score_of_the_likeliest_output(tmp_path: Path, compat: str | None) -> None:
    results(compat).to_helm(tmp_path / "suite")
    (file,) = (tmp_path / "suite").glob("twice*/per_instance_stats.json")
    rows = json.loads(file.read_text(encoding="utf-8"))
    values = {
        (row["instance_id"], stat["name"]["name"]): stat["mean"] for row in rows for stat in row["stats"]
    }  # fmt: skip
    first, second = sorted({instance_id for instance_id, _ in values})
    assert (values[first, "exact_match"], values[second, "exact_match"]) == (1.0, 0.0)
    assert (values[first, "exact_match@3"], values[second, "exact_match@3"]) == (1.0, 1.0)
    # HELM's own counts are of the first output
    assert values[first, "logprob"] == -2.0


def test_an_unknown_definition_is_an_error() -> None:
    with pytest.raises(ArgumentError, match=r"definition='helmm'.*Did you mean 'helm'"):
        results().table(definition="helmm")
    with pytest.raises(ArgumentError, match=r"scenario\(compat='helmm'\).*Did you mean 'helm'"):
        hf.scenario("sampler", compat="helmm")


FIVE_ROWS = pl.DataFrame({"q": ["a", "b", "c", "d", "e"], "r": ["yes"] * 5})


def raises(output: str) -> float:
    return 1 / 0


def returns_text(output: str) -> float:
    return "yes"  # type: ignore[return-value]


def returns_null(output: str) -> None:
    return None


def raises_once(output: str) -> float:
    return 1 / (output != "c")


@pytest.fixture(autouse=True)
def unregistered() -> Iterator[None]:
    yield
    if "broken" in METRICS:
        METRICS.remove("broken")


def scored(function: Callable[..., Any], *others: str, model: Any = lambda prompt: "yes") -> hf.Results:
    hf.metric("broken")(function)
    plan = hf.scenario(FIVE_ROWS, input="q", references="r", name="s").adapt(shots=0)
    return plan.generate({"m": model}).metrics(*others, "broken").score()


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (raises, "ZeroDivisionError: division by zero"),
        (returns_text, "ValueError: could not convert string to float: 'yes'"),
        (returns_null, "no value"),
    ],
)
def test_a_metric_without_scores_is_shown_with_its_first_reason(function: Callable[..., Any], reason: str) -> None:
    note = f"broken: 5 of 5 completions have no score: {reason}; results.scores has the reason of each row"
    alone, second = scored(function), scored(function, "exact_match")
    for results in (alone, second):
        assert note in repr(results).splitlines()
        assert results.errors().is_empty()
        with pytest.raises(ArgumentError) as raised:
            results.value("broken")
        assert str(raised.value) == f"value('broken'): nothing was scored. {note}."
    assert "no score" in repr(alone).splitlines()[0]
    assert "have no score: " in second._repr_html_()


def last_letter(prompt: str) -> str:
    return prompt.rpartition("Question: ")[2].strip()[0]


def test_a_metric_that_fails_on_some_rows_is_shown_and_warned_about() -> None:
    results = scored(raises_once, "exact_match", model=last_letter)
    note = "broken: 1 of 5 completions have no score: ZeroDivisionError: division by zero"
    assert note in repr(results)
    with pytest.warns(HelmframeWarning, match=note):
        assert results.value("broken") == 1.0


def test_failed_requests_are_not_missing_scores() -> None:
    def down(prompt: str) -> str:
        raise ValueError("refused")

    results = scored(lambda output: 1.0, "exact_match", model=down)
    assert "have no score" not in repr(results)
    assert "errors" in repr(results).splitlines()[0]
    with pytest.raises(ArgumentError, match=r"5 requests failed.*results.errors\(\) lists them"):
        results.value("exact_match")


def test_a_bundled_metric_that_lacks_its_input_is_not_shown() -> None:
    plan = hf.scenario(FIVE_ROWS, input="q", references="r", name="s").adapt(shots=0).generate(lambda prompt: "yes")
    results = plan.metrics("exact_match", "logprob").score()
    assert "have no score" not in repr(results)


# Cost -----------------------------------------------------------------------------------------------------------------

LETTERS = pl.DataFrame({"q": ["one", "two", "three"], "a": ["A", "B", "C"]})


def priced(text: str = "A", **tokens: int | None) -> Callable[[str], Completion]:
    """Return a model with these token counts."""
    return lambda prompt: Completion(text, **tokens)  # type: ignore[arg-type]


def letters(*models: hf.models.Model, name: str = "letters") -> hf.Plan:
    plan = hf.scenario(LETTERS, input="q", references="a", name=name).adapt(shots=0)
    return plan.generate(list(models))


def test_cost_is_that_of_this_run_and_full_cost_that_of_all_requests() -> None:
    model = hf.model(
        priced(prompt_tokens=1000, output_tokens=100, cached_prompt_tokens=400), name="m", version="cost-1"
    )
    plan, prices = letters(model), {"m": (2, 8, 0.5)}
    each = (600 * 2 + 400 * 0.5 + 100 * 8) / 1e6
    partial = plan.score(max_requests=1, prices=prices)
    assert partial.cost().select("n", "n_stored", "cost", "full_cost").row(0) == (1, 0, *[pytest.approx(each)] * 2)
    results = plan.score(prices=prices)
    row = results.cost().row(0, named=True)
    assert (row["role"], row["model"], row["price"]) == ("model", "m", "user")
    assert (row["n"], row["n_stored"], row["n_estimated"]) == (3, 1, 0)
    assert (row["prompt_tokens"], row["cached_prompt_tokens"], row["output_tokens"]) == (3000, 1200, 300)
    assert (row["cost"], row["full_cost"]) == (pytest.approx(2 * each), pytest.approx(3 * each))
    assert results.manifest["cost"] == pytest.approx(2 * each)
    assert results.manifest["prices"] == {"m": {"prompt": 2, "output": 8, "cached_prompt": 0.5, "source": "user"}}
    again = plan.score(prices=prices)
    assert again.cost()["cost"].item() == again.manifest["cost"] == 0
    assert hf.runs().sort("started")["cost"].to_list() == [pytest.approx(number * each) for number in (1, 2, 0)]


def test_requests_that_several_rows_share_are_paid_once() -> None:
    model = hf.model(priced(prompt_tokens=10, output_tokens=1), name="m")
    results = letters(model).perturb("lowercase").score(prices={"m": (1, 1)})
    assert results.completions.collect().height == 6
    assert results.cost()["n"].item() == 3
    assert results.cost()["cost"].item() == pytest.approx(results.manifest["cost"]) == pytest.approx(33e-6)


def test_an_unknown_price_is_null_and_never_zero() -> None:
    known, unknown = (hf.model(priced(prompt_tokens=10, output_tokens=1), name=name) for name in "ab")
    results = letters(known, unknown).score(prices={"a": (1, 1)})
    assert dict(results.cost().select("model", "cost").rows()) == {"a": pytest.approx(33e-6), "b": None}
    assert results.cost([]).select("n", "cost", "full_cost", "price").row(0) == (6, None, None, None)
    repriced = results.cost("model", prices={"b": (1, 1)})
    assert dict(repriced.select("model", "cost").rows()) == {"a": pytest.approx(33e-6), "b": pytest.approx(33e-6)}
    assert letters(unknown).score().manifest["cost"] is None
    assert hf.runs()["cost"].null_count() == 1


def test_tokens_are_estimated_if_the_model_does_not_count_them() -> None:
    results = letters(hf.model(priced("A" * 40), name="m")).score(prices={"m": (1, 1)})
    lengths = results.requests.collect()["prompt"].str.len_chars()
    row = results.cost().row(0, named=True)
    assert row["n_estimated"] == 3
    assert row["prompt_tokens"] == (lengths // 4 + 1).sum()
    assert row["output_tokens"] == 3 * (40 // 4 + 1)
    assert row["cached_prompt_tokens"] is None
    assert row["cost"] == pytest.approx(results.manifest["cost"])


def test_judges_have_their_own_rows() -> None:
    model = hf.model(priced(prompt_tokens=10, output_tokens=1), name="m")
    replies = iter(["no verdict", *["<score>1</score>"] * 9])
    judging = hf.model(lambda prompt: Completion(next(replies), prompt_tokens=100, output_tokens=10), name="j")
    prices = {"m": (1, 1), "j": (2, 2)}
    judge = hf.judge(judging, "safety")
    results = letters(model).metrics("exact_match", judge).score(prices=prices)
    rows = {row["role"]: row for row in results.cost().iter_rows(named=True)}
    assert (rows["judge"]["model"], rows["judge"]["n"]) == ("j", 3)
    # one verdict needed two attempts, and both are paid
    assert (rows["judge"]["prompt_tokens"], rows["judge"]["output_tokens"]) == (400, 40)
    assert rows["judge"]["cost"] == pytest.approx(440 * 2 / 1e6)
    assert results.manifest["cost"] == pytest.approx(rows["judge"]["cost"] + rows["model"]["cost"])
    later = letters(model).score(prices=prices).judge(judge, prices={"j": (4, 4)})
    assert later.cost("role").filter(role="judge")["full_cost"].item() == pytest.approx(440 * 4 / 1e6)


def test_cost_groups_by_scenario_and_by_setting() -> None:
    model = hf.model(priced(prompt_tokens=10, output_tokens=1), name="m")
    suite = hf.suite(letters(model, name="one"), letters(model, name="two").adapt(input_prefix=["", "Q: "]))
    table = suite.score(prices={"m": (1, 1)}).cost(["model", "scenario"])
    assert table.columns[:2] == ["model", "scenario"]
    assert set(table["scenario"]) == {"one", "two"}
    with pytest.raises(UnknownNameError, match=r"Unknown column to group the cost by 'modell'\. Did you mean 'model'"):
        suite.score(prices={"m": (1, 1)}).cost("modell")


def test_results_of_an_earlier_version_lack_the_newer_columns() -> None:
    results = letters(hf.model(priced(prompt_tokens=10, output_tokens=1), name="m")).score(prices={"m": (1, 1)})
    manifest = {name: value for name, value in results.manifest.items() if name != "prices"}
    old = replace(
        results, completions=results.completions.drop("cached_prompt_tokens"), manifest=manifest, path=None,
        verdicts=results.verdicts.drop("cached_prompt_tokens"),
    )  # fmt: skip
    assert old.cost().select("prompt_tokens", "cached_prompt_tokens", "cost").row(0) == (30, None, None)
    assert old.cost(prices={"m": (1, 1)})["cost"].item() == pytest.approx(33e-6)
    assert old.rescore("exact_match").value("exact_match") == results.value("exact_match")


def test_a_plan_that_replaces_metrics_keeps_its_row_among_main_metrics() -> None:
    frame = pl.DataFrame({"q": ["a", "b"], "a": ["a", "b"]})
    one, two = (hf.scenario(frame, input="q", references="a", name=name).generate(_say_a) for name in ("one", "two"))
    results = hf.suite(one, two.metrics("f1_score")).score()
    assert results.main_metrics == ["quasi_exact_match", "f1_score"]
    assert results.table(metrics=results.main_metrics).filter(scenario="two")["metric"].to_list() == ["f1_score"]


def _say_a(_: str) -> str:
    return "a"


def test_the_order_of_the_plan_is_kept_everywhere() -> None:
    models = {"z": hf.models.noisy(0.9), "a": hf.models.noisy(0.5), "m": hf.models.noisy(0.4)}
    plan = hf.scenario("sampler").where(subject="music").limit(8).perturb(["typos", "lowercase"]).generate(models)
    results = plan.score()
    table = results.table(metrics="exact_match")
    assert table["model"].unique(maintain_order=True).to_list() == ["z", "a", "m"]
    assert table["perturbation"].unique(maintain_order=True).to_list() == ["original", "typos", "lowercase"]
    robustness = results.robustness(metrics="exact_match")
    assert robustness["model"].unique(maintain_order=True).to_list() == ["z", "a", "m"]
    assert robustness["perturbation"].unique(maintain_order=True).to_list() == ["all", "typos", "lowercase"]
    comparison = results.compare("model")
    assert comparison["b"].unique().to_list() == ["z"]
    assert comparison["perturbation"].unique(maintain_order=True).to_list() == ["original", "typos", "lowercase"]


def test_a_table_is_shown_short_and_has_its_frame() -> None:
    models = {"z": hf.models.noisy(0.9), "a": hf.models.noisy(0.5)}
    plan = hf.scenario("sampler").where(subject="music").limit(8).generate(models)
    table = plan.score().table(metrics="exact_match")
    assert isinstance(table, ShortTable)
    lines = str(table).splitlines()
    assert lines[0].split() == ["model", "metric", "value", "interval", "n", "chance"]
    assert "scenario: sampler" in str(table)
    assert max(map(len, lines)) < 100
    assert type(table.frame) is pl.DataFrame
    assert table.frame.columns == table.columns
    assert "text-align:right" in table._repr_html_()
    assert str(table.select("model")) == str(table.frame.select("model"))


def test_fields_of_a_grid_are_columns_with_their_type() -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(8).adapt(shots=[0, 2])
    results = plan.generate(hf.models.noisy(0.5), temperature=[0.0, 0.7]).score()
    table = results.table(by=["shots", "temperature"], metrics="exact_match")
    assert table.select("shots", "temperature").rows() == [(0, 0.0), (0, 0.7), (2, 0.0), (2, 0.7)]
    pooled = results.table(by="shots", metrics="exact_match", pool="setting")
    assert pooled.select("shots", "pooled").rows() == [(0, "2 settings"), (2, "2 settings")]
    with pytest.raises(UnknownNameError, match="Did you mean 'shots'"):
        results.table(by="shot")


def _repeated(**columns: list[str]) -> hf.Plan:
    rows = {"q": [f"q{index % 40}" for index in range(50)], "a": ["yes"] * 50, "half": ["x", "y"] * 25, **columns}
    options: dict[str, Any] = {"cluster": "group"} if "group" in columns else {}
    plan = hf.scenario(pl.DataFrame(rows), input="q", references="a", name="quiz", **options)
    return plan.adapt(shots=0).metrics("exact_match").generate({"m": hf.models.noisy(0.7), "n": hf.models.noisy(0.6)})


def test_repeated_instances_are_counted_and_marked() -> None:
    results = _repeated().score()
    table = results.table()
    assert table["n_duplicates"].to_list() == [10, 10]
    assert set(table["interval"]) == {"Wilson, duplicates"}
    # even rows repeat even rows only
    assert results.table("half")["n_duplicates"].to_list() == [5] * 4
    note = "quiz: 10 instances repeat the input and references of another, which makes intervals too short"
    assert note in str(results)
    assert "duplicates" in str(table)


def test_equal_instances_of_a_cluster_and_different_references_are_not_duplicates() -> None:
    clustered = _repeated(group=[f"g{index % 40}" for index in range(50)]).score()
    assert "n_duplicates" not in clustered.table().columns
    assert "repeat the input" not in str(clustered)
    others = _repeated(a=["yes"] * 40 + ["no"] * 10).score()
    assert "n_duplicates" not in others.table().columns


def test_few_duplicates_are_counted_without_a_mark() -> None:
    rows = pl.DataFrame({"q": [f"q{min(index, 198)}" for index in range(200)], "a": ["yes"] * 200})
    plan = hf.scenario(rows, input="q", references="a", name="quiz").adapt(shots=0).metrics("exact_match")
    table = plan.generate(hf.models.noisy(0.7)).score().table()
    assert table.select("n_duplicates", "interval").row(0) == (1, "Wilson")


def test_a_table_and_a_comparison_may_have_posterior_intervals() -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(8).adapt(shots=0)
    results = plan.generate({"good": hf.models.oracle(), "bad": hf.models.echo()}).score()
    table = results.table(metrics="exact_match", interval="bayes")
    assert table["interval"].unique().to_list() == ["Bayes, prior Beta(½, ½), n small"]
    assert results.table(metrics="exact_match")["interval"].unique().to_list() == ["Clopper–Pearson, n small"]
    compared = results.compare("model", base="bad", interval="bayes")
    assert compared["probability_better"].item() > 0.99
    assert "Dirichlet" in compared["interval"].item()
