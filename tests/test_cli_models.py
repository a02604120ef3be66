"""Who answers, said on the command line."""

from pathlib import Path

import pytest

import helmframe as hf
from helmframe.cli import main
from tests.models.test_local_model import lora
from tests.models.tiny import gpt2_folder, llama, saved

MUSIC = "sampler:subject=music,max_train_instances=0"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to type in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_model_is_loaded_as_the_options_say(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpt2_folder(here / "x")
    plain, low = (["run", MUSIC, "-m", "2", "--model", "./x", *more] for more in ([], ["--dtype", "bfloat16"]))
    assert main([*plain]) == main([*low, "--device", "cpu"]) == 0
    assert "2 of 2 completions" in capsys.readouterr().err
    assert main(["explain", *low[1:]]) == 0
    assert "x: computes in bfloat16" in capsys.readouterr().out


def test_an_adapter_is_loaded_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(here / "base", llama())
    lora(here / "mine", llama())
    assert main(["explain", MUSIC, "-m", "1", "--model", "./base", "--adapter", "./mine"]) == 0
    assert "base+mine: adapter" in capsys.readouterr().out


def test_it_answers_whatever_entries_and_plans_say(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hf.scenario("sampler").where(subject="music").limit(1).generate("echo()").to_yaml("plan.yaml")
    entry = f"{MUSIC},model=no/such"
    assert main(["run", entry, "plan.yaml", "-m", "2", "--model", "oracle()"]) == 0
    out = capsys.readouterr().out
    assert "oracle" in out
    assert "echo" not in out


def test_options_are_of_the_local_models_among_several(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpt2_folder(here / "x")
    assert main(["explain", MUSIC, "-m", "1", "--model", "./x", "oracle()", "--dtype", "float16"]) == 0
    out = capsys.readouterr().out
    assert "x: computes in float16" in out
    assert "oracle: computes" not in out


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (["--dtype", "bfloat16"], "--dtype says how a model is loaded; say which: --model ./folder"),
        (["--model", "oracle()", "--trust-remote-code"], "--trust-remote-code is of local models"),
        (["--model", "openai:gpt-4.1", "--device-map", "auto"], "'openai:gpt-4.1' is none"),
        (["--model", "oracle()", "--models-to-run", "echo()"], "leave out --models-to-run"),
        (["--model", "./x", "--dtype", "half"], "no dtype is called 'half'"),
    ],
)
def test_what_can_not_be_said_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], said: list[str], message: str
) -> None:
    assert main(["run", MUSIC, *said]) == 1
    assert message in capsys.readouterr().err
