"""How a model reads, and how much of the time it did, is said where one looks for it."""

from pathlib import Path

import helmframe as hf
from tests.models.tiny import gpt2_folder


def test_the_chosen_way_is_explained_once_it_is_known_and_a_run_says_how_busy_the_model_was(tmp_path: Path) -> None:
    folder = str(gpt2_folder(tmp_path / "bytes"))
    plan = hf.scenario("sampler").where(subject="music").limit(4).generate(folder)
    assert "how prompts are read is chosen when it is loaded" in plan.explain()
    results = plan.score()
    assert 0 < results.manifest["models"]["bytes"]["busy"] <= 1
    assert "prompts are packed and what they share is read once" in plan.explain()
