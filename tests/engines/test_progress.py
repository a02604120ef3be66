"""Progress: lines where there is no terminal, nothing where it is off."""

import pytest

import helmframe as hf
from helmframe.engines.progress import Progress, StoppedError

PLAN = hf.scenario("sampler").where(subject="music").limit(3).generate(hf.models.oracle())


def test_without_a_terminal_a_line_is_written_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    PLAN.score(fresh=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == "helmframe: 3 of 3 completions"


def test_the_store_is_named_when_it_is_first_used(capsys: pytest.CaptureFixture[str]) -> None:
    PLAN.score()
    assert "the store is" in capsys.readouterr().err
    PLAN.score()
    assert "the store is" not in capsys.readouterr().err


def test_progress_can_be_turned_off(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_PROGRESS", "0")
    PLAN.score()
    assert capsys.readouterr().err == ""


def test_failures_are_counted_in_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(enabled=True) as progress:
        progress.report("planned", 2)
        progress.report("failed", 1)
        progress.report("answered", 2)
    assert capsys.readouterr().err == "helmframe: 2 of 2 completions, 1 failed\n"


def test_whoever_reports_after_a_stop_is_stopped() -> None:
    progress = Progress(enabled=False)
    progress.stop()
    with pytest.raises(StoppedError):
        progress.report("answered", 1)
