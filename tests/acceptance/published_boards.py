"""Small copies of the files of benchmarks and boards whose prompts are compared with other tools elsewhere.

`published` has those of all other scenarios. The rows are those of the cases of these comparisons.
"""

import csv
import gzip
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from helmframe._core.specs import Download, ScenarioSpec
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.downloads import choices_of
from tests.acceptance.helm_boards import Case, members, publish
from tests.acceptance.publisher_files import HelmRun, gz, tar_file, zip_file
from tests.acceptance.test_helm_boards_medical import FINANCE, MEDHELM
from tests.acceptance.test_helm_boards_trust import OTHERS, TRUST
from tests.scenarios.test_raw_formats import workbook

# Scenarios that read another scenario's files.
SAME_FILES = {
    "medhelm_med_mcqa": "medmcqa",
    "medhelm_med_qa": "med_qa",
    "medi_qa_without_annotator": "medi_qa",
}
# The shared data has real rows of these.
_REAL = ("pubmed_qa",)


def _number(text: str) -> int | str:
    """Return an integer if the text is one."""
    return int(text) if text.isdigit() else text


# The classes of the scenarios that a mirror samples, and the types of their arguments.
_CLASSES: dict[str, tuple[str, Callable[[str], Any]]] = {
    **dict.fromkeys(
        ("decodingtrust_privacy_context", "decodingtrust_privacy_pii"), ("DecodingTrustPrivacyScenario", _number)
    ),
    "cti_to_mitre": ("CtiToMitreScenario", str),
    "decodingtrust_toxicity_prompts": ("DecodingTrustToxicityPromptsScenario", str),
    "financebench": ("FinanceBenchScenario", str),
    "financial_phrasebank": ("FinancialPhrasebankScenario", int),
    "gold_commodity_news": ("GoldCommodityNewsScenario", str),
    "legal_contract_summarization": ("LegalContractSummarizationScenario", str),
    "sumosum": ("SUMOSumScenario", str),
}
# The arguments that HELM's run spec adds to those of the entry.
_ARGUMENTS = {
    "cti_to_mitre": {"num_options": 10},
    "sumosum": {"test_filter_min_length": 100, "test_filter_max_length": 3700},
}


@cache
def cases_of(name: str) -> tuple[Case, ...]:
    """Return the cases of a scenario of HELM's boards."""
    return tuple(case for case in (*MEDHELM, *FINANCE, *TRUST, *OTHERS) if case.name == name)


def is_of_boards(name: str) -> bool:
    """Return whether this module has the files of a scenario."""
    return bool(cases_of(name)) and name not in _REAL


def board_source(name: str, folder: Path) -> list[Path]:
    """Write the rows of a scenario below `source`, in the layout of its spec, by the SELECT of its `download`.

    Args:
        name: The name of the scenario.
        folder: The folder with `publisher`, the files of `board_files`.

    Returns:
        The files in the order of `download`.
    """
    spec = find_scenario(name)
    return publish(spec, _whole_case(spec), folder / "publisher", folder / "source")


def board_files(name: str, folder: Path) -> tuple[dict[str, bytes], list[HelmRun]]:
    """Return the files of a scenario's `download` by address, and HELM's runs if it samples the rows.

    Args:
        name: The name of the scenario.
        folder: The folder to write the files to, below `publisher`.
    """
    spec = find_scenario(name)
    publisher = folder / "publisher"
    for case in cases_of(name):
        case.write(publisher)
    parts = _whole_case(spec).files
    files: dict[str, bytes] = {}
    for entry in spec.download:
        for url, spelled in _addresses(entry):
            path = publisher / parts[_part_of(url, parts)]
            if entry.files:
                files[url] = _archive(url, dict(_members(entry, spelled, path)))
            else:
                files[url] = _content(entry, url, path)
            for _, table in entry.tables:
                for other, _ in _addresses(replace(table, revision=table.revision or entry.revision), spelled):
                    files[other] = _content(table, other, publisher / parts[_part_of(other, parts)])
    runs = [_run(case, publisher) for case in cases_of(name)] if spec.draw else []
    return files, runs


