"""The foundation of the package: specs, the registry, expressions, text and checks."""
