"""Shared ground of the package: specs, the registry, expressions and text."""
