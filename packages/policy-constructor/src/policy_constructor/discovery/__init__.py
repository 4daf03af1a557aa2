"""What is installed: entry points, component references, registries."""
