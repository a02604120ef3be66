"""Representations of plans, runs and results: reprs, charts, the viewer and the report."""
