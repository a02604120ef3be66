"""HELM's run entries and .conf files as plans; `read` and `write` convert its run directories to tables and back."""

from helmframe.interop.helm.entries import Entry, EntryState, parse_entry, read_conf
from helmframe.interop.helm.plans import entry, entry_states, plans_of, skipped_text

__all__ = [
    "Entry",
    "EntryState",
    "entry",
    "entry_states",
    "parse_entry",
    "plans_of",
    "read_conf",
    "skipped_text",
]
