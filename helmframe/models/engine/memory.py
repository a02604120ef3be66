"""Memory of a device: how much is free, the share of forward passes and cached starts, and errors when it runs out."""

import math
from pathlib import Path
from typing import Any

# Tokens of a forward pass; on a CPU, of each thread. More are not faster there, and attention to all of them slower.
TOKENS = {"cpu": 256, "mps": 2048, "cuda": 8192}
# Bytes of the starts that are cached besides the last one.
ROOM = {"cpu": 1 << 30, "mps": 1 << 30}
# The share of a GPU's free memory for cached starts, which are removed first when it runs out.
SHARE = 1 / 8
# Bytes of a GPU's free memory per token of a pass, which has to leave most of it to the running rows.
BYTES_PER_TOKEN, LEAST = 1 << 19, 256


def budgets(device: Any) -> tuple[int, int]:
    """Return the tokens of a forward pass on this device, and the bytes for cached starts."""
    import torch

    tokens, kind = TOKENS.get(device.type, TOKENS["cpu"]), device.type
    if kind == "cuda":
        left = free(device)
        return max(LEAST, min(tokens, int(left / BYTES_PER_TOKEN))), int(left * SHARE)
    return tokens * (torch.get_num_threads() if kind == "cpu" else 1), ROOM.get(kind, ROOM["cpu"])


def free(device: Any) -> float:
    """Return the free bytes of the device's memory."""
    import torch

    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + unused)
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return math.inf  # unknown on this system: the allocation may fail


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of torch reports that memory ran out, on any device."""
    text = str(error).lower()
    return "out of memory" in text or "allocate memory" in text or "not enough memory" in text
