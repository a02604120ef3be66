"""How much memory a device has left, what a forward pass and kept starts may take of it, and when there is none."""

import math
from pathlib import Path
from typing import Any

# Tokens of a forward pass; on a CPU, of each thread. More are not faster there, and attention to all of them slower.
TOKENS = {"cpu": 256, "mps": 2048, "cuda": 8192}
# Bytes of the starts kept beside the last one.
ROOM = {"cpu": 1 << 30, "mps": 1 << 30}
# Of a GPU's free memory, for kept starts: they go first where it runs out.
SHARE = 1 / 8
# Bytes of a GPU's free memory for each token of a pass, which has to leave most of it to the rows that are answered.
EACH, LEAST = 1 << 19, 256


def budgets(device: Any) -> tuple[int, int]:
    """Tokens of a forward pass on this device, and bytes for the starts that are kept: by what a GPU has free now."""
    import torch

    tokens, kind = TOKENS.get(device.type, TOKENS["cpu"]), device.type
    if kind == "cuda":
        left = free(device)
        return max(LEAST, min(tokens, int(left / EACH))), int(left * SHARE)
    return tokens * (torch.get_num_threads() if kind == "cpu" else 1), ROOM.get(kind, ROOM["cpu"])


def free(device: Any) -> float:
    """Bytes of the device's memory that nobody has."""
    import torch

    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + unused)
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return math.inf  # this system does not say so: the allocation fails, if it must


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch says that there is no memory, of whichever device."""
    text = str(error).lower()
    return "out of memory" in text or "allocate memory" in text or "not enough memory" in text
