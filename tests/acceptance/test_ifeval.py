"""IFEval: every instruction type of its 541 prompts has a check that tells right from wrong answers."""

import math
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.metrics.ifeval import INSTRUCTIONS, follows
from helmframe.metrics.score import score
from tests.acceptance import eval_peers, helm_peer, helm_run_peer
from tests.acceptance.figures import equal_to_helm, shown
from tests.acceptance.helm_raw_files import rows_of
from tests.frames import completions

SEA = "The sea was calm and the sailors sang about the long way home to their families."

# type → arguments, three answers that follow the instruction, three that don't
CASES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "change_case:capital_word_frequency": (
        {"capital_frequency": 2, "capital_relation": "at least"},
        ["NASA and ESA agree.", "STOP that NOW!", "A well-KNOWN TV-SET is an OLD one."],
        ["NASA agrees.", "stop that now!", "Paris and Rome."],
    ),
    "change_case:english_capital": (
        {},
        [SEA.upper(), "I WOULD LIKE TO THANK YOU FOR YOUR LETTER OF THE 3RD.", "WHAT IS THE WEATHER LIKE TODAY?"],
        [SEA, "ДЕТИ ЛЮБЯТ ИГРАТЬ В САДУ ЗА НАШИМ ДОМОМ.", "WHAT IS THE WEATHER LIKE today?"],
    ),
    "change_case:english_lowercase": (
        {},
        [SEA.lower(), "i would like to thank you for your letter.", "what is the weather like today?"],
        [SEA, "le président a décidé que les écoles resteront fermées.", "what is the weather in Rome today?"],
    ),
    "combination:repeat_prompt": (
        {"prompt_to_repeat": "Write a haiku about moms."},
        ["Write a haiku about moms.\nMoms are kind.", "write a haiku about moms. Here:", " Write a haiku about moms."],
        ["Moms are kind.", "Sure! Write a haiku about moms.", "Write a haiku about dads."],
    ),
    "combination:two_responses": (
        {},
        ["One.\n******\nTwo.", "One.******Two.", "******\nOne.\n******\nTwo.\n******"],
        ["One.", "One.\n******\nOne.", "One.\n******\nTwo.\n******\nThree."],
    ),
    "detectable_content:number_placeholders": (
        {"num_placeholders": 2},
        ["Dear [name], come to [place].", "[a][b]", "[one] or [two] or [three]"],
        ["Dear [name].", "Dear (name), come to {place}.", "Dear name, come to [place\nand date]."],
    ),
    "detectable_content:postscript": (
        {"postscript_marker": "P.P.S"},
        ["Yours.\nP.P.S. Call me.", "Yours. p. p. s call me", "P.P.S"],
        ["Yours.", "Yours.\nP.S. Call me.", "Yours.\nPPS Call me."],
    ),
    "detectable_format:constrained_response": (
        {},
        ["My answer is yes.", "Well. My answer is no.", "My answer is maybe. I don't know."],
        ["Yes.", "My answer is yes", "my answer is no."],
    ),
    "detectable_format:json_format": (
        {},
        ['{"a": 1}', '```json\n{"a": [1, 2]}\n```', '```\n"text"\n```'],
        ["{a: 1}", 'Here it is: {"a": 1}', "{'a': 1}"],
    ),
    "detectable_format:multiple_sections": (
        {"section_spliter": "SECTION", "num_sections": 2},
        ["SECTION 1\na\nSECTION 2\nb", "SECTION 1 a SECTION 2 b SECTION 3 c", "SECTION1\na\nSECTION2\nb"],
        ["SECTION 1\na", "Section 1\na\nSection 2\nb", "SECTION one\na\nSECTION two\nb"],
    ),
    "detectable_format:number_bullet_lists": (
        {"num_bullets": 2},
        ["* a\n* b", "Here:\n- a\n- b\nDone.", "  * a\n  - b"],
        ["* a", "* a\n* b\n* c", "1. a\n2. b"],
    ),
    "detectable_format:number_highlighted_sections": (
        {"num_highlights": 2},
        ["*one* and *two*", "**one** and **two**", "*one*, *two* and *three*"],
        ["*one*", "one and two", "* *"],
    ),
    "detectable_format:title": (
        {},
        ["<<The sea>>\nIt is wide.", "It is wide. <<The sea>>", "<<<The sea>>>"],
        ["The sea\nIt is wide.", "<The sea>", "<< >>"],
    ),
    "keywords:existence": (
        {"keywords": ["mom", "river"]},
        ["My mom by the river.", "MOM! The RIVER!", "Moments on rivers."],
        ["My mom.", "By the river.", "My dad by the sea."],
    ),
    "keywords:forbidden_words": (
        {"forbidden_words": ["rock", "c++"]},
        ["A stone.", "Rocket science.", "C is older."],
        ["A rock.", "ROCK!", "Rock, paper, scissors."],
    ),
    "keywords:frequency": (
        {"keyword": "war", "frequency": 2, "relation": "at least"},
        ["war and war", "War! War! War!", "Warm wars"],
        ["war", "peace", "w a r, war"],
    ),
    "keywords:letter_frequency": (
        {"letter": "q", "let_frequency": 2, "let_relation": "less than"},
        ["No such letter.", "A queen.", "Q"],
        ["A quiet queen.", "QQ", "Quick, quick, quick!"],
    ),
    "language:response_language": (
        {"language": "de"},
        [
            "Der Zug kommt heute leider eine halbe Stunde später an.",
            "Ich weiß nicht, was soll es bedeuten, dass ich so traurig bin.",
            "DIE KINDER SPIELEN GERNE IM GARTEN HINTER DEM HAUS.",
        ],
        [SEA, "Le train arrivera malheureusement une demi-heure plus tard.", "列車は残念ながら遅れて到着します。"],
    ),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "firms"},
        ["One.\n\nFirms grow.", "One.\n\n'firms', they say.", "One.\n\n\"Firms.\" Yes."],
        ["One.\n\nThe firms grow.", "Firms grow.\n\nOne.", "One.\n\nFirms grow.\n\nThree."],
    ),
    "length_constraints:number_paragraphs": (
        {"num_paragraphs": 2},
        ["One.\n***\nTwo.", "One.*** Two.", "***\nOne.\n***\nTwo.\n***"],
        ["One.\n\nTwo.", "One.\n***\nTwo.\n***\nThree.", "One.\n***\n***\nTwo."],
    ),
    "length_constraints:number_sentences": (
        {"num_sentences": 3, "relation": "less than"},
        ["One is enough.", "Dr. Smith went home at 3 p.m. yesterday. He was tired.", "No full stop at all"],
        ["One. Two. Three.", "Is it? It is! So be it.", "I came. I saw. I won. I left."],
    ),
    "length_constraints:number_words": (
        {"num_words": 5, "relation": "at least"},
        ["one two three four five", "It's what we all want.", "1, 2, 3, 4, 5, 6"],
        ["one two three four", "", "well-known state-of-"],
    ),
    "punctuation:no_comma": (
        {},
        ["No such sign here.", "One; two; three.", "1.000"],
        ["Well, no.", "1,000", ","],
    ),
    "startend:end_checker": (
        {"end_phrase": "Is there anything else I can help with?"},
        [
            "Done. Is there anything else I can help with?",
            '"Done. is there anything else I can help with?"',
            "Is there anything else I can help with?\n",
        ],
        ["Done.", "Is there anything else I can help with? No?", "Is there anything else I can help you with?"],
    ),
    "startend:quotation": (
        {},
        ['"All of it."', ' "Two\nlines." ', '""'],
        ["All of it.", '"All of it.', '"All" of it.'],
    ),
}  # fmt: skip


