"""Issue 25, check 6, first part: the validator of Every Eval Ever accepts three exports."""

import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.results import Results
from tests.acceptance.figures import shown

VENV = Path(sys.prefix) / ".every_eval_ever"
# the validator's own requirements; it needs Python 3.12 for its converters only
PACKAGES = ["pydantic>=2.12", "rich>=14,<15", "jsonschema>=4.26", "pyyaml", "requests", "huggingface-hub>=1,<2"]


def validator() -> str:
    """Return the Python of a venv with the package every-eval-ever."""
    python = VENV / "bin" / "python"
    if not (VENV / "done").exists():
        venv.create(VENV, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, *PACKAGES], check=True)
        subprocess.run([*pip, "--no-deps", "--ignore-requires-python", "every-eval-ever>=0.3"], check=True)
        (VENV / "done").touch()
    return str(python)


def sampler() -> Results:
    plan = hf.scenario("sampler").limit(4).perturb("typos")
    return plan.generate({"org/half": hf.models.noisy(0.5), "best": hf.models.oracle()}, n=2, temperature=1.0).score()


def options() -> Results:
    return hf.scenario("everyday").limit(3).generate(hf.models.oracle()).score()


def conversations() -> Results:
    questions = ["Capital of France?", "Capital of Spain?"]
    frame = {"q": [[question, "Are you sure?"] for question in questions], "a": [["Paris", "yes"], ["Madrid", "yes"]]}
    plan = hf.scenario(pl.DataFrame(frame), turns="q", references="a", name="capitals")
    return plan.generate(lambda prompt: "Paris").metrics("exact_match", "f1_score").score()


@pytest.mark.parametrize("make", [sampler, options, conversations])
def test_6_the_validator_accepts_an_export(make: Callable[[], Results], tmp_path: Path) -> None:
    make().to_every_eval_ever(tmp_path / "out", organization="Example University")
    files = sorted(str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*.json*"))
    command = [validator(), "-m", "every_eval_ever", "validate", *files]
    ended = subprocess.run(command, cwd=tmp_path / "out", capture_output=True, text=True, check=False, timeout=300)
    shown("6", f"files of {make.__name__} that every_eval_ever accepts", f"{len(files)}", "all")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{len(files)} passed, 0 warning-only, 0 failed" in ended.stdout
