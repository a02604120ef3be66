"""Representations of plans, runs and results: reprs, charts, the explorer, the report and the dashboard."""
