"""Early stopping: rules, and the monitor that applies them during a run."""
