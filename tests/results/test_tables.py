"""Tables by HELM's definitions: one of n outputs, and the mean over trials."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._pipeline import plan_tasks
from helmframe._plan import Plan, spec_of
from helmframe.errors import ArgumentError, HelmframeWarning
from helmframe.metrics.protocol import METRICS
from helmframe.results import Results

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
