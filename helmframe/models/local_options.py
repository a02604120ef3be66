"""Options for loading a local model: type, device, replicas, own code."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from helmframe._core.checks import is_integer
from helmframe.errors import ArgumentError, CapabilityError, UnknownNameError

FLOAT32 = "float32"
DTYPES = (FLOAT32, "bfloat16", "float16")
# The type in which the checkpoint was saved.
AUTO = "auto"
_DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class Options:
    """The options for loading a local model.

    Args:
        dtype: The type of weights and arithmetic; None: float32, on a GPU bfloat16 (float16 if it has no bfloat16).
        device: None: the first GPU, else the CPU.
        device_map: The devices of layers, as in accelerate, instead of one device.
        replicas: The number of copies that run side by side, one on each GPU; on a CPU they share its threads.
        trust_remote_code: Whether Python code of the checkpoint may run.
    """

    dtype: str | None = None
    device: str | None = None
    device_map: str | Mapping[str, Any] | None = None
    replicas: int = 1
    trust_remote_code: bool = False

    def devices(self) -> list[str]:
        """Return the device of each replica. Imports torch, unless the device is "cpu".

        Raises:
            CapabilityError: This machine does not have them.
        """
        if self.device == "cpu":
            return ["cpu"] * self.replicas
        seen = list_devices()
        kind = self.device or seen[0].partition(":")[0]
        if kind == "cpu":
            return ["cpu"] * self.replicas
        usable = [device for device in seen if device.partition(":")[0] == kind or device == kind]
        if len(usable) < self.replicas or not usable:
            wanted = f"replicas={self.replicas}" if usable else f"device={self.device!r}"
            raise CapabilityError(f"{wanted}: torch sees {', '.join(seen)} on this machine.")
        return usable[: self.replicas]

    def resolved(self, config: Mapping[str, Any]) -> "Options":
        """Return the options with a named type in place of "auto" or None, which may import torch.

        Args:
            config: The checkpoint's configuration.
        """
        if self.dtype == AUTO:
            return replace(self, dtype=str(config.get("dtype") or config.get("torch_dtype") or FLOAT32))
        if self.dtype is None:
            return replace(self, dtype={"cpu": FLOAT32, "mps": "float16"}.get(self.devices()[0]) or _gpus_dtype())
        return self

    def changes(self) -> list[str]:
        """Return the options that change completions, for the fingerprint; empty for float32 without own code."""
        dtypes = [] if self.dtype in (None, FLOAT32) else [f"dtype {self.dtype}"]
        return [*dtypes, *(["trust_remote_code"] if self.trust_remote_code else [])]

    def notes(self) -> list[str]:
        """Return the notes about the options for `explain()`."""
        differs = f"computes in {self.dtype}: where two words are nearly as likely, answers differ from float32's"
        notes = [] if self.dtype in (None, FLOAT32) else [differs]
        return [*notes, *(["runs the checkpoint's own code"] if self.trust_remote_code else [])]


def check_options(
    *,
    dtype: Any = None,
    device: Any = None,
    device_map: Any = None,
    replicas: Any = 1,
    trust_remote_code: Any = False,
) -> Options:
    """Return validated options; types as `torch.bfloat16` or by name.

    Raises:
        ArgumentError: A value is invalid, or two contradict each other.
        UnknownNameError: The type is unknown.
        CapabilityError: This machine has no such device, or a package is missing.
    """
    if dtype is not None:
        dtype = str(dtype).removeprefix("torch.")
        if dtype not in (*DTYPES, AUTO):
            raise UnknownNameError.among("dtype", dtype, [*DTYPES, AUTO])
    if device is not None:
        device = str(device)
        if not _DEVICE.fullmatch(device):
            raise ArgumentError(f"local(device={device!r}): should be 'cpu', 'cuda', 'cuda:1' or 'mps'.")
    if not is_integer(replicas) or replicas < 1:
        raise ArgumentError(f"local(replicas={replicas!r}): should be a whole number of at least 1.")
    if not isinstance(trust_remote_code, bool):
        raise ArgumentError(f"local(trust_remote_code={trust_remote_code!r}): should be True or False.")
    if device_map is not None:
        device_map = _check_map(device_map)
        for name, other in (("device", device), ("replicas", None if replicas == 1 else replicas)):
            if other is not None:
                raise ArgumentError(f"local({name}={other!r}, device_map=…): the map says where the layers are.")
    if replicas > 1 and device is not None and ":" in device:
        raise ArgumentError(f"local(device={device!r}, replicas={replicas}): each has a GPU of its own; say 'cuda'.")
    options = Options(dtype, device, device_map, replicas, trust_remote_code)
    if device not in (None, "cpu") or replicas > 1:
        options.devices()
    return options


def list_devices() -> list[str]:
    """Return the devices that torch sees, the best first: GPUs by number, then the CPU; only the CPU without torch."""
    if find_spec("torch") is None:
        return ["cpu"]
    import torch

    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*gpus, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def _gpus_dtype() -> str:
    import torch

    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def _check_map(value: Any) -> str | dict[str, Any]:
    if find_spec("accelerate") is None:
        raise CapabilityError("local(device_map=…) needs the package accelerate: pip install accelerate.")
    if isinstance(value, str):
        if value not in _MAPS:
            raise UnknownNameError.among("device_map", value, _MAPS)
        return value
    try:
        devices = {str(name): device for name, device in dict(value).items()}
    except (TypeError, ValueError):
        devices = {}
    if not devices or not all(
        isinstance(device, int | str) and not isinstance(device, bool) for device in devices.values()
    ):
        raise ArgumentError(f"local(device_map={value!r}): should be 'auto' or {{module: device}}: {{'': 'cpu'}}.")
    return devices


_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
