"""Fixtures for the doctests of the package; tests have their own in `tests/conftest.py`."""

from pathlib import Path

import pytest

from helmframe import config


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each doctest a store and settings of its own."""
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(config, "_settings", config._Settings())
