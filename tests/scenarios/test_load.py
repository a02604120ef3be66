"""From spec and files to instances."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from helmframe._core.specs import SPLITS, Between, Condition, Equals, Expression, Sample, ScenarioSpec, Sql
from helmframe._schema import INSTANCES
from helmframe.errors import ArgumentError, SourceBrokenError, SourceError, SourceMissingError, SpecError
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.load import count, draw_sample, keys, load, load_train
from helmframe.scenarios.sources import connect
from tests.scenarios.own_scenario import OWN, spec

PHILOSOPHY = Equals("subject", ("philosophy",))


def loaded(what: ScenarioSpec, **said: Any) -> pl.DataFrame:
    return pl.concat(load(what, **said))


def ids(what: ScenarioSpec, **said: Any) -> list[str]:
    return loaded(what, **said)["instance_id"].to_list()


def test_instances_have_the_columns_of_the_table_first(own: ScenarioSpec) -> None:
    frame = loaded(own)
    assert dict(list(frame.schema.items())[: len(INSTANCES.columns)]) == INSTANCES.schema
    assert frame.columns[len(INSTANCES.columns) :] == ["data_topic", "data_a"]


def test_ids_are_the_subset_and_the_place_over_all_splits(own: ScenarioSpec) -> None:
    assert ids(own) == ["sky/id0", "sums/id2", "sums/id3", "sums/id4", "sums/id5", "sums/id6"]


def test_ids_do_not_depend_on_the_conditions(own: ScenarioSpec) -> None:
    assert ids(own, where=[Sql("input = 't3'")], splits=("valid", "test")) == ["sums/id5"]


def test_the_cluster_is_the_instance_itself_by_default(own: ScenarioSpec) -> None:
    frame = loaded(own)
    assert frame["cluster"].to_list() == frame["instance_id"].to_list()


def test_the_columns_of_the_path_go_before_those_of_the_file(own: ScenarioSpec) -> None:
    assert loaded(own)["data_topic"].unique().sort().to_list() == ["sky", "sums"]


def test_the_pool_is_cut_by_subset_but_not_by_other_conditions(own: ScenarioSpec) -> None:
    pool = load_train(own, where=[Equals("topic", ("sums",)), Equals("input", ("d0",)), Sql("a = 0")])
    assert pool["input"].to_list() == ["d0", "d1"]


def test_an_empty_pool_has_the_columns(own: ScenarioSpec) -> None:
    pool = load_train(own, where=[Equals("topic", ("sky",))])
    assert pool.height == 0
    assert pool.columns == loaded(own).columns


def test_frames_have_at_most_the_requested_rows(own: ScenarioSpec) -> None:
    assert [frame.height for frame in load(own, rows=4)] == [4, 2]


def test_the_rows_do_not_depend_on_the_size_of_the_frames(own: ScenarioSpec) -> None:
    assert_frame_equal(loaded(own, rows=1), loaded(own))


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (Equals("a", (2,)), ["t2"]),
        (Equals("input", ("t0", "it's")), ["t0"]),
        (Equals("topic", ("sky",)), ["s0"]),
        (Equals("subset", ("sky",)), ["s0"]),
        (Between("a", 1, 2), ["t1", "t2", "t4"]),
        (Between("topic", "a", "sl"), ["s0"]),
        (Sql("a = 2 -- two"), ["t2"]),
        (Expression.of(pl.col("input").str.ends_with("2")), ["t2"]),
    ],
)
def test_a_condition_leaves_what_it_says(own: ScenarioSpec, condition: Condition, found: list[str]) -> None:
    assert loaded(own, where=[condition])["input"].to_list() == found


def test_a_range_of_row_index_reads_its_row_groups_alone_and_keeps_the_order(
    own: ScenarioSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in range(3):
        rows = pl.DataFrame({"q": [f"{file}/{row}" + "x" * 500 for row in range(20_000)], "a": 1})
        rows.write_parquet(
            tmp_path / "own" / "sums" / f"test-{file + 2}.parquet", row_group_size=2_000, compression="uncompressed"
        )
    sums, wanted = Equals("topic", ("sums",)), Between("row_index", 9, 45_006)
    everything = loaded(own, where=[sums])
    assert loaded(own, where=[sums, wanted]).equals(everything.filter(pl.col("row_index").is_between(9, 45_006)))
    before = read_so_far()
    found = loaded(own, where=[sums, Between("row_index", 19_007, 21_006)])
    assert found["row_index"].to_list() == list(range(19_007, 21_007))
    # 30 MB in all; the last row group of one file and the first of the next
    assert read_so_far() - before < 4_000_000


def read_so_far() -> int:
    """Bytes that this process has read."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_a_value_is_data_and_never_sql(own: ScenarioSpec) -> None:
    with pytest.raises(ArgumentError, match="matches no instance"):
        loaded(own, where=[Equals("input", ("' OR TRUE --",))])


