"""`helmframe report` and `helmframe dashboard`: what they write and say; tests/browser shows what they show."""

import signal
import subprocess
import sys
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


def test_a_folder_without_results_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("report", "dashboard"):
        assert main([command, str(tmp_path)]) == 1
        assert "holds no results" in capsys.readouterr().err


def test_a_port_that_cannot_be_is_told(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", folder, "--port", "99999"]) == 2
    assert "--port 99999" in capsys.readouterr().err


def test_ctrl_c_ends_a_dashboard(folder: str) -> None:
    command = [sys.executable, "-m", "helmframe", "dashboard", folder]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, said) == (0, "helmframe: ended\n")
