"""lm-evaluation-harness: its tasks as scenarios, and its logs as results."""
