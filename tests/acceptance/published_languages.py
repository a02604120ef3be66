"""Small copies of the files of HELM's boards of other languages, as `published` has those of all scenarios."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from helmframe._core.specs import ScenarioSpec
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.raw import fill_layout
from tests.acceptance import helm_language_cases as cases
from tests.acceptance.publisher_files import HelmRun, Published, csv_file, jsonl, parquet, tar_file, zip_file

RAW = "https://raw.githubusercontent.com/"
AFR = (
    "https://github.com/InstituteforDiseaseModeling/Bridging-the-Gap-Low-Resource-African-Languages/raw/refs/heads/main"
    "/data/evaluation_benchmarks_afr_release.zip"
)
LINDSEA = f"{RAW}aisingapore/BHASA/main/lindsea/id/"
DRIVE = "https://drive.google.com/uc?id={}&export=download"


class Part(NamedTuple):
    """One file of the publisher: its address and content, the columns in our path, and its rows.

    An archive has the same address and content in several parts. `tables` are the further tables of its `download`.
    """

    url: str
    content: bytes
    values: Mapping[str, str]
    rows: cases.Rows
    tables: Mapping[str, pl.DataFrame] | None = None


def text_lines(values: Iterator[str]) -> bytes:
    return "".join(f"{value}\n" for value in values).encode()


def converted(dataset: str, folder: str, split: str, rows: cases.Rows, **values: str) -> Part:
    """Return a file that the Hub converted to Parquet."""
    url = f"hf://datasets/{dataset}/{folder}/{split}/0000.parquet"
    return Part(url, parquet(rows), {**values, "split": split}, rows)


def spellings(name: str) -> list[tuple[str, str]]:
    """Return the publisher's spellings of the subsets of a scenario, and ours."""
    subsets: Any = dict(find_scenario(name).download[0].values)["subset"]
    return [subset if isinstance(subset, tuple) else (subset, subset) for subset in subsets]


def parts(name: str) -> list[Part]:
    """Return the files of a scenario whose spec has `download`."""
    if name == "arabic_mmlu":
        return [
            converted("MBZUAI/ArabicMMLU", spelling, split, cases.arabic_exam(n, numbers=subset.startswith("Math")),
                      subset=subset)
            for spelling, subset in spellings(name) for split, n in (("dev", 3), ("test", 5))
        ]  # fmt: skip
    if name == "madinah_qa":
        return [
            converted("MBZUAI/MadinahQA", spelling, split, cases.arabic_exam(n), subset=subset)
            for spelling, subset in spellings(name)
            for split, n in (("dev", 3), ("test", 5))
        ]
    if name == "alghafa":
        return [
            converted("OALL/AlGhafa-Arabic-LLM-Benchmark-Native", subset, split, cases.alghafa(5, 2 + index % 4),
                      subset=subset)
            for index, (_, subset) in enumerate(spellings(name)) for split in ("validation", "test")
        ]  # fmt: skip
    if name == "thai_exam":
        return _thai()
    if name in ("mmlu_clinical_afr", "winogrande_afr"):
        return _afr(name)
    if name == "flores":
        texts = {**cases.FLORES, "tam_Taml": cases.FLORES["eng_Latn"], "vie_Latn": cases.FLORES["ind_Latn"]}
        return [
            converted("facebook/flores", code, split, rows, code=code)
            for code, splits in texts.items()
            for split, rows in splits.items()
        ]
    if name == "xcopa":
        return [
            _shard("cambridgeltl/xcopa", code, split, cases.situations(n, code), code=code)
            for code in ("id", "ta", "th", "vi")
            for split, n in (("validation", 100), ("test", 5))
        ]
    if name == "xnli":
        return [
            _shard("facebook/xnli", language, split, cases.sentences(n, labels), language=language)
            for language in ("th", "vi")
            for split, n, labels in (("validation", 12, [0, 1, 2]), ("test", 1_500, [0, 1, 2, 1]))
        ]
    if name.startswith("melt_information_retrieval_"):
        dataset = f"unicamp-dl/{name.rpartition('_')[2]}"
        return [
            converted(dataset, "vietnamese", "train", cases.TRIPLES),
            converted(dataset, "runs-vietnamese", "bm25", cases.RUNS),
        ]
    if name.startswith("lindsea_pragmatics_"):
        return [
            Part(f"{LINDSEA}pragmatics/pragmatic_reasoning_{kind}.jsonl", jsonl(cases.pragmatics(kind)),
                 {"language": "id", "subset": kind}, cases.pragmatics(kind))
            for kind in ("single", "pair")
        ]  # fmt: skip
    return _FILES[name]()


