"""Wrong results, 3: right above wrong above failed, by every metric, in table, compare, leaderboard, gate and report.

Three models: one is right everywhere, one is wrong everywhere, one fails everywhere. Metrics of rows are tested with
scores made for them (`ROWS`), and where a small scenario can have right and wrong completions also with those
(`SCORED`). Metrics of whole sets get a made value per model (`SETS`). Metrics without a direction rank nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._schema import OF_REQUEST, SCORES
from helmframe.errors import ArgumentError, HelmframeError, NotComparableError
from helmframe.metrics.protocol import METRICS, manifest_entry, resolve_metrics
from helmframe.metrics.score import parse
from tests.acceptance.figures import shown

N = 40
MODELS = ("right", "wrong", "failed")
REFUSED = r"100\.0% of the requests of '(failed|baseline)' failed"
_ARGUMENTS = {
    "class_f1": "class_f1(label='a')",
    "class_precision": "class_precision(label='a')",
    "class_recall": "class_recall(label='a')",
    "cost": "cost(prices={'m': (0.5, 2)})",
}
# Those of the package: other tests register some of their own.
OURS = [name for name in METRICS if METRICS[name].function.__module__.startswith("helmframe.")]
ROWS = [name for name in OURS if METRICS[name].level != "set" and METRICS[name].higher_is_better is not None]
SETS = [name for name in OURS if METRICS[name].level == "set" and METRICS[name].higher_is_better is not None]
NO_DIRECTION = {
    *("bbq_ambiguous_bias", "bbq_metric_ambiguous_bias", "bbq_metric_unambiguous_bias", "brier_uncertainty"),
    *("compression", "coverage", "density", "ece_if_calibrated", "finish_reason_length", "finish_reason_stop"),
    *("finish_reason_unknown", "monte_carlo_entropy", "num_bytes", "num_output_tokens", "num_perplexity_tokens"),
    *("num_prompt_tokens", "num_references", "num_train_instances", "output_characters", "output_words"),
    *("platt_intercept", "predicted_index", "prompt_truncated", "refusal", "stereotype_preferred"),
}
# Without a bound on the worse side, a failure can't count as the worst.
NO_WORST = {
    "absolute_value_difference",
    "cost",
    "inference_runtime",
    "logprob",
    "longest_common_prefix_length",
}
NO_WORST |= {"option_brier"}


@dataclass(frozen=True)
class Case:
    """A scenario on which some metrics can be right or wrong: its reference, and the completions of the models."""

    metrics: tuple[str, ...]
    right: str | Callable[[str], str]
    wrong: str
    reference: str | pl.Expr = ""
    choices: tuple[str, ...] = ()
    outputs: int = 1

    def plan(self) -> hf.Plan:
        rows = pl.DataFrame({"q": [f"question {index}?" for index in range(N)]})
        if self.choices:
            rows = rows.with_columns(c=pl.lit(list(self.choices)), a=0)
            return hf.scenario(rows, input="q", choices="c", answer="a", name="made")
        reference = pl.lit(self.reference) if isinstance(self.reference, str) else self.reference
        return hf.scenario(rows.with_columns(a=reference), input="q", references="a", name="made")


_WORDS = count()


def new_words(prompt: str) -> str:
    return " ".join(f"w{next(_WORDS)}" for _ in range(12))


CASES = (
    Case(
        (
            *("exact_match", "quasi_exact_match", "quasi_leave_articles_exact_match", "prefix_exact_match"),
            *("quasi_prefix_exact_match", "exact_match_indicator", "final_number_exact_match", "final_number_equal"),
            *("f1_score", "f1_bag", "rouge_1", "rouge_2", "rouge_l", "bleu_1", "bleu_4", "bleu_cumulative"),
            *("bleu_1_unsplit", "bleu_4_unsplit"),
            *("iou_set_match", "f1_set_match", "exact_set_match", "label_f1", "repetition", "distinct"),
            *("ruler_string_match_part", "math_equiv", "bbq_accuracy"),
        ),
        right="it is Paris 12",
        wrong="no no no no no no no no 7",
        reference="it is Paris 12",
    ),
    Case(("regex_match", "absolute_value_difference"), right="12", wrong="7", reference="12"),
    Case(
        ("math_boxed", "math_equiv_chain_of_thought"),
        right=r"so \boxed{12}",
        wrong=r"so \boxed{7}",
        reference=r"\boxed{12}",
    ),
    Case(
        ("chain_of_thought_correctness", "chain_of_thought_choice", "choice_match"),
        right="The answer is (A).",
        wrong="The answer is (B).",
        choices=("red", "blue"),
    ),
    Case(("json_valid",), right='{"city": "Paris"}', wrong="{", reference="x"),
    Case(("maj@k", "pass^k", "at_least@k"), right="yes", wrong="no", reference="yes", outputs=2),
    Case(("self_bleu",), right=new_words, wrong="the same old words as ever in this one", reference="yes", outputs=2),
    Case(
        ("edit_distance", "edit_similarity", "longest_common_prefix_length"),
        right="words of its own",
        wrong="a text that is copied from a book",
        # the whole text, from where the input begins
        reference=pl.col("q") + " a text that is copied from a book",
    ),
)
SCORED = [name for case in CASES for name in case.metrics]
# What a small frame can't have: log-probabilities, latencies and token counts, sandboxes, classifiers, other columns.
MADE_ONLY = {
    *("NDCG@k", "RR@k", "recall@k", "success@k"),
    *("correct_probability", "cost", "expected_max_toxicity", "ifeval_loose_accuracy", "ifeval_prompt_loose"),
    *(
        "ifeval_prompt_strict",
        "ifeval_strict_accuracy",
        "inference_runtime",
        "json_schema_valid",
        "logprob",
        "math_symbolic",
    ),
    "max_prob",
    *("max_toxicity_probability", "meaningful_preferred", "openai_mrcr_accuracy", "option_accuracy"),
    *("option_accuracy_calibrated", "option_accuracy_per_byte", "option_accuracy_per_character"),
    *("option_accuracy_per_token", "option_brier", "option_max_prob", "pass", "pass@k", "strict_acc", "test_avg"),
    *("toxic_frac", "toxicity"),
}


def test_3_every_metric_is_covered() -> None:
    assert {name for name in OURS if METRICS[name].higher_is_better is None} == NO_DIRECTION
    assert len(SCORED) == len(set(SCORED))
    assert {*ROWS} == {*SCORED} | MADE_ONLY
    assert not {*SCORED} & MADE_ONLY
    assert {*OURS} == {*ROWS} | {*SETS} | NO_DIRECTION
    lower = [name for name in (*ROWS, *SETS) if not METRICS[name].higher_is_better]
    numbers = (
        f"{len(ROWS)} of rows ({len(SCORED)} scored too), {len(SETS)} of sets, {len(NO_DIRECTION)} without direction"
    )
    shown("wrong results 3", "metrics ranked", numbers, f"all {len(OURS)}")
    shown("wrong results 3", "of these better when lower", str(len(lower)), "both directions")


def fails(prompt: str) -> str:
    raise RuntimeError("down")


def run(case: Case) -> hf.Results:
    models = {
        "right": case.right if callable(case.right) else (lambda prompt: case.right),
        "wrong": lambda prompt: case.wrong,
        "failed": fails,
    }
    plan = case.plan().metrics(*(called(name) for name in case.metrics))
    return plan.generate({name: hf.model(call, name=name) for name, call in models.items()}, n=case.outputs).score()


def called(name: str) -> str:
    """The name of a metric, with the arguments that it needs."""
    return _ARGUMENTS.get(name, name.replace("@k", "@2").replace("^k", "^2"))


@cache
def base() -> hf.Results:
    """Completions of the three models, whose scores are replaced."""
    return run(Case(("exact_match",), right="yes", wrong="no", reference="yes"))


def values(name: str) -> tuple[float, float]:
    """A better and a worse value, within the metric's range but on neither end."""
    low, high = METRICS[name].low, METRICS[name].high
    up = METRICS[name].higher_is_better
    if low is None and high is None:
        low, high = -10.0, 10.0
    low, high = (high - 4.0 if low is None else low), (low + 4.0 if high is None else high)  # type: ignore[operator]
    span = high - low
    inner = (low + 0.75 * span, low + 0.25 * span)
    return inner if up else (inner[1], inner[0])


