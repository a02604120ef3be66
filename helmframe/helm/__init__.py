"""HELM's own language and results: run entries and .conf files as plans, run directories as tables and back.

And the logs of lm-eval and Inspect, as the same tables.
"""

from helmframe.helm.as_sentence import entry
from helmframe.helm.entries import Entry, EntryState, parse_entry, read_conf
from helmframe.helm.entry_states import entry_states, skipped_text
from helmframe.helm.inspect_logs import read_inspect
from helmframe.helm.lm_eval import read_lm_eval
from helmframe.helm.plans import plans_of
from helmframe.helm.read import read_helm
from helmframe.helm.write import write_helm

__all__ = [
    "Entry",
    "EntryState",
    "entry",
    "entry_states",
    "parse_entry",
    "plans_of",
    "read_conf",
    "read_helm",
    "read_inspect",
    "read_lm_eval",
    "skipped_text",
    "write_helm",
]
