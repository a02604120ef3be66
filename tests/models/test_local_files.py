"""What is fetched and read of a checkpoint's files: weights as safetensors, or as torch saves them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from helmframe.errors import SourceBrokenError
from helmframe.models import Completion
from helmframe.models.protocol import from_any
from tests.models import tiny
from tests.scenarios.hub_server import hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.saved(tmp_path / "tiny", tiny.gpt2())


def answer(model: Any) -> str:
    given = from_any(model).generate(["Who? "], {"max_tokens": 5})[0]
    assert isinstance(given, Completion)
    return given.text


class Mine:
    """What torch's own files may hold, and safetensors can't: a call that is made when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.trace,)


def pickled(folder: Path, **more: object) -> Path:
    """The folder with its weights as torch saves them."""
    from safetensors.torch import load_file

    file = folder / "model.safetensors"
    torch.save({**load_file(file), **more}, folder / "pytorch_model.bin")
    file.unlink()
    return folder


def test_weights_that_torch_saved_are_read_and_nothing_in_them_is_run(folder: Path, tmp_path: Path) -> None:
    assert answer(pickled(folder)) == answer((tiny.gpt2(), tiny.tokenizer()))
    tiny.saved(folder, tiny.gpt2(seed=1))
    with pytest.raises(SourceBrokenError, match="Weights only load failed"):
        answer(pickled(folder, mine=Mine(tmp_path / "ran")))
    assert not (tmp_path / "ran").exists()


ASKS = """\
from helmframe.models.protocol import from_any
model = from_any("some/hub")
print(model.state())
print(model.generate(["Who? "], {"max_tokens": 5})[0].text)
print(*sorted(file.name for file in model.generate.__self__.checkpoint.folder.iterdir()))
"""


@pytest.mark.parametrize("only_torchs", [False, True])
def test_a_hub_model_is_fetched_with_one_kind_of_weights(folder: Path, tmp_path: Path, *, only_torchs: bool) -> None:
    torch.save(tiny.gpt2().state_dict(), folder / "pytorch_model.bin")
    if only_torchs:
        (folder / "model.safetensors").unlink()
    plain = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with hub({"some/hub": folder}) as endpoint:
        done = subprocess.run(
            [sys.executable, "-c", ASKS],
            env={**plain, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    state, said, names = done.stdout.splitlines()
    assert state.startswith("by its configuration prompts are packed")
    assert said == answer((tiny.gpt2(), tiny.tokenizer()))
    assert ("pytorch_model.bin" in names, "model.safetensors" in names) == (only_torchs, not only_torchs)
