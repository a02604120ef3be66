"""`helmframe score`: other metrics over the answers of a finished run."""

from pathlib import Path

import pytest

import helmframe as hf
from helmframe.cli.app import main


@pytest.fixture
def run(tmp_path: Path) -> str:
    plan = hf.scenario("sampler").where(subject="music").limit(3).generate(hf.models.oracle())
    return str(plan.score().to_parquet(tmp_path / "run"))


def test_other_metrics_of_the_same_answers(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", run, "--metrics", "rouge_1", "exact_match@1", "-o", str(tmp_path / "again")]) == 0
    said = capsys.readouterr()
    assert "wrote " in said.err
    again = hf.load(tmp_path / "again")
    assert again.metric_names == ["rouge_1", "exact_match@1"]
    assert again.value("rouge_1") == 1.0
    assert "rouge_1" in said.out


def test_without_metrics_those_of_the_run(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", run]) == 0
    assert "exact_match" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["rouge_7"], "Unknown metric 'rouge_7'. Did you mean"),
        (["f1_score(n=1)"], "f1_score() has no argument 'n'"),
    ],
)
def test_what_is_no_metric(run: str, metrics: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", run, "--metrics", *metrics]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(tmp_path / "none")]) == 1
    assert "Traceback" not in capsys.readouterr().err
