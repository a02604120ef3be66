"""The store: requests with their completions, and the results of runs, as Parquet in a folder or a bucket.

    STORE/completions/MODEL/SCENARIO/LOW-HIGH-VERSION-….parquet      completions (helmframe.store.parts)
    STORE/completions/MODEL/SCENARIO/prefixes-ID-CHECKSUM.parquet    the prefixes that those requests share
    STORE/completions/MODEL/SCENARIO/.BLOCK.claim.part               requests that a process sends now (store.claims)
    STORE/runs/RUN/…                                                 the tables of one run
    STORE/runs/RUN/cache/completions/…                               its completions of unpinned models
    STORE/damaged/…                                                  unreadable parts

Parts are written whole or not at all, and never changed. MODEL is the start of the model's fingerprint.
"""

from helmframe.store.completions import (
    COMPLETION_SCHEMA,
    REQUEST_COLUMNS,
    CompletionStore,
    ParquetCompletions,
    ProcessCompletions,
    file_name,
)
from helmframe.store.files import Address, address_of, below, exists, listing
from helmframe.store.runs import RunFolder, write_parquet, write_text

__all__ = [
    "COMPLETION_SCHEMA",
    "REQUEST_COLUMNS",
    "Address",
    "CompletionStore",
    "ParquetCompletions",
    "ProcessCompletions",
    "RunFolder",
    "address_of",
    "below",
    "exists",
    "file_name",
    "listing",
    "write_parquet",
    "write_text",
]
