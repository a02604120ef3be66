"""The user stories in lm-eval."""
