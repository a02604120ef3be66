"""`helmframe report`: what it writes and says; tests/browser shows the page."""

from pathlib import Path

import pytest

import helmframe as hf
from helmframe.cli.app import main


@pytest.fixture
def folder(tmp_path: Path) -> str:
    results = hf.scenario("sampler").where(subject="music").limit(2).generate(hf.models.oracle()).score()
    return str(results.to_parquet(tmp_path / "run"))


def test_a_report_is_written(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["report", folder, "-o", str(tmp_path / "r.html"), "--title", "<two> & more"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'r.html'}\n"
    assert "<h1>&lt;two&gt; &amp; more</h1>" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_folder_without_results_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 1
    assert "has no results" in capsys.readouterr().err
