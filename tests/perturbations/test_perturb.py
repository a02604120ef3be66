"""Calls of perturbations, and the stage: rows, names, draws, chains."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helmframe._schema import VARIANTS
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.perturbations.call import call
from helmframe.perturbations.factory import perturbation
from helmframe.perturbations.parsing import parse, variants
from helmframe.perturbations.perturb import perturb
from tests.frames import instances, right

# Each registered perturbation, one chain, and arguments other than the defaults.
SAID = ["lowercase", "extra_space", "space", "typos(prob=0.5)", "rerun", "lowercase+typos(prob=0.5)", "typos+typos"]
QUESTION = "Who  Wrote the  Iliad, and when?"


def perturbed(frame: pl.DataFrame, *spec: str, seeds: int = 1) -> pl.DataFrame:
    return perturb(frame.lazy(), [parse(each, seeds) for each in spec]).collect()


def texts(frame: pl.DataFrame, *spec: str, seeds: int = 1) -> dict[tuple[str, str, int], str]:
    rows = perturbed(frame, *spec, seeds=seeds)
    keys = rows.select("instance_id", "perturbation", "perturbation_seed").iter_rows()
    return dict(zip(keys, rows["perturbed_input"], strict=True))


def test_the_original_is_always_there() -> None:
    rows = perturbed(instances(["Who?"]), "lowercase")
    assert rows.select("perturbation", "perturbed_input", "changed").rows() == [
        ("original", "Who?", False),
        ("lowercase", "who?", True),
    ]


def test_without_perturbations_there_is_the_original_alone() -> None:
    assert perturbed(instances(["Who?"]))["perturbation"].to_list() == ["original"]


def test_the_columns_are_those_of_variants_and_of_the_instance() -> None:
    frame = instances(["Who?"], [right("Homer")], subject=["greek"])
    rows = perturbed(frame, *SAID)
    assert {name: rows.schema[name] for name in VARIANTS.schema} == VARIANTS.schema
    assert rows["subject"].unique().to_list() == ["greek"]
    assert rows["perturbed_references"].to_list() == [frame["references"][0].to_list()] * rows.height


def test_what_left_the_text_as_it_was_is_not_changed() -> None:
    rows = perturbed(instances(["who?", "Who?", "", None]), "lowercase")
    assert rows.filter(perturbation="lowercase")["changed"].to_list() == [False, True, False, False]


def test_nothing_in_nothing_out() -> None:
    rows = perturbed(instances([]), *SAID)
    assert rows.height == 0
    assert {name: rows.schema[name] for name in VARIANTS.schema} == VARIANTS.schema


@pytest.mark.parametrize("spec", SAID)
def test_null_stays_null(spec: str) -> None:
    assert set(texts(instances([None, None]), spec).values()) == {None}


@pytest.mark.parametrize("spec", SAID)
def test_empty_stays_empty(spec: str) -> None:
    assert set(texts(instances(["", ""]), spec).values()) == {""}


@pytest.mark.parametrize("spec", SAID)
def test_nulls_and_empty_texts_leave_the_neighbours_alone(spec: str) -> None:
    alone = texts(instances([QUESTION], instance_id=["id2"]), spec)
    between = texts(instances([None, "", QUESTION, None]), spec)
    assert {key: text for key, text in between.items() if key[0] == "id2"} == alone


@pytest.mark.parametrize("spec", SAID)
def test_a_megabyte_goes_through(spec: str) -> None:
    (out,) = (text for key, text in texts(instances(["Ab c " * 200_000]), spec).items() if key[1] != "original")
    assert out.lower()[0] in "aqwsz"
    assert len(out) >= 600_000


@pytest.mark.parametrize("spec", ["lowercase", "typos(prob=0.9)", "space", "extra_space"])
def test_letters_of_other_scripts_survive(spec: str) -> None:
    (out,) = (text for key, text in texts(instances(["日本 ñandú 🎓é Ωμέγα"]), spec).items() if key[1] == spec)
    assert [each for each in out if each in "日本🎓éμγα"] == list("日本🎓éμγα")


@given(st.permutations(range(6)), st.integers(1, 6), st.integers(0, 5), st.integers(1, 5))
@settings(deadline=None)
def test_neither_order_filter_batch_nor_slice_matter(order: list[int], kept: int, start: int, length: int) -> None:
    frame = instances([QUESTION, "Is it? It is.", "", "Ünïcode  too", "a b  c   d", "The cat sat on the mat"])
    whole = texts(frame, *SAID, seeds=2)

    def same(part: pl.DataFrame) -> bool:
        some = texts(part, *SAID, seeds=2)
        return bool(some) and some == {key: text for key, text in whole.items() if key in some}

    assert same(frame[order])
    assert same(frame[order].filter(pl.col("row_index") < kept))
    assert same(frame.slice(start, length))
    assert same(pl.concat([frame[order[:3]], frame[order[3:]]], rechunk=False))


def test_scenarios_do_not_share_random_numbers() -> None:
    one, other = (texts(instances(["the quick brown fox " * 5], scenario=name), "typos") for name in ("a", "b"))
    assert one != other


def test_each_seed_is_another_draw() -> None:
    drawn = texts(instances(["the quick brown fox " * 5]), "typos", seeds=3)
    assert sorted({key[2] for key in drawn if key[1] == "typos"}) == [0, 1, 2]
    assert len({text for key, text in drawn.items() if key[1] == "typos"}) == 3


def test_more_seeds_leave_the_first_draws_as_they_were() -> None:
    frame = instances(["the quick brown fox " * 5])
    one, three = texts(frame, "typos"), texts(frame, "typos", seeds=3)
    assert {key: three[key] for key in one} == one


@pytest.mark.parametrize("spec", ["lowercase", "extra_space", "lowercase+extra_space"])
def test_what_draws_nothing_has_one_draw(spec: str) -> None:
    assert parse(spec, 5).draws == 1
    assert perturbed(instances(["Who?"]), spec, seeds=5).height == 2


@pytest.mark.parametrize("spec", ["typos", "space", "lowercase+typos", "rerun"])
def test_what_draws_or_asks_again_has_as_many_as_seeds(spec: str) -> None:
    assert perturbed(instances(["Who?"]), spec, seeds=3)["perturbation_seed"].to_list() == [0, 0, 1, 2]


def test_again_asks_the_unchanged_text_once_more() -> None:
    rows = perturbed(instances(["Who?"]), "rerun", seeds=2).select("perturbed_input", "changed", "repeat").rows()
    assert rows == [("Who?", False, 0), ("Who?", False, 1), ("Who?", False, 2)]


def test_others_repeat_nothing() -> None:
    assert perturbed(instances(["Who?"]), "lowercase", "typos")["repeat"].to_list() == [0, 0, 0]


def test_a_chain_applies_left_to_right() -> None:
    rows = texts(instances(["A  B"]), "extra_space+lowercase")
    assert rows["id0", "extra_space+lowercase", 0] == "a    b"


def test_a_link_of_a_chain_changes_what_it_does_alone() -> None:
    frame = instances(["THE QUICK BROWN FOX"])
    chain, alone = texts(frame, "typos(prob=0.5)+lowercase"), texts(frame, "typos(prob=0.5)")
    assert chain["id0", "typos(prob=0.5)+lowercase", 0] == alone["id0", "typos(prob=0.5)", 0].lower()


def test_a_perturbation_twice_in_a_chain_draws_twice() -> None:
    frame = instances(["a" * 40])
    once, twice = texts(frame, "typos(prob=0.5)"), texts(frame, "typos(prob=0.5)+typos(prob=0.5)")
    first, both = once["id0", "typos(prob=0.5)", 0], twice["id0", "typos(prob=0.5)+typos(prob=0.5)", 0]
    # the second hits places that the first left alone
    assert any(one == "a" != other for one, other in zip(first, both, strict=True))


def test_on_works_alone_on_a_frame() -> None:
    frame = pl.DataFrame({"id": [1, 2], "q": ["Who Wrote It?", "When?"], "other": [0, 0]})
    out = frame.with_columns(call("typos", prob=1.0).on(pl.col("q"), id="id"))
    assert out.columns == ["id", "q", "other"]
    assert [len(text) for text in out["q"]] == [13, 5]
    assert all(new != old for new, old in zip(out["q"], frame["q"], strict=True))


def test_on_takes_an_expression_as_id_and_a_seed() -> None:
    frame = pl.DataFrame({"id": [1], "q": ["the quick brown fox jumps over the lazy dog"]})
    typos = call("typos", prob=0.5)
    first = frame.select(typos.on(pl.col("q"), id=pl.col("id"))).item()
    assert first == frame.select(typos.on(pl.col("q"), id="id")).item()
    assert first != frame.select(typos.on(pl.col("q"), id="id", seed=1)).item()


def test_on_takes_columns() -> None:
    with pytest.raises(ArgumentError, match=r"typos\.on\(id=3\): id must be a column name or a Polars expression"):
        call("typos").on(pl.col("q"), id=3)  # type: ignore[arg-type]


def test_on_works_lazily_and_in_groups() -> None:
    frame = pl.DataFrame({"id": ["a", "b", "c"], "g": [0, 1, 0], "q": ["the fox", "a dog", "one cat"]})
    expression = call("typos", prob=0.5).on(pl.col("q"), id="id")
    eager = frame.select("id", expression).rows()
    assert frame.lazy().filter(pl.col("id") != "").select("id", expression).collect().rows() == eager
    assert sorted(frame.group_by("g").agg("id", expression).explode("id", "q").select("id", "q").rows()) == eager


def test_an_unknown_perturbation_names_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown perturbation 'typo'\. Did you mean 'typos'"):
        call("typo")
    with pytest.raises(UnknownNameError, match="Did you mean 'lowercase'"):
        parse("typos+lowercas")


def test_an_unknown_argument_names_near_ones() -> None:
    with pytest.raises(ArgumentError, match=r"typos\(\) has no argument 'probb'\. Did you mean 'prob'"):
        call("typos", probb=0.1)


@pytest.mark.parametrize("spec", ["", "typos(", "typos(0.1)", "typos+", "typos typos", "typos(prob=open('x'))"])
def test_what_is_no_call_raises(spec: str) -> None:
    with pytest.raises(ArgumentError, match="is not a name or a call"):
        parse(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("typos(prob=2)", "between 0 and 1"),
        ("typos(prob=-0.1)", "between 0 and 1"),
        ("typos(prob='x')", "between 0 and 1"),
        ("typos(prob=None)", "between 0 and 1"),
        ("typos(prob=[0.1, 2])", "between 0 and 1"),
        ("typos(prob=[0.1, 0.2])", r"one perturbation is needed, but this is 2: typos\(prob=0.1\), typos\(prob=0.2\)"),
        ("typos(prob=[])", "one or more different values"),
        ("typos(prob=[0.1, 0.1])", "one or more different values"),
        ("typos(fields='inputs')", "Did you mean 'input'"),
        ("typos(compat='hlem')", "Did you mean 'helm'"),
        ("typos(protect='number')", "Did you mean 'numbers'"),
        ("typos(protect='re:(')", "invalid regular expression: unclosed group"),
        ("typos(compat='helm', protect='numbers')", "HELM's rules don't support protect="),
        ("uppercase(compat='helm')", "HELM has no such perturbation"),
        ("space(max_spaces=0)", "must be an integer from 1 to 1000"),
        ("space(max_spaces=1.5)", "must be an integer from 1 to 1000"),
        ("extra_space(num_spaces='2')", "must be an integer from 1 to 1000"),
        ("extra_space(num_spaces=True)", "must be an integer from 1 to 1000"),
    ],
)
def test_invalid_values_raise(spec: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        parse(spec)


def test_names_are_canonical() -> None:
    assert parse("lowercase + typos(prob=.1)").name == "lowercase+typos(prob=0.1)"
    assert parse(call("typos", prob=0.1)).name == "typos(prob=0.1)"


def test_a_plus_within_brackets_belongs_to_the_argument() -> None:
    assert [str(each) for each in parse("typos(prob=1e+0)+lowercase").chain] == ["typos(prob=1.0)", "lowercase"]


def test_quotes_hide_brackets_and_pluses() -> None:
    spec = parse("""typos(protect='re:[)]+b')+lowercase(protect="re:it's\\\\+")""")
    assert [dict(each.arguments)["protect"] for each in spec.chain] == ["re:[)]+b", r"re:it's\+"]


def test_a_list_is_a_grid() -> None:
    assert [each.name for each in variants("typos(prob=[0.1, 0.2])")] == ["typos(prob=0.1)", "typos(prob=0.2)"]
    assert [each.name for each in variants("lowercase+typos(prob=[0.1, 0.2])", seeds=2)] == [
        "lowercase+typos(prob=0.1)",
        "lowercase+typos(prob=0.2)",
    ]


def test_grids_of_two_arguments_are_multiplied() -> None:
    spec = variants("typos(fields=['input', 'both'], prob=[0.1, 0.2])")
    assert len({each.name for each in spec}) == len(spec) == 4


def test_what_takes_a_list_takes_it_whole_and_a_list_of_lists_is_the_grid() -> None:
    assert len(variants("typos(protect=['numbers', 'urls'])")) == 1
    assert len(variants("typos(protect=[['numbers', 'urls'], ['code']])")) == 2


def test_a_grid_has_no_expression() -> None:
    with pytest.raises(ArgumentError, match=r"is a grid of 2 perturbations; \.on\(…\) takes exactly one"):
        call("typos", prob=[0.1, 0.2]).on(pl.col("q"), id="id")


def test_a_preset_is_its_calls() -> None:
    assert [each.name for each in variants("contract", compat="helm")] == [
        "contraction(compat='helm')",
        "expansion(compat='helm')",
    ]
    with pytest.raises(UnknownNameError, match="Did you mean 'contract'"):
        variants("contrac")


def test_parameters_hold_the_defaults_too() -> None:
    rows = perturbed(instances(["Who?"]), "lowercase+typos")["perturbation_parameters"].to_list()
    assert rows == [None, '[{"perturbation": "lowercase"}, {"perturbation": "typos", "prob": 0.05}]']


def test_references_are_perturbed_on_request() -> None:
    frame = instances(["WHO?"], [[*right("Homer"), ("Ovid", False)]])
    rows = perturbed(frame, "lowercase(fields='references')", "lowercase(fields='both')").drop("references")
    both = [{"text": "homer", "correct": True, "tags": []}, {"text": "ovid", "correct": False, "tags": []}]
    assert rows["perturbed_input"].to_list() == ["WHO?", "WHO?", "who?"]
    assert rows["perturbed_references"].to_list()[1:] == [both, both]
    assert rows["changed"].to_list() == [False, True, True]


def test_each_text_of_an_instance_draws_for_itself() -> None:
    text = "the quick brown fox"
    frame = instances([text], [[*right(text), (text, False)]])
    (row,) = perturbed(frame, "typos(prob=0.5, fields='both')").filter(perturbation_seed=0, changed=True).to_dicts()
    assert len({row["perturbed_input"], *(each["text"] for each in row["perturbed_references"])}) == 3


def test_with_one_mapping_equal_texts_of_an_instance_stay_equal() -> None:
    @perturbation("salted", fields="both", one_mapping=True)
    def salted(text: pl.Expr, key: pl.Expr) -> pl.Expr:
        return text + key.cast(pl.String)

    rows = perturbed(instances(["a", "a"], [right("a"), right("a")]), "salted").filter("changed")
    inputs = rows["perturbed_input"].to_list()
    assert inputs == [each[0]["text"] for each in rows["perturbed_references"].to_list()]
    assert inputs[0] != inputs[1]


def test_a_perturbation_of_the_whole_instance() -> None:
    @perturbation("exclaimed", takes="frame")
    def exclaimed(frame: pl.LazyFrame, key: pl.Expr, mark: str = "!") -> pl.LazyFrame:
        return frame.with_columns(
            scratch=key, perturbed_input=pl.col("perturbed_input") + mark, adapter_change=pl.lit('{"shots": 0}')
        )

    rows = perturbed(instances(["A"]), "lowercase+exclaimed(mark='?')")
    assert "scratch" not in rows.columns
    assert rows.select("perturbed_input", "adapter_change", "changed").rows() == [
        ("A", None, False),
        ("a?", '{"shots": 0}', True),
    ]
    with pytest.raises(ArgumentError, match=r"needs more than a text column\. Use it in a plan: \.perturb"):
        call("exclaimed").on(pl.col("q"), id="id")
    with pytest.raises(ArgumentError, match="no argument 'fields'"):
        call("exclaimed", fields="both")


def test_a_perturbation_of_the_whole_instance_that_gives_no_frame_raises() -> None:
    perturbation("lost", takes="frame")(lambda frame: None)
    with pytest.raises(ArgumentError, match="must return the lazy frame"):
        call("lost")


@pytest.mark.parametrize("spec", [{"fields": "inputs"}, {"kind": "robust"}, {"takes": "row"}])
def test_a_decorator_that_says_what_can_not_be_raises(spec: dict[str, str]) -> None:
    with pytest.raises(ArgumentError, match=rf"{next(iter(spec))} must be '"):
        perturbation("never", **spec)  # type: ignore[arg-type]


def test_a_chain_counts_as_its_links_do() -> None:
    assert [parse(spec).kind for spec in ("lowercase", "lowercase+typos", "rerun")] == ["robustness", "robustness", ""]


def test_by_helms_rules_what_leaves_the_input_alone_leaves_the_references_too() -> None:
    frame = instances(["Who?", "who?"], [right("Homer"), right("Homer")])
    rows = perturbed(frame, "lowercase(compat='helm', fields='both')").filter(pl.col("perturbation") != "original")
    assert rows["changed"].to_list() == [True, False]
    assert [each[0]["text"] for each in rows["perturbed_references"].to_list()] == ["homer", "Homer"]


@pytest.mark.parametrize(
    ("name", "changed", "reference"),
    [
        ("lowercase(compat='helm', fields='both')", True, "homer"),
        ("lowercase+extra_space(compat='helm')", True, "Homer"),
        ("lowercase", False, "Homer"),
    ],
)
def test_helm_keeps_unchanged_copies_of_a_passage_with_a_question(name: str, changed: bool, reference: str) -> None:
    frame = instances(["who?"], [right("Homer")], scenario="boolq")
    variants = [parse(name)]
    rows = perturb(frame.lazy(), variants, keep_unchanged=["boolq"]).collect()
    (row,) = rows.filter(pl.col("perturbation") != "original").to_dicts()
    assert row["perturbed_input"] == "who?"
    assert (row["changed"], row["perturbed_references"][0]["text"]) == (changed, reference)
    dropped = perturb(frame.lazy(), variants, keep_unchanged=["imdb"]).collect()
    assert dropped["changed"].to_list() == [False, False]


def test_by_helms_rules_the_part_is_no_share_of_the_id() -> None:
    text = "the quick brown fox jumps over the lazy dog"
    one, other, third = (
        texts(instances([text], instance_id=[name], scenario=name), "typos(prob=0.3, compat='helm')")
        for name in ("law/id1", "history/id1", "id2")
    )
    drawn = [next(each for key, each in rows.items() if key[1] != "original") for rows in (one, other, third)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_perturbation_of_ones_own() -> None:
    @perturbation("shout")
    def shout(text: pl.Expr, mark: str) -> pl.Expr:
        return text.str.to_uppercase() + mark

    assert texts(instances(["hey"]), "shout(mark='!')")["id0", "shout(mark='!')", 0] == "HEY!"
    with pytest.raises(ArgumentError, match=r"shout\(\) needs the argument mark\. Write shout\(mark=…\)"):
        parse("shout")
    assert shout.function(pl.lit("a"), "?").meta.is_literal() is False


@pytest.mark.parametrize(("given", "message"), [(None, "returned None"), ("x", "returned 'x'")])
def test_a_perturbation_that_gives_no_expression_raises(given: object, message: str) -> None:
    name = f"gives_{given}"
    perturbation(name)(lambda text: given)
    with pytest.raises(ArgumentError, match=message):
        call(name)
