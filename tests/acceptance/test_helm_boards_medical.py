"""MedHELM's public scenarios, HELM Finance and Enterprise: prompts equal to crfm-helm's, and entries as plans."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import polars as pl
import pytest

from tests.acceptance import eval_peers, helm_peer, helm_run_peer
from tests.acceptance.helm_boards import (
    TEXTS,
    Case,
    as_csv,
    as_json,
    as_lines,
    as_parquet,
    compare,
    compare_entries,
    text,
    together,
)
from tests.acceptance.helm_raw_files import written
from tests.demo import ROOT

ROWS = range(6)
RACES = (0, 1, 3, 4, 5, 6, 10)


def notes(folder: Path) -> None:
    """Notes with and without a plan, with headings in other places and in lower case."""
    bodies = (
        "HISTORY: Cough.\r\nPLAN: Rest, fluids.\nSecond line",
        "Findings are normal.\nSUMMARY: All is well.\nPLAN: None\nPLAN: again",
        "FINDINGS: Clear lungs.  \nEnd",
        "plan: in lower case\nSUMMARY: x",
        "PLAN:\nSUMMARY: the plan is empty\n",
        "no heading at all",
        "  PLAN: first in the note",
        "CHIEF COMPLAINT: Zoë's knee\n\nSUMMARY:  a  \nFINDINGS: b",
        "The SUMMARY: c, FINDINGS: d",
    )
    for number, body in enumerate(bodies):
        written(body, folder / f"notes/{number}.txt")
    written("PLAN: of a note that HELM can't download", folder / "notes/Report #2.txt")


def race_document(folder: Path) -> None:
    """Pairs of a question and a response, as a document with red text, and as the CSV that HELM makes of it."""
    pairs = [(TEXTS[row % 6].strip(), f"{TEXTS[(row + 1) % 6].strip()}\nMore & <more>", row % 2 == 0) for row in RACES]
    rows = [{"Question": pair[0], "Response": pair[1], "True/False": str(pair[2])} for pair in pairs]
    as_csv(rows, "race.csv")(folder)
    paragraphs = ["<w:p><w:r><w:t>Title</w:t></w:r></w:p>"]
    for number, (question, response, is_red) in enumerate(pairs):
        paragraphs.append(paragraph(f"Run {number}: {question}", is_red=number == 3))
        paragraphs += [paragraph(line, is_red=is_red and index == 0) for index, line in enumerate(response.split("\n"))]
        paragraphs.append('<w:p w:rsidR="00A1"/>')
    body = "".join(paragraphs)
    written(f"<w:document><w:body>{body}</w:body></w:document>", folder / "word/document.xml")


def paragraph(line: str, *, is_red: bool) -> str:
    color = '<w:rPr><w:color w:val="FF0000"/></w:rPr>' if is_red else ""
    runs = (
        escape(part).replace("\n", "</w:t><w:br/><w:t>").replace("\t", "</w:t><w:tab/><w:t>")
        for part in (line[:3], line[3:])
    )
    style = '<w:pPr><w:rPr><w:color w:val="FF0000"/></w:rPr></w:pPr>'
    xml = "".join(f'<w:r>{color}<w:t xml:space="preserve">{run}</w:t></w:r>' for run in runs)
    return f'<w:p w:rsidR="1">{style}{xml}</w:p>'


def exams(folder: Path) -> None:
    """MedQA and MedMCQA as their authors publish them, and as on the Hub."""
    medqa: list[dict[str, Any]] = []
    mcqa: list[dict[str, Any]] = []
    for row in range(12):
        options = {letter: text(row + index, f"{letter}{row} ") for index, letter in enumerate("ABCD")}
        medqa.append({"question": text(row, "Case: "), "options": options, "answer_idx": "ABCD"[row % 4]})
        answers = {f"op{letter}": text(row + index, f"{letter}. ") for index, letter in enumerate("abcd")}
        mcqa.append({"question": text(row, "Q: "), **answers, "subject_name": "s", "cop": row % 4})
    for name, part in (("train", slice(6)), ("dev", slice(6, 12)), ("test", slice(3, 9))):
        as_lines(medqa[part], f"data_clean/questions/US/4_options/phrases_no_exclude_{name}.jsonl")(folder)
        as_parquet(medqa[part], f"medqa_{name}.parquet")(folder)
        # the authors count options from 1
        as_lines([row | {"cop": row["cop"] + 1} for row in mcqa[part]], f"{name}.json")(folder)
        as_parquet(mcqa[part], f"mcqa_{name}.parquet")(folder)


def abstracts(folder: Path) -> None:
    """PubMedQA as its authors publish it, and as on the Hub."""
    labels, decisions = ["BACKGROUND", "METHODS AND RESULTS"], ("yes", "no", "maybe")
    rows = [(text(row, "Does it? "), [text(row), text(row + 1)], decisions[row % 3]) for row in ROWS]
    as_json(
        {
            str(number): {"QUESTION": question, "CONTEXTS": contexts, "LABELS": labels, "final_decision": decision}
            for number, (question, contexts, decision) in enumerate(rows)
        },
        "pqal.json",
    )(folder)
    as_parquet(
        [
            {"question": question, "context": {"contexts": contexts, "labels": labels}, "final_decision": decision}
            for question, contexts, decision in rows
        ],
        "pqal.parquet",
    )(folder)


def intents(folder: Path) -> None:
    """Queries of ten intents, and RAFT's settings."""
    settings = json.dumps({"banking_77": ["Query"]}) + "\n" + json.dumps({"banking_77": BANKING_TASK})
    written(settings, folder / "settings.json")
    for split in ("train", "test"):
        as_parquet([{"text": text(row, f"{row} "), "label": row * 7} for row in range(10)], f"{split}.parquet")(folder)


