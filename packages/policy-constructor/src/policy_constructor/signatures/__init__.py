"""What a component accepts, read from its source without importing it."""
