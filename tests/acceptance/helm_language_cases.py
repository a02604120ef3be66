"""Synthetic rows of HELM's boards of other languages, in the schema and layout of their sources."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from helmframe._core.specs import ScenarioSpec
from helmframe.scenarios.raw import fill_layout
from tests.acceptance.helm_raw_files import kept, lines, table, written

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Case:
    """One entry of HELM's, and what writes the rows that HELM and the mirror read.

    Args:
        entry: The entry, without a model.
        module: HELM's module of the scenario.
        make: A function of our spec and a folder. It writes the rows below `source` in the folder, and returns what
            `helm_scenario_child` reads.
        numbered: Whether ids equal HELM's. They don't if HELM numbers only the rows that it uses.
        ordered: Whether HELM's instances have an order.
    """

    entry: str
    module: str
    make: Callable[[ScenarioSpec, Path], dict[str, Any]]
    numbered: bool = True
    ordered: bool = True


def hub(
    name: str, tables: Mapping[str, Rows], configuration: str = "default", **values: str
) -> Callable[[ScenarioSpec, Path], dict[str, Any]]:
    """Return a `make` for a data set of the Hub: split → rows, in one configuration.

    `values` are the other columns in the path of our rows.
    """
    return hubs(name, {configuration: (tables, values)})


def hubs(
    name: str, configurations: Mapping[str, tuple[Mapping[str, Rows], Mapping[str, str]]]
) -> Callable[[ScenarioSpec, Path], dict[str, Any]]:
    """Return a `make` for a data set of the Hub: configuration → splits with rows, and columns of our path."""

    def make(spec: ScenarioSpec, folder: Path) -> dict[str, Any]:
        paths: dict[str, dict[str, str]] = {}
        for configuration, (tables, values) in configurations.items():
            for split, rows in tables.items():
                frame = pl.DataFrame(list(rows), infer_schema_length=None)
                path = kept(frame, folder / "raw" / configuration / f"{split}.parquet")
                paths.setdefault(configuration, {})[split] = path
                stored(spec, folder, frame, {**values, "split": split})
        return {"files": {}, "hub": {name: paths}}

    return make


def stored(
    spec: ScenarioSpec, folder: Path, rows: pl.DataFrame | Rows, values: Mapping[str, str],
    tables: Mapping[str, pl.DataFrame] | None = None,
) -> None:  # fmt: skip
    """Write the rows of one file of the publisher as our source, in the spec's layout."""
    layout = str(dict(spec.source)["rows"]).removeprefix("{data}/")
    path = folder / "source" / fill_layout(layout, values, "00000-of-00001")
    kept(selected(spec, rows, values, tables), path)


def selected(
    spec: ScenarioSpec, rows: pl.DataFrame | Rows, values: Mapping[str, str],
    tables: Mapping[str, pl.DataFrame] | None = None,
) -> pl.DataFrame:  # fmt: skip
    """Return the rows of one file of the publisher with the spec's columns: by the SELECT of `download`."""
    frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(list(rows), infer_schema_length=None)
    select = next((entry.select for entry in spec.download if _of_file(entry.values, values)), "")
    if not select:
        return frame
    connection = duckdb.connect()
    for name, content in {"rows": frame, **(tables or {})}.items():
        connection.register(name, content.to_arrow())
    return pl.DataFrame(pl.from_arrow(connection.sql(select).to_arrow_table()))


def _of_file(entry: Any, values: Mapping[str, str]) -> bool:
    constants = {name: value for name, value in entry if isinstance(value, str)}
    return all(values.get(name, value) == value for name, value in constants.items())


def raw(
    write: Callable[[Path], Mapping[str, str]], rows: Sequence[tuple[Mapping[str, str], Rows]], tables: Any = None
) -> Callable[[ScenarioSpec, Path], dict[str, Any]]:
    """Return a `make` for files that HELM downloads.

    Args:
        write: A function that writes HELM's files below a folder and returns part of a URL → path.
        rows: The columns in our path, and the rows of that file as DuckDB reads them.
        tables: The further tables of the `download`, a function of these columns.
    """

    def make(spec: ScenarioSpec, folder: Path) -> dict[str, Any]:
        for values, frame in rows:
            stored(spec, folder, frame, values, tables(values) if tables else None)
        return {"files": dict(write(folder / "raw")), "hub": {}}

    return make


def generated(_: ScenarioSpec, __: Path) -> dict[str, Any]:
    """Return nothing to read: HELM generates the rows."""
    return {"files": {}, "hub": {}}


def text(*parts: object) -> str:
    """Return a text with characters that are easy to damage: spaces at the ends, quotes, line ends, other scripts."""
    return f" «{' '.join(map(str, parts))}» 'é' \"ا\"\nñ ดี "


# -- Arabic ------------------------------------------------------------------------------------------------------------