@pytest.mark.shared
def test_6_every_type_of_the_prompts_has_a_check_that_tells_right_from_wrong(shared: Path) -> None:
    prompts = pl.read_parquet(shared / "scenarios" / "ifeval" / "default" / "train-00000-of-00001.parquet")
    types = set(prompts["instruction_id_list"].explode())
    told = {
        name: [follows(answer, name, arguments) for answer in (*right, *wrong)]
        for name, (arguments, right, wrong) in CASES.items()
    }
    wrongly = {name: verdicts for name, verdicts in told.items() if verdicts != [True] * 3 + [False] * 3}
    shown(
        "6",
        f"types in {prompts.height} prompts, with a check",
        f"{len(types)}, {len(types & set(INSTRUCTIONS))}",
        "all",
    )
    shown(
        "6", "types whose 3 right and 3 wrong answers are told apart", f"{len(told) - len(wrongly)}/{len(types)}", "all"
    )
    assert types <= set(INSTRUCTIONS)
    assert types == set(CASES)
    assert wrongly == {}


@pytest.mark.shared
def test_6_every_prompt_is_scored(shared: Path) -> None:
    prompts = pl.read_parquet(shared / "scenarios" / "ifeval" / "default" / "train-00000-of-00001.parquet")
    names = ["ifeval_strict_accuracy", "ifeval_prompt_strict", "ifeval_prompt_loose", "ifeval_instruction_strict",
             "ifeval_instruction_loose"]  # fmt: skip
    rows = prompts.with_columns(references=pl.lit([], dtype=pl.List(pl.String)))
    plan = hf.scenario(rows, input="prompt").adapt(shots=0).metrics(*names)
    results = plan.generate(lambda _: f"Here it is:\n*{SEA.lower()}*", stop=[]).score()
    table = results.table()
    values = dict(table.select("metric", "value").iter_rows())
    shown(
        "6",
        f"one answer to all {prompts.height} prompts",
        {name: round(value, 3) for name, value in values.items()},
        "printed",
    )
    assert table["n"].to_list() == [541] * 5
    assert results.scores.filter(pl.col("score").is_null()).collect().is_empty()
    assert 0 < values["ifeval_prompt_strict"] < values["ifeval_strict_accuracy"] < 1
    assert values["ifeval_prompt_strict"] < values["ifeval_prompt_loose"]
    assert values["ifeval_instruction_strict"] < values["ifeval_instruction_loose"]
    assert re.fullmatch(r"0\.\d+", f"{values['ifeval_instruction_strict']}")


