"""A mirror of a scenario with a draw: it holds what HELM asks, in HELM's order, and says so."""

import json
from pathlib import Path

import polars as pl
import pytest

from helmframe._core.specs import SPLITS, Equals
from helmframe.errors import SourceBrokenError
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.load import load
from helmframe.scenarios.mirror import Outcome, mirror


def instances(name: str, root: Path, compat: str | None = None, **where: str) -> pl.DataFrame:
    conditions = [Equals(key, (value,)) for key, value in where.items()]
    frames = load(find_scenario(name), where=conditions, splits=SPLITS, data=str(root), compat=compat)
    return pl.concat(frames).sort("row_index")


def narrative(folder: Path, split: str, documents: int, shards: int = 1) -> None:
    """Three questions for each document, in so many files."""
    rows = [
        {
            "document": {"summary": {"text": f"About {number}."}},
            "question": {"text": f"What of {number}.{question}"},
            "answers": [{"text": "It."}],
        }
        for number in range(documents)
        for question in range(3)
    ]
    height = len(rows) // shards
    for shard in range(shards):
        file = folder / "narrativeqa" / "data" / f"{split}-{shard:05}-of-{shards:05}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(rows[shard * height : (shard + 1) * height]).write_parquet(file)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for split, documents, shards in (("train", 2, 1), ("validation", 1, 1), ("test", 4, 2)):
        narrative(tmp_path / "source", split, documents, shards)
    return tmp_path / "source"


def test_a_mirror_holds_one_question_per_document_and_a_folder_all(tmp_path: Path, source: Path) -> None:
    assert mirror("narrative_qa", tmp_path / "to", source=source) == Outcome("narrative_qa", 3, 0, 7)
    drawn = instances("narrative_qa", tmp_path / "to")
    assert drawn["instance_id"].to_list() == [f"id{number}" for number in range(7)]
    assert drawn["split"].to_list() == ["train"] * 2 + ["valid"] + ["test"] * 4
    assert drawn["input"].str.split("\n").list.first().to_list() == [
        *("About 0.", "About 1.", "About 0.", "About 0.", "About 1.", "About 2.", "About 3.")
    ]
    assert instances("narrative_qa", source).height == 21


def test_the_manifest_names_the_draw(tmp_path: Path, source: Path) -> None:
    mirror("narrative_qa", tmp_path / "to", source=source)
    said = json.loads((tmp_path / "to" / "manifests" / "narrative_qa.json").read_text())
    assert (said["draw"], said["rows"], said["status"]) == ("narrative_qa", 7, "whole")
    assert {each["source"] for each in said["files"]} == {str(source)}


def test_twice_changes_nothing_and_a_mirror_of_a_mirror_is_the_same(tmp_path: Path, source: Path) -> None:
    mirror("narrative_qa", tmp_path / "to", source=source)
    assert mirror("narrative_qa", tmp_path / "to", source=source) == Outcome("narrative_qa", 0, 3, 7)
    mirror("narrative_qa", tmp_path / "again", source=tmp_path / "to")
    assert instances("narrative_qa", tmp_path / "again").equals(instances("narrative_qa", tmp_path / "to"))


def test_a_file_that_is_missing_is_made_again_as_it_was(tmp_path: Path, source: Path) -> None:
    mirror("narrative_qa", tmp_path / "to", source=source)
    file = tmp_path / "to" / "narrativeqa" / "data" / "test-00000-of-00001.parquet"
    before = file.read_bytes()
    file.unlink()
    assert mirror("narrative_qa", tmp_path / "to", source=source) == Outcome("narrative_qa", 1, 2, 7)
    assert file.read_bytes() == before


def test_pieces_of_an_earlier_mirroring_are_not_read_beside_the_new_ones(tmp_path: Path, source: Path) -> None:
    spec = find_scenario("narrative_qa").origin
    plain = tmp_path / "narrative_qa.yaml"
    plain.write_text(Path(spec).read_text().replace("draw: narrative_qa\n", ""))
    mirror(plain, tmp_path / "to", source=source)
    with pytest.raises(
        SourceBrokenError, match=r"2 files, such as .*test-00000-of-00002\.parquet, are left from a mirror"
    ):
        mirror("narrative_qa", tmp_path / "to", source=source)