def _shard(dataset: str, folder: str, split: str, rows: cases.Rows, **values: str) -> Part:
    url = f"hf://datasets/{dataset}/{folder}/{split}-00000-of-00001.parquet"
    return Part(url, parquet(rows), {**values, "split": split}, rows)


def _thai() -> list[Part]:
    tables = {}
    for exam in ("onet", "ic", "tgat", "tpat1", "a_level"):
        names = ["question", *"abcde"[: 4 if exam == "ic" else 5], "answer"]
        for split, n in (("train", 8), ("test", 5)):
            tables[exam, split] = [{name: row[name] for name in names} for row in cases.THAI_ROWS[:n]]
    content = tar_file({f"{exam}/{exam}_{split}.jsonl": jsonl(rows) for (exam, split), rows in tables.items()})
    url = "hf://datasets/scb10x/thai_exam/thai_exam.tar.gz"
    return [Part(url, content, {"exam": exam, "split": split}, rows) for (exam, split), rows in tables.items()]


def _afr(name: str) -> list[Part]:
    languages = ("af", "am", "bm", "ig", "nso", "sn", "st", "tn", "ts", "xh", "zu")
    subjects = ("clinical_knowledge", "college_medicine", "virology")
    exams = {
        (subject, language, split): cases.AFR_ROWS[:n]
        for subject in subjects
        for language in languages
        for split, n in (("dev", 6), ("val", 2), ("test", 5))
    }
    folder = "evaluation_benchmarks_afr_release"
    content = zip_file(
        {
            f"{folder}/mmlu_cm_ck_vir/{subject}_{split}_{language}.csv": csv_file(rows)
            for (subject, language, split), rows in exams.items()
        }
        | {f"{folder}/winogrande_s/winogrande_{language}.csv": csv_file(cases.GAPS) for language in languages}
    )
    if name == "winogrande_afr":
        return [Part(AFR, content, {"lang": language}, cases.columns(cases.GAPS)) for language in languages]
    return [
        Part(AFR, content, {"subject": subject, "lang": language, "split": split}, cases.columns(rows))
        for (subject, language, split), rows in exams.items()
    ]


def _nusax() -> list[Part]:
    return [
        Part(f"{RAW}IndoNLP/nusax/main/datasets/sentiment/indonesian/{split}.csv", csv_file(cases.header(rows)),
             {"split": split}, rows)
        for split, rows in (("train", cases.NUSAX), ("test", cases.NUSAX[:5]))
    ]  # fmt: skip


def _uitvsfc() -> list[Part]:
    ids = {
        "train": ("1nzak5OkrheRV1ltOGCXkT671bmjODLhP", "1ye-gOZIBqXdKOoi_YxvpT6FeRNmViPPv"),
        "test": ("1aNMOeZZbNwSRkjyCWAGtNCMa3YrshR-n", "1vkQS5gI0is4ACU58-AbWusnemw7KZNfO"),
    }
    found = []
    for split, (sentences, labels) in ids.items():
        rows = [{"line": cases.flat(row["line"])} for row in cases.FEEDBACK[split]]
        texts = [row["label"] for row in cases.FEEDBACK[split]]
        found += [
            Part(DRIVE.format(sentences), text_lines(row["line"] for row in rows), {"split": split}, rows),
            Part(DRIVE.format(labels), text_lines(iter(texts)), {"split": split}, ()),
        ]
    return found


def _wisesight() -> list[Part]:
    content = zip_file({f"data/{split}.jsonl": jsonl(rows) for split, rows in cases.WISESIGHT.items()})
    url = "https://github.com/PyThaiNLP/wisesight-sentiment/raw/master/huggingface/data.zip"
    return [Part(url, content, {"split": split}, rows) for split, rows in cases.WISESIGHT.items()]


def _mlhsd() -> list[Part]:
    url = f"{RAW}okkyibrohim/id-multi-label-hate-speech-and-abusive-language-detection/master/re_dataset.csv"
    return [Part(url, csv_file(cases.header(cases.HATE)).decode().encode("latin-1"), {}, cases.HATE)]


def _vihsd() -> list[Part]:
    content = zip_file({f"vihsd/{split}.csv": csv_file(cases.header(rows)) for split, rows in cases.VIHSD.items()})
    url = f"{RAW}sonlam1102/vihsd/main/data/vihsd.zip"
    return [Part(url, content, {"split": split}, rows) for split, rows in cases.VIHSD.items()]


