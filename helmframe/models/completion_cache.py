"""Where a model's completions are cached, for every caller that runs it: a run, a translator, a judge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from helmframe import config
from helmframe.models.model import Model
from helmframe.models.request_ids import ids_for
from helmframe.store import ANSWER, Address, Answers, ParquetAnswers, ProcessAnswers, address_of
from helmframe.store.run_cache import STORED, RunCompletions, cache_of


@dataclass(frozen=True)
class StoredRun:
    """A run whose completions of unpinned models can be reused.

    Args:
        id: The id of the run.
        path: Its folder.
        fingerprints: Model name → fingerprints of the unpinned models of that name, in the process of that run.
    """

    id: str
    path: Address
    fingerprints: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class CompletionCache:
    """The completions that a run reuses, and where it stores its own.

    A durable model's completions are shared by all runs of the store. An unpinned model's fingerprint has a meaning in
    one process only, so its completions are reused within the process, or from the runs in `resumed`.

    Args:
        root: The store.
        run: The folder of the current run, which stores the completions of unpinned models; None stores none.
        resumed: The runs to reuse completions from; the first that has a completion counts.
    """

    root: Address
    run: Address | None = None
    resumed: Sequence[StoredRun] = ()

    def completions(self, model: Model, fingerprint: str, scenario: str) -> Answers:
        """Return the completions of a model and scenario."""
        if self.run is None or model.durable:
            return completions_of(self.root, model, fingerprint, scenario)
        return RunCompletions(self.run, fingerprint, scenario)

    def reuse(
        self, requests: pl.DataFrame, prefixes: pl.DataFrame, model: Model, fingerprint: str, scenario: str
    ) -> None:
        """Add to the process, and to the current run, the completions of an unpinned model that are reused.

        Args:
            requests: Requests with their `request_id`, as `request_ids` returns them.
            prefixes: `PREFIXES`.
            model: The model.
            fingerprint: Its fingerprint in this process.
            scenario: The scenario.

        Raises:
            StoreError: A run cannot be read or written.
        """
        if model.durable or requests.is_empty():
            return
        low, high = requests.select(low=pl.col("row_index").min(), high=pl.col("row_index").max()).row(0)
        in_process = ProcessAnswers(fingerprint, scenario)
        reused = in_process.known(low, high).join(requests, on="request_id", how="semi")
        if reused.is_empty() and not self.resumed:
            return
        requests = requests.unique("request_id", keep="first", maintain_order=True)
        for run in self.resumed:
            for earlier in run.fingerprints.get(model.name, ()):
                missing = requests.join(reused, on="request_id", how="anti", maintain_order="left")
                if missing.is_empty():
                    break
                ids = ids_for(missing, prefixes, earlier, by_instance=model.sees_rows)
                stored = ParquetAnswers(cache_of(run.path), earlier, scenario).known(low, high, ids)
                renamed = pl.DataFrame({"request_id": ids, "now": missing["request_id"]})
                more = stored.join(renamed, on="request_id", how="inner").drop("request_id")
                more = more.rename({"now": "request_id"}).select(list(ANSWER))
                in_process.append(more, prefixes.clear())
                reused = pl.concat([reused, more])
        if self.run is not None and reused.height:
            rows = requests.select(pl.all().exclude(*(name for name in ANSWER if name != "request_id")))
            rows = rows.join(reused, on="request_id", how="inner", maintain_order="left").select(STORED)
            used = prefixes.join(rows, on="prefix_id", how="semi")
            ParquetAnswers(cache_of(self.run), fingerprint, scenario).append(rows, used)


def completions_of(root: Address, model: Model, fingerprint: str, scenario: str) -> Answers:
    """Return the completions of a model that is run outside of a run: of the store if it is durable, else in memory."""
    return ParquetAnswers(root, fingerprint, scenario) if model.durable else ProcessAnswers(fingerprint, scenario)


def store_root() -> Address:
    """The store's folder, or its address in a bucket."""
    return address_of(config.store_root())
