"""Contrast sets: the human example in place of the instance."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._plan import spec_of
from helmframe.errors import ArgumentError, SourceBrokenError, SourceMissingError
from helmframe.perturbations.call import call
from helmframe.perturbations.contrast import with_contrasts
from helmframe.perturbations.parsing import variants
from helmframe.perturbations.perturb import perturb
from tests.frames import instances

YES_NO = [("Yes", True), ("No", False)]
ASKED = "A passage.\nQuestion: Is it old?"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "boolq" / "contrast_sets").mkdir(parents=True)
    rows = {
        "question": ["is it old", "is it big"],
        "answer": [True, False],
        "perturbed_questions": [["is it new", "is it very old", "", " was it Ever new"], ["is it large"]],
        "perturbed_answers": [[False, True, False, False], [False]],
    }
    pl.DataFrame(rows).write_parquet(tmp_path / "boolq" / "contrast_sets" / "contrast-0.parquet")
    return tmp_path


def contrasted(frame: pl.DataFrame, root: Path, **more: Any) -> list[dict[str, Any]]:
    contrast_variants = variants(call("contrast_sets", data=str(root), **more), seeds=8)
    rows = perturb(frame.lazy(), contrast_variants).filter(pl.col("perturbation") != "original").collect()
    return rows.sort("instance_id", "perturbation_seed").to_dicts()


def test_the_question_is_one_that_changes_the_answer(root: Path) -> None:
    rows = contrasted(instances([ASKED], [YES_NO], scenario="boolq"), root)
    assert {row["perturbed_input"] for row in rows} == {
        "A passage.\nQuestion: Is it new?",
        "A passage.\nQuestion: Was it ever new?",
    }
    for row in rows:
        assert [(each["text"], each["correct"]) for each in row["perturbed_references"]] == [
            ("Yes", False),
            ("No", True),
        ]
        assert row["changed"]


def test_what_has_no_contrast_that_changes_the_answer_stays(root: Path) -> None:
    frame = instances(["P\nQuestion: Is it big?", "Is it old?", ASKED], [YES_NO] * 3, scenario=["boolq", "boolq", "s"])
    rows = contrasted(frame, root)[::8]
    assert [row["changed"] for row in rows] == [False, True, False]
    assert rows[0]["perturbed_references"] == rows[0]["references"]


def test_where_no_reference_has_the_answer_it_is_the_reference(root: Path) -> None:
    (row, *_) = contrasted(instances([ASKED], [[("Yes", True)]], scenario="boolq"), root)
    assert row["perturbed_references"] == [{"text": "No", "correct": True, "tags": []}]


def test_helm_draws_by_the_id(root: Path) -> None:
    from random import Random

    (row, *_) = contrasted(instances([ASKED], [YES_NO], scenario="boolq", instance_id=["a/id7"]), root, compat="helm")
    asked = ["A passage.\nQuestion: Is it new?", "A passage.\nQuestion: Was it ever new?"]
    assert row["perturbed_input"] == Random("id7").choice(asked)


def test_a_root_without_them_raises(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match=r"no contrast sets found in \S+\.\nDownload allenai/contrast-sets"):
        variants(call("contrast_sets", data=str(tmp_path)))
    with pytest.raises(SourceMissingError, match="no data root is configured"):
        variants("contrast_sets")
    with pytest.raises(ArgumentError, match="Did you mean 'helm'"):
        call("contrast_sets", compat="helms")


def test_contrasts_without_their_originals_raise(tmp_path: Path) -> None:
    (tmp_path / "imdb" / "contrast_sets").mkdir(parents=True)
    for name, count in (("dev_contrast", 2), ("dev_original", 1)):
        frame = pl.DataFrame({"text": ["a", "b"][:count], "label": [0, 1][:count]})
        frame.write_parquet(tmp_path / "imdb" / "contrast_sets" / f"{name}-0.parquet")
    with pytest.raises(SourceBrokenError, match="2 contrast examples and 1 originals"):
        variants(call("contrast_sets", data=str(tmp_path)))


def write_imdb(root: Path, texts: list[str], contrasts: list[str]) -> None:
    """Write train reviews, all negative, and positive contrast examples without their originals."""
    for folder, name, rows, label in (
        ("plain_text", "train", texts, 0),
        ("contrast_sets", "dev_contrast", contrasts, 1),
    ):
        (root / "imdb" / folder).mkdir(parents=True)
        frame = pl.DataFrame({"text": rows, "label": [label] * len(rows)})
        frame.write_parquet(root / "imdb" / folder / f"{name}-0.parquet")


OTHERS = ["No film of this year was longer than this one, I think.", "It rains in this film from start to end."]
REVIEWS = [
    "A dull film, from its first to its last scene.",
    "Its plot is dull and the cast is weak, I thought.",
]
CONTRASTS = [
    "A great film, from its first to its last scene.",
    "Its plot is rich and the cast is good, I thought.",
]


def test_contrasts_are_paired_with_the_reviews_that_they_rewrite(tmp_path: Path) -> None:
    write_imdb(tmp_path, [OTHERS[0], REVIEWS[1], OTHERS[1], REVIEWS[0]], CONTRASTS)
    frame = instances([*REVIEWS, *OTHERS], [[("Negative", True)]] * 4, scenario="imdb")
    rows = contrasted(frame, tmp_path)[::8]
    assert [row["perturbed_input"] for row in rows] == [*CONTRASTS, *OTHERS]
    assert [row["perturbed_references"][0]["text"] for row in rows] == ["Positive"] * 2 + ["Negative"] * 2


def test_contrasts_whose_review_is_not_there_are_left_out(tmp_path: Path) -> None:
    write_imdb(tmp_path, [OTHERS[0], REVIEWS[1], OTHERS[1]], CONTRASTS)
    frame = instances([*REVIEWS, *OTHERS], [[("Negative", True)]] * 4, scenario="imdb")
    assert [row["changed"] for row in contrasted(frame, tmp_path)[::8]] == [False, True, False, False]


def test_a_scenario_that_has_none_raises_when_the_plan_is_built(root: Path) -> None:
    with pytest.raises(ArgumentError, match="no contrast sets exist for 'sampler', only for 'boolq' and"):
        hf.scenario("sampler").perturb(["lowercase", hf.perturbations.contrast_sets(data=str(root))])
    with pytest.raises(ArgumentError, match="no contrast sets exist for 'sampler'"):
        hf.scenario(["boolq", "sampler"], data=root).perturb("contrast_sets+lowercase")
    with pytest.raises(
        SourceMissingError, match=r"no contrast sets of 'imdb' found in \S+\.\nDownload allenai/contrast-sets"
    ):
        hf.scenario("imdb", data=root).perturb("contrast_sets")
    assert spec_of(hf.scenario("boolq", data=root).perturb("contrast_sets")).perturbations


@pytest.mark.shared
def test_the_real_ones_turn_the_answer(shared: Path) -> None:
    plan = hf.scenario("boolq", data=shared / "scenarios").perturb(hf.perturbations.contrast_sets())
    rows = plan.variants().filter("changed").collect()
    assert rows.height == 64

    def right(column: str) -> pl.Expr:
        return pl.col(column).list.eval(pl.element().filter(pl.element().struct.field("correct")).struct.field("text"))

    both = rows.select(before=right("references").list.first(), after=right("perturbed_references").list.first())
    assert both.filter(pl.col("before") == pl.col("after")).height == 0
    assert both["after"].null_count() == 0


@pytest.mark.shared
@pytest.mark.parametrize(("scenario", "split", "count"), [("boolq", "valid", 64), ("imdb", "valid", 488)])
def test_a_condition_selects_the_instances_with_contrast_sets(
    shared: Path, scenario: str, split: str, count: int
) -> None:
    data = str(shared / "scenarios")
    plan = hf.scenario(scenario, data=data).where(with_contrasts(scenario, data), split=split).perturb("contrast_sets")
    rows = plan.variants().filter(pl.col("perturbation") != "original").collect()
    assert (rows.height, rows["changed"].sum()) == (count, count)


@pytest.mark.shared
def test_imdbs_are_paired_with_their_originals(shared: Path) -> None:
    texts = pl.read_parquet(shared / "scenarios" / "imdb" / "plain_text" / "test-00000-of-00001.parquet").head(5)
    references = [[("Positive", label == 1), ("Negative", label == 0)] for label in texts["label"]]
    frame = instances(texts["text"].str.strip_chars().to_list(), references, scenario="imdb")
    rows = contrasted(frame, shared / "scenarios")[::8]
    assert all(row["changed"] for row in rows)
    flags = [[each["correct"] for each in row["perturbed_references"]] for row in rows]
    assert flags == [[not correct for _, correct in each] for each in references]