def _indonli() -> list[Part]:
    url = f"{RAW}ir-nlp-csui/indonli/main/data/indonli/"
    return [
        Part(f"{url}{file}.jsonl", jsonl(rows), {"split": split}, rows)
        for split, file, rows in (
            ("train", "train", cases.sentences(12, "ecn")), ("test", "test_lay", cases.sentences(1_200, "eccn")),
        )
    ]  # fmt: skip


def _minimal_pairs() -> list[Part]:
    return [
        Part(f"{LINDSEA}syntax/{file}.jsonl", jsonl(rows), {"language": "id"}, rows)
        for file, rows in cases.MINIMAL_PAIRS.items()
    ]


def _survey() -> list[Part]:
    url = "hf://datasets/stair-lab/cultural-alignment-dataset/"
    people, questions = (json.dumps(content) for content in (cases.PERSONAS, cases.SURVEY))
    return [
        Part(f"{url}vn_personas_with_filtered_responses.json", people.encode(), {}, [{"json": people}],
             {"questions": pl.DataFrame({"json": [questions]})}),
        Part(f"{url}wvs_questions_dump.en.json", questions.encode(), {}, ()),
    ]  # fmt: skip


_FILES: dict[str, Callable[[], list[Part]]] = {
    "nusax": _nusax,
    "uitvsfc": _uitvsfc,
    "wisesight": _wisesight,
    "mlhsd": _mlhsd,
    "vihsd": _vihsd,
    "indonli": _indonli,
    "lindsea_syntax_minimal_pairs": _minimal_pairs,
    "cultural_value_understanding_wvs": _survey,
}
# Scenarios of the Hub that share a file, that have ids of their own, or whose rows a mirror samples: split → rows.
_ON_THE_HUB: dict[str, Mapping[str, cases.Rows]] = {
    "arabic_exams": {"validation": cases.EXAMS[:15], "test": cases.EXAMS[15:]},
    **{f"arabic_finance_{task}": {"test": cases.finance()} for task in ("mcq", "bool", "calculation")},
    "melt_question_answering_mlqa": {"test": cases.passages(60)},
    "exams_multilingual": {
        "train": cases.EXAMS_ROWS[:20],
        "validation": cases.EXAMS_ROWS[20:30],
        "test": cases.EXAMS_ROWS[30:],
    },
    "tydiqa": {"train": cases.TYDI, "validation": cases.TYDI[:5]},
    "xquad_th": {"validation": cases.passages(1_190)},
    "xquad_vi": {"validation": cases.passages(1_190)},
    "indicqa": {"test": cases.INDIC},
    "thaitoxicitytweets": {"train": cases.TOXIC},
    "indicxnli": {"validation": cases.sentences(12, [0, 1, 2]), "test": cases.sentences(1_500, [0, 1, 2, 1])},
    "melt_translation_opus100": {"train": cases.TRANSLATED_PAIRS, "test": cases.TRANSLATED_PAIRS[:5]},
    "melt_translation_phomt": {"train": cases.TRANSLATED_PAIRS, "test": cases.TRANSLATED_PAIRS[:5]},
    "melt_lm_mask_filling_mlqa": {"test": cases.passages(60)},
    "melt_lm_spelling_correction_vsec": {"test": cases.SPELLING},
    "melt_knowledge_vimmrc": {"train": cases.QUOTED, "test": cases.QUOTED[:6]},
}
# HELM's classes of the scenarios that a mirror samples: module, class, arguments, and our condition.
_CLASSES: dict[str, list[tuple[str, str, dict[str, Any], dict[str, str]]]] = {
    "tydiqa": [("seahelm_scenario", "TyDiQAScenario", {}, {})],
    "xquad_th": [("seahelm_scenario", "XQuADScenario", {"language": "th"}, {})],
    "xquad_vi": [("seahelm_scenario", "XQuADScenario", {"language": "vi"}, {})],
    "indicqa": [("seahelm_scenario", "IndicQAScenario", {}, {})],
    "thaitoxicitytweets": [("seahelm_scenario", "ThaiToxicityTweetsScenario", {}, {})],
    "indicxnli": [("seahelm_scenario", "IndicXNLIScenario", {}, {})],
    "xnli": [
        ("seahelm_scenario", "XNLIScenario", {"language": code}, {"language": code}) for code in ("th", "vi")
    ],
    "uitvsfc": [("seahelm_scenario", "UITVSFCScenario", {}, {})],
    "wisesight": [("seahelm_scenario", "WisesightScenario", {}, {})],
    "mlhsd": [("seahelm_scenario", "MLHSDScenario", {}, {})],
    "vihsd": [("seahelm_scenario", "ViHSDScenario", {}, {})],
    "indonli": [("seahelm_scenario", "IndoNLIScenario", {}, {})],
    "lindsea_syntax_minimal_pairs": [
        ("seahelm_scenario", "LINDSEASyntaxMinimalPairsScenario", {"method": "mcq", "language": "id"}, {}),
    ],
    **{
        f"melt_translation_{name}": [
            ("melt_translation_scenario", f"MELTTranslation{scenario}Scenario",
             {"source_language": source, "target_language": target}, {"language_pair": f"{source}-{target}"})
            for source, target in (("en", "vi"), ("vi", "en"))
        ]
        for name, scenario in (("opus100", "OPUS100"), ("phomt", "PhoMT"))
    },
    "melt_lm_mask_filling_mlqa": [("melt_lm_scenarios", "MELTLMMaskFillingMLQAScenario", {}, {})],
    "melt_lm_spelling_correction_vsec": [("melt_lm_scenarios", "MELTLMSpellingCorrectionVSECScenario", {}, {})],
    "melt_knowledge_vimmrc": [
        ("melt_knowledge_scenario", "MELTKnowledgeViMMRCScenario", {"randomize_order": True}, {"shuffled": "yes"}),
    ],
}  # fmt: skip
# Part of a URL of HELM → the files of the archive that it unpacks.
_ARCHIVES: dict[str, tuple[str, Callable[[], Mapping[str, bytes]]]] = {
    "wisesight": ("data.zip", lambda: {f"data/{split}.jsonl": jsonl(rows) for split, rows in cases.WISESIGHT.items()}),
    "vihsd": (
        "vihsd.zip",
        lambda: {f"vihsd/{split}.csv": csv_file(cases.header(rows)) for split, rows in cases.VIHSD.items()},
    ),
}