RAFT = (ROOT / "specs/scenarios/raft.yaml").read_text(encoding="utf-8")
INTENTS = re.findall(r"'([^' ]+)'", RAFT.partition("('banking_77', ['Query'],")[2].partition("],")[0])
BANKING_TASK = "\n".join(
    [
        (
            "The following is a banking customer service query. Classify the query into one of the 77 categories "
            "available."
        ),
        "Possible labels:",
        *(f"{number}. {name}" for number, name in enumerate(INTENTS, 1)),
    ]
)


MEDHELM = (
    Case(
        "head_qa:",
        "headqa_scenario",
        as_parquet(
            [
                {
                    "name": f"exam {row}",
                    "year": "2013",
                    "category": "medicine" if row % 2 else "nursery",
                    "qid": row,
                    "qtext": text(row, "Which? "),
                    "ra": row % 4 + 1,
                    "image": None,
                    "answers": [{"aid": each + 1, "atext": text(row + each, f"{each} ")} for each in range(4)],
                }
                for row in ROWS
            ],
            "head.parquet",
            {"image": pl.Struct({"bytes": pl.Binary, "path": pl.String})},
        ),
        tables={"test": "head.parquet"},
        said={"values": {"language": "en"}},
    ),
    Case(
        "medbullets:",
        "medbullets_scenario",
        as_csv(
            [
                {
                    "question": text(row, "A case. "),
                    **{f"op{each}": text(row + ord(each), each) for each in "abcd"},
                    "ope": "" if row == 2 else "none of these",
                    "answer_idx": "ABCDE"[row % 5],
                    "answer": "x",
                    "explanation": text(row),
                    "link": "u",
                }
                for row in ROWS
            ],
            "op5.csv",
        ),
        {"medbullets_op5": "op5.csv"},
    ),
    Case(
        "medcalc_bench:",
        "medcalc_bench_scenario",
        as_parquet(
            [
                {
                    "Row Number": row + 1,
                    "Category": "risk",
                    "Patient Note": text(row, "Note. "),
                    "Question": text(row, "Score? "),
                    "Ground Truth Answer": str(row),
                    "Lower Limit": "1",
                    "Upper Limit": "2",
                }
                for row in ROWS
            ],
            "medcalc.parquet",
        ),
        tables={"test": "medcalc.parquet"},
    ),
    Case(
        "medec:",
        "medec_scenario",
        as_csv(
            [
                {
                    "Text ID": f"ms-{row}",
                    "Text": "t",
                    "Sentences": f"0 {text(row)}\n1 More text.\n",
                    "Error Flag": int(row % 2),
                    "Error Type": "NA",
                    "Error Sentence ID": row - 1 if row % 2 else -1,
                    "Error Sentence": "x",
                    "Corrected Sentence": text(row, "Right: ") if row % 2 else "NA",
                    "Corrected Text": "NA",
                }
                for row in ROWS
            ],
            "medec.csv",
        ),
        {"MEDEC-MS-TestSet": "medec.csv"},
    ),
    Case(
        "medication_qa:",
        "medication_qa_scenario",
        as_csv(
            [
                {
                    "Question": text(row, "how? "),
                    "Focus (Drug)": "drug",
                    "Question Type": "dose",
                    "Answer": None if row == 4 else text(row + 1, "so: "),
                    "Section Title": "t",
                    "URL": "u",
                }
                for row in range(7)
            ],
            "medication.csv",
        ),
        {"MedInfo2019": "medication.csv"},
        said={"sheets": True},
    ),
    *(
        Case(
            f"mtsamples_{name}:",
            f"mtsamples_{name}_scenario",
            notes,
            {"benchmarkdata": "notes"},
            said={"responses": "notes"},
        )
        for name in ("replicate", "procedures")
    ),
    Case(
        "aci_bench:",
        "aci_bench_scenario",
        together(
            *(
                as_json(
                    {"data": [{"src": text(row, f"{name} "), "tgt": text(row + 1), "file": "f"} for row in ROWS]}, name
                )
                for name in ("train.json", "one.json", "two.json", "three.json")
            )
        ),
        {"train_full": "train.json", "taskB_test1": "one.json", "taskC_test3": "two.json", "taskC_test2": "three.json"},
    ),
    Case(
        "medi_qa:",
        "medi_qa_scenario",
        as_parquet(
            [
                {
                    "QUESTION": {
                        "QID": str(row + 1),
                        "QuestionText": text(row, "Question? "),
                        "AnswerList": [
                            {
                                "Answer": {
                                    "AID": f"{row}_{each}",
                                    "SystemRank": each,
                                    "ReferenceRank": rank,
                                    "ReferenceScore": 4,
                                    "AnswerURL": "u",
                                    "AnswerText": text(row + each, "Answer. "),
                                }
                            }
                            for each, rank in enumerate((3, 2 if row == 4 else 1, 1 if row == 2 else 4))
                        ],
                    }
                }
                for row in ROWS
            ],
            "mediqa.parquet",
        ),
        tables={"test": "mediqa.parquet"},
    ),
    *(
        Case(
            f"med_dialog:subset={subset}",
            "med_dialog_scenario",
            as_json(
                {"data": [{"id": row, "src": text(row, "Patient: "), "tgt": text(row + 1)} for row in ROWS]}, "d.json"
            ),
            {f"{subset}/test.json": "d.json"},
        )
        for subset in ("healthcaremagic", "icliniq")
    ),
    Case(
        "medhallu:",
        "medhallu_scenario",
        as_parquet(
            [
                {
                    "Question": text(row, "Does it? "),
                    "Knowledge": [text(row), text(row + 1), "it's \x1f 𝐀 \u2009"],
                    "Ground Truth": text(row, "Yes. "),
                    "Difficulty Level": "hard",
                    "Hallucinated Answer": text(row, "No. "),
                    "Category of Hallucination": "c",
                }
                for row in ROWS
            ],
            "medhallu.parquet",
        ),
        tables={"train": "medhallu.parquet"},
    ),
    Case(
        "medhelm_med_qa:",
        "med_qa_scenario",
        exams,
        {"drive.google.com": "."},
        {"train": "medqa_train.parquet", "dev": "medqa_dev.parquet", "test": "medqa_test.parquet"},
    ),
    Case(
        "medhelm_med_mcqa:",
        "med_mcqa_scenario",
        exams,
        {"drive.google.com": "."},
        {"train": "mcqa_train.parquet", "validation": "mcqa_dev.parquet"},
    ),
    Case(
        "pubmed_qa:",
        "pubmed_qa_scenario",
        abstracts,
        {"ori_pqal.json": "pqal.json"},
        {"train": "pqal.parquet"},
    ),
    Case(
        "race_based_med:",
        "race_based_med_scenario",
        race_document,
        {"MOESM1_ESM.docx": "word"},
        said={"missing": ["docx"], "output": {"race_based.csv": "race.csv"}},
    ),
)


