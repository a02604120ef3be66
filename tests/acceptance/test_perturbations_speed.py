"""The perturbations of words beside HELM's own: how fast, in how little memory, and how alike."""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from helmframe.perturbations.call import call
from tests.acceptance.figures import peak_mb, shown
from tests.acceptance.helm_peer import Helm, helm

pytestmark = pytest.mark.shared

QUESTIONS = 10_000
ROUNDS = 5
Hit = tuple[int, int, str]


@pytest.fixture(scope="module")
def questions(shared: Path) -> list[str]:
    files = sorted((shared / "scenarios" / "mmlu").glob("*/test-*.parquet"))
    rows = pl.concat([pl.read_parquet(file, columns=["question"]) for file in files])
    return rows["question"].head(QUESTIONS).to_list()


@pytest.fixture(scope="module")
def peer(questions: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Helm]:
    with helm(questions, tmp_path_factory.mktemp("helm")) as running:
        yield running


@pytest.fixture(autouse=True)
def root(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared))


# Name, our arguments, HELM's where they are said otherwise, how many times faster at least.
SPEED: list[tuple[str, dict[str, Any], dict[str, Any], int]] = [
    ("mild_mix", {}, {}, 60),
    ("misspellings", {"prob": 0.1}, {}, 60),
    ("gender", {"mode": "terms", "prob": 1.0}, {"source_class": "male", "target_class": "female"}, 40),
    (
        "person_name",
        {"prob": 1.0},
        {"source_class": {"race": "white_american"}, "target_class": {"race": "black_american"}},
        15,
    ),
    ("typos", {"prob": 0.05}, {}, 10),
    ("contraction", {}, {}, 8),
    ("dialect", {"prob": 1.0}, {"source_class": "SAE", "target_class": "AAVE"}, 8),
    ("space", {"max_spaces": 3}, {}, 6),
    ("filler_words", {"insert_prob": 0.1, "speaker_ph": False}, {}, 4),
]


@pytest.mark.parametrize(("name", "ours", "theirs", "times"), SPEED, ids=[each[0] for each in SPEED])
def test_3_faster_than_helm(
    questions: list[str], peer: Helm, shared: Path, name: str, ours: dict[str, Any], theirs: dict[str, Any], times: int
) -> None:
    rounds = []
    for _ in range(ROUNDS):
        own = _timed(questions, name, **ours)
        rounds.append((own, peer.apply(name, **ours, **theirs, **_files(name, shared))[1]))
    fast, slow = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    figure = f"{len(questions) / fast:,.0f} to {len(questions) / slow:,.0f} texts/s, {slow / fast:.1f} ×"
    shown("3", f"{name}, ours to HELM's, medians of {ROUNDS} rounds in turn", figure, f"{times} ×")
    assert slow / fast >= times


def test_4_ten_million_sentences_stream_through_mild_mix(shared: Path) -> None:
    command = "from tests.acceptance.test_perturbations_speed import stream; stream()"
    environment = {**os.environ, "HELMFRAME_DATA": str(shared)}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True, cwd=_ROOT
    )
    seconds = time.perf_counter() - start
    sentences, megabytes = map(int, done.stdout.split())
    shown("4", f"peak memory over {sentences:,} sentences, MB", megabytes, "2,048")
    shown("4", "sentences/s", f"{sentences / seconds:,.0f}", "printed")
    assert sentences == 10_000_000
    assert megabytes < 2048


