"""Cases of the package datasets: `python -m tools.compare.workers.datasets CASE`."""

import os
import sys
import time
from typing import Any

from datasets import load_dataset

from tools.compare.workers.protocol import report

FILE = "s3://evals/all/test-00000-of-00001.parquet"


def bucket() -> None:
    """Stream a table in a bucket, and keep one subject."""
    _read(filtered=False)


def bucket_filters() -> None:
    """Stream one subject of a table in a bucket, with a filter that the reader applies."""
    _read(filtered=True)


def _read(*, filtered: bool) -> None:
    storage = {
        "key": os.environ["AWS_ACCESS_KEY_ID"],
        "secret": os.environ["AWS_SECRET_ACCESS_KEY"],
        "client_kwargs": {"endpoint_url": os.environ["AWS_ENDPOINT_URL"], "region_name": os.environ["AWS_REGION"]},
    }
    filters: dict[str, Any] = {"filters": [("subject", "==", "philosophy")]} if filtered else {}
    start = time.perf_counter()
    rows = load_dataset(
        "parquet", data_files={"test": FILE}, split="test", streaming=True, storage_options=storage, **filters
    )
    if not filtered:
        rows = rows.filter(lambda row: row["subject"] == "philosophy")
    n = sum(1 for _ in rows)
    report(n=n, read_s=time.perf_counter() - start)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
