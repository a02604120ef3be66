"""Which readers of buckets there are with the DuckDB at hand: tests of each run where it is, and none is skipped."""

import duckdb

from helmframe.scenarios.remote import httpfs_file

DUCKDB_1 = duckdb.__version__.startswith("1.")
READERS = ["httpfs", "s3fs"] if httpfs_file() else ["s3fs"]
