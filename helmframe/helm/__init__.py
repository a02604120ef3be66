"""HELM's own language: run entries and .conf files, as plans."""

from helmframe.helm.entries import Entry, parse_entry, plans_of, read_conf

__all__ = ["Entry", "parse_entry", "plans_of", "read_conf"]
