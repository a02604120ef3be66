"""The user stories in helmframe."""