def dialogues(folder: Path) -> None:
    for split, turns in (("train", [3, 4]), ("validation", [5])):
        rows = [
            {
                "dialogue_id": f"{split}{number}",
                "wikipedia_page_title": "T",
                "background": "B",
                "section_title": "S",
                "context": "C. CANNOTANSWER",
                "questions": [f"q{turn}" for turn in range(count)],
                "answers": {"texts": [[f"a{turn}"] for turn in range(count)]},
                "orig_answers": {"texts": [f"a{turn}" for turn in range(count)]},
            }
            for number, count in enumerate(turns)
        ]
        file = folder / "quac" / "plain_text" / f"{split}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(rows).write_parquet(file)


def test_quac_says_one_turn_of_each_dialogue_where_it_was_drawn(tmp_path: Path) -> None:
    dialogues(tmp_path / "source")
    mirror("quac", tmp_path / "to", source=tmp_path / "source")
    drawn = instances("quac", tmp_path / "to")
    assert drawn["instance_id"].to_list() == ["id0", "id1", "id2"]
    assert drawn["input"].str.extract(r"Question: (q\d+)$")[0] == "q2"
    assert instances("quac", tmp_path / "source").height == 1 + 2 + 3


def test_a_source_without_splits_is_split_and_one_with_splits_is_not(tmp_path: Path) -> None:
    rows = [{"question": f"q{number}", "answer": ["b", "a", "b"]} for number in range(4)]
    pl.DataFrame(rows).write_parquet(tmp_path / "nq.parquet")
    mirror("natural_qa_closedbook", tmp_path / "to", source=tmp_path / "nq.parquet", layout="{name}.parquet")
    drawn = instances("natural_qa_closedbook", tmp_path / "to")
    assert drawn["split"].to_list() == ["train", "valid"] * 2
    assert [[each["text"] for each in row] for row in drawn["references"]][1::2] == [["b", "a"]] * 2
    assert all(len(row) == 1 for row in drawn["references"][::2])
    file = tmp_path / "split" / "nq_open" / "nq_open" / "validation-0.parquet"
    file.parent.mkdir(parents=True)
    pl.DataFrame(rows).write_parquet(file)
    mirror("natural_qa_closedbook", tmp_path / "other", source=tmp_path / "split")
    assert instances("natural_qa_closedbook", tmp_path / "other")["split"].unique().to_list() == ["valid"]


def test_a_source_whose_paths_lack_a_column_says_so(tmp_path: Path) -> None:
    pl.DataFrame({"name": ["a"], "description": ["d"], "manufacturer": ["m"], "price": ["1"]}).write_parquet(
        tmp_path / "buy.parquet"
    )
    with pytest.raises(SourceBrokenError, match=r"'entity_data_imputation': .*dataset"):
        mirror("entity_data_imputation", tmp_path / "to", source=tmp_path / "buy.parquet", layout="{name}.parquet")


def test_long_contexts_are_filled_once_in_files_of_a_few(tmp_path: Path) -> None:
    rows = [
        {
            "question": f"who is {number}",
            "answer": "Ann",
            "context": {"title": [f"T{number}", f"U{number}"], "sentences": [["It is.", " So."], ["Ann it was."]]},
        }
        for number in range(45)
    ]
    source = tmp_path / "source" / "ruler" / "hotpotqa" / "validation-00000-of-00001.parquet"
    source.parent.mkdir(parents=True)
    pl.DataFrame(rows).write_parquet(source)
    done = mirror("ruler_hotpotqa", tmp_path / "to", source=tmp_path / "source")
    assert done == Outcome("ruler_hotpotqa", 3, 0, 45)
    drawn = instances("ruler_hotpotqa", tmp_path / "to")
    assert drawn["instance_id"].to_list() == [f"id{number}" for number in range(45)]
    first = drawn["input"][0]
    assert first.endswith("any other words.\n\nQuestion: who is 0 Answer:")
    assert "\n\nDocument 90:\n" in first
    assert "T0\nIt is. So." in first
    assert [each["text"] for each in drawn["references"][0]] == ["Ann"]
    assert mirror("ruler_hotpotqa", tmp_path / "to", source=tmp_path / "source") == Outcome("ruler_hotpotqa", 0, 3, 45)
    mirror("ruler_hotpotqa", tmp_path / "again", source=tmp_path / "to")
    assert instances("ruler_hotpotqa", tmp_path / "again").equals(drawn)


