"""What every perturbation keeps, whoever wrote it: over the whole registry."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helmframe._schema import VARIANTS
from helmframe.perturbations.catalogue import list_perturbations
from helmframe.perturbations.parsing import Variant
from helmframe.perturbations.perturb import perturb
from helmframe.perturbations.registry import HELM, PERTURBATIONS
from tests.frames import instances
from tests.perturbations.every import NAMES, OF_TEXT, call_of, tables, variant

TEXTS = [
    "Who  Wrote the  Iliad, and when? He is Adam; it isn't 12.5 %.",
    "",
    "Ünïcode  too: 日本 ñandú 🎓👩‍👩‍👧 e\u0301 Ωμέγα ẞ İ ﬁ",
    "a b  c   d",
    "the cat sat on the mat: The mother of 3 grandsons",
    "\x00\ttabs\nand\r\nlines\u2028",
]
OPTIONS = [("Adam is the mother", True), ("12.5", False), ("", False)]
ODD_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.fixture(autouse=True)
def word_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables(tmp_path, monkeypatch)


def changed(frame: pl.DataFrame, variants: list[Variant]) -> pl.DataFrame:
    """What the variants make of the frame, without the original, by instance."""
    rows = perturb(frame.lazy(), variants).filter(pl.col("perturbation") != "original").collect()
    return rows.sort("instance_id", "perturbation", "perturbation_seed")


def texts(name: str, *inputs: str | None) -> list[str | None]:
    """The inputs as the perturbation leaves them."""
    rows = perturb(instances(list(inputs)).lazy(), [variant(name)]).collect()
    return rows.filter(pl.col("perturbation") != "original")["perturbed_input"].to_list()


def test_every_perturbation_is_listed_with_what_it_does() -> None:
    rows = list_perturbations().filter(pl.col("calls").is_null())
    assert set(NAMES) <= set(rows["name"])
    assert rows.filter(pl.col("meaning") == "")["name"].to_list() == []


def test_every_perturbation_of_helms_is_one_of_ours() -> None:
    assert {name for name in HELM if name not in PERTURBATIONS} == set()


@pytest.mark.parametrize("name", NAMES)
@given(order=st.permutations(range(len(TEXTS))), start=st.integers(0, 3), length=st.integers(1, 4))
@settings(
    max_examples=settings().max_examples // 5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_neither_order_filter_batch_nor_slice_matter(name: str, order: list[int], start: int, length: int) -> None:
    frame = instances(TEXTS, [OPTIONS] * len(TEXTS))
    more = {"fields": "both"} if name in OF_TEXT else {}
    variants = [Variant(variant(name, **more).chain, seeds=2)]
    whole = changed(frame, variants)

    def same(part: pl.DataFrame) -> bool:
        return changed(part, variants).equals(whole.filter(pl.col("instance_id").is_in(part["instance_id"].to_list())))

    assert same(frame[order])
    assert same(frame[order].filter(pl.col("row_index") < length))
    assert same(frame.slice(start, length))
    assert same(pl.concat([frame[order[:3]], frame[order[3:]]], rechunk=False))


@pytest.mark.parametrize("name", NAMES)
def test_only_what_may_be_rewritten_is(name: str) -> None:
    frame = instances(TEXTS, [OPTIONS] * len(TEXTS), subject="greek")
    rows = perturb(frame.lazy(), [variant(name)]).collect()
    assert {column: rows.schema[column] for column in VARIANTS.schema} == VARIANTS.schema
    for _, part in rows.group_by("perturbation", maintain_order=True):
        assert part.select(frame.columns).equals(frame)


@pytest.mark.parametrize("name", OF_TEXT)
def test_references_keep_their_number_flags_and_tags(name: str) -> None:
    frame = instances(TEXTS[:3], [OPTIONS, [], OPTIONS[:1]])
    rows = changed(frame, [variant(name, fields="references")])
    for before, after in zip(rows["references"].to_list(), rows["perturbed_references"].to_list(), strict=True):
        assert [each | {"text": ""} for each in after] == [each | {"text": ""} for each in before]
    assert rows["perturbed_input"].equals(rows["input"])


@pytest.mark.parametrize("name", NAMES)
def test_null_stays_null_and_empty_stays_empty(name: str) -> None:
    assert texts(name, None, None) == [None, None]
    empty = texts(name, "", None, TEXTS[0], "")
    assert empty[1] is None
    assert empty[2] == texts(name, None, "x", TEXTS[0])[2]
    if name != "filler_words":  # HELM's comes before every word, the empty one too
        assert empty[0] == empty[3] == ""


@pytest.mark.parametrize("name", NAMES)
@given(text=ODD_TEXT)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_goes_through(name: str, text: str) -> None:
    (out,) = texts(name, text)
    assert isinstance(out, str)
    out.encode()


@pytest.mark.parametrize("name", NAMES)
def test_a_megabyte_goes_through(name: str) -> None:
    (out,) = texts(name, "Ab c the 12 ñ. " * 65_000)
    assert out is not None
    assert len(out) > 400_000


@pytest.mark.parametrize("name", [name for name in OF_TEXT if name != "rerun"])
def test_outside_of_sentences_it_is_the_same_function(name: str) -> None:
    (call,) = variant(name).chain
    frame = pl.DataFrame({"name": ["a", "b", "a"], "question": [TEXTS[0], TEXTS[4], TEXTS[0]]})
    out = frame.lazy().with_columns(call.on(pl.col("question"), id="name")).collect()
    assert out["question"][0] == out["question"][2]
    assert out["name"].equals(frame["name"])


@pytest.mark.parametrize("name", [name for name in OF_TEXT if name != "filler_words"])
def test_protected_spans_stay(name: str) -> None:
    text = "The mother has `x = the_Adam` at https://the.org/The?a=1 for $\\the + 1$ and 3.14 grandsons"
    protect = ["code", "urls", "latex", "numbers"]
    rows = perturb(instances([text]).lazy(), [variant(name, protect=protect)]).collect()
    (out,) = rows.filter(pl.col("perturbation") != "original")["perturbed_input"]
    for span in ("`x = the_Adam`", "https://the.org/The?a=1", "$\\the + 1$", "3.14"):
        assert span in out


@pytest.mark.parametrize("name", [name for name in NAMES if name in HELM])
def test_helms_own_goes_through_the_same_texts(name: str) -> None:
    frame = instances([*TEXTS, None], [OPTIONS] * (len(TEXTS) + 1))
    rows = changed(frame, [variant(name, compat="helm")])
    assert rows["perturbed_input"].null_count() == 1
    assert rows["instance_id"].to_list() == frame["instance_id"].to_list()
    assert "compat='helm'" in call_of(name, compat="helm")
