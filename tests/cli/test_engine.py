"""Where a run is done, as said on the command line."""

import argparse

import pytest

import helmframe as hf
from helmframe.cli.app import main
from helmframe.cli.engine import add_engine, said_engine


def said(*words: str) -> object:
    parser = argparse.ArgumentParser()
    add_engine(parser)
    return said_engine(parser.parse_args(words))


def test_the_options_say_the_engine() -> None:
    assert said() == "local"
    assert said("--engine", "ray") == hf.engines.Ray()
    ray = said("--engine", "ray", "--address", "auto", "--actors", "2-8", "--num-gpus", "1", "--num-cpus", "4")
    assert ray == hf.engines.Ray("auto", (2, 8), num_cpus=4, num_gpus=1)
    assert said("--engine", "ray", "--actors", "3") == hf.engines.Ray(replicas=3)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--address", "auto"], "--engine ray"),
        (["--engine", "ray", "--actors", "many"], "1-8"),
        (["--engine", "ray", "--actors", "4-2"], "at least"),
    ],
)
def test_options_that_cannot_be(words: list[str], match: str) -> None:
    with pytest.raises(hf.HelmframeError, match=match):
        said(*words)


def test_an_engine_nobody_knows_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "sampler:subject=music,model=oracle()", "--engine", "rya"]) == 2
    assert "Did you mean 'ray'" in capsys.readouterr().err
