"""Several copies of one model that run in parallel: one on each GPU, or sharing the threads of a CPU."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from helmframe.models.local_load import Loaded
from helmframe.models.model import Prompt, Response


@dataclass(eq=False)
class Replicas:
    """Copies of a model, each of which runs one call at a time; a call takes a free one.

    On a CPU each gets its share of torch's threads while it runs.
    """

    engines: Sequence[Loaded]
    _free: "SimpleQueue[Loaded]" = field(default_factory=SimpleQueue)
    _threads: int = 0

    def __post_init__(self) -> None:
        import torch

        self._threads = torch.get_num_threads()
        for engine in self.engines:
            self._free.put(engine)

    def ask(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        with self._taken() as engine:
            return engine.ask(prompts, decoding)

    def loglikelihood(self, prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:
        with self._taken() as engine:
            return engine.loglikelihood(prompts, decoding)

    def state(self) -> str:
        """Return the number of copies, and how they run."""
        return f"{len(self.engines)} copies; {self.engines[0].state()}"

    @contextmanager
    def _taken(self) -> Iterator[Loaded]:
        """Yield an engine for this thread alone."""
        import torch

        engine = self._free.get()
        on_cpu = engine.model.device.type == "cpu"
        try:
            if on_cpu:  # the number applies to the thread that sets it
                torch.set_num_threads(max(1, self._threads // len(self.engines)))
            yield engine
        finally:
            if on_cpu:
                torch.set_num_threads(self._threads)
            self._free.put(engine)