def _archive(url: str, files: Mapping[str, bytes]) -> bytes:
    if url.endswith(".tar"):
        return gzip.decompress(tar_file(files))
    # CodaLab packs folders, whose addresses end in a slash
    return tar_file(files) if url.endswith("/") else zip_file(files)


def _whole_case(spec: ScenarioSpec) -> Case:
    """Return a case with the files of all cases of a scenario; an address without a file has that of another one."""
    cases = cases_of(spec.scenario)
    parts: dict[str, str] = {part: path for case in cases for part, path in case.files.items()}
    known = list(parts.values())
    for entry in spec.download:
        for number, (url, _) in enumerate(_addresses(entry)):
            if not any(part in url for part in parts):
                parts[url] = known[number % len(known)]
    tables = {split: path for case in cases for split, path in case.tables.items()}
    return replace(cases[0], files=parts, tables=tables)


def _part_of(url: str, parts: Mapping[str, str]) -> str:
    return max((part for part in parts if part in url), key=len)


def _addresses(entry: Download, spelled: Mapping[str, str] | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the addresses of an entry, without `@revision`, with the spellings of their placeholders."""
    choices = {name: pairs for name, pairs in choices_of(entry).items() if f"{{{name}}}" in entry.url}
    for pairs in itertools.product(*choices.values()):
        spellings = dict(spelled or {}) | dict(zip(choices, (spelling for spelling, _ in pairs), strict=True))
        url = entry.url.replace("@{revision}", "")
        for name, value in {**spellings, "revision": entry.revision or "HEAD"}.items():
            url = url.replace(f"{{{name}}}", value)
        yield url, spellings


def _members(entry: Download, spelled: Mapping[str, str], path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the path and the content of each file of an archive that matches the pattern of an entry."""
    choices = {
        name: pairs for name, pairs in choices_of(entry).items() if f"{{{name}}}" in entry.files and name not in spelled
    }
    for pairs in itertools.product(*choices.values()):
        pattern = entry.files
        for name, value in {**spelled, **dict(zip(choices, (pair[0] for pair in pairs), strict=True))}.items():
            pattern = pattern.replace(f"{{{name}}}", value)
        files = members(path, pattern)
        assert files, pattern
        folder = pattern.rpartition("/")[0].replace("*", "archive-HEAD")
        for file in files:
            yield f"{folder}/{file.name}".lstrip("/"), file.read_bytes()


def _content(entry: Download, url: str, path: Path) -> bytes:
    if entry.format == "xlsx" or url.endswith(".xlsx"):
        with path.open(encoding="utf-8", newline="") as file:
            return workbook({"first": [[_cell(text) for text in row] for row in csv.reader(file)]})
    content = path.read_bytes()
    return gz(content) if url.endswith(".gz") else content


def _cell(text: str) -> str | int | None:
    return int(text) if text.removeprefix("-").isdigit() else escape(text) or None


def _run(case: Case, publisher: Path) -> HelmRun:
    """Return HELM's run of a case."""
    scenario, kind = _CLASSES[case.name]
    pairs = [argument.split("=") for argument in case.entry.partition(":")[2].split(",") if argument]
    arguments = {name: kind(value) for name, value in pairs}
    files = {part: _stored(publisher / path) for part, path in case.files.items()}
    tables = {split: (publisher / path).read_bytes() for split, path in case.tables.items()}
    said = {**case.said}
    names = said.pop("names", {})
    arguments |= _ARGUMENTS.get(case.name, {})
    where = {name: value for name, value in pairs if name in find_scenario(case.name).subsets}
    return HelmRun(case.module, scenario, arguments, where, files, tables, names, said)


def _stored(path: Path) -> bytes | dict[str, bytes]:
    if path.is_file():
        return path.read_bytes()
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}
