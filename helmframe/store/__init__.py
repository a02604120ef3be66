"""The store: requests as sent with their answers, and what runs scored, as Parquet in a folder or a bucket.

    STORE/completions/MODEL/SCENARIO/LOW-HIGH-VERSION-….parquet      answers (helmframe.store.parts)
    STORE/completions/MODEL/SCENARIO/prefixes-ID-CHECKSUM.parquet    the starts those requests share
    STORE/runs/RUN/…                                                 what one run read and scored
    STORE/runs/RUN/cache/completions/…                               its completions of unpinned models
    STORE/damaged/…                                                  parts that could not be read

Parts are written whole or not at all, and never changed. MODEL is the start of the model's fingerprint.
"""

from helmframe.store.answers import ANSWER, SENT, Answers, ParquetAnswers, ProcessAnswers, file_name
from helmframe.store.files import Address, address_of, below, exists, listing
from helmframe.store.runs import RunFolder, write_parquet, write_text

__all__ = [
    "ANSWER",
    "SENT",
    "Address",
    "Answers",
    "ParquetAnswers",
    "ProcessAnswers",
    "RunFolder",
    "address_of",
    "below",
    "exists",
    "file_name",
    "listing",
    "write_parquet",
    "write_text",
]