def arabic_exam(n: int, *, numbers: bool = False) -> list[dict[str, Any]]:
    """Rows of ArabicMMLU and MadinahQA: passages and options may be missing, and options may be numbers."""
    options: list[list[Any]] = [
        [index + 1.0, 2.5, 0.0, None, None] if numbers else [text("o", index, i) for i in range(3)] + ["", None]
        for index in range(n)
    ]
    return [
        {
            "Question": text("q", index),
            "Context": [None, " ", text("passage", index)][index % 3],
            **{f"Option {i + 1}": option for i, option in enumerate(options[index])},
            "Answer Key": "AB"[index % 2],
        }
        for index in range(n)
    ]


def alghafa(n: int, options: int) -> list[dict[str, Any]]:
    return [
        {"query": text("q", i), **{f"sol{k + 1}": text("o", i, k) for k in range(options)}, "label": str(i % options)}
        for i in range(n)
    ]


def aratrust() -> list[dict[str, Any]]:
    rows = [
        {
            "Category": ["Ethics", "Mental Health", "Privacy"][i % 3],
            "Question": text("q", i),
            "A": f" أ) {text('a', i)}",
            "B": f"ب)\u00a0(b) {i}\n",
            "C": f"ج){i}",
            "Answer": ["أ", " ب ", "ا", "ج\n"][i % 4],
        }
        for i in range(12)
    ]
    rows[4]["C"] = ""
    return rows


TRANSLATED = [
    {"question": text("q", i), "choices": [text("o", i, k) for k in range(4)], "answer": i % 4} for i in range(5)
]
EXAMS = [
    {
        "id": f"{['Biology', 'Islamic Studies', 'Physics'][i % 3]}-{i:03}",
        "question": text("q", i),
        **{letter: text(letter, i) for letter in "ABCD"},
        "answer": "ABCD@"[i % 5],
    }
    for i in range(30)
]
CANDIDATES = [
    {"id": f"r{i}", "question": text("q", i), "candidates": text("c", i), "gold_answer": text("a", i)} for i in range(5)
]
ARTICLES = [
    {
        "id": str(i), "category": "ab"[i % 2], "facts": text("f", i), "style": text("s", i),
        "text": f"\n{text('t', i)}\u00a0",
    }
    for i in range(10)
]  # fmt: skip
LEGAL = [{"context": text("c", i), "question": text("q", i), "answer": text("a", i)} for i in range(5)]


def finance() -> list[dict[str, Any]]:
    rows = []
    for i in range(15):
        task = ["mcq", "bool", "calcu"][i % 3]
        choices = "A. {0} 1\nB. {0} 2\nC. {0} 3"
        truth = {"mcq": "ABC"[i % 3], "bool": ["1", "0", "1.0"][i % 3], "calcu": f"{i}.5"}[task]
        rows.append(
            {
                "id": f"f{i}", "task": task, "question": text("en", i), "question_ar": text("ar", i),
                "choice": choices.format("en") if task == "mcq" else None,
                "choice_ar": choices.format("ار") if task == "mcq" else None,
                "ground_truth": truth, "ground_truth_ar": truth,
            }
        )  # fmt: skip
    return rows


ARABIC_FORM = ",output_format_instructions=arabic_mcqa"
ARABIC_EXAM, MATH = "Arabic Language (General)", "Math (Primary School)"
ENTERPRISE = "stanford-crfm/arabic-enterprise"
ARABIC = [
    Case(
        f"arabic_mmlu:subset=Arabic_Language_(General){ARABIC_FORM},max_train_instances=0", "arabic_mmlu_scenario",
        hub("MBZUAI/ArabicMMLU", {"dev": arabic_exam(3), "test": arabic_exam(5)}, ARABIC_EXAM,
            subset="Arabic_Language_(General)"),
    ),
    Case(
        "arabic_mmlu:subset=Math_(Primary_School)", "arabic_mmlu_scenario",
        hub("MBZUAI/ArabicMMLU", {"dev": arabic_exam(3, numbers=True), "test": arabic_exam(5, numbers=True)}, MATH,
            subset="Math_(Primary_School)"),
    ),
    Case(
        "madinah_qa:subset=Arabic_Language_(General)", "madinah_qa_scenario",
        hub("MBZUAI/MadinahQA", {"dev": arabic_exam(6), "test": arabic_exam(5)}, ARABIC_EXAM,
            subset="Arabic_Language_(General)"),
    ),
    *(
        Case(
            f"alghafa:subset={subset}{more}", "alghafa_scenario",
            hub("OALL/AlGhafa-Arabic-LLM-Benchmark-Native",
                {"validation": alghafa(5, options), "test": alghafa(5, options)}, subset, subset=subset),
        )
        for subset, options, more in (
            ("mcq_exams_test_ar", 4, f"{ARABIC_FORM},max_train_instances=0"),
            ("multiple_choice_sentiment_task", 3, ""),
            ("multiple_choice_grounded_statement_soqal_task", 5, ",max_train_instances=2"),
        )
    ),
    *(
        Case(f"aratrust:category={category}", "aratrust_scenario", hub("asas-ai/AraTrust", {"test": aratrust()}))
        for category in ("Mental_Health", "Ethics", "all")
    ),
    Case(
        f"mbzuai_human_translated_arabic_mmlu:subject=abstract_algebra{ARABIC_FORM},max_train_instances=0",
        "mbzuai_human_translated_arabic_mmlu",
        hub("MBZUAI/human_translated_arabic_mmlu", {"test": TRANSLATED}, "abstract_algebra",
            subject="abstract_algebra"),
    ),
    *(
        Case(
            f"arabic_exams:subject={subject}", "arabic_exams_scenario",
            hub("OALL/Arabic_EXAMS", {"validation": EXAMS[:15], "test": EXAMS[15:]}),
        )
        for subject in ("Biology", "Islamic_Studies", "all")
    ),
    Case("alrage:max_train_instances=0", "alrage_scenario", hub("OALL/ALRAGE", {"train": CANDIDATES})),
    *(
        Case(
            f"arabic_content_generation:{more}", "arabic_content_generation_scenario",
            hub(ENTERPRISE, {"test": ARTICLES}, "content_generation"),
        )
        for more in ("", "category=a")
    ),
    *(
        Case(f"arabic_legal_{task}:", "arabic_legal_scenario", hub(ENTERPRISE, {"test": LEGAL}, "legal"))
        for task in ("qa", "rag")
    ),
    *(
        Case(
            f"arabic_finance_{task}:{more}", "arabic_finance_scenario",
            hub(ENTERPRISE, {"test": finance()}, "finance"),
        )
        for task in ("mcq", "bool", "calculation") for more in ("", "lang=en")
    ),
]  # fmt: skip


