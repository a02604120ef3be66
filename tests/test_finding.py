"""The recorded finding of the README, repeated from the stored log-probabilities; and the scenario it is about."""

import json
from collections import Counter
from collections.abc import Sequence

import polars as pl
import pytest

import helmframe as hf
from tests.demo import ROOT
from tools.build_everyday import build_frames, read_topics
from tools.finding import LOGPROBS, NUMBERS, numbers, plan


class Recorded:
    """The demo model, as far as its log-probabilities are stored."""

    def __init__(self) -> None:
        rows = pl.read_parquet(LOGPROBS).iter_rows()
        self.logprobs = {(prompt, continuation): logprob for prompt, continuation, logprob in rows}

    def generate(self, prompts: list[str]) -> list[str]:
        raise NotImplementedError

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        return [self.logprobs[prompt, continuation] for prompt, continuation in pairs]


def test_stored_log_probabilities_repeat_the_recorded_numbers() -> None:
    recorded = json.loads(NUMBERS.read_text(encoding="utf-8"))
    repeated = numbers(plan(Recorded()).score())
    for kind in ("scores", "changes"):
        for row, expected in zip(repeated[kind], recorded[kind], strict=True):
            assert row == pytest.approx(expected, abs=1e-9)


def test_the_recorded_intervals_exclude_chance_and_no_change() -> None:
    recorded = json.loads(NUMBERS.read_text(encoding="utf-8"))
    assert all(row["ci_low"] > row["chance"] == 0.25 for row in recorded["scores"])
    assert all(row["change_high"] < 0 for row in recorded["changes"])


def test_the_quickstart_concludes_what_is_recorded() -> None:
    recorded = json.loads(NUMBERS.read_text(encoding="utf-8"))
    score = recorded["scores"][0]
    points = {row["perturbation"]: f"{-100 * row['change']:.0f}" for row in recorded["changes"]}
    notebook = json.loads((ROOT / "notebooks" / "00_quickstart.ipynb").read_text(encoding="utf-8"))
    decision = " ".join("".join(notebook["cells"][-1]["source"]).split())
    assert f"{100 * score['value']:.0f} % of the sentences" in decision
    assert f"between {100 * score['ci_low']:.0f} % and {100 * score['ci_high']:.0f} %" in decision
    assert f"Typing errors cost {points['typos']} points" in decision
    assert f"Capitals cost {points['uppercase']} points, lower case costs {points['lowercase']}" in decision


def test_no_ending_is_the_correct_one_more_often_than_in_a_quarter_of_its_uses() -> None:
    for path, frame in build_frames().items():
        correct = Counter(choices[index] for choices, index in frame.select("choices", "answer").iter_rows())
        used = Counter(choice for choices in frame["choices"] for choice in choices)
        assert used == Counter({answer: 4 * n for answer, n in correct.items()}), path


def test_no_wrong_option_fits_the_sentence() -> None:
    fitting = {row.sentence: {row.answer, *row.also} for rows in read_topics().values() for row in rows}
    for frame in build_frames().values():
        for sentence, _, choices, index in frame.iter_rows():
            assert len(set(choices)) == 4
            assert fitting[sentence] & set(choices) == {choices[index]}


def test_the_packaged_instances_are_those_of_the_sources() -> None:
    instances = hf.scenario("everyday").instances().collect()
    sentences = [row.sentence for rows in read_topics().values() for row in rows]
    assert sorted(instances["input"]) == sorted(sentences)
    assert len(sentences) == 310