def test_a_file_without_a_column_that_it_need_not_have_is_drawn_of(tmp_path: Path) -> None:
    texts = [{"language": "de", "text": "Ein Gesetz."}, {"language": "en", "text": None}]
    for subset, rows in (
        ("multi_eurlex_level_1", [{"labels": ["3"], "languages": texts}]),
        ("german_argument_mining", [{"labels": ["other"], "input": "Ein Satz."}]),
    ):
        file = tmp_path / "source" / "lextreme" / subset / "test-00000-of-00001.parquet"
        file.parent.mkdir(parents=True)
        pl.DataFrame(rows).write_parquet(file)
    mirror("lextreme", tmp_path / "to", source=tmp_path / "source")
    assert instances("lextreme", tmp_path / "to").sort("subset")["input"].to_list() == ["Ein Satz.", "Ein Gesetz."]


def test_what_the_hub_has_in_other_columns_is_made_into_the_scenarios(tmp_path: Path) -> None:
    rows = {
        "ecthr_a": {"text": [["One.", "Two."], ["Three."]], "labels": [[0, 9], []]},
        "ledgar": {"text": ["A.", "B."], "label": [0, 99]},
        "case_hold": {"context": ["C", "D"], "endings": [["x", "y"], ["z", "w"]], "label": [1, 0]},
    }
    for subset, columns in rows.items():
        file = tmp_path / "source" / "lex_glue" / subset / "test-00000-of-00001.parquet"
        file.parent.mkdir(parents=True)
        pl.DataFrame(columns).write_parquet(file)
    mirror("lex_glue", tmp_path / "to", source=tmp_path / "source")
    found = instances("lex_glue", tmp_path / "to").sort("subset", "row_index")
    assert found["input"].to_list() == [
        *("C Holdings: 0: x 1: y", "D Holdings: 0: z 1: w"), *("One. Two.", "Three."), *("A.", "B."),
    ]  # fmt: skip
    assert [[each["text"] for each in row] for row in found["references"]] == [
        *(["1"], ["0"]), *(["0", "9"], []), *(["Adjustments"], ["Withholdings"]),
    ]  # fmt: skip
    assert found["data_label_delimiter"].to_list() == [None, None, ", ", ", ", None, None]
    helms = instances("lex_glue", tmp_path / "to", compat="helm").sort("subset", "row_index")
    assert [[(each["text"], each["correct"]) for each in row] for row in helms["references"]] == [
        *([("0", False), ("1", True)], [("1", False), ("0", True)]),
        *([("0", True), ("9", True)], [("9", False), ("0", False)]),
        *([("Withholdings", False), ("Adjustments", True)], [("Adjustments", False), ("Withholdings", True)]),
    ]
    mirror("lex_glue", tmp_path / "again", source=tmp_path / "to")
    assert instances("lex_glue", tmp_path / "again").sort("subset", "row_index").equals(found)


def test_wrong_references_of_entities_have_another_entity_in_place_of_all(tmp_path: Path) -> None:
    rows = [{"input": '"a" "b" "c"', "labels": ['"O" "B-PER" "I-TIME"']}, {"input": '"d"', "labels": ['"O"']}]
    file = tmp_path / "source" / "lextreme" / "legalnero" / "test-00000-of-00001.parquet"
    file.parent.mkdir(parents=True)
    pl.DataFrame(rows).write_parquet(file)
    mirror("lextreme", tmp_path / "to", source=tmp_path / "source")
    named, nameless = instances("lextreme", tmp_path / "to", compat="helm")["references"].to_list()
    others = ["B-TIME", "B-LEGAL", "I-LEGAL", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "I-PER"]
    assert [(each["text"], each["correct"]) for each in named] == [
        *((f'"O" "{name}" "{name}"', False) for name in others),
        ('"O" "B-PER" "I-TIME"', True),
    ]
    assert [each["text"] for each in nameless] == ['"O"']
    assert [len(each) for each in instances("lextreme", tmp_path / "to")["references"]] == [1, 1]