def is_of_languages(name: str) -> bool:
    """Return whether this module has the files of a scenario."""
    spec = find_scenario(name)
    return name in _ON_THE_HUB or (bool(spec.download) and _names_entry(spec))


def _names_entry(spec: ScenarioSpec) -> bool:
    entries = {case.entry.partition(":")[0] for case in cases.CASES}
    return str(dict(spec.helm).get("entry")) in entries


def language_files(name: str) -> Published:
    """Return the files of a scenario at its publishers."""
    spec = find_scenario(name)
    layout = str(dict(spec.source)["rows"]).removeprefix("{data}/")
    if name in _ON_THE_HUB:
        address = str(dict(spec.hub)["rows"]).replace("@~parquet", "")
        shard = "0000" if address.endswith("/*.parquet") else "00000-of-00001"
        contents = {split: parquet(rows) for split, rows in _ON_THE_HUB[name].items()}
        files = {address.replace("{split}", split).replace("*", shard): data for split, data in contents.items()}
        if name in _CLASSES:
            return Published(files, runs=[HelmRun(*run, {}, contents) for run in _CLASSES[name]])
        frames = {
            fill_layout(layout, {"split": split}, "00000-of-00001"): cases.selected(spec, rows, {})
            for split, rows in _ON_THE_HUB[name].items()
        }
        return Published(files, frames)
    found = parts(name)
    files = {part.url: part.content for part in found}
    if name in _CLASSES:
        if name == "xnli":
            runs = [HelmRun(*run, {}, _splits(found, run[3]["language"])) for run in _CLASSES[name]]
            return Published(files, runs=runs)
        archive = _ARCHIVES.get(name)
        helms: dict[str, bytes | Mapping[str, bytes]] = (
            {archive[0]: archive[1]()} if archive else {_key(url): content for url, content in files.items()}
        )
        return Published(files, runs=[HelmRun(*run, helms, {}) for run in _CLASSES[name]])
    rows = {
        fill_layout(layout, part.values, "00000-of-00001"): cases.selected(spec, part.rows, part.values, part.tables)
        for part in found
        if len(part.rows)
    }
    return Published(files, rows)


def _splits(found: Sequence[Part], language: str) -> dict[str, bytes]:
    return {part.values["split"]: part.content for part in found if part.values["language"] == language}


def _key(url: str) -> str:
    """Return a part of a URL that no other file of a scenario has."""
    return url.partition("id=")[2].partition("&")[0] or url.rpartition("/")[2]