@pytest.mark.shared
def test_13_strict_accuracy_equals_helms(shared: Path, tmp_path: Path) -> None:
    prompts = pl.read_parquet(shared / "scenarios" / "ifeval" / "default" / "train-00000-of-00001.parquet")
    pairs = rows_of(shared, "wmt14/fr-en/test-*.parquet")["translation"].to_list()
    rows = []
    for index, row in enumerate(prompts.iter_rows(named=True)):
        english, french = (pairs[index][language] for language in ("en", "fr"))
        responses = [
            row["prompt"],
            english.lower(),
            english.upper(),
            french,
            french.upper(),
            f"* {english}\n* {french}",
        ]
        rows += [(row["prompt"], text, row["instruction_id_list"], row["kwargs"]) for text in responses]
    # HELM counts a random letter where the letter to count is no letter
    by_chance = [any(str(each.get("letter") or "a") in "#!" for each in arguments) for *_, arguments in rows]
    python = eval_peers.made_venv(helm_run_peer.HELM_RUN, ["crfm-helm==0.5.16"])
    with helm_peer.running("helm_ifeval_child.py", {"seed": 0}, tmp_path, python=python) as peer:
        helms = peer.ask({"rows": rows})["scores"]
        peer.ask({"seed": None})
        unseeded = peer.ask({"rows": rows})["scores"]
    arguments = pl.Series([row[3] for row in rows], dtype=prompts.schema["kwargs"])
    ids = pl.Series([row[2] for row in rows])
    frame = completions([row[1] for row in rows]).with_columns(data_instruction_id_list=ids, data_kwargs=arguments)
    ours = score(frame.lazy(), ["ifeval_strict_accuracy"]).collect()["score"].to_list()
    compared = [index for index in range(len(rows)) if not by_chance[index]]
    equal, itself = (
        sum(math.isclose(other[index], helms[index], abs_tol=1e-12) for index in compared) for other in (ours, unseeded)
    )
    equal_to_helm("13", "IFEval's strict accuracy with a seed for HELM's langdetect", equal, len(compared))
    shown("13", "HELM without a seed equal to itself with one", f"{itself}/{len(compared)}", "printed")
    assert 0 < len(rows) - len(compared) < 20
    assert equal == len(compared)
