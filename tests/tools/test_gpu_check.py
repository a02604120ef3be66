"""The command that checks the engine on a GPU. On a CPU all checks pass; without a GPU, or with a fault, it fails."""

from pathlib import Path

import pytest
import torch

from tests.models import tiny
from tools import gpu_check


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.saved(tmp_path / "tiny", tiny.llama())


def test_all_checks_pass_on_a_cpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LEAST_FASTER": 0.0, "SHOTS": 0, "NEW": 8, "MIXED": (2, 8)}.items():
        monkeypatch.setattr(gpu_check, name, value)
    found = {check.name: check for check in gpu_check.checks(str(folder), "cpu", 8)}
    assert found["completions in float32 that equal the CPU's"].figure == "100.0% of 8"
    assert not [check for check in found.values() if check.passed is False]
    assert len(found) >= 10


def test_a_failed_check_is_the_exit_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    planted = [gpu_check.equal("planted", ["a", "b"], ["a", "c"]), gpu_check.Check("figure", "1", "", None)]
    monkeypatch.setattr(gpu_check, "checks", lambda *_: iter(planted))
    assert gpu_check.main(["--device", "cpu"]) == 1
    assert "50.0% of 2" in capsys.readouterr().out


def test_without_a_gpu_it_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main([]) == 1
    assert "finds no GPU" in capsys.readouterr().err
