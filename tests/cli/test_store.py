"""`helmframe store`, as a user types it."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from helmframe.cli.app import main
from helmframe.store.files import process_token, temporary_name
from tests.store.rows import FINGERPRINT, filled, parts_of

Said = pytest.CaptureFixture[str]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The folder that HELMFRAME_STORE names in every test."""
    return tmp_path / "store"


def test_ls_shows_models_scenarios_parts_rows_and_size(store: Path, capsys: Said) -> None:
    filled(store, parts=3)
    assert main(["store", "ls"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split() == ["model", "fingerprint", "scenario", "files", "rows", "size", "newest"]
    cells = out.splitlines()[1].split()
    assert cells[:5] == ["mine", FINGERPRINT[:8], "mmlu", "3", "30"]
    assert cells[6] == "kB"
    assert f"{store}: 30 completions of 1 models" in err


def test_a_store_that_is_not_there_is_an_error(store: Path, capsys: Said) -> None:
    assert main(["store", "ls"]) == 1
    assert f"No store found at {store}" in capsys.readouterr().err


def test_show_prints_prompts_and_completions_of_a_model(store: Path, capsys: Said) -> None:
    filled(store, parts=2)
    assert main(["store", "show", "mine", "-n", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert lines[1:3] == ["  prompt      Q: what is it?", "  completion  A"]


def test_show_takes_a_part(store: Path, capsys: Said) -> None:
    part = parts_of(filled(store, parts=2))[1]
    assert main(["store", "show", str(part), "-n", "99"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 30


def test_show_of_a_part_that_is_not_there_says_so(store: Path, capsys: Said) -> None:
    filled(store)
    assert main(["store", "show", "none.parquet"]) == 2
    assert "not found in the store" in capsys.readouterr().err


def test_verify_of_a_sound_store_ends_with_0(store: Path, capsys: Said) -> None:
    filled(store)
    assert main(["store", "verify"]) == 0
    assert "5 files" in capsys.readouterr().err


def test_verify_names_what_is_damaged_and_ends_with_1(store: Path, capsys: Said) -> None:
    part = Path(parts_of(filled(store))[2])
    part.write_bytes(part.read_bytes()[:-1])
    assert main(["store", "verify"]) == 1
    out, err = capsys.readouterr()
    assert out == f"{part}: its content or its path does not match the checksum in its name\n"
    assert "1 damaged" in err
    assert part.exists()


def test_verify_removes_the_unfinished_files_of_ended_processes(store: Path, capsys: Said) -> None:
    filled(store)
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], check=True, capture_output=True)
    ended = process_token()[:8] + f"{int(process.stdout):08x}" + process_token()[16:]
    own = store / "runs" / temporary_name("manifest.json")
    own.parent.mkdir(parents=True)
    for path in (own, own.with_name(own.name.replace(process_token(), ended))):
        path.write_bytes(b"half")
    assert main(["store", "verify"]) == 0
    assert "removed 1 unfinished files of ended processes" in capsys.readouterr().err
    assert [*own.parent.iterdir()] == [own]


def test_verify_can_set_aside_what_is_damaged(store: Path) -> None:
    part = Path(parts_of(filled(store))[2])
    part.write_bytes(b"")
    assert main(["store", "verify", "--set-aside"]) == 1
    assert main(["store", "verify"]) == 0
    assert [path.name for path in (store / "damaged").rglob("*.parquet")] == [part.name]


def test_compact_says_what_became_of_each(store: Path, capsys: Said) -> None:
    filled(store)
    assert main(["store", "compact"]) == 0
    assert capsys.readouterr().out == "mine  mmlu: 5 files merged into 2\n"


def test_rm_removes_nothing_without_yes(store: Path, capsys: Said) -> None:
    filled(store)
    assert main(["store", "rm", "mine"]) == 2
    assert "mine  mmlu: 40 completions" in capsys.readouterr().err
    assert len(list(store.rglob("*.parquet"))) == 5
    assert main(["store", "rm", "mine", "--scenario", "mmlu", "--yes"]) == 0
    assert list(store.rglob("*.parquet")) == []


def test_export_writes_one_file(store: Path, tmp_path: Path) -> None:
    filled(store)
    assert main(["store", "export", str(tmp_path / "all.parquet"), "--model", "mine"]) == 0
    assert pl.read_parquet(tmp_path / "all.parquet").height == 40


@pytest.mark.shared
def test_every_action_works_in_a_bucket(s3: object, tmp_path: Path, capsys: Said) -> None:
    root = "s3://evals/stores/typed"
    filled(root)
    for action in (["ls"], ["show", "mine"], ["verify"], ["compact"], ["export", f"{root}/all.jsonl"], ["verify"]):
        assert main(["store", *action, "--store", root]) == 0
    assert main(["store", "rm", "mine", "--yes", "--store", root]) == 0
    out, err = capsys.readouterr()
    assert "mine  mmlu: 5 files merged into 2" in out
    assert "a-secret-nobody-may-see" not in out + err