def long_text(number: int) -> str:
    return "  ".join(text(number + each, f"{each}") for each in range(14))


FINANCE = (
    Case(
        "fin_qa:",
        "fin_qa_scenario",
        together(
            *(
                as_json(
                    [
                        {
                            "pre_text": [text(row), text(row + 1)],
                            "post_text": [text(row + 2)],
                            "table": [["", "2006", text(row)], ["sales \U0001f600 \u007f", "$ 1", "b\\c/"]],
                            "qa": {
                                "question": text(row, "What? "),
                                "program": f"divide({row}, 2)",
                                "exe_ans": "yes" if row == 3 else 1e-05 if row == 4 else row / 7,
                            },
                        }
                        for row in ROWS
                    ],
                    f"{split}.json",
                )
                for split in ("train", "test")
            )
        ),
        {"train.json": "train.json", "test.json": "test.json"},
    ),
    Case(
        "banking77:",
        "banking77_scenario",
        intents,
        {"prompt_construction_settings": "settings.json"},
        {"train": "train.parquet", "test": "test.parquet"},
        {"run_spec_module": "raft_scenario", "names": {"label": sorted(INTENTS, key=str.lower)}},
    ),
    Case(
        "financebench:",
        "financebench_scenario",
        as_lines(
            [
                {
                    "financebench_id": f"financebench_id_{row:05}",
                    "question": text(row, "How? "),
                    "answer": text(row),
                    "evidence": [{"evidence_text": "x", "evidence_text_full_page": text(row, "Page. ")}],
                    "company": "C",
                }
                for row in range(18)
            ],
            "open.jsonl",
        ),
        {"financebench_open_source": "open.jsonl"},
    ),
    Case(
        "air_bench_2024:",
        "air_bench_scenario",
        as_parquet(
            [
                {
                    "cate-idx": f"{row}.2.3",
                    "l2-name": text(row),
                    "l3-name": "l3",
                    "l4-name": "l4",
                    "prompt": text(row, "Do. "),
                }
                for row in ROWS
            ],
            "air.parquet",
        ),
        tables={"test": "air.parquet"},
    ),
    *(
        Case(
            f"gold_commodity_news:category={category}",
            "gold_commodity_news_scenario",
            as_csv(
                [
                    {
                        "Dates": "2020",
                        "URL": "u",
                        "News": text(row, f"{row} "),
                        **{
                            name: (row + each) % 2
                            for each, name in enumerate(
                                (
                                    "Price or Not",
                                    "Direction Up",
                                    "Direction Constant",
                                    "Direction Down",
                                    "PastPrice",
                                    "FuturePrice",
                                    "PastNews",
                                    "FutureNews",
                                    "Asset Comparision",
                                )
                            )
                        },
                    }
                    for row in range(25)
                ],
                "finalDataset_0208.csv",
            ),
            {"gold-commodity-news": "finalDataset_0208.csv"},
        )
        for category in ("price_or_not", "past_news", "assert_comparison")
    ),
    *(
        Case(
            f"financial_phrasebank:agreement={agreement}",
            "financial_phrasebank_scenario",
            lambda folder: [
                written(
                    "".join(
                        f"{row} sales rose 5 % @ night; it's \u00e9 .@{label}\r\n"
                        for row in range(20)
                        for label in [("positive", "neutral", "negative")[row % 3]]
                    ),
                    folder / f"FinancialPhraseBank-v1.0/Sentences_{name}Agree.txt",
                    encoding="latin-1",
                )
                for name in ("50", "66", "75", "All")
            ],
            {"FinancialPhraseBank-v1.0.zip": "."},
            said={"splits": ["train", "test"]},
        )
        for agreement in (50, 100)
    ),
    Case(
        "conv_fin_qa_calc:",
        "conv_fin_qa_calc_scenario",
        together(
            *(
                as_json(
                    [
                        {
                            "table": [["", "2006"], [text(row), "1"]],
                            "annotation": {
                                ("gold_ind" if row % 2 else "gold_inds"): {
                                    "text_2": text(row),
                                    "table_1": "t",
                                    "text_1": "b",
                                },
                                "cur_dial": ["first?", "second?", text(row)][: row % 3 + 1],
                                "exe_ans_list": [1e-05, "yes", 3.0],
                                "exe_ans": ["no", 0.14136, 127.0, 5][row % 4],
                            },
                        }
                        for row in ROWS
                    ],
                    f"{split}_turn.json",
                )
                for split in ("train", "dev")
            )
        ),
        {"data.zip": "."},
    ),
    Case(
        "kpi_edgar:",
        "kpi_edgar_scenario",
        as_json(
            [
                {
                    "segments": [
                        {"sentences": None},
                        {
                            "sentences": [
                                {
                                    "split_type": [None, "train", "test", "valid"][row % 4],
                                    "words": [{"value": word} for word in ("Total", "[net]", "cost", str(row), "é")],
                                    "entities_anno": [
                                        {"type_": "kpi", "start": 0, "end": 3, "id": 1},
                                        {"type_": "cy" if row % 3 else "thereof", "start": 3, "end": 4},
                                    ]
                                    if row != 5
                                    else [],
                                }
                                for row in range(document, document + 9)
                            ]
                        },
                    ]
                }
                for document in (0, 20, 40)
            ],
            "kpi.json",
        ),
        {"kpi_edgar.json": "kpi.json"},
    ),
    Case(
        "legal_contract_summarization:",
        "legal_contract_summarization_scenario",
        as_json(
            {
                f"legalsum{row}": {
                    "uid": f"legalsum{row}",
                    "original_text": text(row, "The\n\nparties "),
                    "reference_summary": None if row == 3 else text(row, "You "),
                    "title": "t",
                }
                for row in (5, 2, 3, *range(6, 20))
            },
            "all.json",
        ),
        {"all_v1.json": "all.json"},
    ),
    Case(
        "legal_opinion_sentiment_classification:",
        "legal_opinion_sentiment_classification_scenario",
        together(
            as_csv([{"Phrase": text(row, f"{row} "), "Label": row % 3 - row // 6} for row in range(9)], "train.csv"),
            as_csv([{"sentence": text(row, f"{row} "), "label": row % 3} for row in ROWS], "test.csv"),
        ),
        {"hfn62": "train.csv", "q4adh": "test.csv"},
        said={"sheets": True},
    ),
    Case(
        "casehold:",
        "casehold_scenario",
        together(
            *(
                as_parquet(
                    [
                        {
                            "example_id": row + start,
                            "citing_prompt": text(row, "See "),
                            **{f"holding_{each}": text(row + each, f"holding {each} ") for each in range(5)},
                            "label": str(row % 5),
                        }
                        for row in ROWS
                    ],
                    f"{split}.parquet",
                )
                for split, start in (("train", 0), ("test", 6))
            )
        ),
        tables={"train": "train.parquet", "test": "test.parquet"},
    ),
    Case(
        "echr_judgment_classification:",
        "echr_judgment_classification_scenario",
        lambda folder: [
            written(
                json.dumps(
                    {
                        "TEXT": [f"{row}. {text(row)}"] * (90 if row == 2 else 2),
                        "VIOLATED_ARTICLES": ["6"] if row % 2 else [],
                    }
                ),
                folder / f"EN_{split}/{row:03}.json",
            )
            for split in ("train", "dev", "test")
            for row in ROWS
        ],
        {"ECHR_Dataset.zip": "."},
        said={"sorted": True},
    ),
    Case(
        "sumosum:",
        "sumosum_scenario",
        lambda folder: [
            as_csv(
                [
                    {"a": "Claim_id", "b": "Claim", "c": "Title", "d": "Doc_text", "e": "Label"},
                    *(
                        {
                            "a": str(row),
                            "b": "claim",
                            "c": text(row, f"{row} _x000D_\n"),
                            "d": None if row == 4 else "short" if row == 7 else long_text(row),
                            "e": "True",
                        }
                        for row in range(14)
                    ),
                ],
                "sumo.csv",
            )(folder)
        ],
        {"climate_claims_raw": "sumo.csv"},
        said={"sheets": True, "missing": ["openpyxl"]},
    ),
    Case(
        "cti_to_mitre:",
        "cti_to_mitre_scenario",
        together(
            as_csv(
                [
                    {
                        "sentence": text(row, f"{row} "),
                        "label_tec": f"T{row % 12:04}",
                        "label_subtec": "x",
                        "tec_name": "n",
                    }
                    for row in range(30)
                ],
                "cti.csv",
            ),
            as_json(
                {
                    "objects": [
                        {"type": "malware", "name": "m"},
                        *(
                            {
                                "type": "attack-pattern",
                                "name": f"Technique {each}",
                                "x_mitre_is_subtechnique": each > 11,
                                "external_references": [
                                    {"source_name": "other", "external_id": "o"},
                                    {"source_name": "mitre-attack", "external_id": f"T{each:04}"},
                                ],
                            }
                            for each in range(15)
                        ),
                        {"type": "attack-pattern", "name": "no flag", "external_references": []},
                    ]
                },
                "attack.json",
            ),
        ),
        {"dataset.csv": "cti.csv", "enterprise-attack.json": "attack.json"},
    ),
)


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[helm_peer.Peer]:
    """crfm-helm with all that its run specs import."""
    python = eval_peers.made_venv(helm_run_peer.HELM_RUN, ["crfm-helm==0.5.16"])
    with helm_peer.running("helm_scenario_child.py", {}, tmp_path_factory.mktemp("helm"), python=python) as peer:
        yield peer


@pytest.mark.parametrize("case", MEDHELM, ids=lambda case: case.entry)
def test_4_requests_of_medhelm_equal_helms(
    helm: helm_peer.Peer, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(helm, case, tmp_path, monkeypatch, "4")


@pytest.mark.parametrize("case", FINANCE, ids=lambda case: case.entry)
def test_4_requests_of_finance_and_enterprise_equal_helms(
    helm: helm_peer.Peer, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(helm, case, tmp_path, monkeypatch, "4")


CONFS = ("medhelm_public", "medhelm_dspy", "biomedical", "multimed_qa", "finance")


@pytest.mark.shared
def test_4_entries_become_plans(shared: Path) -> None:
    counts = compare_entries(shared, CONFS, "4")
    assert all(plans == entries for plans, entries in counts.values())
