"""Every snippet of docs/models.md that needs nothing but this machine, pasted as it stands, and what the page shows."""

import re
from typing import Any

import pytest

from helmframe.models.model import Model
from tests.demo import ROOT, demo_model
from tests.snippets import snippets

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
NOT_RUN = "# not run here"


PARTS = re.findall(r"^##? ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
SECTIONS = {heading: snippets(text) for heading, text in PARTS}


@pytest.mark.model
@pytest.mark.parametrize("heading", SECTIONS)
def test_a_sections_snippets_run_as_they_stand(heading: str, monkeypatch: pytest.MonkeyPatch) -> None:
    demo_model()
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    for code, shown in SECTIONS[heading]:
        if code.startswith(NOT_RUN):
            compile(code, "docs/models.md", "exec")
            continue
        *lines, last = code.rstrip().split("\n")
        exec("\n".join(lines), names)
        value = eval(last, names)
        assert value is not None
        if shown is not None:
            assert (repr(value) if isinstance(value, Model) else f"'{value}'") == shown


def test_the_page_has_a_section_for_each_way() -> None:
    assert list(SECTIONS) == [
        "Use your model", "Capabilities", "Use a function as a model", "Use an object with generate and loglikelihood",
        "Run a local checkpoint", "Evaluate a loaded model and its tokenizer", "Run a GGUF file",
        "How local prompts are batched", "Log-probabilities", "Use an OpenAI-compatible server",
        "Use a provider through litellm", "Constrain completions to a JSON schema", "vLLM in this process",
        "Use a model from lm-eval",
        "Use a model from Inspect", "Use a mock model",
    ]  # fmt: skip
    assert sum(code.startswith(NOT_RUN) for each in SECTIONS.values() for code, _ in each) == 5
