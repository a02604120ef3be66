"""Results of a run: tables, analyses, comparisons and exports."""

from helmframe.results._comparison import compare_results, load_results, register_loader
from helmframe.results._findings import Finding, findings
from helmframe.results.results import Results

__all__ = ["Finding", "Results", "compare_results", "findings", "load_results", "register_loader"]