def of_metric(name: str, **changes: Any) -> hf.Results:
    """The base results with the entry of this metric as their only one."""
    metric = called(name)
    manifest = {**base().manifest, "metrics": {metric: manifest_entry(resolve_metrics([metric])[0])}}
    manifest["scenarios"] = {
        scenario: {**entry, "main": {**entry["main"], "metric": metric}}
        for scenario, entry in manifest["scenarios"].items()
    }
    return replace(base(), manifest=manifest, path=None, **changes)


def made(name: str) -> hf.Results:
    """Scores near a better and a worse value, and null ones of the model that fails."""
    better, worse = values(name)
    step = abs(better - worse) / 10
    middle = pl.when(pl.col("model") == "right").then(better).when(pl.col("model") == "wrong").then(worse)
    number = pl.int_range(pl.len()).over("model") % 2
    joined = METRICS[name].level == "instance"
    scores = base().scores.with_columns(
        metric=pl.lit(called(name)),
        score=middle + step * number,
        output_index=pl.lit(None, dtype=pl.Int64) if joined else pl.col("output_index"),
    )
    return of_metric(name, scores=scores)


def check(name: str, results: hf.Results, *, strict: bool) -> None:
    """Right above wrong above failed.

    Args:
        name: The registered metric.
        results: Of the three models.
        strict: Whether the wrong model is above the worst bound, so that it is above the failed one, not beside it.
    """
    metric, up = called(name), bool(METRICS[name].higher_is_better)
    sound = replace(results, path=None, completions=results.completions.filter(pl.col("model") != "failed"),
                    scores=results.scores.filter(pl.col("model") != "failed"))  # fmt: skip
    sign = 1.0 if up else -1.0
    # the table: the failed model has no value, and its failures are counted
    table = {row["model"]: row for row in results.table("model", metrics=metric).iter_rows(named=True)}
    assert sign * table["right"]["value"] > sign * table["wrong"]["value"]
    assert (table["failed"]["value"], table["failed"]["n"]) == (None, 0)
    assert [table[model]["n_error"] for model in MODELS] == [0, 0, table["failed"]["n_completions"]]
    assert table["failed"]["n_completions"] >= N
    middle = (table["right"]["value"] + table["wrong"]["value"]) / 2
    line = {"at_least" if up else "at_most": middle, "columns": metric}
    # refused, unless specified
    for ask in (
        lambda: results.compare("model", metrics=metric),
        lambda: results.leaderboard(columns=metric),
        lambda: results.gate(**line),
        lambda: results.gate(against=results, columns=metric),
    ):
        with pytest.raises(NotComparableError, match=REFUSED):
            ask()
    # dropped, a model that fails everywhere leaves nothing to rank
    with pytest.raises(NotComparableError, match=r"No instance of 'made'.*'failed' has 0 of"):
        results.leaderboard(columns=metric, errors="drop")
    assert sound.leaderboard(columns=metric).table["model"].to_list() == ["right", "wrong"]
    verdicts = {row["model"]: row["verdict"] for row in sound.gate(**line).table.iter_rows(named=True)}
    assert verdicts["right"] != "fail"
    assert verdicts["wrong"] != "pass"
    dropped = {row["model"]: row["verdict"] for row in results.gate(**line, errors="drop").table.iter_rows(named=True)}
    assert dropped["failed"] == "undecided"
    if name in NO_WORST:
        for ask in (
            lambda: results.compare("model", metrics=metric, errors="worst"),
            lambda: results.leaderboard(columns=metric, errors="worst"),
            lambda: results.gate(**line, errors="worst"),
        ):
            with pytest.raises(ArgumentError, match=r"errors='worst': metric .* bound.*errors='drop', or rerun"):
                ask()
        return
    # compare: as the failed model is the base, wins are of the others
    pairs = results.compare("model", base="failed", metrics=metric, errors="worst")
    row = {row["a"]: row for row in pairs.iter_rows(named=True)}
    assert (row["right"]["win"], row["right"]["loss"], row["right"]["n"]) == (N, 0, N)
    assert row["wrong"]["loss"] == 0
    assert (row["wrong"]["win"] > 0) is strict
    assert sign * row["right"]["difference"] > sign * row["wrong"]["difference"]
    # the leaderboard
    for mean in ("win_rate", "mean"):
        board = results.leaderboard(columns=metric, errors="worst", mean=mean).table
        rank = dict(board.select("model", "rank").iter_rows())
        assert rank["right"] == 1 < rank["wrong"] <= rank["failed"]
        assert (rank["wrong"] < rank["failed"]) is strict
    # the gate
    gate = {row["model"]: row for row in results.gate(**line, errors="worst").table.iter_rows(named=True)}
    assert gate["failed"]["verdict"] != "pass"
    assert gate["failed"]["n_error"] == gate["failed"]["n_completions"]
    assert sign * gate["right"]["value"] > sign * gate["wrong"]["value"] >= sign * gate["failed"]["value"]


