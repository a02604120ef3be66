"""The table of models by name."""

from pathlib import Path

import pytest

import helmframe as hf
from tests.models.tiny import gpt2_folder


def test_functions_of_the_namespace_are_listed_with_their_arguments() -> None:
    table = hf.list_models().filter(kind="mock")
    assert table["name"].to_list() == ["echo", "noisy", "oracle", "replay"]
    assert table.filter(name="noisy")["arguments"].item() == "accuracy, seed=0, by='prompt'"
    functions = {name for name in hf.models.__all__ if name.islower()}
    assert set(hf.list_models()["name"]) == functions


def test_checkpoints_below_the_models_folder_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_MODELS", str(tmp_path))
    gpt2_folder(tmp_path / "tiny")
    gpt2_folder(tmp_path / "org" / "tiny")
    (tmp_path / "no_weights").mkdir()
    (tmp_path / "no_weights" / "config.json").write_text("{}")
    table = hf.list_models().filter(kind="checkpoint")
    assert table["name"].to_list() == [str(tmp_path / "org" / "tiny"), str(tmp_path / "tiny")]
