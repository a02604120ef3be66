"""Modules that all stories import: they are a user's own code, the same for every tool."""
