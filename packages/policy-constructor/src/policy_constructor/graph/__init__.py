"""The `model:` section, compiled to a graph without torch."""
