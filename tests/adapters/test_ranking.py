"""Prompts of `ranking_binary`, character for character."""

from helmframe._schema import NO, YES
from tests.adapters.test_adapt import requests
from tests.frames import instances, right, variants

ASKED = variants(["red fruit?"], [[("Cherries are red.", True), ("Sky is blue.", False)]], data_subject="food")
TRAIN = instances(["sour fruit?"], [[("Lemons.", True), ("Dates.", False)]], data_subject="food", split="train")
CUE = "Does the passage answer the query?\nAnswer:"
SAID = {"method": "ranking_binary"}


def test_each_passage_is_asked_about() -> None:
    rows = requests(ASKED, TRAIN, **SAID, shots=0)
    assert rows["prompt"].to_list() == [
        f"Passage: Cherries are red.\nQuery: red fruit?\n{CUE}",
        f"Passage: Sky is blue.\nQuery: red fruit?\n{CUE}",
    ]
    assert rows["reference_index"].to_list() == [0, 1]
    assert rows["continuation"].null_count() == 2


def test_an_example_asks_about_all_its_passages() -> None:
    rows = requests(ASKED, TRAIN, **SAID, shots=1)
    assert rows["prompt"][0] == (
        f"Passage: Lemons.\nQuery: sour fruit?\n{CUE} {YES}\n\n"
        f"Passage: Dates.\nQuery: sour fruit?\n{CUE} {NO}\n\n"
        f"Passage: Cherries are red.\nQuery: red fruit?\n{CUE}"
    )


def test_an_example_is_one_however_many_passages_it_has() -> None:
    assert requests(ASKED, TRAIN, **SAID, shots=1)["shot_ids"].to_list() == [["id0"], ["id0"]]


def test_texts_that_look_like_answers_stay() -> None:
    train = instances(["Yes\n\n"], [right("No\n\n")], data_subject="food", split="train")
    assert requests(ASKED, train, **SAID, shots=1)["prompt"][0].startswith(
        f"Passage: No\n\n\nQuery: Yes\n\n\n{CUE} Yes\n\nPassage: Ch"
    )
