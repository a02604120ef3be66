"""Without a root the rows come from the hub; where it can't be reached, the error says what to do."""

import pytest

from helmframe.errors import SourceError
from helmframe.scenarios import remote
from helmframe.scenarios.find import find_scenario
from helmframe.scenarios.load import load
from tests.scenarios.readers import READERS


@pytest.fixture(params=[*(each for each in READERS if each == "httpfs"), "huggingface_hub"])
def nowhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and one of the two ways to the hub."""
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    if request.param == "huggingface_hub":
        monkeypatch.setattr(remote, "httpfs_file", lambda: None)


@pytest.mark.usefixtures("nowhere")
def test_a_hub_that_cannot_be_reached_says_to_set_the_root() -> None:
    with pytest.raises(SourceError, match=r"scenario 'gsm8k': hf://datasets/openai/gsm8k/.*(\n.*)*HELMFRAME_DATA"):
        next(load(find_scenario("gsm8k")))
