"""Ranked references against trec_eval."""

from typing import Any

import polars as pl
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from helmframe._schema import REFERENCE
from helmframe.metrics.score import score
from tests.frames import completions

ANSWERS = ["Yes", " yes\n", "No", "perhaps"]


def ranked(
    names: list[str], answers: list[str], logprobs: list[float | None], tags: list[list[str]], correct_from: int = 1
) -> dict[str, Any]:
    """Return the scores of an instance with a reference per answer; correct ones have a relevance of `correct_from`."""
    count = len(answers)
    relevances = [max((int(tag[10:]) for tag in each if tag.startswith("relevance=")), default=0) for each in tags]
    options = [
        {"text": str(index), "correct": relevance >= correct_from, "tags": each}
        for index, (relevance, each) in enumerate(zip(relevances, tags, strict=True))
    ]
    frame = completions(
        answers,
        [[]] * count,
        instance_id=["id0"] * count,
        reference_index=list(range(count)),
        logprob=pl.Series(logprobs, dtype=pl.Float64),
    ).with_columns(perturbed_references=pl.Series([options] * count, dtype=pl.List(REFERENCE)))
    rows = score(frame.lazy(), names).collect()
    return dict(rows.select("metric", "score").rows())


def relevant(*relevances: int) -> list[list[str]]:
    return [[f"relevance={each}"] for each in relevances]


def test_worked_by_hand() -> None:
    # the order is 1 (Yes -1), 0 (Yes -2), 2 (No -3), 4 (No -1), 3 (perhaps)
    answers, logprobs = ["Yes", "Yes", "No", "perhaps", "No"], [-2.0, -1.0, -3.0, -0.1, -1.0]
    names = ["RR@10", "RR@1", "NDCG@10", "success@1", "success@2", "recall@2", "recall@5"]
    made = ranked(names, answers, list(logprobs), relevant(1, 0, 0, 1, 0))
    assert made == {
        "RR@10": 0.5,
        "RR@1": 0.0,
        "NDCG@10": pytest.approx((1 / 1.584962500721156 + 1 / 2.584962500721156) / (1 + 1 / 1.584962500721156)),
        "success@1": 0.0,
        "success@2": 1.0,
        "recall@2": 0.5,
        "recall@5": 1.0,
    }


def test_only_the_first_of_another_ranking_may_be_ranked() -> None:
    tags = [["relevance=1", "rank=40"], ["relevance=1", "rank=2"], ["rank=1"]]
    assert ranked(["RR@10(topk=30)"], ["Yes", "No", "Yes"], [-1.0, -1.0, -2.0], tags) == {"RR@10(topk=30)": 0.5}


def test_grades_below_the_correct_ones_count_in_ndcg_alone() -> None:
    # MS MARCO's TREC track in HELM: grade 1 is 0 for RR, success and recall
    names = ["RR@10", "success@1", "recall@2", "NDCG@1"]
    answers, logprobs = ["Yes", "Yes", "Yes"], [-1.0, -2.0, -3.0]
    assert ranked(names, answers, list(logprobs), relevant(1, 3, 2), correct_from=2) == {
        "RR@10": 0.5, "success@1": 0.0, "recall@2": 0.5, "NDCG@1": pytest.approx(1 / 3),
    }  # fmt: skip


def test_the_first_of_several_outputs_about_a_reference_ranks_it() -> None:
    options = [{"text": str(index), "correct": index == 1, "tags": []} for index in range(2)]
    frame = completions(
        ["Yes", "No", "No", "Yes"],
        [[]] * 4,
        instance_id=["id0"] * 4,
        output_index=[0, 1, 0, 1],
        reference_index=[0, 0, 1, 1],
        logprob=[-1.0, -1.0, -1.0, -1.0],
    ).with_columns(perturbed_references=pl.Series([options] * 4, dtype=pl.List(REFERENCE)))
    rows = score(frame.lazy(), ["RR@10", "recall@2", "NDCG@10"]).collect()
    assert rows["score"].to_list() == [0.5, 1.0, pytest.approx(0.6309298)]


def test_references_of_low_grades_alone_score_0() -> None:
    # they are judged, so HELM has a value; without any judged reference it has none
    assert ranked(["RR@10", "recall@1"], ["Yes", "No"], [-1.0, -1.0], relevant(1, 0), correct_from=2) == {
        "RR@10": 0.0, "recall@1": 0.0,
    }  # fmt: skip


def test_without_log_probabilities_there_is_no_order() -> None:
    assert ranked(["RR@10"], ["Yes", "No"], [None, None], relevant(1, 0)) == {"RR@10": None}


def test_without_a_relevant_reference_there_is_nothing_to_find() -> None:
    assert ranked(["RR@10", "recall@1"], ["Yes", "No"], [-1.0, -1.0], relevant(0, 0)) == {
        "RR@10": None, "recall@1": None,
    }  # fmt: skip


OPTIONS = st.tuples(st.sampled_from(ANSWERS), st.integers(0, 3))


@settings(deadline=None)
@given(st.lists(OPTIONS, min_size=1, max_size=8).filter(lambda each: any(relevance for _, relevance in each)))
def test_it_is_trec_evals(options: list[tuple[str, int]]) -> None:
    answers, relevances = [answer for answer, _ in options], [relevance for _, relevance in options]
    logprobs = [-(place + 1.5) / 7 for place in range(len(options))]

    def key(place: int) -> tuple[int, float]:
        answer = answers[place].strip().lower()
        kind = {"yes": 2, "no": 1}.get(answer, 0)
        return kind, logprobs[place] if kind == 2 else -logprobs[place]

    order = sorted(range(len(options)), key=key, reverse=True)
    run = {"q": {f"d{place}": float(len(order) - rank) for rank, place in enumerate(order)}}
    relevance = {"q": {f"d{place}": each for place, each in enumerate(relevances) if each}}
    measures = {"recip_rank", "ndcg_cut.3", "success.1", "recall.5"}
    theirs = pytrec_eval.RelevanceEvaluator(relevance, measures).evaluate(run)["q"]
    ours = ranked(["RR@8", "NDCG@3", "success@1", "recall@5"], answers, list(logprobs), relevant(*relevances))
    assert ours == {
        "RR@8": pytest.approx(theirs["recip_rank"]),
        "NDCG@3": pytest.approx(theirs["ndcg_cut_3"]),
        "success@1": theirs["success_1"],
        "recall@5": pytest.approx(theirs["recall_5"]),
    }
