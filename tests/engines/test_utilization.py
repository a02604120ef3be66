"""How models answered, and how busy they were, is in the manifest and wherever a run is shown."""

from pathlib import Path

import pytest

import helmframe as hf
from helmframe.engines.utilization import working_notes
from helmframe.views import live
from tests.models.tiny import gpt2_folder

MUSIC = hf.scenario("sampler").where(subject="music").limit(4).adapt(shots=0)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(gpt2_folder(tmp_path / "bytes"))


def test_a_run_of_a_local_model_says_so_at_its_end_on_its_page_and_in_its_report(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = MUSIC.generate(folder).submit()
    results = run.wait(120)
    (note,) = working_notes(results.manifest)
    about = results.manifest["models"]["bytes"]
    assert note.startswith(f"bytes: busy {about['busy']:.0%} of the {about['waited']:,.1f} s that its answers were")
    assert note.endswith(about["state"])
    assert note in live.run_html(run, None)
    assert note in Path(results.report(tmp_path / "report.html")).read_text(encoding="utf-8")
    MUSIC.generate(folder).score(fresh=True)
    assert "helmframe: bytes: busy " in capsys.readouterr().err


def test_what_a_store_has_makes_nobody_busy(folder: str) -> None:
    plan = MUSIC.generate(folder)
    plan.score()
    assert working_notes(plan.score().manifest) == []


def test_a_model_that_tells_nothing_of_how_it_answers_is_in_the_manifest_alone() -> None:
    manifest = MUSIC.generate(hf.models.echo()).score().manifest
    assert 0 < manifest["models"]["echo"]["busy"] <= 1
    assert working_notes(manifest) == []


def test_a_judge_is_told_of_too(folder: str) -> None:
    judge = hf.judge(folder, "Is {completion} kind? {input}", scale={"yes": 1, "no": 0}, retries=0, max_tokens=2)
    manifest = MUSIC.generate(hf.models.oracle()).metrics(judge).score().manifest
    assert 0 < manifest["judges"]["bytes"]["busy"] <= 1
    (note,) = working_notes(manifest)
    assert note.startswith("bytes: busy ")


def test_manifests_of_before_are_read() -> None:
    assert working_notes({"models": {"old": {"fingerprint": "f", "note": "", "busy": 0.5}}}) == []