def test_a_sample_comes_after_an_expression(own: ScenarioSpec) -> None:
    last = Expression.of(pl.col("input").is_in(["t3", "t4"]))
    assert loaded(own, where=[last], sample=Sample(1, order="first"))["input"].to_list() == ["t3"]


def test_a_sample_of_nothing_is_empty(own: ScenarioSpec) -> None:
    assert list(load(own, sample=Sample(0))) == []


def test_count_counts_by_subset_and_split(own: ScenarioSpec) -> None:
    assert count(own, splits=SPLITS).rows() == [("sky", "test", 1), ("sums", "train", 2), ("sums", "test", 5)]


def test_count_knows_the_sample(own: ScenarioSpec) -> None:
    assert count(own, sample=Sample(2)).rows() == [("sky", "test", 1), ("sums", "test", 2)]


def test_keys_are_of_the_instances_that_load_gives(own: ScenarioSpec) -> None:
    names = ["subset", "row_index", "instance_id", "split", "cluster"]
    for said in ({}, {"where": [Equals("topic", ("sums",))]}, {"sample": Sample(2, 0, "keyed")}, {"splits": SPLITS}):
        assert_frame_equal(keys(own, **said).select(names), loaded(own, **said).select(names), check_row_order=False)
    with pytest.raises(ArgumentError, match="has no valid instances"):
        keys(own, splits=("valid",))


def test_only_some_are_loaded_in_their_order(own: ScenarioSpec) -> None:
    some = keys(own).sort("instance_id", descending=True).gather_every(2)
    assert loaded(own, only=some)["instance_id"].to_list() == sorted(some["instance_id"])
    assert list(load(own, only=some.clear())) == []


def test_only_the_files_of_the_wanted_subset_are_opened(own: ScenarioSpec, tmp_path: Path) -> None:
    (tmp_path / "own" / "sums" / "test-0.parquet").write_bytes(b"broken")
    assert ids(own, where=[Equals("topic", ("sky",))]) == ["sky/id0"]


def test_nothing_that_matches_is_an_error_with_near_values(own: ScenarioSpec) -> None:
    with pytest.raises(
        ArgumentError, match=r"where\(input='t33'\) matches no instance of scenario 'own'. Did you mean"
    ):
        loaded(own, where=[Equals("input", ("t33",))])


def test_a_split_without_instances_is_named(own: ScenarioSpec) -> None:
    with pytest.raises(ArgumentError, match=r"scenario 'own' has no valid instances\. Its splits: train, test"):
        loaded(own, splits=("valid",))


