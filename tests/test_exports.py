"""The public face: what it names, and how little it costs to import."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

import helmframe as hf

HEAVY = (
    "torch", "transformers", "altair", "duckdb", "scipy.stats", "s3fs", "huggingface_hub", "pandas", "numpy", "pyarrow",
)  # fmt: skip


def run(code: str) -> str:
    """What Python prints, started anew."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_names_are_sorted_and_there() -> None:
    assert hf.__all__ == sorted(hf.__all__)
    assert [name for name in hf.__all__ if not hasattr(hf, name)] == []


@pytest.mark.parametrize("name", hf.__all__)
def test_every_name_says_what_it_is(name: str) -> None:
    found = getattr(hf, name)
    assert not isinstance(found, partial)  # its docstring would be that of `partial`
    assert (found.__doc__ or "").strip()


def test_nothing_else_is_public_by_accident() -> None:
    # pytest adds names that start with "@" to modules of its plug-ins
    names = {name for name, found in vars(hf).items() if name[0] not in "_@" and not _is_submodule(found)}
    # what the lazy names are imported with; dir() does not show it
    assert names - set(hf.__all__) <= {"Any", "TYPE_CHECKING", "import_module"}


@pytest.mark.parametrize(
    "face", [hf, hf.adapters, hf.charts, hf.engines, hf.metrics, hf.models, hf.perturbations, hf.stats]
)
def test_the_tab_key_offers_what_is_exported(face: ModuleType) -> None:
    assert dir(face) == sorted(face.__all__)


def _is_submodule(found: object) -> bool:
    return isinstance(found, ModuleType) and found.__name__.startswith("helmframe.")


def test_the_version_is_the_packages() -> None:
    from importlib.metadata import version

    assert hf.__version__ == version("helmframe")


def test_importing_imports_nothing_heavy() -> None:
    assert run(f"import helmframe, sys; print([name for name in {HEAVY!r} if name in sys.modules])") == "[]"


def test_importing_loads_fewer_than_150_modules_of_ours() -> None:
    code = "import helmframe, sys; print(len([name for name in sys.modules if name.split('.')[0] == 'helmframe']))"
    assert int(run(code)) < 150


@pytest.mark.serial
def test_importing_takes_at_most_2_2_times_as_long_as_polars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # compiled, as what pip installs is
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path))

    def seconds(module: str) -> float:
        code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
        return float(run(code))

    seconds("helmframe")
    # in pairs, and the fastest of each, so that a machine busy with something else slows both or none
    pairs = [(seconds("helmframe"), seconds("polars")) for _ in range(7)]
    times = min(ours for ours, _ in pairs) / min(polars for _, polars in pairs)
    print(f"import helmframe takes {times:.2f} times as long as import polars, at most 2.2")
    assert times <= 2.2
