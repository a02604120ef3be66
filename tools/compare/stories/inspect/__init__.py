"""The user stories in Inspect."""
