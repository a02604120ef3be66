"""The user stories in HELM."""
