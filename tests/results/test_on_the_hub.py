"""Results on the Hugging Face Hub: `to_parquet("hf://…")` and `hf.load("hf://…")`, against a local server."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import yaml
from huggingface_hub import close_session, constants

import helmframe as hf
from helmframe.errors import StoreError
from tests.hub_server import TOKEN, Hub, hub_server

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the Hub's client
ADDRESS = "hf://datasets/org/results"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the server speaks the older protocol, LFS
    close_session()
    with hub_server({}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server
    close_session()


@pytest.fixture
def results() -> hf.Results:
    return hf.scenario("sampler").where(subject="music").limit(8).perturb("typos").generate("noisy(0.5)").score()


@pytest.mark.parametrize("address", [ADDRESS, f"{ADDRESS}/runs/first"])
def test_uploaded_results_load_equal(hub: Hub, results: hf.Results, address: str) -> None:
    assert results.to_parquet(address) == address
    read = hf.load(address)
    columns = ["perturbation", "metric", "value", "n"]
    assert read.table().select(columns).equals(results.table().select(columns))
    assert hub.private == {"org/results"}
    commits = [request.path for request in hub.requests if "/commit/" in request.path]
    assert commits == ["/api/datasets/org/results/commit/main"]


def test_the_card_names_the_tables(hub: Hub, results: hf.Results) -> None:
    results.to_parquet(ADDRESS)
    files = hub.files("org/results", "main")
    assert files is not None
    card = yaml.safe_load(files.read("README.md").decode().split("---")[1])
    for table in card["configs"]:
        folder = table["data_files"].partition("/")[0]
        rows = [pl.read_parquet(files.read(path)) for path in files.paths if path.startswith(f"{folder}/")]
        assert sum(frame.height for frame in rows) == getattr(results, folder).collect().height
    assert [table["config_name"] for table in card["configs"]] == ["scores", "completions"]


def test_a_folder_with_results_is_not_replaced(hub: Hub, results: hf.Results) -> None:
    results.to_parquet(ADDRESS)
    with pytest.raises(StoreError, match=r"hf://datasets/org/results isn't empty\. Write another folder"):
        results.to_parquet(ADDRESS)


def test_wrong_addresses_and_tokens_are_typed_errors(
    hub: Hub, results: hf.Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in ("hf://org/results", "hf://datasets/results", "hf://datasets/org/results/../other"):
        with pytest.raises(StoreError, match="Write hf://datasets/OWNER/NAME"):
            results.to_parquet(address)
    with pytest.raises(StoreError, match="can't read hf://datasets/org/nothing"):
        hf.load("hf://datasets/org/nothing")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong0123456789abcdefghijklm")
    with pytest.raises(StoreError, match="Set HF_TOKEN") as error:
        results.to_parquet(ADDRESS)
    assert "hf_wrong" not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__context__ is None
