"""The text metrics beside HELM's own and those of the packages that others use: how equal, and how fast."""

import json
import math
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import pytrec_eval
import sacrebleu
from nltk.translate.bleu_score import sentence_bleu
from rouge_score.rouge_scorer import RougeScorer
from sklearn.metrics import f1_score as f1_of_scikit_learn

from helmframe._schema import REFERENCE
from helmframe.metrics.protocol import METRICS, resolve_metrics
from helmframe.metrics.score import prepare_set_metric, score
from helmframe.metrics.shared import score_pairs
from helmframe.metrics.treebank import tokenized
from tests.acceptance.figures import equal_to_helm, shown
from tests.acceptance.helm_metrics_peer import HelmMetrics, helm_metrics
from tests.frames import completions, right

pytestmark = pytest.mark.shared

PAIRS = 10_000
NEAR = 1e-9


@pytest.fixture(scope="module")
def pairs(shared: Path) -> pl.DataFrame:
    """`gold` and `output`: MMLU's questions, and the same with words changed and the end cut off."""
    files = sorted((shared / "scenarios" / "mmlu").glob("*/test-*.parquet"))
    questions = pl.concat([pl.read_parquet(file, columns=["question"]) for file in files])["question"].head(PAIRS)
    draws = random.Random(0)
    outputs = []
    for question in questions:
        words = question.split()
        said = [word if draws.random() > 0.25 else draws.choice(words) for word in words]
        outputs.append(" ".join(said[: draws.randint(max(1, len(words) // 2), max(1, len(words)))]) or "x")
    return pl.DataFrame({"gold": questions, "output": outputs})


@pytest.fixture(scope="module")
def peer(pairs: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HelmMetrics]:
    with helm_metrics(pairs.rows(), tmp_path_factory.mktemp("helm")) as running:
        yield running


def ours(pairs: pl.DataFrame, name: str) -> pl.Series:
    """Our scores of pairs, as HELM's functions get them: texts that nothing has stripped."""
    (each,) = resolve_metrics([name])
    made = score_pairs(pairs, {name: each.expression()})[name]
    return made.struct.field("score") if made.dtype == pl.Struct else made.cast(pl.Float64)


def equal(mine: Sequence[float | None], theirs: Sequence[float]) -> int:
    return sum(one is not None and abs(one - other) <= NEAR for one, other in zip(mine, theirs, strict=True))


def test_1_all_values_of_helms_functions(shared: Path) -> None:
    helm = pl.read_parquet(shared / "helm_metrics.parquet").rename({"reference": "gold", "prediction": "output"})
    # recorded without NLTK's sentence split
    helm = helm.rename({"bleu_1": "bleu_1_unsplit", "bleu_4": "bleu_4_unsplit"})
    names = [name for name in helm.columns if name not in ("gold", "output")]
    found = {name: equal(ours(helm, name).to_list(), helm[name].to_list()) for name in names}
    for name, count in found.items():
        shown("1", f"{name}, values equal to HELM's", f"{count}/{helm.height}", "all")
    assert len(names) == 18
    assert set(found.values()) == {2500}


def test_1_rouge_equals_rouge_score(pairs: pl.DataFrame) -> None:
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    theirs = [scorer.score(gold, output) for gold, output in pairs.select("gold", "output").iter_rows()]
    for name, key in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
        count = equal(ours(pairs, name).to_list(), [each[key].fmeasure for each in theirs])
        shown("1", f"{name}, values equal to rouge_score's", f"{count}/{PAIRS}", "all")
        assert count == PAIRS


@pytest.mark.filterwarnings("ignore:(?s).*The hypothesis contains 0 counts")
def test_1_bleu_equals_nltks(pairs: pl.DataFrame) -> None:
    # NLTK's own tokenizer is beside ours in tests/metrics/test_treebank.py
    words = [(tokenized(gold), tokenized(output)) for gold, output in pairs.select("gold", "output").iter_rows()]
    for name, weights in (
        ("bleu_1_unsplit", (1,)),
        ("bleu_4_unsplit", (0, 0, 0, 1)),
        ("bleu_cumulative", (0.25,) * 4),
    ):
        theirs = [float(sentence_bleu([gold], output, weights=weights)) for gold, output in words]
        count = equal(ours(pairs, name).to_list(), [each if each > 1e-70 else 0.0 for each in theirs])
        shown("1", f"{name}, values equal to NLTK's", f"{count}/{PAIRS}", "all")
        assert count == PAIRS


@pytest.mark.parametrize("name", ["bleu_1", "bleu_4", "bleu_1_unsplit", "bleu_4_unsplit"])
def test_1_bleu_equals_helms_with_its_sentence_split(pairs: pl.DataFrame, peer: HelmMetrics, name: str) -> None:
    theirs, _, _ = peer.scores(name)
    count = equal(ours(pairs, name).to_list(), [value if value > 1e-70 else 0.0 for value in theirs])
    equal_to_helm("6", f"{name}, values", count, PAIRS)
    assert count == PAIRS


@pytest.mark.parametrize(
    ("name", "theirs", "rows"),
    [("corpus_bleu", "BLEU", PAIRS), ("corpus_chrf", "CHRF", 2_000), ("corpus_ter", "TER", 500)],
)
def test_1_corpus_metrics_equal_sacrebleus(pairs: pl.DataFrame, name: str, theirs: str, rows: int) -> None:
    outputs, golds = pairs["output"].head(rows).to_list(), pairs["gold"].head(rows).to_list()
    frame, value = prepare_set_metric(
        completions(outputs, [right(gold) for gold in golds]).lazy(), resolve_metrics([name])[0]
    )
    mine = frame.select(value).collect().item()
    expected = getattr(sacrebleu, theirs)().corpus_score(outputs, [golds]).score
    shown("1", f"{name} of {rows:,} pairs, ours and sacrebleu's", f"{mine:.9f} {expected:.9f}", "equal to 1e-9")
    assert abs(mine - expected) <= NEAR


def test_1_f1_of_classes_equals_scikit_learns(pairs: pl.DataFrame) -> None:
    draws = random.Random(1)
    kinds = [f"class{len(gold.split()) % 7}" for gold in pairs["gold"]]
    said = [kind if draws.random() > 0.3 else f"class{draws.randrange(9)}" for kind in kinds]
    read = prepare_set_metric(
        completions(said, [right(kind) for kind in kinds]).lazy(), resolve_metrics(["classification_macro_f1"])[0]
    )[0]
    frame = read.collect()
    for average in ("macro", "micro"):
        mine = frame.select(METRICS[f"classification_{average}_f1"].expression()).item()
        expected = f1_of_scikit_learn(kinds, said, labels=sorted(set(kinds)), average=average)
        shown(
            "1",
            f"classification_{average}_f1 of {PAIRS:,}, ours and scikit-learn's",
            f"{mine:.9f} {expected:.9f}",
            "equal",
        )
        assert abs(mine - expected) <= NEAR


def test_1_rankings_equal_trec_evals() -> None:
    """1,000 rankings of 10 references each."""
    draws = random.Random(2)
    frames, expected = [], []
    for query in range(1000):
        answers = [draws.choice(["Yes", "No", "perhaps"]) for _ in range(10)]
        logprobs = [-draws.random() for _ in range(10)]
        relevances = [draws.choice([0, 0, 1, 3]) for _ in range(9)] + [1]
        options = [
            {"text": str(place), "correct": bool(each), "tags": [f"relevance={each}"]}
            for place, each in enumerate(relevances)
        ]
        columns: dict[str, Any] = {
            "instance_id": [f"q{query}"] * 10,
            "reference_index": list(range(10)),
            "logprob": logprobs,
        }
        frame = completions(answers, [[]] * 10, **columns)
        frames.append(frame.with_columns(perturbed_references=pl.Series([options] * 10, dtype=pl.List(REFERENCE))))
        kinds = {"Yes": 2, "No": 1, "perhaps": 0}
        places = [
            (kinds[answer], one if answer == "Yes" else -one) for answer, one in zip(answers, logprobs, strict=True)
        ]
        ranks = sorted(range(10), key=places.__getitem__)
        run = {"q": {f"d{place}": float(rank) for rank, place in enumerate(ranks)}}
        judged = {"q": {f"d{place}": each for place, each in enumerate(relevances) if each}}
        measures = {"recip_rank", "ndcg_cut.5", "success.1", "recall.5"}
        expected.append(pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run)["q"])
    names = {"RR@10": "recip_rank", "NDCG@5": "ndcg_cut_5", "success@1": "success_1", "recall@5": "recall_5"}
    scores = score(pl.concat(frames).lazy(), list(names)).collect()
    for name, theirs in names.items():
        count = equal(scores.filter(metric=name)["score"].to_list(), [each[theirs] for each in expected])
        shown("1", f"{name}, values equal to trec_eval's", f"{count}/1000", "all")
        assert count == 1000


# HELM's `exact_match@5` of runs that asked for 5 outputs and got 1 is that of the 1.
RECORDED = {
    "exact_match": "exact_match", "quasi_exact_match": "quasi_exact_match", "prefix_exact_match": "prefix_exact_match",
    "quasi_prefix_exact_match": "quasi_prefix_exact_match", "exact_match@5": "exact_match@1",
    "quasi_exact_match@5": "quasi_exact_match@1", "prefix_exact_match@5": "prefix_exact_match@1",
    "quasi_prefix_exact_match@5": "quasi_prefix_exact_match@1", "f1_score": "f1_score", "rouge_l": "rouge_l",
    "bleu_1": "bleu_1", "bleu_4": "bleu_4", "num_references": "num_references",
    "num_train_instances": "num_train_instances", "num_prompt_tokens": "num_prompt_tokens",
    "num_output_tokens": "num_output_tokens", "num_completion_tokens": "num_output_tokens",
    "prompt_truncated": "prompt_truncated",
}  # fmt: skip


def test_2_per_instance_stats_of_recorded_runs(shared: Path) -> None:
    found: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for run in sorted((shared / "helm_runs").iterdir()):
        helm = stats(run)
        scores = score(recorded(run, helm).lazy(), sorted(set(RECORDED.values()))).collect()
        mine = {
            (instance_id, perturbation, name): value
            for instance_id, perturbation, name, value in scores.select(
                "instance_id", "perturbation", "metric", "score"
            ).iter_rows()
        }
        for (instance_id, perturbation, name), value in helm.items():
            if name in RECORDED:
                one = mine[instance_id, perturbation, RECORDED[name]]
                total[name] += 1
                found[name] += one is not None and math.isclose(one, value, abs_tol=NEAR)
    for name, count in total.items():
        shown("2", f"{name}, per-instance stats equal to HELM's", f"{found[name]}/{count}", "all")
    assert found == total
    assert set(total) == set(RECORDED)


def stats(run: Path) -> dict[tuple[str, str, str], float]:
    """HELM's per-instance stats: (instance, perturbation, name) → value."""
    rows = json.loads((run / "per_instance_stats.json").read_text(encoding="utf-8"))
    return {
        (row["instance_id"], each["name"].get("perturbation", {}).get("name", "original"), each["name"]["name"]): each[
            "mean"
        ]
        for row in rows
        for each in row["stats"]
        if each.get("count")
    }


def recorded(run: Path, helm: dict[tuple[str, str, str], float]) -> pl.DataFrame:
    """A run's answers as `COMPLETIONS`; what HELM counted while it ran, as it counted."""
    state = json.loads((run / "scenario_state.json").read_text(encoding="utf-8"))["request_states"]
    instances = [each["instance"] for each in state]
    names = [(each["id"], (each.get("perturbation") or {}).get("name", "original")) for each in instances]

    def counted(name: str) -> list[int]:
        return [int(helm[instance_id, perturbation, name]) for instance_id, perturbation in names]

    return completions(
        [each["result"]["completions"][0]["text"] for each in state],
        [[(one["output"]["text"], "correct" in one["tags"]) for one in each["references"]] for each in instances],
        instance_id=[instance_id for instance_id, _ in names],
        perturbation=[perturbation for _, perturbation in names],
        choices=pl.Series(
            [list(each["output_mapping"]) if each.get("output_mapping") else None for each in state],
            dtype=pl.List(pl.String),
        ),
        shots_used=[each["num_train_instances"] for each in state],
        prompt_truncated=[each["prompt_truncated"] for each in state],
        prompt_tokens=counted("num_prompt_tokens"),
        output_tokens=counted("num_output_tokens"),
    )


@pytest.mark.parametrize(
    ("name", "times", "rounds"),
    [
        ("exact_match", 3, 9), ("quasi_exact_match", 8, 9), ("f1_score", 8, 9), ("rouge_l", 40, 3),
        ("bleu_1_unsplit", 20, 3), ("bleu_4_unsplit", 20, 3),
        # both split sentences by NLTK
        ("bleu_1", 5, 3), ("bleu_4", 5, 3),
    ],
)  # fmt: skip
def test_3_faster_than_helm(pairs: pl.DataFrame, peer: HelmMetrics, name: str, times: int, rounds: int) -> None:
    """In turns, medians, by the clock; and shown besides in seconds of the processor, of all threads together.

    What is imported and compiled at the first pairs is left out on both sides: each does 50 right before it is timed.
    """
    fast, slow = [], []
    for _ in range(rounds):
        ours(pairs.head(50), name)
        forget()
        start, clock = time.process_time(), time.perf_counter()
        mine = ours(pairs, name)
        fast.append((time.process_time() - start, time.perf_counter() - clock))
        theirs, *seconds = peer.scores(name)
        slow.append(seconds)
    if name in ("exact_match", "quasi_exact_match", "f1_score"):
        assert mine.to_list() == theirs  # to the last bit
    assert equal(mine.to_list(), theirs) == PAIRS
    for place, unit, limit in ((0, "a second of the processor", "none"), (1, "a second", f"{times} ×")):
        one, other = (statistics.median(each[place] for each in taken) for taken in (fast, slow))
        figure = f"{PAIRS / one:,.0f} to {PAIRS / other:,.0f}, {other / one:.1f} ×"
        shown("3", f"{name}, pairs in {unit}, ours to HELM's", figure, limit)
    assert other / one >= times


def forget() -> None:
    """Words cut or stemmed before are not known again."""
    from helmframe.metrics.stem import stem
    from helmframe.metrics.treebank import chunk_words

    stem.cache_clear()
    chunk_words.cache_clear()
