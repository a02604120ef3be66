"""HELM's run entries and .conf files as plans, and its run directories as tables and back."""

from helmframe.interop.helm.entries import Entry, EntryState, parse_entry, read_conf
from helmframe.interop.helm.plans import entry, entry_states, plans_of, skipped_text
from helmframe.interop.helm.read import read_helm
from helmframe.interop.helm.write import write_helm

__all__ = [
    "Entry",
    "EntryState",
    "entry",
    "entry_states",
    "parse_entry",
    "plans_of",
    "read_conf",
    "read_helm",
    "skipped_text",
    "write_helm",
]
