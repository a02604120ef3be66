"""Inspect: its tasks and those of the Hub as scenarios, and its logs as results."""
