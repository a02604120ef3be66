"""The options of `run` and `explain` for models and engine."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from huggingface_hub import constants
from transformers import AutoModelForCausalLM

import helmframe as hf
from helmframe.cli.app import main
from helmframe.cli.run import add_engine, engine_option
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


def answered(said: str) -> list[float]:
    """What a run with these options answers: log-probabilities, which tell weights apart."""
    assert main(["run", MUSIC, "-m", "3", "--fresh", "-o", "out", "--suite", "last", *said.split()]) == 0
    rows = hf.load("out/runs/last").completions.collect()
    shutil.rmtree("out")
    assert rows["error"].null_count() == rows.height == 3
    return rows.sort("instance_id")["logprob"].to_list()


def test_an_adapter_changes_what_is_answered(here: Path) -> None:
    gpt2_folder(here / "base")
    base: Any = AutoModelForCausalLM.from_pretrained(here / "base")
    lora(here / "mine", base, target_modules=["c_attn"], fan_in_fan_out=True)
    adapted = answered("--model ./base --adapter ./mine")
    assert adapted != pytest.approx(answered("--model ./base"), abs=1e-3)
    base = AutoModelForCausalLM.from_pretrained(here / "base")
    peft.PeftModel.from_pretrained(base, str(here / "mine")).merge_and_unload().save_pretrained(here / "base")
    assert adapted == pytest.approx(answered("--model ./base"), abs=1e-5)


def test_a_revision_answers_with_its_own_weights(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = here / "cache" / "models--some--hub" / "snapshots"
    for commit in ("0" * 40, "1" * 40):
        gpt2_folder(snapshots / commit)
    other: Any = AutoModelForCausalLM.from_pretrained(snapshots / ("1" * 40))
    with torch.no_grad():
        other.transformer.wte.weight.mul_(4)
    other.save_pretrained(snapshots / ("1" * 40))
    (snapshots.parent / "refs").mkdir()
    (snapshots.parent / "refs" / "main").write_text("0" * 40)
    (snapshots.parent / "refs" / "v2").write_text("1" * 40)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(here / "cache"))
    first, second = (answered(f"--model {model}") for model in ("some/hub", "some/hub --revision v2"))
    assert first == pytest.approx(answered(f"--model {snapshots / ('0' * 40)}"), abs=1e-5)
    assert second == pytest.approx(answered(f"--model {snapshots / ('1' * 40)}"), abs=1e-5)
    assert first != pytest.approx(second, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "told"), [("--device-map auto", ""), ("--replicas 2", "2 copies; "), ("--device cpu --dtype auto", "")]
)
def test_wherever_it_is_loaded_it_answers_alike_and_tells_how_it_reads(
    here: Path, capsys: pytest.CaptureFixture[str], options: str, told: str
) -> None:
    gpt2_folder(here / "x")
    assert answered(f"--model ./x {options}") == pytest.approx(answered("--model ./x"), abs=1e-5)
    said = capsys.readouterr().err
    assert "helmframe: x: busy " in said
    assert f"waiting for completions; {told}prompts are packed, and shared prefixes are read once" in said


def test_code_of_the_checkpoint_runs_where_it_is_trusted(here: Path) -> None:
    folder = gpt2_folder(here / "x")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModelForCausalLM": "mine.Mine"}}))
    ran = here / "ran"
    (folder / "mine.py").write_text(
        f"from pathlib import Path\nfrom transformers import GPT2LMHeadModel\nPath({str(ran)!r}).touch()\n"
        "class Mine(GPT2LMHeadModel):\n    pass\n"
    )
    plain = answered("--model ./x")
    assert not ran.exists()
    assert answered("--model ./x --trust-remote-code") == pytest.approx(plain, abs=1e-5)  # kernels are chosen by time
    assert ran.exists()


def test_how_prompts_will_be_read_is_explained(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(here / "x", llama(seed=9))  # which no other test has loaded
    assert main(["explain", MUSIC, "-m", "1", "--model", "./x"]) == 0
    said = capsys.readouterr().out
    assert "x: by the model's configuration, prompts are packed, and shared prefixes are read once; a check" in said


def test_an_adapter_is_explained(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
        (["--dtype", "bfloat16"], "--dtype needs a model to load. Add --model ./folder"),
        (["--model", "oracle()", "--trust-remote-code"], "--trust-remote-code applies to local models"),
        (["--model", "openai:gpt-4.1", "--device-map", "auto"], "'openai:gpt-4.1' isn't one"),
        (["--model", "oracle()", "--models-to-run", "echo()"], "--model and --models-to-run exclude each other"),
        (["--model", "./x", "--dtype", "half"], "Unknown dtype 'half'"),
    ],
)
def test_what_can_not_be_said_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], said: list[str], message: str
) -> None:
    assert main(["run", MUSIC, *said]) == 2
    assert message in capsys.readouterr().err


def engine(*words: str) -> object:
    parser = argparse.ArgumentParser()
    add_engine(parser)
    return engine_option(parser.parse_args(words))


def test_the_options_say_the_engine() -> None:
    assert engine() == "local"
    assert engine("--engine", "ray") == hf.engines.Ray()
    ray = engine("--engine", "ray", "--address", "auto", "--actors", "2-8", "--num-gpus", "1", "--num-cpus", "4")
    assert ray == hf.engines.Ray("auto", (2, 8), num_cpus=4, num_gpus=1)
    assert engine("--engine", "ray", "--actors", "3") == hf.engines.Ray(replicas=3)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--address", "auto"], "--engine ray"),
        (["--engine", "ray", "--actors", "many"], "1-8"),
        (["--engine", "ray", "--actors", "4-2"], "a pair"),
    ],
)
def test_options_that_cannot_be(words: list[str], match: str) -> None:
    with pytest.raises(hf.HelmframeError, match=match):
        engine(*words)


def test_an_engine_nobody_knows_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "sampler:subject=music,model=oracle()", "--engine", "rya"]) == 2
    assert "Did you mean 'ray'" in capsys.readouterr().err