def test_without_a_root_and_a_hub_address_the_error_names_the_root(
    own: ScenarioSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HELMFRAME_DATA")
    with pytest.raises(SourceMissingError, match=r"scenario 'own'.*\n.*HELMFRAME_DATA"):
        loaded(own)


def test_a_folder_without_files_is_named(own: ScenarioSpec) -> None:
    with pytest.raises(SourceMissingError, match="scenario 'own': no file found at /nowhere/own/"):
        loaded(own, data="/nowhere")


def test_a_kind_of_root_that_we_cannot_read_is_named(own: ScenarioSpec) -> None:
    with pytest.raises(SourceError, match="ftp:// is unsupported"):
        loaded(own, data="ftp://host")


def test_a_truncated_file_is_named(own: ScenarioSpec, tmp_path: Path) -> None:
    file = tmp_path / "own" / "sky" / "test-0.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(SourceBrokenError, match=r"scenario 'own': .*isn't readable as Parquet"):
        loaded(own, where=[Equals("topic", ("sky",))])


def test_a_column_that_the_source_lacks_is_named_with_its_file(own: ScenarioSpec, tmp_path: Path) -> None:
    lacking = spec(tmp_path, OWN.replace("a: BIGINT", "a: BIGINT, answer: VARCHAR"))
    with pytest.raises(SourceBrokenError, match=r"scenario 'own': .*sky/test-0\.parquet has no column 'answer'"):
        loaded(lacking)


def test_a_column_of_another_type_is_named_with_its_file(own: ScenarioSpec, tmp_path: Path) -> None:
    other = spec(tmp_path, OWN.replace("a: BIGINT", "a: VARCHAR"))
    with pytest.raises(SourceBrokenError, match="column 'a' must be VARCHAR, as the spec declares, not BIGINT"):
        loaded(other)


def test_a_select_that_fails_is_an_error_of_the_spec(own: ScenarioSpec, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"own\.yaml: instances: .*question"):
        loaded(spec(tmp_path, OWN.replace("q AS input", "question AS input")))


def test_a_select_without_a_needed_column_is_an_error_of_the_spec(own: ScenarioSpec, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="the SELECT must have a column 'input'"):
        loaded(spec(tmp_path, OWN.replace("q AS input", "q")))


def test_a_subset_that_is_no_column_of_the_path_is_ordered_by_the_place_in_all_files(
    own: ScenarioSpec, tmp_path: Path
) -> None:
    text = OWN.replace("{topic}", "*").replace("topic,", "q[:1] AS topic,")
    frame = loaded(spec(tmp_path, text))
    assert frame["row_index"].is_unique().all()
    assert frame.equals(frame.sort("row_index"))


def test_a_source_with_a_row_index_keeps_it(own: ScenarioSpec, tmp_path: Path) -> None:
    pl.DataFrame({"q": ["x"], "a": [1], "row_index": [41]}).write_parquet(tmp_path / "own" / "sky" / "test-0.parquet")
    assert ids(own, where=[Equals("topic", ("sky",))]) == ["sky/id41"]


def test_the_sampler_needs_no_root() -> None:
    frame = loaded(find_scenario("sampler"), where=[PHILOSOPHY], sample=Sample(3))
    assert frame.height == 3
    assert load_train(find_scenario("sampler"), where=[PHILOSOPHY]).height >= 5


def test_duckdb_draws_no_progress_bar(own: ScenarioSpec) -> None:
    source = connect(own)
    assert source.connection.sql("SELECT current_setting('enable_progress_bar')").fetchall() == [(False,)]
    source.close()


@pytest.mark.shared
def test_mmlu_is_drawn_as_helm_drew_it(shared: Path) -> None:
    run = shared / "helm_runs" / "mmlu-subject=philosophy,method=multiple_choice_joint,model=openai_gpt2"
    states = json.loads((run / "scenario_state.json").read_text())["request_states"]
    frame = loaded(
        find_scenario("mmlu"),
        where=[PHILOSOPHY],
        sample=Sample(10, order="helm"),
        splits=("valid", "test"),
        data=str(shared / "scenarios"),
    )
    recorded = [(f"philosophy/{each['instance']['id']}", each["instance"]["input"]["text"]) for each in states]
    assert frame.select("instance_id", "input").rows() == recorded


@pytest.mark.shared
def test_two_subjects_are_the_two_single_ones(shared: Path) -> None:
    mmlu, data = find_scenario("mmlu"), str(shared / "scenarios")
    both = loaded(mmlu, where=[Equals("subject", ("philosophy", "anatomy"))], sample=Sample(20), data=data)
    single = [
        loaded(mmlu, where=[Equals("subject", (each,))], sample=Sample(20), data=data)
        for each in ("anatomy", "philosophy")
    ]
    assert_frame_equal(both, pl.concat(single))


@pytest.mark.shared
def test_mmlu_is_whole(shared: Path) -> None:
    counts = count(find_scenario("mmlu"), splits=SPLITS, data=str(shared / "scenarios"))
    assert counts["subset"].n_unique() == 57
    assert dict(counts.group_by("split").agg(pl.col("n").sum()).iter_rows()) == {
        "train": 285,
        "valid": 1531,
        "test": 14042,
    }


@pytest.mark.shared
def test_gsm8k_writes_the_answer_as_helm_does(shared: Path) -> None:
    first = loaded(find_scenario("gsm8k"), sample=Sample(1, order="first"), data=str(shared / "scenarios"))
    assert first["references"].to_list() == [
        [
            {
                "text": "Janet sells 16 - 3 - 4 = <<16-3-4=9>>9 duck eggs a day. She makes 9 * 2 = $<<9*2=18>>18 every "
                "day at the farmer’s market. The answer is 18.",
                "correct": True,
                "tags": [],
            }
        ]
    ]


@pytest.mark.shared
def test_boolq_asks_as_helm_does(shared: Path) -> None:
    first = loaded(
        find_scenario("boolq"), sample=Sample(1, order="first"), splits=("valid",), data=str(shared / "scenarios")
    )
    assert first["input"].item().splitlines()[-1] == "Question: Does ethanol take more energy make that produces?"
    assert [(each["text"], each["correct"]) for each in first["references"].item()] == [("Yes", False), ("No", True)]


@pytest.mark.shared
def test_boolq_clusters_by_passage(shared: Path) -> None:
    frame = loaded(find_scenario("boolq"), splits=("valid",), data=str(shared / "scenarios"))
    assert frame["cluster"].n_unique() == frame["input"].str.split("\nQuestion: ").list.first().n_unique()


@pytest.mark.shared
def test_narrative_qa_asks_helms_recorded_questions_word_for_word(shared: Path, tmp_path: Path) -> None:
    # none of the recorded documents is among the shared rows, so they are written in the hub's layout first
    states = json.loads((shared / "helm_runs" / "narrative_qa-model=openai_gpt2" / "scenario_state.json").read_text())
    recorded = [each["instance"] for each in states["request_states"]]
    texts = [each["input"]["text"] for each in recorded]
    answers = [[reference["output"]["text"] for reference in each["references"]] for each in recorded]
    folder = tmp_path / "narrativeqa" / "data"
    folder.mkdir(parents=True)
    pl.DataFrame(
        {
            "document": [{"id": "d", "summary": {"text": text.rpartition("\nQuestion: ")[0]}} for text in texts],
            "question": [{"text": text.rpartition("\nQuestion: ")[2]} for text in texts],
            "answers": [[{"text": each} for each in some] for some in answers],
        }
    ).write_parquet(folder / "test-00000-of-00001.parquet")
    frame = loaded(find_scenario("narrative_qa"), data=str(tmp_path))
    assert frame["input"].to_list() == texts
    assert [[each["text"] for each in row] for row in frame["references"]] == answers


@pytest.mark.shared
def test_narrative_qa_asks_every_question_and_clusters_by_document(shared: Path) -> None:
    frame = loaded(find_scenario("narrative_qa"), data=str(shared / "scenarios"))
    assert (frame.height, frame["cluster"].n_unique()) == (3000, 101)


def sample_keys(n: int, subset: str = "") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "subset": [subset] * n,
            "row_index": list(range(n)),
            "instance_id": [f"{subset}/id{each}" for each in range(n)],
        }
    )


