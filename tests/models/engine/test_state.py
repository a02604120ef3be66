"""How a model reads, and how much of the time it did, is said where one looks for it."""

from pathlib import Path

import polars as pl
import pytest
import torch

import helmframe as hf
from helmframe.models.engine.reading import Reader
from helmframe.models.protocol import from_any
from tests.models import tiny
from tests.models.engine import shapes

QUESTIONS = pl.DataFrame({"q": ["Who?", "What is it?", "Where, and when?"], "a": ["A", "B", "C"]})
CHECKED = "a check before the first prompt confirms this, or chooses a slower way"
CONFIRMED = "(confirmed by a check)"
RECURRENT = "prompts are read whole, in batches of equal length (mamba has layers with a recurrent state"
SLIDING = (
    f"prompts of up to {shapes.WINDOW} tokens are packed, "
    f"longer prompts are padded (a sliding window of {shapes.WINDOW} tokens)"
)
# Of a folder: what its configuration allows, and what was chosen in the end.
FOLDERS = {
    "llama": (
        f"by the model's configuration, prompts are packed, and shared prefixes are read once; {CHECKED}",
        f"prompts are packed, and shared prefixes are read once {CONFIRMED}",
    ),
    "mistral, sliding": (
        f"by the model's configuration, {SLIDING}; {CHECKED}",
        f"{SLIDING} {CONFIRMED}",
    ),
    "gemma2": (
        f"by the model's configuration, prompts are padded (its attention uses softcap); {CHECKED}",
        f"prompts are padded (its attention uses softcap) {CONFIRMED}",
    ),
    "gpt_neo": (
        f"by the model's configuration, prompts are packed, and shared prefixes are read once; {CHECKED}",
        f"prompts are padded (only 0 of its 2 layers use the attention of transformers) {CONFIRMED}",
    ),
    "mamba": (
        f"by the model's configuration, {RECURRENT}",
        RECURRENT,
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_says_by_its_configuration_how_it_will_read_and_a_run_how_it_did(name: str, tmp_path: Path) -> None:
    folder = tiny.saved(tmp_path / "tiny", shapes.made(name))
    (folder / "own.json").write_text("{}")  # no other test has loaded such a folder
    allowed, chosen = FOLDERS[name]
    plan = hf.scenario(QUESTIONS, input="q", references="a").generate(str(folder), max_tokens=3)
    before = plan.explain()
    assert allowed in before
    assert (CHECKED in before) == (name != "mamba")
    results = plan.score()
    about = results.manifest["models"]["tiny"]
    assert chosen in about["state"]
    assert 0 < about["busy"] <= 1
    assert f"tiny: {about['state']}" in plan.explain()


def test_an_encoder_decoder_says_so_before_it_is_loaded_and_after(tmp_path: Path) -> None:
    model = from_any(tiny.saved(tmp_path / "tiny", tiny.t5()))
    assert model.state is not None
    before = model.state()
    model.generate(["Who?"], {"max_tokens": 2})
    assert before == model.state() == "prompts are read in padded batches (encoder-decoder)"


def test_another_plan_knows_what_a_run_of_this_process_chose(tmp_path: Path) -> None:
    folder = tiny.saved(tmp_path / "tiny", tiny.llama())
    from_any(folder).generate(["Who?"], {"max_tokens": 2})
    model = from_any(folder)
    assert model.state is not None
    assert CONFIRMED in model.state()


def test_all_choices_are_reported_to_hooks() -> None:
    model = shapes.made("llama")
    reader = Reader(model)
    assert (
        reader.state()
        == f"by the model's configuration, prompts are packed, and shared prefixes are read once; {CHECKED}"
    )
    with torch.no_grad():
        reader.choice()
        model.model.layers[0].register_forward_pre_hook(lambda *_: None)
        reader.choice()
    hooked = "prompts are read whole, in batches of equal length (a hook on the model may depend on positions)"
    assert reader.state() == f"prompts are packed, and shared prefixes are read once {CONFIRMED}, then {hooked}"


def test_rows_that_differ_in_a_batch_are_reported() -> None:
    model = from_any((shapes.made("rwkv"), tiny.tokenizer()))
    model.generate(["Who is it?", "Who was it?"], {"max_tokens": 3})
    assert model.state is not None
    assert model.state().endswith("; longer completions are generated one by one, because batches change them")
