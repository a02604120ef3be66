"""RoPE whose angles a text longer than those before it changes, for all that come after it too."""

from typing import Any


def reset(model: Any) -> None:
    """What longer texts have done to the model's angles is undone: a text is read as if it were the first."""
    import torch

    # transformers goes back to the first angles once it reads a text shorter than the model was trained with
    if "dynamic" in str(getattr(model.config.get_text_config(), "rope_parameters", "")):
        model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=model.device))
