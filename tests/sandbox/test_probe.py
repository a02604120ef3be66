"""Where programs may not run, or not in a whole sandbox, nothing runs: the faults of a machine, one by one."""

import os
import stat
import sys
from pathlib import Path

import pytest

import helmframe as hf
from helmframe import config
from helmframe.errors import ArgumentError, SandboxError
from helmframe.sandbox import probe
from helmframe.sandbox.probe import may_run_programs
from helmframe.sandbox.programs import run_tests


@pytest.fixture(autouse=True)
def not_probed() -> None:
    probe._probed.cache_clear()


def fake_bwrap(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `bwrap` of these lines of Python, the only one there is."""
    file = folder / "bwrap"
    file.write_text(f"#!{sys.executable}\n{code}")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))


def test_nothing_runs_unless_somebody_allows_it() -> None:
    with pytest.raises(SandboxError, match=r"hf.configure\(allow_code=True\)"):
        may_run_programs()


def test_configure_allows_it() -> None:
    hf.configure(allow_code=True)
    may_run_programs()


def test_a_variable_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_ALLOW_CODE", "1")
    may_run_programs()


def test_configure_goes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_ALLOW_CODE", "1")
    hf.configure(allow_code=False)
    assert not config.code_allowed()


def test_a_variable_of_another_value_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_ALLOW_CODE", "yes")
    with pytest.raises(ArgumentError, match="should be 1 or 0"):
        may_run_programs()


def test_without_bubblewrap_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hf.configure(allow_code=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match="apt install bubblewrap"):
        may_run_programs()


def test_a_kernel_that_refuses_namespaces_is_named_and_how_to_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hf.configure(allow_code=True)
    fake_bwrap(tmp_path, "raise SystemExit('bwrap: No permissions to create new namespace')", monkeypatch)
    with pytest.raises(SandboxError, match=r"No permissions to create new namespace\n.*CAP_SYS_ADMIN"):
        may_run_programs()


def test_a_sandbox_without_walls_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hf.configure(allow_code=True)
    trusted = Path(hf.__file__).parents[1]
    code = f"""
import json, os, sys
words = sys.argv[sys.argv.index("--") + 1:]
os.write(int(sys.argv[sys.argv.index("--info-fd") + 1]), json.dumps({{"child-pid": os.getpid()}}).encode())
os.close(int(sys.argv[sys.argv.index("--info-fd") + 1]))
words = [word.replace("/trusted", {str(trusted)!r}) for word in words]
at = words.index("-c") + 1
words[at] = "import sys; sys.path += " + repr({sys.path!r}) + "; " + words[at]
os.execv(words[0], words)
"""
    fake_bwrap(tmp_path, code, monkeypatch)
    with pytest.raises(
        SandboxError, match="the sandbox is not whole, so nothing is run in it: processes, network, proc"
    ):
        may_run_programs()


def test_a_refusal_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hf.configure(allow_code=True)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError):
        may_run_programs()
    monkeypatch.setenv("PATH", path)
    may_run_programs()


def test_a_sandbox_that_does_not_start_is_no_wrong_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_bwrap(tmp_path, "raise SystemExit('bwrap: out of luck')", monkeypatch)
    with pytest.raises(SandboxError, match="a sandbox did not start: bwrap: out of luck"):
        run_tests("x = 1", "assert x == 1")
