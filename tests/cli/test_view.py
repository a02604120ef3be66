"""`helmframe view`: its errors and its end; tests/browser shows the pages."""

import signal
import socket
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


def test_a_folder_without_results_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert str(tmp_path) in message
    assert "no results" in message


def test_an_empty_store_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path))
    assert main(["view"]) == 1
    assert "The store has no runs" in capsys.readouterr().err


def test_a_port_in_use_raises(capsys: pytest.CaptureFixture[str]) -> None:
    results = hf.scenario("sampler").where(subject="music").limit(1).generate(hf.models.oracle()).score()
    capsys.readouterr()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for said in (port, 99_999):
            assert main(["view", str(results.path), "--port", str(said)]) == 2
            assert f"--port {said}" in capsys.readouterr().err


def test_an_invalid_port_raises(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", folder, "--port", "99999"]) == 2
    assert "--port 99999" in capsys.readouterr().err


def test_ctrl_c_ends_the_viewer(folder: str) -> None:
    command = [sys.executable, "-m", "helmframe", "view", folder]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, said) == (0, "helmframe: stopped\n")