def sampled(frame: pl.DataFrame, sample: Sample) -> list[int]:
    return draw_sample(frame, sample, "mine")["row_index"].to_list()


def test_first_takes_the_first_by_row_index() -> None:
    assert sampled(sample_keys(5), Sample(2, order="first")) == [0, 1]


def test_keyed_is_the_same_in_every_version() -> None:
    assert sampled(sample_keys(100), Sample(5)) == [9, 15, 73, 82, 89]


def test_keyed_depends_on_the_seed() -> None:
    assert sampled(sample_keys(100), Sample(5, seed=1)) != sampled(sample_keys(100), Sample(5, seed=0))


def test_keyed_keeps_row_order() -> None:
    assert sampled(sample_keys(100), Sample(20)) == sorted(sampled(sample_keys(100), Sample(20)))


def test_a_smaller_keyed_sample_is_subset_of_a_larger_one() -> None:
    assert set(sampled(sample_keys(100), Sample(5))) <= set(sampled(sample_keys(100), Sample(20)))


def test_keyed_does_not_depend_on_the_other_instances() -> None:
    some = sample_keys(100).filter(pl.col("row_index") % 2 == 0)
    whole = {each for each in sampled(sample_keys(100), Sample(40)) if each % 2 == 0}
    assert whole <= set(sampled(some, Sample(40)))


def test_each_subset_has_its_own_draw() -> None:
    both = pl.concat([sample_keys(10, "a"), sample_keys(10, "b")])
    assert draw_sample(both, Sample(3), "mine").group_by("subset").len().sort("subset").rows() == [("a", 3), ("b", 3)]


def test_helm_draws_with_numpys_seed_0_in_drawn_order() -> None:
    # np.random.seed(0); np.random.choice(list(range(10)), 4, replace=False)
    assert sampled(sample_keys(10), Sample(4, order="helm")) == [2, 8, 4, 9]


def test_helm_takes_all_rows_if_there_are_no_more_than_requested() -> None:
    assert sampled(sample_keys(4), Sample(4, order="helm")) == [0, 1, 2, 3]


def test_an_unknown_order_has_near_ones() -> None:
    with pytest.raises(ArgumentError, match="Did you mean 'helm'"):
        sampled(sample_keys(4), Sample(4, order="hlem"))
