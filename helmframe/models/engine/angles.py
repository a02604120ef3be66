"""Rotary embeddings (RoPE) whose angles change for all later texts once a longer text was read."""

from typing import Any


def reset_angles(model: Any) -> None:
    """Reset angles that longer texts have changed, so that the next text is read as if it were the first."""
    import torch

    # transformers restores the first angles when it reads a text shorter than the model was trained with
    if "dynamic" in str(getattr(model.config.get_text_config(), "rope_parameters", "")):
        model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=model.device))