@pytest.mark.parametrize("name", ROWS)
def test_3_right_is_above_wrong_above_failed_by_made_scores(name: str) -> None:
    check(name, made(name), strict=name not in NO_WORST)


@cache
def scored(index: int) -> hf.Results:
    return run(CASES[index])


@pytest.mark.parametrize("name", SCORED)
def test_3_right_is_above_wrong_above_failed_by_scores_of_completions(name: str) -> None:
    results = scored(next(index for index, case in enumerate(CASES) if name in case.metrics))
    metric, up = called(name), METRICS[name].higher_is_better
    wrong = results.scores.filter(metric=metric, model="wrong").select(pl.col("score").mean()).collect().item()
    worst = METRICS[name].low if up else METRICS[name].high
    check(name, results, strict=wrong != pytest.approx(worst))


@pytest.fixture
def made_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics of whole sets have a made value: the mean of a number per model."""

    def for_sets(completions: pl.LazyFrame, metric: Any, **_: Any) -> tuple[pl.LazyFrame, pl.Expr]:
        better, worse = values(next(name for name in SETS if called(name) == metric.name))
        number = pl.when(pl.col("model") == "right").then(better).otherwise(worse)
        step = abs(better - worse) / 10 * (pl.col("instance_id").hash() % 2).cast(pl.Float64)
        return parse(completions).with_columns(made=number + step), pl.col("made").mean()

    monkeypatch.setattr("helmframe.results._tables.prepare_set_metric", for_sets)
    monkeypatch.setattr("helmframe.results._tables.missing_reason", lambda *_: None)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.usefixtures("made_sets")
def test_3_right_is_above_wrong_above_failed_by_metrics_of_whole_sets(name: str) -> None:
    metric, up = called(name), bool(METRICS[name].higher_is_better)
    results = of_metric(name, scores=pl.LazyFrame(schema=SCORES.schema))
    sound = replace(results, completions=results.completions.filter(pl.col("model") != "failed"))
    sign = 1.0 if up else -1.0
    table = {row["model"]: row for row in results.table("model", metrics=metric).iter_rows(named=True)}
    assert sign * table["right"]["value"] > sign * table["wrong"]["value"]
    assert (table["failed"]["value"], table["failed"]["n"], table["failed"]["n_error"]) == (None, 0, N)
    column = [("made", metric)]
    middle = (table["right"]["value"] + table["wrong"]["value"]) / 2
    line = {"at_least" if up else "at_most": middle, "columns": column}
    for ask in (lambda: results.leaderboard(columns=column), lambda: results.gate(**line)):
        with pytest.raises(NotComparableError, match=REFUSED):
            ask()
    for ask in (
        lambda: results.leaderboard(columns=column, errors="worst"),
        lambda: results.gate(**line, errors="worst"),
    ):
        with pytest.raises(ArgumentError, match=r"errors='worst'.*metric of the whole set.*errors='drop'"):
            ask()
    with pytest.raises(NotComparableError, match="no instance of 'made' was completed by every model"):
        results.leaderboard(columns=column, errors="drop")
    assert sound.leaderboard(columns=column).table["model"].to_list() == ["right", "wrong"]
    verdicts = {row["model"]: row["verdict"] for row in sound.gate(**line).table.iter_rows(named=True)}
    assert (verdicts["right"], verdicts["wrong"]) == ("pass", "fail")
    dropped = results.gate(**line, errors="drop").table
    assert dropped.select("model", "verdict").rows() == [(model, "undecided") for model in sorted(MODELS)]


@pytest.mark.parametrize("name", sorted(NO_DIRECTION))
def test_3_a_metric_without_a_direction_ranks_nothing(name: str) -> None:
    if METRICS[name].level == "set":
        results = of_metric(name, scores=pl.LazyFrame(schema=SCORES.schema))
        with pytest.raises(HelmframeError):
            results.compare("model", metrics=name)
        return
    scores = base().scores.with_columns(metric=pl.lit(name), **dict.fromkeys(OF_REQUEST))
    results = of_metric(name, scores=scores.cast(pl.Schema(SCORES.schema)))
    sound = replace(results, scores=results.scores.filter(pl.col("model") != "failed"))
    for ask in (
        lambda: sound.compare("model", metrics=name),
        lambda: sound.leaderboard(columns=[("made", name)]),
        lambda: sound.worst_outputs(metric=name),
    ):
        with pytest.raises(ArgumentError, match=r"direction|which way"):
            ask()


def check_report(results: hf.Results, sound: hf.Results, folder: Path) -> None:
    text = Path(results.report(folder / "all.html")).read_text(encoding="utf-8")
    # comparison and leaderboard state why they are missing
    assert text.count("100.0% of the requests of &#39;failed&#39; failed") >= 2
    assert "win rate" not in text
    text = Path(sound.report(folder / "sound.html")).read_text(encoding="utf-8")
    board = text[text.index("win rate") :]
    assert 0 < board.index(">right<") < board.index(">wrong<")


@pytest.mark.parametrize("name", ROWS)
def test_3_a_report_ranks_no_failed_model_above_others(name: str, tmp_path: Path) -> None:
    results = made(name)
    sound = replace(results, completions=results.completions.filter(pl.col("model") != "failed"),
                    scores=results.scores.filter(pl.col("model") != "failed"))  # fmt: skip
    check_report(results, sound, tmp_path)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.usefixtures("made_sets")
def test_3_a_report_ranks_no_failed_model_above_others_by_metrics_of_whole_sets(name: str, tmp_path: Path) -> None:
    results = of_metric(name, scores=pl.LazyFrame(schema=SCORES.schema))
    check_report(
        results, replace(results, completions=results.completions.filter(pl.col("model") != "failed")), tmp_path
    )
