"""Early stopping: rules, and the monitor that applies them while a run goes."""
