"""What was read from another tool, kept in the store: read once, whole or not at all."""

import logging
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any
from uuid import uuid4

from helmframe.errors import HelmframeError, StoreError
from helmframe.metrics.protocol import manifest_entry, resolve_metrics
from helmframe.models.completion_cache import store_root
from helmframe.results import Results
from helmframe.store import Address, RunFolder, below, listing

logger = logging.getLogger("helmframe.interop.helm")

FORMAT = 1
_READER_VERSION = 2  # raised where a reader changes what it reads, so that older readings in the store are not used
_DIGITS = 20
# What is said of a score that is no metric of ours.
_UNKNOWN_METRIC = {"level": "output", "unit": "", "higher_is_better": None}


class Import:
    """One reading of an address: `kept()` gives what an earlier one kept; else `folder` takes tables, then `finish`."""

    def __init__(self, tool: str, address: Address) -> None:
        self.tool, self.address = tool, address
        self._root = below(store_root(), "imported", _key(f"{tool} {_READER_VERSION}", address))
        # counted, not dated: a clock that was ahead must not make an earlier reading the newest
        starts = {file.name[:_DIGITS] for file in listing(self._root)}
        numbers = [int(start) for start in starts if start.isdecimal()]
        name = f"{max(numbers, default=0) + 1:0{_DIGITS}d}-{uuid4().hex[:8]}"
        self.folder = RunFolder(below(self._root, name))
        self.skipped: list[dict[str, str]] = []

    def cached(self) -> Results | None:
        """The newest whole reading of the same files; None if there is none, or if it is damaged."""
        complete = [file.name.split("/")[0] for file in listing(self._root) if file.name.endswith("/manifest.json")]
        try:
            return Results.load(below(self._root, complete[-1])) if complete else None
        except StoreError as error:
            logger.warning("%s is read again: %s", self.address, error)
            return None

    def discard(self, number: int) -> None:
        """Take out all that was added under this number."""
        self.folder.remove_shard(number)

    def finish(self, metrics: Iterable[str], **fields: Any) -> Results:
        """Write the manifest, and give the results.

        Args:
            metrics: their names, the main ones first.
            **fields: plans, scenarios, models and other fields of the manifest.
        """
        manifest = {
            "format": FORMAT,
            "status": "done",
            "tool": self.tool,
            "source": str(self.address),
            "metrics": {name: metric_entry(name) for name in dict.fromkeys(metrics)},
            "counts": {},
            "left_out": self.skipped,
        }
        self.folder.write_manifest(manifest | fields)
        return Results.load(self.folder.path)


def metric_entry(name: str) -> Mapping[str, Any]:
    """What a manifest says of a metric, whether it is ours or not."""
    try:
        return manifest_entry(resolve_metrics([name])[0])
    except HelmframeError:
        return _UNKNOWN_METRIC


def _key(tool: str, address: Address) -> str:
    """What is at the address, as far as a listing tells; of a URL, the URL."""
    if isinstance(address, str) and not address.startswith("s3://"):
        return sha256(f"{tool}\n{address}".encode()).hexdigest()[:24]
    files = [f"{file.name} {file.size} {file.modified}" for file in listing(address)]
    return sha256("\n".join([tool, str(address), *files]).encode()).hexdigest()[:24]
