"""The command `helmframe`: where it prints messages, and its exit status."""

from pathlib import Path

import pytest

import helmframe as hf
from helmframe._suite import Suite
from helmframe.cli.app import main
from tests.cli.test_run import MUSIC, typed


@pytest.mark.parametrize(
    ("argv", "message", "status"),
    [
        (["run"], 'Nothing to run. Write: helmframe run "mmlu:subject=philosophy,model=org/name"', 2),
        (["run", "-c", "nowhere.conf"], "nowhere.conf: can't be read: No such file or directory.", 2),
        (["run", "nowhere.yaml"], "nowhere.yaml: file not found.", 2),
        (["run", "bad.conf"], "bad.conf: invalid HOCON: ", 2),
        (["run", "samplr:model=oracle()"], "Did you mean 'sampler'?", 2),
        (["run", "sampler:subjet=music,model=oracle()"], "Did you mean 'subject'?", 2),
        (["run", "sampler:subject=musik,model=oracle()"], "Did you mean 'music'?", 2),
        (["run", "sampler:subject=music"], "No model. Add model=org/name to the run entry", 2),
        (["run", "sampler:model=text"], "No model. Add model=org/name to the run entry", 2),
        (["run", "sampler:model=./geclm/nowhere"], "Searched: geclm/nowhere, nowhere", 1),
        (["run", MUSIC, "-m", "0"], "n must be an integer ≥ 1", 2),
        (
            ["run", MUSIC, "--models-to-run", "echo()"],
            "Nothing to run: no entry matches --priority",
            2,
        ),
        (["explain", "mmlu:subject=philosophy", "-m", "4"], "scenario 'mmlu': no file found at ", 1),
        (["run", "mmlu:subject=philosophy,model=oracle()"], "HELMFRAME_DATA", 1),
        (["show", "nothing"], "Unknown scenario 'nothing'.", 2),
        (["show", "."], "has no results", 1),
    ],
)
def test_an_error_is_one_message_on_stderr(
    argv: list[str],
    message: str,
    status: int,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(here / "no-data"))
    Path("bad.conf").write_text("entries: [")
    assert main(argv) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("helmframe: ")
    assert message in err
    assert "Traceback" not in err


def test_the_hint_for_python_code_is_not_printed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("plan.yaml").write_text("scenario: sampler\ngenerate: oracle()\nmetrics: [exact_mach]\n")
    assert main(["run", "plan.yaml"]) == 2
    err = capsys.readouterr().err
    assert "Unknown metric 'exact_mach'. Did you mean 'exact_match'" in err
    assert "@hf.metric" not in err


def test_verbose_shows_where_an_error_is_from(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--verbose", "samplr"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "UnknownScenarioError" in err


def test_wrong_usage_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["run", "--no-such-option"])
    assert error.value.code == 2
    assert "usage: helmframe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message", "usage"),
    [
        (["run", "x", "--modle", "org/name"], "unknown option --modle. Did you mean --model?", "usage: helmframe run "),
        (["run", "x", "--modle=org/name"], "unknown option --modle. Did you mean --model?", "usage: helmframe run "),
        (["gate", "runs/a", "--at-leest", "1"], "Did you mean --at-least?", "usage: helmframe gate "),
        (
            ["store", "ls", "--stroe", "x"],
            "Did you mean --store?",
            "usage: helmframe store ls ",
        ),
        (["--verson"], "unknown option --verson. Did you mean --version?", "usage: helmframe [options] COMMAND"),
        (["check", "x", "y"], "unexpected argument 'y'.", "usage: helmframe check "),
        (["run", "x", "--zzz"], "unknown option --zzz. `helmframe run --help` lists all.", "usage: helmframe run "),
    ],
)
def test_an_unknown_option_is_reported_with_the_usage_of_its_command(
    argv: list[str], message: str, usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith(usage)


def test_an_unexpected_error_is_reported_without_a_traceback(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(Suite, "score", broken)
    assert main(["run", MUSIC]) == 1
    assert capsys.readouterr().err == "helmframe: RuntimeError: out of luck\nUse --verbose to print the traceback.\n"


def test_a_ctrl_c_ends_with_130_and_shows_how_to_resume(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Suite, "score", stopped)
    assert main(["run", MUSIC]) == 130
    assert "rerun the command to resume" in capsys.readouterr().err


def test_a_closed_pipe_is_not_an_error(here: Path) -> None:
    done = typed("python -m helmframe list | true", here)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_prints_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out == f"helmframe {hf.__version__}\n"