def stream(sentences: int = 10_000_000, shard: int = 20_000) -> None:
    """Prints how many sentences went through mild_mix, shard by shard, and this process's peak memory."""
    files = sorted(Path(os.environ["HELMFRAME_DATA"], "scenarios", "mmlu").glob("*/test-*.parquet"))
    rows = pl.concat([pl.read_parquet(file, columns=["question"]) for file in files])
    pool = rows.select(text=pl.col("question").str.split(". ")).explode("text")
    pool = pl.concat([pool] * (shard // pool.height + 2))
    seen = 0
    for start in range(0, sentences, shard):
        texts = pool.slice(start % (pool.height - shard), shard)
        part = texts.with_columns(id=pl.int_range(start, start + shard).cast(pl.String))
        out = part.lazy().select(call("mild_mix").on(pl.col("text"), id="id")).collect()
        seen += out.height - out["text"].null_count()
    print(seen, peak_mb())


# Texts perturbed by HELM, or by us, and those before: what was put where.
Edits = Callable[[str, str], list[str]]


def _typed(old: str, new: str) -> list[str]:
    return [f"{a}{b}".lower() for a, b in zip(old, new, strict=True) if a != b]


def _spaced(old: str, new: str) -> list[str]:
    runs = zip(re.findall(" +", old), re.findall(" +", new), strict=True)
    return [f"{len(a)}→{len(b)}" for a, b in runs if a != b]


def _reworded(old: str, new: str) -> list[str]:
    return list((Counter(new.split(" ")) - Counter(old.split(" "))).elements())


ALIKE: list[tuple[str, dict[str, Any], Edits]] = [
    ("lowercase", {}, _reworded),
    ("space", {"max_spaces": 3}, _spaced),
    ("extra_space", {"num_spaces": 2}, _spaced),
    ("typos", {"prob": 0.05}, _typed),
    ("filler_words", {"insert_prob": 0.1, "speaker_ph": False}, _reworded),
    ("filler_words", {"insert_prob": 0.333}, _reworded),
    ("contraction", {}, _reworded),
    ("expansion", {}, _reworded),
]


@pytest.mark.parametrize(("name", "arguments", "edits"), ALIKE, ids=[f"{each[0]}{each[1]}" for each in ALIKE])
def test_5_like_helm_in_distribution(
    questions: list[str], peer: Helm, name: str, arguments: dict[str, Any], edits: Edits
) -> None:
    from scipy.stats import chi2_contingency

    theirs, _ = peer.apply(name, **arguments)
    ours = _ours(questions, name, **arguments)
    words = sum(len(text.split()) for text in questions) / 100
    shares, counts = [], []
    for texts in (theirs, ours):
        shares.append(100 * statistics.mean(new != old for new, old in zip(texts, questions, strict=True)))
        counts.append(Counter(edit for old, new in zip(questions, texts, strict=True) for edit in edits(old, new)))
    totals = [each.total() / words for each in counts]
    seen = sorted(counts[0].keys() | counts[1].keys())
    often = [each for each in seen if counts[0][each] + counts[1][each] >= 10]
    rare = [sum(count[each] for each in seen if each not in set(often)) for count in counts]
    table = [[*(count[each] for each in often), rest] for count, rest in zip(counts, rare, strict=True)]
    table = [list(row) for row in zip(*(pair for pair in zip(*table, strict=True) if sum(pair)), strict=True)]
    chance = float(chi2_contingency(table).pvalue) if len(table[0]) > 1 else 1.0
    said = f"{name}({', '.join(f'{key}={value}' for key, value in arguments.items())})"
    shown("5", f"{said} changed texts, %, HELM and ours", f"{shares[0]:.2f}, {shares[1]:.2f}", "1 point")
    shown("5", f"{said} edits per 100 words", f"{totals[0]:.3f}, {totals[1]:.3f}", "2 %")
    shown("5", f"{said} χ² over {len(table[0])} kinds of edits, p", f"{chance:.3f}", "> .001")
    assert abs(shares[0] - shares[1]) <= 1
    assert abs(totals[1] / totals[0] - 1) <= 0.02
    assert chance > 0.001


@pytest.mark.parametrize("mode", ["terms", "pronouns"])
@pytest.mark.parametrize(("source", "target"), [("male", "female"), ("female", "male"), ("female", "neutral")])
def test_5_gender_differs_where_it_was_mended(
    questions: list[str], peer: Helm, mode: str, source: str, target: str
) -> None:
    theirs, _ = peer.apply("gender", mode=mode, prob=1.0, source_class=source, target_class=target)
    ours = _ours(questions, "gender", mode=mode, source=source, target=target)
    why: Counter[str] = Counter()
    for text, his, mine in zip(questions, theirs, ours, strict=True):
        # every one of these words becomes one word
        tokens = [re.split(r"(\w+)", each) for each in (text, his, mine)]
        place = 0
        for number, (old, helms, own) in enumerate(zip(*tokens, strict=True)):
            if helms != own:
                why[_why(text, place, place + len(old), tokens[0], tokens[2], number)] += 1
            place += len(old)
    shown("5", f"gender {mode} {source} → {target}: words that differ from HELM's", dict(why), "all mended")
    assert set(why) <= {"at a text's edge", "beside another hit", "plural slip"}


def _why(text: str, start: int, end: int, before: Sequence[str], after: Sequence[str], number: int) -> str:
    if text[start:end].lower() in {"grandmothers", "grandfathers", "grandfather"}:
        return "plural slip"
    if start == 0 or end == len(text):
        return "at a text's edge"
    # HELM goes through the text pair by pair: a hit of the same pair before this one has eaten the sign between
    if number >= 2 and len(before[number - 1]) == 1 and before[number - 2] != after[number - 2]:
        return "beside another hit"
    return "other"


@pytest.mark.parametrize("name", ["misspellings", "dialect"])
def test_5_phrases_differ_where_they_were_mended(
    questions: list[str], peer: Helm, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    (tmp_path / "tables").mkdir()
    file = {"misspellings": "correct_to_misspelling.json", "dialect": "SAE_to_AAVE_mapping.json"}[name]
    phrases = list(json.loads((shared / "tables" / file).read_text()))
    # each phrase becomes its number, so that the perturbed text says what was found where
    marked = {phrase: [f"q{number}q"] for number, phrase in enumerate(phrases)}
    (tmp_path / "tables" / file).write_text(json.dumps(marked))
    where = {"mapping_file_path": str(tmp_path / "tables" / file), "source_class": "SAE", "target_class": "AAVE"}
    theirs, _ = peer.apply(name, prob=1.0, **(where if name == "dialect" else {"table": marked}))
    ours = _ours(questions, name, prob=1.0)
    why: Counter[str] = Counter()
    for text, his, mine in zip(questions, theirs, ours, strict=True):
        helms, own = _hits(text, his, phrases), _hits(text, mine, phrases)
        why["the same"] += len(helms & own)
        longer = [(start, end) for start, end, _ in own - helms]
        for start, end, _ in own - helms:
            if start == 0 or end == len(text):
                why["at a text's edge"] += 1
            elif name == "dialect" and any(hit[1] == start - 1 or hit[0] == end + 1 for hit in helms | own):
                why["beside another hit"] += 1
            elif any(start <= hit[0] < end for hit in helms):
                why["longer phrase"] += 1
            elif text[end - 1] == "'":
                why["ends in an apostrophe"] += 1
            else:
                why["other"] += 1
        inside = [any(start <= hit[0] and hit[1] <= end for start, end in longer) for hit in helms - own]
        why["HELM's alone"] += inside.count(False)
    shown("5", f"{name}: phrases that differ from HELM's", dict(why), "all mended")
    assert why["other"] == why["HELM's alone"] == 0
    assert why["the same"] > 1000


def test_5_the_same_names_are_found(questions: list[str], peer: Helm, shared: Path) -> None:
    classes = {"source_class": {"race": "white_american"}, "target_class": {"race": "black_american"}}
    theirs, _ = peer.apply("person_name", prob=1.0, **classes, **_files("person_name", shared))
    ours = _ours(questions, "person_name")
    found = [
        {
            number
            for number, (a, b) in enumerate(zip(*(re.split(r"(\w+)", each) for each in pair), strict=True))
            if a != b
        }
        for texts in (theirs, ours)
        for pair in zip(questions, texts, strict=True)
    ]
    helms, own = found[: len(questions)], found[len(questions) :]
    differ = sum(a != b for a, b in zip(helms, own, strict=True))
    shown("5", f"person_name: texts that differ in which of {sum(map(len, helms))} names change", differ, 0)
    assert differ == 0
    assert any(helms)


def _hits(text: str, perturbed: str, phrases: Sequence[str]) -> set[Hit]:
    """Where the phrases stood that became their numbers."""
    hits, place, shift = set(), 0, 0
    for mark in re.finditer(r"q(\d+)q", perturbed, re.IGNORECASE):
        phrase = phrases[int(mark[1])]
        start = mark.start() + shift
        if text[start : start + len(phrase)].lower() != phrase.lower():
            continue  # the text's own
        hits.add((start, start + len(phrase), phrase))
        shift += len(phrase) - len(mark[0])
        place = start + len(phrase)
    assert place <= len(text)
    return hits


def _files(name: str, shared: Path) -> dict[str, str]:
    """The word tables that HELM would download."""
    files = {
        "dialect": {"mapping_file_path": str(shared / "tables" / "SAE_to_AAVE_mapping.json")},
        "person_name": {"name_file_path": str(shared / "tables" / "person_names.txt")},
    }
    return files.get(name, {})


def _timed(questions: Sequence[str], name: str, **arguments: Any) -> float:
    """The seconds of one run."""
    frame = pl.DataFrame({"id": [f"id{number}" for number in range(len(questions))], "text": questions})
    expression = call(name, **arguments).on(pl.col("text"), id="id")
    frame.head(50).select(expression)  # as for HELM, what is laid out at the first text is not counted
    start = time.perf_counter()
    frame.lazy().select(expression).collect()
    return time.perf_counter() - start


def _ours(questions: Sequence[str], name: str, **arguments: Any) -> list[str]:
    frame = pl.DataFrame({"id": [f"id{number}" for number in range(len(questions))], "text": questions})
    return frame.select(call(name, **arguments).on(pl.col("text"), id="id")).to_series().to_list()


_ROOT = Path(__file__).parents[2]
