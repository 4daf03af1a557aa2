"""Sub-commands that this wheel adds to `trainer`."""
