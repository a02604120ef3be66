"""`helmframe view`: what it says of what can't be served; tests/browser shows what it serves."""

import socket
from pathlib import Path

import pytest

import helmframe as hf
from helmframe.cli.app import main


def test_a_folder_without_results_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path)]) == 1
    assert "holds no results" in capsys.readouterr().err


def test_a_port_in_use_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    results = hf.scenario("sampler").where(subject="music").limit(1).generate(hf.models.oracle()).score()
    capsys.readouterr()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for said in (port, 99_999):
            assert main(["view", str(results.path), "--port", str(said)]) == 2
            assert f"--port {said}" in capsys.readouterr().err
