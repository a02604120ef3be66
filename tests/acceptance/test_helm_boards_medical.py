"""MedHELM's public scenarios, HELM Finance and Enterprise: prompts equal to crfm-helm's, and entries as plans."""

from collections.abc import Iterator
from pathlib import Path
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
    text,
    together,
)
from tests.acceptance.helm_raw_files import written

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
    runs = (escape(part).replace("\n", "</w:t><w:br/><w:t>").replace("\t", "</w:t><w:tab/><w:t>") for part in (line[:3], line[3:]))
    style = '<w:pPr><w:rPr><w:color w:val="FF0000"/></w:rPr></w:pPr>'
    xml = "".join(f'<w:r>{color}<w:t xml:space="preserve">{run}</w:t></w:r>' for run in runs)
    return f'<w:p w:rsidR="1">{style}{xml}</w:p>'


MEDHELM = (
    Case(
        "head_qa:", "headqa_scenario",
        as_parquet(
            [
                {
                    "name": f"exam {row}", "year": "2013", "category": "medicine" if row % 2 else "nursery", "qid": row,
                    "qtext": text(row, "Which? "), "ra": row % 4 + 1, "image": None,
                    "answers": [{"aid": each + 1, "atext": text(row + each, f"{each} ")} for each in range(4)],
                }
                for row in ROWS
            ],
            "head.parquet",
            {"image": pl.Struct({"bytes": pl.Binary, "path": pl.String})},
        ),
        tables={"test": "head.parquet"}, said={"values": {"language": "en"}},
    ),
    Case(
        "medbullets:", "medbullets_scenario",
        as_csv(
            [
                {
                    "question": text(row, "A case. "), **{f"op{each}": text(row + ord(each), each) for each in "abcd"},
                    "ope": "" if row == 2 else "none of these", "answer_idx": "ABCDE"[row % 5], "answer": "x",
                    "explanation": text(row), "link": "u",
                }
                for row in ROWS
            ],
            "op5.csv",
        ),
        {"medbullets_op5": "op5.csv"},
    ),
    Case(
        "medcalc_bench:", "medcalc_bench_scenario",
        as_parquet(
            [
                {
                    "Row Number": row + 1, "Category": "risk", "Patient Note": text(row, "Note. "),
                    "Question": text(row, "Score? "), "Ground Truth Answer": str(row), "Lower Limit": "1",
                    "Upper Limit": "2",
                }
                for row in ROWS
            ],
            "medcalc.parquet",
        ),
        tables={"test": "medcalc.parquet"},
    ),
    Case(
        "medec:", "medec_scenario",
        as_csv(
            [
                {
                    "Text ID": f"ms-{row}", "Text": "t", "Sentences": f"0 {text(row)}\n1 More text.\n",
                    "Error Flag": int(row % 2), "Error Type": "NA", "Error Sentence ID": row - 1 if row % 2 else -1,
                    "Error Sentence": "x", "Corrected Sentence": text(row, "Right: ") if row % 2 else "NA",
                    "Corrected Text": "NA",
                }
                for row in ROWS
            ],
            "medec.csv",
        ),
        {"MEDEC-MS-TestSet": "medec.csv"},
    ),
    Case(
        "medication_qa:", "medication_qa_scenario",
        as_csv(
            [
                {
                    "Question": text(row, "how? "), "Focus (Drug)": "drug", "Question Type": "dose",
                    "Answer": None if row == 4 else text(row + 1, "so: "), "Section Title": "t", "URL": "u",
                }
                for row in range(7)
            ],
            "medication.csv",
        ),
        {"MedInfo2019": "medication.csv"}, said={"sheets": True},
    ),
    *(
        Case(
            f"mtsamples_{name}:", f"mtsamples_{name}_scenario", notes, {"benchmarkdata": "notes"},
            said={"responses": "notes"},
        )
        for name in ("replicate", "procedures")
    ),
    Case(
        "aci_bench:", "aci_bench_scenario",
        together(
            *(
                as_json({"data": [{"src": text(row, f"{name} "), "tgt": text(row + 1), "file": "f"} for row in ROWS]}, name)
                for name in ("train.json", "one.json", "two.json", "three.json")
            )
        ),
        {"train_full": "train.json", "taskB_test1": "one.json", "taskC_test3": "two.json", "taskC_test2": "three.json"},
    ),
    Case(
        "medi_qa:", "medi_qa_scenario",
        as_parquet(
            [
                {
                    "QUESTION": {
                        "QID": str(row + 1), "QuestionText": text(row, "Question? "),
                        "AnswerList": [
                            {
                                "Answer": {
                                    "AID": f"{row}_{each}", "SystemRank": each, "ReferenceRank": rank, "ReferenceScore": 4,
                                    "AnswerURL": "u", "AnswerText": text(row + each, "Answer. "),
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
            f"med_dialog:subset={subset}", "med_dialog_scenario",
            as_json({"data": [{"id": row, "src": text(row, "Patient: "), "tgt": text(row + 1)} for row in ROWS]}, "d.json"),
            {f"{subset}/test.json": "d.json"},
        )
        for subset in ("healthcaremagic", "icliniq")
    ),
    Case(
        "medhallu:", "medhallu_scenario",
        as_parquet(
            [
                {
                    "Question": text(row, "Does it? "), "Knowledge": [text(row), text(row + 1), "it's \x1f 𝐀 \u2009"],
                    "Ground Truth": text(row, "Yes. "), "Difficulty Level": "hard",
                    "Hallucinated Answer": text(row, "No. "), "Category of Hallucination": "c",
                }
                for row in ROWS
            ],
            "medhallu.parquet",
        ),
        tables={"train": "medhallu.parquet"},
    ),
    Case(
        "race_based_med:", "race_based_med_scenario", race_document, {"MOESM1_ESM.docx": "word"},
        said={"missing": ["docx"], "output": {"race_based.csv": "race.csv"}},
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[helm_peer.Peer]:
    """crfm-helm with all that its run specs import."""
    python = eval_peers.made_venv(helm_run_peer.HELM_RUN, ["crfm-helm==0.5.16"])
    with helm_peer.running("helm_entries_child.py", {}, tmp_path_factory.mktemp("helm"), python=python) as peer:
        yield peer


@pytest.mark.parametrize("case", MEDHELM, ids=lambda case: case.entry)
def test_4_requests_of_medhelm_equal_helms(
    helm: helm_peer.Peer, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(helm, case, tmp_path, monkeypatch, "4")


_ = TEXTS, as_lines