# -- Portuguese, Thai, African languages, EXAMS ------------------------------------------------------------------------


def lettered(n: int, letters: str, **more: Any) -> list[dict[str, Any]]:
    """Rows of ENEM and of the bar exam; two options may have the same text."""
    return [
        {
            "question": text("q", i),
            "choices": {"text": [text("o", i, k // 2 if i % 3 == 0 else k) for k in range(len(letters))],
                        "label": list(letters)},
            "answerKey": letters[i % len(letters)],
            **more,
        }
        for i in range(n)
    ]  # fmt: skip


BLUEX = [
    {
        "question": text("q", i),
        "alternatives": [f" {letter} ) {text('o', i, letter)}\u00a0" for letter in "abcde"] + ["no letter", f"A){i}"],
        "answer": "ABCDEX"[i % 6],
        "has_associated_images": i % 4 == 3,
    }
    for i in range(16)
]
HEALTH = [
    {
        "question": f"\n{text('q', i)}\n'A': 'one {i}'\n'B':\t'two \"x\"'\n'C': 'three'{', ' * i}\n'A': 'last'",
        "answer": " abcz"[1 + i % 4] + " ",
    }
    for i in range(8)
] + [{"question": "no options", "answer": "A"}]
IMDB = [{"text": text("review", i), "label": i % 2} for i in range(12)]
TWEETS = [{"sentence": text("t", i), "label": ["Positive", "Neutral", "Negative"][i % 3]} for i in range(12)]
PORTUGUESE = [
    Case("bluex:", "bluex_scenario", hub("portuguese-benchmark-datasets/BLUEX", {"questions": BLUEX})),
    Case(
        "enem_challenge:", "enem_challenge_scenario",
        hub("eduagarcia/enem_challenge", {"train": [
            *lettered(5, "ABCDE"), *({**row, "answerKey": "ANULADO"} for row in lettered(2, "ABCDE")),
            *lettered(5, "ABCDE"),
        ]}),
    ),
    Case(
        "oab_exams:", "oab_exams_scenario",
        hub("eduagarcia/oab_exams", {"train": [
            *lettered(5, "ABCD", nullified=False), *lettered(2, "ABCD", nullified=True),
            *lettered(5, "ABCD", nullified=None),
        ]}),
    ),
    Case("healthqa_br:", "healthqa_br_scenario", hub("Larxel/healthqa-br", {"train": HEALTH})),
    *(
        Case(f"imdb_ptbr:{more}", "imdb_ptbr_scenario", hub("maritaca-ai/imdb_pt", {"train": IMDB, "test": IMDB[:5]}))
        for more in ("", "max_train_instances=0")
    ),
    Case(
        "tweetsentbr:", "tweetsentbr_scenario",
        hub("eduagarcia/tweetsentbr_fewshot", {"train": TWEETS, "test": TWEETS[:5]}),
    ),
]  # fmt: skip

THAI_ROWS = [
    {
        "question": text("q", i), **{letter: text(letter, i) for letter in "abcd"}, "e": "" if i % 2 else text("e", i),
        "answer": "abCd"[i % 4],
    }
    for i in range(8)
]  # fmt: skip


def thai(exam: str, letters: int) -> Callable[[ScenarioSpec, Path], dict[str, Any]]:
    names = ["question", *"abcde"[:letters], "answer"]
    rows = [{name: row[name] for name in names} for row in THAI_ROWS]

    def write(folder: Path) -> dict[str, str]:
        for split, part in (("train", rows), ("test", rows[:5])):
            lines(part, folder / exam / f"{exam}_{split}.jsonl")
        return {"thai_exam.tar.gz": str(folder)}

    return raw(write, [({"exam": exam, "split": "train"}, rows), ({"exam": exam, "split": "test"}, rows[:5])])


AFR_ROWS = [
    [text("q", i), *(["0.50", "007", text("c", i), "-"] if i % 2 else [text(k, i) for k in "abcd"]), "ABCD"[i % 4]]
    for i in range(6)
]
GAPS = [
    ["qID", "English Sentence", "English Option 1", "English Option 2", "Sentence", "Option 1", "Option 2", "Answer",
     "Split"],
    *(
        [f"id{i}", "en", "one", "two", text("_ s", i), text("a", i), text("b", i // 2 * 2), "12"[i % 2],
         ["test", "dev", "train_s"][i % 3]]
        for i in range(18)
    ),
]  # fmt: skip


def columns(rows: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Return rows with the names that DuckDB has for columns without a header."""
    return [{f"column{i}": value for i, value in enumerate(row)} for row in rows]


def clinical(folder: Path) -> dict[str, str]:
    for split, rows in (("dev", AFR_ROWS), ("val", AFR_ROWS[:2]), ("test", AFR_ROWS[:5])):
        table(rows, folder / "mmlu_cm_ck_vir" / f"virology_{split}_nso.csv")
    return {"evaluation_benchmarks_afr_release.zip": str(folder)}


def gaps(folder: Path) -> dict[str, str]:
    table(GAPS, folder / "winogrande_s/winogrande_zu.csv")
    return {"evaluation_benchmarks_afr_release.zip": str(folder)}


EXAMS_ROWS = [
    {
        "id": f"x{i}",
        "question": {
            "stem": text("q", i),
            "choices": {"text": [text(k, i) for k in "abcd"], "label": list("ABCD"), "para": [""] * 4},
        },
        "answerKey": "ABCD@"[i % 5],
        "info": {
            "grade": 12, "subject": ["Biology", "Fine Arts"][i % 2], "language": ["Croatian", "Polish"][i // 2 % 2],
        },
    }
    for i in range(40)
]  # fmt: skip
OTHERS = [
    *(
        Case(f"thai_exam:exam={exam}{more}", "thai_exam_scenario", thai(exam, letters))
        for exam, letters, more in (
            ("onet", 5, ""), ("ic", 4, ",method=multiple_choice_joint"), ("a_level", 5, ",max_train_instances=2"),
        )
    ),
    *(
        Case(
            f"mmlu_clinical_afr:subject=virology,lang=nso{more}", "mmlu_clinical_afr_scenario",
            raw(clinical, [
                ({"subject": "virology", "lang": "nso", "split": split}, columns(rows))
                for split, rows in (("dev", AFR_ROWS), ("val", AFR_ROWS[:2]), ("test", AFR_ROWS[:5]))
            ]),
        )
        for more in ("", ",output_format_instructions=mcqa_only_last_question")
    ),
    *(
        Case(
            f"winogrande_afr:lang=zu{more}", "winogrande_afr_scenario",
            raw(gaps, [({"lang": "zu"}, columns(GAPS))]),
        )
        for more in ("", ",output_format_instructions=mcqa_only_last_question")
    ),
    *(
        Case(
            f"exams_multilingual:language={language},subject={subject}", "exams_multilingual_scenario",
            hub("mhardalov/exams", {"train": EXAMS_ROWS[:20], "validation": EXAMS_ROWS[20:30], "test": EXAMS_ROWS[30:]},
                "multilingual"),
        )
        for language, subject in (("Croatian", "Biology"), ("all", "Fine Arts"), ("Polish", "all"), ("all", "all"))
    ),
]  # fmt: skip


# -- SEA-HELM ----------------------------------------------------------------------------------------------------------


def passages(n: int, **names: str) -> list[dict[str, Any]]:
    return [
        {
            names.get("context", "context"): text("p", i, "word " * (i % 50)),
            names.get("question", "question"): text("q", i),
            "answers": {"text": [text("a", i), f"b{i}"][: 1 + i % 2], "answer_start": [0, 1][: 1 + i % 2]},
        }
        for i in range(n)
    ]


def classified(n: int, name: str, label: str, labels: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows with labels of different frequency."""
    return [{name: text("t", i), label: labels[(i * i + i // 7) % len(labels)]} for i in range(n)]


TYDI = passages(300, context="passage_text", question="question_text")
INDIC = [row if i % 9 else {**row, "answers": {"text": [" "], "answer_start": [0]}} for i, row in
         enumerate(passages(1_400))]  # fmt: skip
NUSAX = classified(12, "text", "label", ["positive", "negative", "neutral"])
FEEDBACK = {
    "train": classified(20, "line", "label", "012"),
    "test": [{**row, "line": f"sentence {i}"} for i, row in enumerate(classified(1_200, "line", "label", "0112"))],
}
WISESIGHT = {
    "train": classified(12, "texts", "category", ["pos", "neg", "neu", "q"]),
    "test": classified(1_500, "texts", "category", ["pos", "neg", "neu", "q", "neu"]),
}
REVIEWS = [
    {"INDIC REVIEW": text("r", i), "LABEL": ["Positive", "Negative", None][i % 3]} for i in range(9)
]  # fmt: skip
HATE = [
    {"Tweet": f' tweet «{i}» é, "x" ', "HS": int(i % 4 == 0), "Abusive": int(i % 3 == 0), "HS_Weak": 0}
    for i in range(1_100)
]
VIHSD = {split: classified(1_300, "free_text", "label_id", [0, 0, 1, 2]) for split in ("train", "test")}
TOXIC = [
    {"id": str(i), "tweet_text": ["TWEET_NOT_FOUND", "", text("t", i), text("u", i)][i % 4], "is_toxic": i % 3 // 2}
    for i in range(2_400)
]
FLORES = {
    code: {
        split: [{"id": i + 1, "sentence": text(code, split, i)} for i in range(n)]
        for split, n in (("dev", 997), ("devtest", 5))
    }
    for code in ("eng_Latn", "ind_Latn", "tha_Thai")
}


def sentences(n: int, labels: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {"premise": text("p", i), "hypothesis": text("h", i), "label": labels[(i * i + i // 5) % len(labels)]}
        for i in range(n)
    ]


def situations(n: int, code: str) -> list[dict[str, Any]]:
    return [
        {
            "premise": text("p", code, i), "choice1": text("a", i), "choice2": text("b", i), "idx": i, "label": i % 2,
            "question": ["cause", "effect"][(i if code == "ta" else i + 1) % 2], "changed": False,
        }
        for i in range(n)
    ]  # fmt: skip


PAIRS = {
    "NPIs_and_negation": [("npi", 3), ("negation", 5)],
    "argument_structure": [("passive", 4), ("negation", 1)],
    "filler-gap_dependencies": [("gap", 4)],
    "morphology": [("affix", 6), ("other", 3)],
}
MINIMAL_PAIRS = {
    file: [
        {"correct": text("c", category, i), "wrong": text("w", category, i), "category": category, "id": i}
        for category, n in groups
        for i in range(n)
    ]
    for file, groups in PAIRS.items()
}


def pragmatics(kind: str) -> list[dict[str, Any]]:
    """Rows of two phenomena, of single statements or of pairs."""
    rows = []
    for i in range(8):
        row: dict[str, Any] = {
            "linguistic_phenomenon": ["presuppositions", "scalar_implicatures"][i % 2],
            "text": text("s", i),
        }
        if kind == "single":
            row |= {
                "question_translated": "benar atau salah", "choices": "True or False",
                "choices_translated": "Benar atau Salah", "label": ["True", "False"][i // 2 % 2],
            }  # fmt: skip
        else:
            row |= {"conclusion": text("c", i), "label": i % 4 < 2}
        rows.append(row)
    return rows


def one_file(part: str, write: Callable[[Path], str]) -> Callable[[Path], dict[str, str]]:
    return lambda folder: {part: write(folder)}


def header(rows: Rows) -> list[list[Any]]:
    return [list(rows[0]), *(list(row.values()) for row in rows)]


def latin(folder: Path) -> str:
    path = Path(table(header(HATE), folder / "re_dataset.csv"))
    path.write_bytes(path.read_text(encoding="utf-8").encode("latin-1"))
    return str(path)


def feedback(folder: Path) -> dict[str, str]:
    ids = {
        "1nzak5OkrheRV1ltOGCXkT671bmjODLhP": ("train", "line"), "1ye-gOZIBqXdKOoi_YxvpT6FeRNmViPPv": ("train", "label"),
        "1aNMOeZZbNwSRkjyCWAGtNCMa3YrshR-n": ("test", "line"), "1vkQS5gI0is4ACU58-AbWusnemw7KZNfO": ("test", "label"),
    }  # fmt: skip
    return {
        part: written("".join(f"{flat(row[name])}\n" for row in FEEDBACK[split]), folder / split / f"{name}.txt")
        for part, (split, name) in ids.items()
    }


def flat(value: str) -> str:
    return value.replace("\n", " ")


def in_archive(folder: Path, name: str, tables: Mapping[str, Rows], ending: str) -> str:
    for split, rows in tables.items():
        if ending == "jsonl":
            lines(rows, folder / name / f"{split}.jsonl")
        else:
            table(header(rows), folder / name / f"{split}.csv")
    return str(folder)


LANGUAGE_OF = {"tha_Thai": "th", "ind_Latn": "id"}
SEAHELM = [
    *(
        Case(
            f"tydiqa:{more}", "seahelm_scenario",
            hub("khalidalt/tydiqa-goldp", {"train": TYDI, "validation": TYDI[:5]}, "indonesian"),
        )
        for more in ("", "max_train_instances=0")
    ),
    *(
        Case(
            f"xquad:language={language}", "seahelm_scenario",
            hub("xquad", {"validation": passages(1_190)}, f"xquad.{language}"),
        )
        for language in ("th", "vi")
    ),
    Case("indicqa:", "seahelm_scenario", hub("ai4bharat/IndicQA", {"test": INDIC}, "indicqa.ta")),
    Case(
        "nusax:", "seahelm_scenario",
        raw(
            lambda folder: {
                f"{split}.csv": table(header(rows), folder / f"{split}.csv")
                for split, rows in (("train", NUSAX), ("test", NUSAX[:5]))
            },
            [({"split": "train"}, NUSAX), ({"split": "test"}, NUSAX[:5])],
        ),
    ),
    Case(
        "uitvsfc:", "seahelm_scenario",
        raw(
            feedback,
            [({"split": split}, [{"line": flat(row["line"])} for row in rows]) for split, rows in FEEDBACK.items()],
            tables=lambda values: {
                "sentiments": pl.DataFrame({"line": [row["label"] for row in FEEDBACK[values["split"]]]})
            },
        ),
    ),
    Case(
        "wisesight:", "seahelm_scenario",
        raw(
            one_file("data.zip", lambda folder: in_archive(folder, "data", WISESIGHT, "jsonl")),
            [({"split": split}, rows) for split, rows in WISESIGHT.items()],
        ),
    ),
    Case(
        "indicsentiment:", "seahelm_scenario",
        hub("ai4bharat/IndicSentiment", {"validation": REVIEWS, "test": REVIEWS[:5]}, "translation-ta"),
    ),
    Case("mlhsd:", "seahelm_scenario", raw(one_file("re_dataset.csv", latin), [({}, HATE)])),
    Case(
        "vihsd:", "seahelm_scenario",
        raw(
            one_file("vihsd.zip", lambda folder: in_archive(folder, "vihsd", VIHSD, "csv")),
            [({"split": split}, rows) for split, rows in VIHSD.items()],
        ),
    ),
    Case("thaitoxicitytweets:", "seahelm_scenario", hub("tmu-nlp/thai_toxicity_tweet", {"train": TOXIC})),
    *(
        Case(
            f"flores:source={source},target={target}{more}", "seahelm_scenario",
            hubs("facebook/flores", {code: (tables, {"code": code}) for code, tables in FLORES.items()}),
        )
        for source, target, more in (("en", "id", ""), ("th", "en", ",max_train_instances=0"))
    ),
    Case(
        "indonli:", "seahelm_scenario",
        raw(
            lambda folder: {
                "train.jsonl": lines(sentences(12, "ecn"), folder / "train.jsonl"),
                "test_lay.jsonl": lines(sentences(1_200, "eccn"), folder / "test_lay.jsonl"),
            },
            [({"split": "train"}, sentences(12, "ecn")), ({"split": "test"}, sentences(1_200, "eccn"))],
        ),
    ),
    *(
        Case(
            f"xnli:language={language}", "seahelm_scenario",
            hub("xnli", {"validation": sentences(12, [0, 1, 2]), "test": sentences(1_500, [0, 1, 2, 1])}, language,
                language=language),
        )
        for language in ("th", "vi")
    ),
    Case(
        "indicxnli:", "seahelm_scenario",
        hub("Divyanshu/indicxnli", {"validation": sentences(12, [0, 1, 2]), "test": sentences(1_500, [0, 1, 2, 1])},
            "ta"),
    ),
    *(
        Case(
            f"xcopa:language={language}", "seahelm_scenario",
            hubs("xcopa", {
                code: ({"validation": situations(100, code), "test": situations(5, code)}, {"code": code})
                for code in ("id", "ta", "th", "vi")
            }),
        )
        for language in ("id", "ta", "th", "vi")
    ),
    Case(
        "lindsea_syntax_minimal_pairs:method=mcq,language=id", "seahelm_scenario",
        raw(
            lambda folder: {file: lines(rows, folder / f"{file}.jsonl") for file, rows in MINIMAL_PAIRS.items()},
            [({"language": "id"}, [row for rows in MINIMAL_PAIRS.values() for row in rows])],
        ),
    ),
    *(
        Case(
            f"lindsea_pragmatics_{phenomenon}:language=id,subset={subset}", "seahelm_scenario",
            raw(
                lambda folder: {
                    f"pragmatic_reasoning_{kind}": lines(pragmatics(kind), folder / f"{kind}.jsonl")
                    for kind in ("single", "pair")
                },
                [({"language": "id", "subset": kind}, pragmatics(kind)) for kind in ("single", "pair")],
            ),
            numbered=False,
        )
        for phenomenon in ("presuppositions", "scalar_implicatures") for subset in ("all", "single", "pair")
    ),
]  # fmt: skip

# -- MELT and LMKT -----------------------------------------------------------------------------------------------------

NEWS = [
    {"article": text("a", i, "từ " * (20 * i)), "abstract": text("s", i), "source": text("a", i, "từ " * (20 * i)),
     "target": text("s", i)}
    for i in range(20)
]  # fmt: skip
MATH_ROWS = [
    {
        "level": f"Level {1 + i % 2}", "type": "Counting & Probability", "problem_vi": text("p", i),
        "solution_vi": [f"so $\\boxed{{\\frac{{{i}}}{{2}}}}$.", "no box"][i % 3 // 2],
    }
    for i in range(20)
]  # fmt: skip
TRANSLATED_PAIRS = [{"en": text("en", i), "vi": text("vi", i)} for i in range(12)]
SPELLING = [{"text": text("wrong", i), "correct": text("right", i)} for i in range(31)]
QUOTED = [
    {
        "article": text("a", i), "question": text("q", i), "answer": "ABCD"[i % 4],
        "options": str([f"it's {i}", 'say "x"', "both ' and \"", "é\\n\n"][i % 4 :] + ["b", "c", "d"][: i % 4]),
    }
    for i in range(12)
]  # fmt: skip
RUNS = [
    {"id": i, "query": text("q", i),
     "passages": {"id": [str(100 * i + k) for k in range(40)], "passage": [text("p", i, k) for k in range(40)]}}
    for i in range(5)
]  # fmt: skip
TRIPLES = [{"query": text("q", i), "positive": text("y", i), "negative": text("n", i)} for i in range(8)]
NORMS = [
    {
        "Country": ["new_zealand", "viet Nam", "egypt"][i % 3], "Background": text("b", i), "Story": text("s", i),
        "Gold Label": ["yes", "no", "neutral"][i % 3], "Explanation": ["", text("e", i)][i % 4 > 0],
    }
    for i in range(8)
]  # fmt: skip


PERSONAS = [
    {
        **({"age": 20 + i, "sex": "female"} if i else {}), "education": "higher", "social_class": "working class",
        "marital_status": "married", "responses": {"Q1": 1 + i % 3, "Q2": [0, 2, 9, None][i % 4], "Q3": "1", "Q9": 1},
    }
    for i in range(5)
]  # fmt: skip
SURVEY = {
    "Q1": {
        "description": "d",
        "options": [text("o", 1), "two", "three"],
        "questions": [text("v", k) for k in range(5)],
    },
    "Q2": {"description": "d", "options": ["yes", "no"], "questions": ["only one?"]},
    "Q3": {"description": text("d", 3), "options": ["yes", "no"], "questions": []},
}


def survey(spec: ScenarioSpec, folder: Path) -> dict[str, Any]:
    """Write personas and questions, each as one file of JSON."""
    for name, content in (("vn_personas_with_filtered_responses", PERSONAS), ("wvs_questions_dump.en", SURVEY)):
        written(json.dumps(content), folder / "raw" / f"{name}.json")
    questions = pl.DataFrame({"json": [json.dumps(SURVEY)]})
    stored(spec, folder, [{"json": json.dumps(PERSONAS)}], {}, {"questions": questions})
    return {"files": {"snapshot": str(folder / "raw")}, "hub": {}}


def ranked(name: str) -> Case:
    return Case(
        f"melt_information_retrieval_{name}:valid_topk=30,max_train_instances=1", "melt_ir_scenario",
        hubs(f"unicamp-dl/{name}", {
            "vietnamese": ({"train": TRIPLES}, {}), "runs-vietnamese": ({"bm25": RUNS}, {}),
        }),
    )  # fmt: skip


def melt(name: str, module: str, dataset: str, rows: Rows, configuration: str = "default") -> Iterator[Case]:
    """Yield the cases of a scenario with train and test rows."""
    tables = {"train": rows, "validation": rows[:2], "test": rows[:5]}
    for shots in (1, 5):
        yield Case(f"melt_{name}:max_train_instances={shots}", module, hub(dataset, tables, configuration))


LABELS = ["negative", "NEUTRAL", "Positive"]
MELT = [
    *(
        Case(f"melt_question_answering_{name}:prompt_style={style}", "melt_scenarios",
             hub(dataset, {"test": passages(5)}, configuration))
        for name, dataset, configuration in (
            ("mlqa", "facebook/mlqa", "mlqa.vi.vi"), ("xquad", "juletxara/xquad_xtreme", "vi"),
        )
        for style in ("normal", "medium", "weak")
    ),
    *(
        Case(f"melt_summarization_{name}:prompt_style={style}", "melt_scenarios",
             hub(dataset, {"train": NEWS, "validation": NEWS[:2], "test": NEWS[:5]}), numbered=False)
        for name, dataset in (("vietnews", "Yuhthe/vietnews"), ("wikilingua", "GEM/wiki_lingua"))
        for style in ("normal", "medium", "weak")
    ),
    *(
        Case(f"melt_synthetic_reasoning:mode={mode},max_eval_instances=50", "melt_synthetic_reasoning_scenario",
             generated)
        for mode in ("pattern_match", "variable_substitution", "induction")
    ),
    *(
        Case(f"melt_synthetic_reasoning_natural:difficulty={difficulty},max_eval_instances=50", "melt_srn_scenario",
             generated)
        for difficulty in ("easy", "hard")
    ),
    *(
        Case(
            f"melt_math:subject=counting_and_probability,level=1,{style}=True", "melt_scenarios",
            hub("ura-hcmut/Vietnamese-MATH", {"train": MATH_ROWS, "test": MATH_ROWS[:10]}, "counting_and_probability",
                subject="counting_and_probability"),
            numbered=False,
        )
        for style in ("use_official_examples", "use_chain_of_thought")
    ),
    *(
        Case(
            f"melt_translation_{name}:language_pair={pair},max_train_instances={shots}", "melt_translation_scenario",
            hub(dataset, {"train": TRANSLATED_PAIRS, "validation": TRANSLATED_PAIRS[:2], "test": TRANSLATED_PAIRS[:5]}),
        )
        for name, dataset in (("opus100", "vietgpt/opus100_envi"), ("phomt", "ura-hcmut/PhoMT"))
        for pair, shots in (("en-vi", 1), ("vi-en", 5))
    ),
    Case(
        "melt_lm_mask_filling_mlqa:max_train_instances=1", "melt_lm_scenarios",
        hub("facebook/mlqa", {"validation": passages(3), "test": passages(60)}, "mlqa.vi.vi"),
    ),
    Case(
        "melt_lm_spelling_correction_vsec:max_train_instances=5", "melt_lm_scenarios",
        hub("ura-hcmut/VSEC", {"test": SPELLING}),
    ),
    *melt("text_classification_vsmec", "melt_scenarios", "ura-hcmut/UIT-VSMEC",
          classified(12, "Sentence", "Emotion", ["Sadness", "Other", "Fear"])),
    *melt("text_classification_phoatis", "melt_scenarios", "ura-hcmut/PhoATIS",
          classified(12, "text", "label", ["flight", "flight#airfare", "Meal"])),
    *melt("sentiment_analysis_vlsp", "melt_scenarios", "ura-hcmut/vlsp2016", classified(12, "Data", "Class", LABELS)),
    *melt("sentiment_analysis_vsfc", "melt_scenarios", "ura-hcmut/UIT-VSFC", classified(12, "text", "label", LABELS)),
    *melt("toxicity_detection_vihsd", "melt_scenarios", "ura-hcmut/UIT-ViHSD",
          classified(12, "free_text", "label_id", [0, 1, 2])),
    *melt("toxicity_detection_victsd", "melt_scenarios", "tarudesu/ViCTSD",
          classified(12, "Comment", "Toxicity", [0, 1])),
    *melt("knowledge_zalo", "melt_knowledge_scenario", "ura-hcmut/zalo_e2eqa",
          [{"question": text("q", i), "answer": text("a", i)} for i in range(12)]),
    *(
        Case(
            f"melt_knowledge_vimmrc:{more}max_train_instances=1", "melt_knowledge_scenario",
            hub("ura-hcmut/ViMMRC", {"train": QUOTED, "validation": QUOTED[:2], "test": QUOTED[:6]}),
        )
        for more in ("randomize_order=True,", "randomize_order=False,", "")
    ),
    *(
        Case(
            f"melt_{name}:data_augmentation=typo_easy,max_train_instances=1", module,
            hub(dataset, {"train": rows, "test": rows[:5]}),
        )
        for name, module, dataset, rows in (
            ("sentiment_analysis_vlsp", "melt_scenarios", "ura-hcmut/vlsp2016",
             classified(12, "Data", "Class", LABELS)),
            ("knowledge_zalo", "melt_knowledge_scenario", "ura-hcmut/zalo_e2eqa",
             [{"question": f"Who was the man in city {i}?", "answer": f"He is {i}"} for i in range(12)]),
        )
    ),
    ranked("mmarco"),
    ranked("mrobust"),
    *(
        Case(f"cultural_value_understanding_wvs:language={language},country={country}", "lmkt_scenarios", survey,
             numbered=False, ordered=False)
        for language, country in (("en", "VN"), ("vi", "US"))
    ),
    *(
        Case(
            f"social_norm_{task}_normad:language={language},country={country}", "lmkt_scenarios",
            hub("akhilayerukola/NormAd", {"train": NORMS}), numbered=task == "application",
        )
        for task in ("application", "explanation") for language, country in (("en", "US"), ("vi", "VN"))
    ),
]  # fmt: skip

CASES = [*ARABIC, *PORTUGUESE, *OTHERS, *SEAHELM, *MELT]
